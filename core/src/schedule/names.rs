//! What always holds, by name.

/// Every invariant by its name, with what holds: of the state at any time
/// ([`Scheduler::check_invariants`](super::Scheduler::check_invariants)), over time
/// ([`Witness`](super::Witness)), and of coordinator and workers together (only the simulation sees both).
/// `docs/invariants.md` is this table with more words.
pub const INVARIANTS: &[(&str, &str)] = &[
    (
        "case-is-in-one-place",
        "Each case is pending in its lane, delayed, leased or settled, and nowhere twice; the counts are right.",
    ),
    (
        "lease-has-one-holder",
        "Each copy of a case is held by the one worker that its lease names; two copies are at two workers, under two generations.",
    ),
    (
        "held-matches-leases",
        "What a worker holds is leased to it, its slots are counted right, and what it could give back has not started.",
    ),
    (
        "class-knows-its-workers",
        "Every worker stands in the indexes where its state puts it.",
    ),
    (
        "group-is-never-exceeded",
        "The leased cases of a test group take at most what the group allows.",
    ),
    (
        "ended-run-is-forgotten",
        "A run all of whose cases are settled is not kept.",
    ),
    (
        "stale-outcome-is-refused",
        "An outcome or a return is accepted only under a lease that is out, from the worker that holds it, and once.",
    ),
    (
        "outcome-under-a-lease-is-accepted",
        "An outcome or a return under a lease that is out is never refused.",
    ),
    (
        "generation-is-new",
        "No case is granted twice under one generation, by whatever coordinator.",
    ),
    (
        "copies-are-apart",
        "No case is leased to a worker that holds it, or more than twice.",
    ),
    (
        "second-copy-is-a-hedge",
        "A case of which a copy is out is granted to hedge it, for no other reason.",
    ),
    (
        "settled-case-stays-settled",
        "A case with a final status is not granted, not settled again, and not forgotten by the next coordinator.",
    ),
    (
        "run-ends-with-every-case-settled",
        "A run ends once, with a status for each of its cases.",
    ),
    (
        "green-needs-every-case",
        "No run is green while a case of it has no outcome.",
    ),
    (
        "refused-event-changes-nothing",
        "An event that is refused has no effect.",
    ),
    (
        "silent-worker-is-given-up",
        "A worker that was not heard for the lease's time to live has no leases.",
    ),
    (
        "lease-starts-one-process",
        "A worker runs what it was granted, and starts it once.",
    ),
    (
        "lost-lease-dies",
        "No process outlives its lease by more than the lease's time to live and what slow clocks and the time to end a process add.",
    ),
    (
        "slots-hold-over-processes",
        "The processes of a machine take at most its slots.",
    ),
    (
        "group-holds-over-processes",
        "The processes of a test group on all connected workers take at most what the group allows.",
    ),
    (
        "session-begins-idle",
        "A session begins when nothing of the one before runs.",
    ),
    (
        "status-has-a-source",
        "The final status of a case is what one of its processes came to, or it was reused, lost or not run.",
    ),
    (
        "complete-run-tried-every-case",
        "A run that ends as complete has left no case out.",
    ),
    (
        "culprit-is-stopped",
        "A case is not granted any more when as many workers went down with it as the policy allows.",
    ),
    (
        "settled-case-has-no-lease",
        "When a case has its final status no copy of it stays out.",
    ),
    (
        "every-run-ends",
        "Every run ends within a bounded time after the last fault.",
    ),
];
