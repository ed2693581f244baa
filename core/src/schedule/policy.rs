//! The scheduler's settings.

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
    /// A run whose remaining cases no connected worker can take is stopped after this. Default: 5 min.
    pub stranded_grace: Duration,
    /// A case that a worker gave back unstarted is granted again after this. Default: 500 ms.
    pub return_delay: Duration,
    /// A run of which one case came back unstarted this often is stopped: no worker can start it. What workers
    /// that are leaving give back does not count. Default: 10.
    pub returns_max: u32,
    /// A worker gets short cases ahead, up to this much estimated time a slot. Default: 40 ms.
    pub lookahead: Duration,
    /// The most unfinished cases that one worker holds. Default: 512.
    pub held_cases_max: u32,
    /// A case that was lost with its worker while it ran this often is not tried again. Default: 3.
    pub losses_max: u32,
    /// The most slots that a worker may offer; more is refused. Default: 4,096.
    pub slots_max: u32,
    /// The estimate of a case of which nothing at all is known. Default: 1 s.
    pub unknown_estimate: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(1_500),
            lease_ttl: Duration::from_secs(6),
            client_grace: Duration::from_secs(10),
            stranded_grace: Duration::from_secs(300),
            return_delay: Duration::from_millis(500),
            returns_max: 10,
            lookahead: Duration::from_millis(40),
            held_cases_max: 512,
            losses_max: 3,
            slots_max: 4_096,
            unknown_estimate: Duration::from_secs(1),
        }
    }
}
