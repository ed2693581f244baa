mod farm;
mod faults;
mod leases;
mod random;
mod sharing;
mod spare;
