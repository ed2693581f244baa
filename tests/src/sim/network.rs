//! Connections between machines and coordinators.
//!
//! A connection is a stream: messages arrive in order, late rather than never, until it breaks. Its ends learn
//! of that at different times, or never. Only in [`Chaos`](super::weather::Chaos) is a message lost, doubled or
//! overtaken.

use std::collections::BTreeMap;

use super::counts::Counts;
use super::random::Random;
use super::step::{ConnId, MachineAt};
use super::weather::Weather;

#[derive(Debug)]
pub(super) struct Conn {
    pub(super) machine: MachineAt,
    pub(super) life: u32,
    pub(super) epoch: u32,
    pub(super) worker_open: bool,
    pub(super) coordinator_open: bool,
    /// Nothing gets through any more since then.
    pub(super) cut_at: Option<u64>,
    /// It lost a message. It will be cut for that.
    pub(super) lossy: bool,
    last_up: u64,
    last_down: u64,
}

#[derive(Debug)]
pub(super) struct Network {
    conns: BTreeMap<ConnId, Conn>,
    pub(super) weather: Vec<Weather>,
    random: Random,
    last: ConnId,
}

/// When a message arrives, if at all.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    pub(super) at: Vec<u64>,
    /// It is the first message that the connection loses, which is to break then.
    pub(super) breaks_at: Option<u64>,
}

impl Network {
    pub(super) fn new(weather: Vec<Weather>, random: Random) -> Self {
        Self {
            conns: BTreeMap::new(),
            weather,
            random,
            last: 0,
        }
    }

    pub(super) fn open(&mut self, machine: MachineAt, life: u32, epoch: u32) -> ConnId {
        self.last += 1;
        self.conns.insert(
            self.last,
            Conn {
                machine,
                life,
                epoch,
                worker_open: true,
                coordinator_open: true,
                cut_at: None,
                lossy: false,
                last_up: 0,
                last_down: 0,
            },
        );
        self.last
    }

    pub(super) fn conn(&self, conn: ConnId) -> &Conn {
        &self.conns[&conn]
    }

    pub(super) fn conn_mut(&mut self, conn: ConnId) -> &mut Conn {
        self.conns
            .get_mut(&conn)
            .expect("connections are never forgotten")
    }

    /// The open connections of a machine, or of all.
    pub(super) fn open_conns(&self, of: Option<MachineAt>) -> Vec<ConnId> {
        let open = self.conns.iter().filter(|(_, conn)| {
            of.is_none_or(|machine| conn.machine == machine) && (conn.worker_open || conn.coordinator_open)
        });
        open.map(|(id, _)| *id).collect()
    }

    /// Sends a message and says when it arrives.
    pub(super) fn send(&mut self, now: u64, id: ConnId, up: bool, counts: &mut Counts) -> Arrivals {
        let conn = self.conns.get_mut(&id).expect("connections are never forgotten");
        let weather = &self.weather[conn.machine];
        let open = if up {
            conn.worker_open
        } else {
            conn.coordinator_open
        };
        if !open || conn.cut_at.is_some() {
            return Arrivals::default();
        }
        let travel = weather.delay + self.random.below(weather.jitter + 1);
        let blocked = weather.blocked_until(up);
        let mut at = now + travel;
        if blocked > now {
            counts.add("network: delayed by a partition");
            at = at.max(blocked + travel);
        }
        let last = if up {
            &mut conn.last_up
        } else {
            &mut conn.last_down
        };
        let chaos = weather.chaos;
        if now < chaos.until {
            if self.random.chance(chaos.lost) {
                counts.add("network: lost");
                let breaks_at = (!std::mem::replace(&mut conn.lossy, true)).then_some(chaos.until);
                return Arrivals {
                    at: Vec::new(),
                    breaks_at,
                };
            }
            if self.random.chance(chaos.out_of_order) {
                counts.add("network: out of order");
                at += self.random.below(chaos.spread + 1);
            } else {
                at = at.max(*last);
                *last = at;
            }
            if self.random.chance(chaos.twice) {
                counts.add("network: twice");
                let again = at + self.random.below(chaos.spread + 1);
                return Arrivals {
                    at: vec![at, again],
                    breaks_at: None,
                };
            }
        } else {
            at = at.max(*last);
            *last = at;
        }
        Arrivals {
            at: vec![at],
            breaks_at: None,
        }
    }
}
