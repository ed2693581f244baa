//! Clients: they submit, follow, go away, come back and cancel.

use super::coordinator::Command;
use super::step::{OnClient, Step};
use super::world::World;

/// How long a client's word travels, in microseconds.
const DELAY: u64 = 1_000;

/// A client of one run.
#[derive(Clone, Debug, Default)]
pub(super) struct Client {
    /// The coordinator to which it has submitted.
    submitted_to: Option<u32>,
    away: bool,
}

impl World<'_> {
    pub(super) fn begin_clients(&mut self) {
        for (run, submission) in self.drawn.runs.clone().into_iter().enumerate() {
            let mut plan = vec![(submission.at, OnClient::Submit)];
            plan.extend(submission.cancelled_at.map(|at| (at, OnClient::Cancel)));
            if let Some((leaves, back)) = submission.away {
                plan.push((leaves, OnClient::Leave));
                plan.extend(back.map(|back| (back, OnClient::ComeBack)));
            }
            for (at, what) in plan {
                self.push(at, Step::Client { run, what });
            }
        }
    }

    pub(super) fn client(&mut self, run: usize, what: OnClient) {
        if self.journal.ended(self.drawn.runs[run].run) {
            return;
        }
        match what {
            OnClient::Submit => {
                if let Some(coordinator) = &self.coordinator {
                    self.clients[run].submitted_to = Some(coordinator.epoch);
                    self.ask(Command::Submit(run));
                }
                self.look_again(run);
            }
            OnClient::Cancel => {
                self.count("client: cancels");
                self.ask(Command::Cancel(run));
            }
            OnClient::Leave => {
                self.count("client: leaves");
                self.clients[run].away = true;
                self.ask(Command::Unwatch(run));
            }
            OnClient::ComeBack => {
                self.clients[run].away = false;
                self.client(run, OnClient::Look);
            }
            OnClient::Look => self.look(run),
        }
    }

    /// Sees to it that the run is submitted and followed at the coordinator that there is now.
    fn look(&mut self, run: usize) {
        if self.clients[run].away && self.journal.knows(self.drawn.runs[run].run) {
            return;
        }
        if let Some(coordinator) = &self.coordinator {
            let (epoch, follows) = (coordinator.epoch, coordinator.watching.contains(&run));
            if self.journal.knows(self.drawn.runs[run].run) {
                if !follows {
                    self.ask(Command::Watch(run));
                }
            } else if self.clients[run].submitted_to != Some(epoch) {
                return self.client(run, OnClient::Submit);
            }
        }
        self.look_again(run);
    }

    fn look_again(&mut self, run: usize) {
        let at = self.now + self.random.within(50_000, 700_000);
        let what = OnClient::Look;
        self.push(at, Step::Client { run, what });
    }

    fn ask(&mut self, command: Command) {
        self.push(self.now + DELAY, Step::Asked(command));
    }
}
