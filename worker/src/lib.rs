//! The worker: leases in, sandboxed test processes, outcomes out.
