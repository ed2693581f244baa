//! Faults and bad input, end to end: real processes, real signals.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod broken_parts;
mod coordinators;
mod input;
mod isolation;
mod limits;
mod objects;
mod remapped;
mod scene;
mod site;
mod standing;
mod uploads;
mod workers;
