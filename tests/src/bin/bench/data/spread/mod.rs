//! How inputs reach many workers: by the coordinator alone, by an object store, by each other.
//!
//! A model says how long it takes; it is played with the real [`thresh_core::spread::Spread`], for four workers beside
//! what four real workers need behind a narrow uplink, and for a thousand with 2 GB of test binaries.

mod model;
mod real;

use crate::Options;
use crate::figure::Figure;
use crate::measure::median;
use model::{Farm, Links, Rates};

/// How blobs reach workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Everything from the coordinator.
    Coordinator,
    /// From an object store.
    Objects,
    /// From the coordinator, and from other workers.
    Peers,
}

impl Way {
    const ALL: [Self; 3] = [Self::Coordinator, Self::Objects, Self::Peers];

    fn words(self) -> &'static str {
        match self {
            Self::Coordinator => "by the coordinator",
            Self::Objects => "by an object store",
            Self::Peers => "by each other",
        }
    }
}

/// The narrow uplink, of the coordinator or of the object store, and what each of the four workers has to fetch.
const UPLINK: u64 = 8 << 20;
const WORKERS: usize = 4;
const BLOBS: u64 = 4;
const BLOB_BYTES: u64 = 4 << 20;

/// 2 GB of test binaries: 40 of them. Without debug sections and compressed 8 % travel, as measured on ripgrep's
/// (part `edit`: 27.4 MiB of 351).
const BINARIES: u64 = 40;
const BINARY_WIRE_BYTES: u64 = 2_000_000_000 / BINARIES * 8 / 100;
/// What travels of them after an edit of one line: 0.3 %, likewise (1.1 MiB).
const EDITED_WIRE_BYTES: u64 = 2_000_000_000 / BINARIES * 3 / 1000;

/// Bytes a second of links: 1 and 10 Gbit/s; an object store of a cloud: 100 Gbit/s, and 5,500 requests a second of 4 MiB
/// at most.
const GIGABIT: f64 = 125e6;
const OBJECTS: f64 = 12.5e9;

pub(crate) fn measure(options: &Options) -> Vec<Figure> {
    let mut figures = Vec::new();
    for way in Way::ALL {
        let taken: Vec<f64> = (0..options.repeats).map(|_| real::seconds(way)).collect();
        let seconds = median(taken);
        let farm = Farm {
            workers: WORKERS,
            blobs: vec![BLOB_BYTES as f64; BLOBS as usize],
        };
        // What is not narrowed is the machine itself: both ends of everything share it.
        let links = Links {
            coordinator_up: UPLINK as f64,
            into_objects: 1e9,
            objects: UPLINK as f64,
            worker: 1e9,
        };
        let modelled = model::seconds(way, &farm, links);
        let name = format!("data: 4 workers, 16 MiB each, uplink 8 MiB/s, {}", way.words());
        figures.push(Figure::new(name, seconds, "s").beside(modelled));
    }
    for (what, bytes) in [
        ("2 GB of binaries", BINARY_WIRE_BYTES),
        ("an edited line", EDITED_WIRE_BYTES),
    ] {
        for rates in [
            Rates { uplink: GIGABIT },
            Rates {
                uplink: 10.0 * GIGABIT,
            },
        ] {
            for way in Way::ALL {
                let farm = Farm {
                    workers: 1_000,
                    blobs: vec![bytes as f64; BINARIES as usize],
                };
                let links = Links {
                    coordinator_up: rates.uplink,
                    into_objects: rates.uplink,
                    objects: OBJECTS,
                    worker: GIGABIT,
                };
                let seconds = model::seconds(way, &farm, links);
                let uplink = rates.uplink / GIGABIT;
                let name = format!(
                    "data: model, 1,000 workers, {what}, uplink {uplink:.0} Gbit/s, {}",
                    way.words()
                );
                figures.push(Figure::new(name, seconds, "s"));
            }
        }
    }
    figures
}
