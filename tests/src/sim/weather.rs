//! How the network behaves between a machine and the coordinator.

/// How the network behaves between one machine and the coordinator; times in microseconds.
#[derive(Clone, Debug)]
pub(super) struct Weather {
    pub(super) delay: u64,
    pub(super) jitter: u64,
    /// Until then nothing from the machine gets through.
    pub(super) up_blocked_until: u64,
    /// Until then nothing gets through to the machine.
    pub(super) down_blocked_until: u64,
    pub(super) chaos: Chaos,
}

/// What a stream never does, and something between its two ends might: each so many times of 1,000.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Chaos {
    pub(super) until: u64,
    pub(super) twice: u64,
    pub(super) out_of_order: u64,
    /// What loses a message breaks the connection before long: at `until`.
    pub(super) lost: u64,
    /// How much later than it should a message comes at most.
    pub(super) spread: u64,
}

impl Weather {
    pub(super) fn new(delay: u64, jitter: u64) -> Self {
        Self {
            delay,
            jitter,
            up_blocked_until: 0,
            down_blocked_until: 0,
            chaos: Chaos::default(),
        }
    }

    pub(super) fn blocked_until(&self, up: bool) -> u64 {
        if up {
            self.up_blocked_until
        } else {
            self.down_blocked_until
        }
    }
}
