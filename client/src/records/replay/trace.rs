//! A replay in the Trace Event Format, which Perfetto (<https://ui.perfetto.dev>) and `chrome://tracing` open.
//!
//! The run is a process; each slot of each worker is a thread of it, and so are each worker's attempts of which only
//! the end is known. Complete events (`X`) are attempts, instant events (`i`) those that were lost or cancelled,
//! flows (`s`, `f`) lead from an attempt to what followed from it. Times are in microseconds after the run's
//! beginning.

use std::io::{self, Write};
use std::time::Duration;

use serde::Serialize;

use super::link::{Link, LinkKind};
use super::story::Replay;

/// The one process.
const PID: u32 = 1;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Trace<'a> {
    display_time_unit: &'static str,
    other_data: OtherData<'a>,
    trace_events: Vec<Event<'a>>,
}

#[derive(Serialize)]
struct OtherData<'a> {
    run: String,
    /// Microseconds since the Unix epoch.
    origin_us: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'a str>,
    thresh: &'static str,
}

#[derive(Serialize)]
struct Event<'a> {
    name: &'a str,
    cat: &'static str,
    ph: char,
    ts: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    dur: Option<u64>,
    pid: u32,
    tid: u32,
    /// Of a flow: the same at its start and its finish.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<usize>,
    /// Of an instant: `t`, it belongs to its thread.
    #[serde(rename = "s", skip_serializing_if = "Option::is_none")]
    scope: Option<char>,
    /// Of the finish of a flow: `e`, it is bound to the slice around it.
    #[serde(rename = "bp", skip_serializing_if = "Option::is_none")]
    binding: Option<char>,
    #[serde(skip_serializing_if = "Option::is_none")]
    args: Option<Args<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Args<'a> {
    Name { name: String },
    SortIndex { sort_index: u32 },
    Attempt(AttemptArgs<'a>),
}

#[derive(Serialize)]
struct AttemptArgs<'a> {
    binary: &'a str,
    attempt: u32,
    outcome: String,
    why: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease: Option<u64>,
    /// From grant to start; from grant to end where only that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    waited_us: Option<u64>,
}

/// Writes a replay as a trace.
///
/// # Errors
/// `sink` cannot be written to.
pub fn write_trace(sink: impl Write, replay: &Replay) -> io::Result<()> {
    serde_json::to_writer(sink, &trace(replay)).map_err(io::Error::from)
}

fn trace(replay: &Replay) -> Trace<'_> {
    let threads = Threads::of(replay);
    let attempts = 0..replay.timeline.attempts.len();
    let grants = attempts
        .clone()
        .filter_map(|at| grant_event(replay, &threads, at));
    let attempts = attempts.map(|at| attempt_event(replay, &threads, at));
    let flows = replay.links.iter().enumerate();
    let flows = flows.filter_map(|(id, link)| flow_events(replay, &threads, id, link));
    let mut timed: Vec<Event<'_>> = grants.chain(attempts).chain(flows.flatten()).collect();
    // Viewers bind a flow to the slice that was opened last; so slices come before the flows of the same instant.
    timed.sort_by_key(|event| (event.ts, matches!(event.ph, 's' | 'f')));
    let run = replay.timeline.ended.as_ref();
    let mut events = threads.metadata(replay);
    events.extend(timed);
    Trace {
        display_time_unit: "ms",
        other_data: OtherData {
            run: replay.timeline.run.to_string(),
            origin_us: replay.origin.as_micros(),
            title: run.map(|run| run.title.as_str()),
            thresh: env!("CARGO_PKG_VERSION"),
        },
        trace_events: events,
    }
}

/// The threads of each worker: one for each lane, and one for attempts in no lane.
struct Threads {
    first: Vec<u32>,
}

impl Threads {
    fn of(replay: &Replay) -> Self {
        let mut next = 1;
        let first = replay.layout.workers.iter().map(|worker| {
            let first = next;
            next += u32::try_from(worker.lanes.len())
                .unwrap_or(u32::MAX)
                .saturating_add(1);
            first
        });
        Self {
            first: first.collect(),
        }
    }

    fn of_attempt(&self, replay: &Replay, at: usize) -> u32 {
        if let Some(place) = replay.layout.places[at] {
            return self.first[place.worker] + u32::try_from(place.lane).unwrap_or(u32::MAX);
        }
        let name = &replay.timeline.attempts[at].worker;
        let workers = &replay.layout.workers;
        let worker = workers
            .binary_search_by(|worker| worker.name.cmp(name))
            .unwrap_or(0);
        self.first[worker] + u32::try_from(workers[worker].lanes.len()).unwrap_or(u32::MAX)
    }

    fn metadata<'a>(&self, replay: &Replay) -> Vec<Event<'a>> {
        let mut events = vec![metadata(
            "process_name",
            0,
            Args::Name {
                name: format!("run {}", replay.timeline.run),
            },
        )];
        for (worker, first) in replay.layout.workers.iter().zip(&self.first) {
            let mut names: Vec<String> = (0..worker.lanes.len())
                .map(|lane| format!("{} slot {}", worker.name, lane + 1))
                .collect();
            if !worker.marks.is_empty() {
                names.push(format!("{} lost or cancelled", worker.name));
            }
            for (tid, name) in (*first..).zip(names) {
                events.push(metadata("thread_name", tid, Args::Name { name }));
                events.push(metadata(
                    "thread_sort_index",
                    tid,
                    Args::SortIndex { sort_index: tid },
                ));
            }
        }
        events
    }
}

fn metadata<'a>(name: &'static str, tid: u32, args: Args<'a>) -> Event<'a> {
    Event {
        name,
        cat: "__metadata",
        ph: 'M',
        ts: 0,
        dur: None,
        pid: PID,
        tid,
        id: None,
        scope: None,
        binding: None,
        args: Some(args),
    }
}

fn attempt_event<'a>(replay: &'a Replay, threads: &Threads, at: usize) -> Event<'a> {
    let attempt = &replay.timeline.attempts[at];
    let measured = attempt.is_measured();
    let granted = attempt.granted.map(|granted| attempt.started.since(granted));
    Event {
        name: &attempt.case.name,
        cat: "attempt",
        ph: if measured { 'X' } else { 'i' },
        ts: micros(replay.offset(attempt.started)),
        dur: measured.then(|| micros(attempt.took)),
        pid: PID,
        tid: threads.of_attempt(replay, at),
        id: None,
        scope: (!measured).then_some('t'),
        binding: None,
        args: Some(Args::Attempt(AttemptArgs {
            binary: &attempt.case.binary_id,
            attempt: attempt.number,
            outcome: attempt.outcome.to_string(),
            why: &attempt.why,
            lease: attempt.lease,
            waited_us: granted.map(micros),
        })),
    }
}

/// The grant of an attempt of which only the end is known otherwise, so that something can lead from it.
fn grant_event<'a>(replay: &'a Replay, threads: &Threads, at: usize) -> Option<Event<'a>> {
    let attempt = &replay.timeline.attempts[at];
    let granted = attempt.granted.filter(|_| !attempt.is_measured())?;
    Some(Event {
        name: &attempt.case.name,
        cat: "grant",
        ph: 'i',
        ts: micros(replay.offset(granted)),
        dur: None,
        pid: PID,
        tid: threads.of_attempt(replay, at),
        id: None,
        scope: Some('t'),
        binding: None,
        args: None,
    })
}

/// The two ends of a flow: in what went before, at its end or when the copy of it was granted; and in what followed,
/// at its beginning. `None` when by the clocks of two workers the one cannot have followed from the other.
fn flow_events<'a>(replay: &Replay, threads: &Threads, id: usize, link: &Link) -> Option<[Event<'a>; 2]> {
    let attempts = &replay.timeline.attempts;
    // A slice does not hold the instant at which it ends.
    let bounds = |at: usize| {
        let first = micros(replay.offset(attempts[at].started));
        (first, first + micros(attempts[at].took).saturating_sub(1))
    };
    let (begun, over) = bounds(link.from);
    let start = match link.kind {
        LinkKind::Hedge if attempts[link.from].is_measured() => {
            micros(replay.offset(attempts[link.to].granted_or_started())).clamp(begun, over)
        }
        LinkKind::Hedge => micros(replay.offset(attempts[link.from].began())),
        LinkKind::Retry | LinkKind::Lost => over,
    };
    let (followed, followed_over) = bounds(link.to);
    let finish = followed.max(start);
    if finish > followed_over {
        return None;
    }
    let event = |ph, ts, at, binding| Event {
        name: link.kind.word(),
        cat: "follows",
        ph,
        ts,
        dur: None,
        pid: PID,
        tid: threads.of_attempt(replay, at),
        id: Some(id + 1),
        scope: None,
        binding,
        args: None,
    };
    Some([
        event('s', start, link.from, None),
        event('f', finish, link.to, Some('e')),
    ])
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::Value;

    use super::super::sample::{at, attempt, eventful, timeline};
    use super::super::timeline::Timeline;
    use super::*;

    fn written(timeline: Timeline) -> Vec<Value> {
        let mut out = Vec::new();
        write_trace(&mut out, &Replay::of(timeline)).unwrap();
        let mut json: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(json["displayTimeUnit"], "ms");
        match json["traceEvents"].take() {
            Value::Array(events) => events,
            other => panic!("{other}"),
        }
    }

    /// What any viewer relies on.
    fn check(events: &[Value]) {
        let mut last_on_thread: BTreeMap<u64, u64> = BTreeMap::new();
        let mut busy_until: BTreeMap<u64, u64> = BTreeMap::new();
        let mut flows: BTreeMap<u64, Vec<(&str, u64)>> = BTreeMap::new();
        let mut named = Vec::new();
        for event in events {
            let number = |field: &str| event[field].as_u64();
            let (ts, tid) = (number("ts").unwrap(), number("tid").unwrap());
            let ph = event["ph"].as_str().unwrap();
            if ph == "M" {
                named.extend((event["name"] == "thread_name").then_some(tid));
                continue;
            }
            assert!(named.contains(&tid), "{event} is on a thread without a name");
            let last = last_on_thread.insert(tid, ts).unwrap_or(0);
            assert!(last <= ts, "{event} goes back in time");
            match ph {
                "X" => {
                    let until = busy_until.entry(tid).or_default();
                    assert!(*until <= ts, "{event} overlaps");
                    *until = ts + number("dur").unwrap();
                }
                "i" => assert_eq!(event["s"], "t"),
                "s" | "f" => flows.entry(number("id").unwrap()).or_default().push((ph, ts)),
                other => panic!("phase {other}"),
            }
            assert_eq!(ph == "f", event["bp"] == "e");
        }
        for ends in flows.values() {
            assert!(
                matches!(ends[..], [("s", start), ("f", finish)] if start <= finish),
                "{ends:?}"
            );
        }
    }

    #[test]
    fn a_trace_is_what_viewers_expect() {
        let events = written(eventful());
        check(&events);
        let count = |ph: &str| events.iter().filter(|event| event["ph"] == ph).count();
        assert_eq!((count("X"), count("i")), (6, 6), "each instant with its grant");
        assert_eq!((count("s"), count("f")), (4, 4));
        let retry = events
            .iter()
            .find(|event| event["args"]["why"] == "retry")
            .unwrap();
        assert_eq!((&retry["ts"], &retry["dur"]), (&250_000.into(), &150_000.into()));
        assert_eq!(retry["args"]["attempt"], 2);
        let ahead = events
            .iter()
            .find(|event| event["args"]["why"] == "ahead")
            .unwrap();
        assert_eq!(ahead["args"]["waited_us"], 206_000);
    }

    #[test]
    fn clocks_that_differ_give_no_impossible_trace() {
        let mut attempts = vec![
            attempt("b flaky", "w1", 100, 900),
            attempt("b flaky", "w2", 50, 10),
            attempt("b slow", "w1", 500, 10),
            attempt("b slow", "w2", 400, 10),
        ];
        attempts[0].outcome = super::super::sample::failed();
        (attempts[1].why, attempts[1].granted) = ("retry".into(), Some(at(990)));
        (attempts[3].why, attempts[3].granted) = ("hedge".into(), Some(at(5_000)));
        let events = written(timeline(attempts));
        check(&events);
        let flows = events.iter().filter(|event| event["cat"] == "follows");
        assert_eq!(flows.count(), 0, "neither can have followed from the other");
    }

    #[test]
    fn an_empty_run_is_an_empty_trace() {
        let events = written(timeline(vec![]));
        check(&events);
        assert_eq!(events.len(), 1, "only the process has a name");
    }
}
