//! The scheduler's settings.

use std::collections::BTreeMap;
use std::time::Duration;

/// The scheduler's settings. All have defaults that are meant to be kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// How often a worker is to send a heartbeat. Default: 1.5 s.
    pub heartbeat: Duration,
    /// A worker that was not heard for this long is lost: its leases end. Default: 6 s.
    pub lease_ttl: Duration,
    /// A run that no client follows is cancelled after this. Default: 10 s.
    pub client_grace: Duration,
    /// The same for a run that was restored: its client may have to notice first that its coordinator is gone.
    /// Default: 60 s.
    pub restored_grace: Duration,
    /// A run whose remaining cases no connected worker can take is stopped after this. Default: 5 min.
    pub stranded_grace: Duration,
    /// A case that a worker gave back unstarted is granted again after this. Default: 500 ms.
    pub return_delay: Duration,
    /// A run of which one case came back unstarted this often is stopped: no worker can start it. What workers
    /// that are leaving give back does not count. Default: 10.
    pub returns_max: u32,
    /// A worker gets cases ahead, at least up to this much estimated time a slot, and at least two round
    /// trips. Default: 40 ms.
    pub lookahead: Duration,
    /// While much work is left a worker gets more ahead, up to this much estimated time a slot. Default: 1 s.
    pub lookahead_max: Duration,
    /// The most unfinished cases that one worker holds. Default: 512.
    pub held_cases_max: u32,
    /// Unstarted cases are taken back from a worker for an idle slot when they would wait there for at least
    /// this long. Default: 30 ms.
    pub steal_min: Duration,
    /// A second copy of a running case is started for an idle slot of another worker; `None`: never.
    pub hedge: Option<Hedge>,
    /// A case that a worker went down with this often while it ran (its connection ended without a good-bye) is
    /// settled as [`TookWorker`](crate::outcome::Outcome::TookWorker). After the first time it runs beside no
    /// other such case. Default: 2.
    pub losses_max: u32,
    /// A case that was lost otherwise with this many workers is settled as lost: before they could say that it
    /// started, or with those that fell silent. Default: 10.
    pub other_losses_max: u32,
    /// A case that failed waits this long for another worker than the one where it failed, while there are others.
    /// Default: 5 s.
    pub elsewhere_max: Duration,
    /// The most slots that a worker may offer; more is refused. Default: [`Policy::SLOTS_MAX`].
    pub slots_max: u32,
    /// The estimate of a case of which nothing at all is known. Default: 1 s.
    pub unknown_estimate: Duration,
    /// A run with a deadline goes before others of its priority once so little time is left beyond what its
    /// remaining cases need. Default: 1 min.
    pub laxity_min: Duration,
    /// The share of each submitter; those not named have 1.
    pub shares: BTreeMap<String, u32>,
    /// What a worker fetches a second, in bytes, for weighing whether a case is better run where its binary
    /// is. Default: 100 MB/s.
    pub fetch_rate: u64,
}

/// When a running case gets a second copy. A pass wins, and ends the other copy. So does a failure, where no
/// retries are left: a second copy is no second chance, or a run on a farm would pass where one alone fails.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hedge {
    /// Never before it ran this long. Default: 2 s.
    pub after_min: Duration,
    /// A case of which only an estimate is known is hedged after so many times that. Default: 3.
    pub estimates: u32,
}

impl Default for Hedge {
    fn default() -> Self {
        Self {
            after_min: Duration::from_secs(2),
            estimates: 3,
        }
    }
}

impl Policy {
    /// The default of `slots_max`.
    pub const SLOTS_MAX: u32 = 4_096;
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(1_500),
            lease_ttl: Duration::from_secs(6),
            client_grace: Duration::from_secs(10),
            restored_grace: Duration::from_secs(60),
            stranded_grace: Duration::from_secs(300),
            return_delay: Duration::from_millis(500),
            returns_max: 10,
            lookahead: Duration::from_millis(40),
            lookahead_max: Duration::from_secs(1),
            held_cases_max: 512,
            steal_min: Duration::from_millis(30),
            hedge: Some(Hedge::default()),
            losses_max: 2,
            other_losses_max: 10,
            elsewhere_max: Duration::from_secs(5),
            slots_max: Self::SLOTS_MAX,
            unknown_estimate: Duration::from_secs(1),
            laxity_min: Duration::from_secs(60),
            shares: BTreeMap::new(),
            fetch_rate: 100_000_000,
        }
    }
}
