//! What a played worker does: the core's own session, on cases that are nothing but a time.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};
use thresh_core::id::{BinaryIndex, CaseIndex, Generation, RunId};
use thresh_core::session::{Effect, Event, LeasedCase, Session, Terms};
use thresh_core::time::Timestamp;
use thresh_proto::convert::{duration_to_wire, run_id_from_wire, run_id_to_wire};
use thresh_proto::v1;
use v1::coordinator_message::Message as Told;
use v1::outcome::Kind;
use v1::worker_message::Message;
use v1::worker_report::Report;

/// No message holds more reports than this, as a real worker has it.
const REPORTS_MAX: usize = 64;

/// What the cases of a worker are like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// What is reported of how long a case took.
    pub(super) told: Duration,
    /// How long it takes, give or take a half; zero: it ends where it starts.
    pub(super) takes: Duration,
}

/// A session and what it has to say.
pub(super) struct Played {
    core: Session,
    effects: Vec<Effect>,
    began: Instant,
    pace: Pace,
    slots: usize,
    urgent: VecDeque<Message>,
    reports: VecDeque<v1::WorkerReport>,
    /// Cases that have started, by when they end.
    running: BTreeMap<(Instant, RunId, CaseIndex), Generation>,
}

impl Played {
    /// A session that began with its hello.
    pub(super) fn new(welcome: &v1::Welcome, began: Instant, slots: u32, pace: Pace) -> Self {
        let micros = |duration: Option<v1::Duration>| {
            Duration::from_micros(duration.expect("a welcome has all terms").micros)
        };
        let terms = Terms {
            heartbeat: micros(welcome.heartbeat),
            lease_ttl: micros(welcome.lease_ttl),
        };
        Self {
            core: Session::new(terms, slots, Timestamp::from_micros(0)),
            effects: Vec::new(),
            began,
            pace,
            slots: slots as usize,
            urgent: VecDeque::new(),
            reports: VecDeque::new(),
            running: BTreeMap::new(),
        }
    }

    /// Lets time pass: heartbeats become due, cases end.
    pub(super) fn advance(&mut self) {
        self.core.advance(self.now(), &mut self.effects);
        self.settle();
        let now = Instant::now();
        while let Some((key, generation)) = self.running.pop_first() {
            let (ends, run, case) = key;
            if ends > now {
                self.running.insert(key, generation);
                break;
            }
            self.ended(run, case, generation, Kind::Passed);
            self.settle();
        }
    }

    /// Takes a message. Returns how many cases it leases.
    pub(super) fn receive(&mut self, told: Told) -> usize {
        let run = |id: &[u8]| run_id_from_wire(id).expect("the coordinator sends valid ids");
        let mut leased = 0;
        let event = match told {
            Told::Welcome(_) | Told::Run(_) => return 0,
            Told::Heartbeat(reply) => Event::HeartbeatAnswered {
                sent: Timestamp::from_micros(reply.sent_micros),
            },
            Told::Forget(forget) => Event::Forgotten(run(&forget.run_id)),
            Told::Revoke(revoke) => Event::Revoked {
                run: run(&revoke.run_id),
                cases: (revoke.cases.iter())
                    .map(|case| (CaseIndex(case.case), Generation(case.generation)))
                    .collect(),
                kill_running: revoke.kill_running,
            },
            Told::Lease(lease) => {
                leased = lease.cases.len();
                Event::Leased {
                    run: run(&lease.run_id),
                    cases: lease.cases.iter().map(leased_case).collect(),
                }
            }
        };
        self.apply(event);
        leased
    }

    pub(super) fn is_empty(&self) -> bool {
        self.urgent.is_empty() && self.reports.is_empty()
    }

    /// Whether what is to be sent may wait a little, by a real worker's rule: no slot waits for what comes of it.
    pub(super) fn may_wait(&self) -> bool {
        self.running.len() == self.slots && self.urgent.is_empty() && self.reports.len() < REPORTS_MAX
    }

    /// Takes the next message.
    pub(super) fn take(&mut self) -> Option<v1::WorkerMessage> {
        let message = match self.urgent.pop_front() {
            Some(message) => message,
            None if self.reports.is_empty() => return None,
            None => {
                let count = self.reports.len().min(REPORTS_MAX);
                let reports = self.reports.drain(..count).collect();
                Message::Batch(v1::WorkerBatch { reports })
            }
        };
        Some(v1::WorkerMessage {
            message: Some(message),
        })
    }

    /// The slots that have no case and will have none until the next lease.
    pub(super) fn idle(&self) -> usize {
        self.slots - self.running.len()
    }

    /// When something is due by itself.
    pub(super) fn due(&self) -> Instant {
        let core = self
            .core
            .next_deadline()
            .map(|at| self.began + Duration::from_micros(at.as_micros()));
        let case = self.running.first_key_value().map(|((at, ..), _)| *at);
        core.into_iter().chain(case).min().unwrap_or_else(Instant::now)
    }

    fn now(&self) -> Timestamp {
        let micros = self.began.elapsed().as_micros();
        Timestamp::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    fn apply(&mut self, event: Event) {
        self.core.apply(self.now(), event, &mut self.effects);
        self.settle();
    }

    /// Carries out all effects, also those that follow from carrying them out.
    fn settle(&mut self) {
        while !self.effects.is_empty() {
            for effect in std::mem::take(&mut self.effects) {
                self.carry_out(effect);
            }
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Prepare { run, binary } => self.prepared(run, binary),
            Effect::Start {
                run,
                case,
                generation,
                ..
            } => self.start(run, case, generation),
            Effect::Kill { run, case, .. } => self.kill(run, case),
            Effect::Return { run, cases } => {
                let cases = cases.iter().map(|(case, generation)| v1::CaseGrant {
                    case: case.0,
                    generation: generation.0,
                });
                let returned = v1::Returned {
                    cases: cases.collect(),
                    message: "asked to".to_owned(),
                };
                self.report(run, Report::Returned(returned));
            }
            Effect::Release(_) => {}
            Effect::SendHeartbeat { sent, round_trip } => {
                let micros = round_trip.map_or(0, |took| took.as_micros().max(1));
                self.urgent.push_back(Message::Heartbeat(v1::Heartbeat {
                    sent_micros: sent.as_micros(),
                    round_trip_micros: u64::try_from(micros).unwrap_or(u64::MAX),
                }));
            }
            Effect::Over => panic!("the coordinator did not answer a worker's heartbeats in time"),
        }
    }

    fn prepared(&mut self, run: RunId, binary: BinaryIndex) {
        let event = Event::Prepared {
            run,
            binary,
            usable: true,
        };
        self.core.apply(self.now(), event, &mut self.effects);
    }

    fn start(&mut self, run: RunId, case: CaseIndex, generation: Generation) {
        let started = v1::Started {
            case: case.0,
            generation: generation.0,
        };
        self.report(run, Report::Started(started));
        if self.pace.takes.is_zero() {
            return self.ended(run, case, generation, Kind::Passed);
        }
        let ends = Instant::now() + self.pace.takes.mul_f64(share(case));
        self.running.insert((ends, run, case), generation);
    }

    fn kill(&mut self, run: RunId, case: CaseIndex) {
        let mut running = self.running.iter();
        let found = running.find(|((_, of, other), _)| (*of, *other) == (run, case));
        if let Some((key, generation)) = found.map(|(key, generation)| (*key, *generation)) {
            self.running.remove(&key);
            self.ended(run, case, generation, Kind::Cancelled);
        }
    }

    fn ended(&mut self, run: RunId, case: CaseIndex, generation: Generation, kind: Kind) {
        let attempt = v1::Attempt {
            case: case.0,
            generation: generation.0,
            outcome: Some(v1::Outcome {
                kind: kind.into(),
                passes: kind == Kind::Passed,
                ..Default::default()
            }),
            started_micros: 0,
            took: Some(duration_to_wire(self.pace.told)),
            outputs: Default::default(),
            observed: None,
            output: None,
        };
        self.report(run, Report::Attempt(attempt));
        let ended = Event::Ended {
            run,
            case,
            generation,
        };
        self.core.apply(self.now(), ended, &mut self.effects);
    }

    fn report(&mut self, run: RunId, report: Report) {
        self.reports.push_back(v1::WorkerReport {
            run_id: run_id_to_wire(run),
            report: Some(report),
        });
    }
}

/// From 0.5 to 1.5, so that slots do not keep step with each other.
fn share(case: CaseIndex) -> f64 {
    // Knuth's multiplicative hash spreads neighbours.
    0.5 + f64::from(case.0.wrapping_mul(2_654_435_769)) / f64::from(u32::MAX)
}

fn leased_case(case: &v1::LeasedCase) -> LeasedCase {
    LeasedCase {
        case: CaseIndex(case.case),
        generation: Generation(case.generation),
        binary: BinaryIndex(case.binary),
        weight: case.weight,
    }
}
