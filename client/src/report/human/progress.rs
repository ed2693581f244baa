//! The progress bar: done of total, reused, failures, time left, and what is running now.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use thresh_core::id::CaseIndex;
use thresh_core::time::Timestamp;
use thresh_core::verdict::CaseStatus;

use super::super::event::{PlanNews, ReportEvent, Roster};
use super::super::text::one_line;

/// How many running cases are named.
const RUNNING_SHOWN_MAX: usize = 8;

/// What the bar knows of the run.
#[derive(Debug)]
pub(super) struct Progress {
    bar: ProgressBar,
    columns: usize,
    state: State,
}

#[derive(Debug, Default)]
struct State {
    roster: Arc<Roster>,
    plan: PlanNews,
    running: BTreeMap<CaseIndex, Timestamp>,
    done: u32,
    ran: u32,
    reused: u32,
    failed: u32,
    worked: Duration,
}

impl Progress {
    pub(super) fn new(columns: usize) -> Self {
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
        bar.set_style(style());
        Self {
            bar,
            columns,
            state: State::default(),
        }
    }

    pub(super) fn event(&mut self, at: Timestamp, event: &ReportEvent<'_>) {
        self.state.event(at, event);
    }

    pub(super) fn draw(&mut self, now: Timestamp) {
        self.bar.set_length(self.state.roster.cases.len() as u64);
        self.bar.set_position(self.state.done.into());
        self.bar.set_message(self.state.message(now, self.columns));
        self.bar.tick();
    }

    pub(super) fn suspend<T>(&self, act: impl FnOnce() -> T) -> T {
        self.bar.suspend(act)
    }

    pub(super) fn clear(self) {
        self.bar.finish_and_clear();
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("     Running [{elapsed_precise}] {bar:24} {pos}/{len}{msg}")
        .expect("the template is a constant and well-formed")
}

impl State {
    fn event(&mut self, at: Timestamp, event: &ReportEvent<'_>) {
        match event {
            ReportEvent::RunStarted(start) => self.roster = Arc::clone(&start.roster),
            ReportEvent::Planned(plan) => self.plan = (*plan).clone(),
            ReportEvent::CaseStarted { case, .. } => {
                self.running.insert(*case, at);
            }
            ReportEvent::AttemptEnded { case, attempt } => {
                self.running.remove(case);
                self.worked += attempt.took;
            }
            ReportEvent::CaseEnded { record, .. } => {
                self.done += 1;
                self.failed += u32::from(record.status.fails());
                self.reused += u32::from(record.status == CaseStatus::Reused);
                self.ran += u32::from(!record.attempts.is_empty());
            }
            _ => {}
        }
    }

    /// The time that is left if the slots stay busy: by the estimates of the history, or, when there are none,
    /// by the mean of the cases so far.
    fn time_left(&self, now: Timestamp) -> Option<Duration> {
        let slots = self.plan.slots.max(1);
        let running: Duration = self.running.values().map(|start| now.since(*start)).sum();
        let to_run = self.plan.cases.saturating_sub(self.plan.reused);
        if self.plan.known * 2 >= to_run && to_run > 0 {
            return Some(self.plan.total.saturating_sub(self.worked + running) / slots);
        }
        let mean = self.worked.checked_div(self.ran)?;
        Some((mean * to_run.saturating_sub(self.ran)).saturating_sub(running) / slots)
    }

    fn message(&self, now: Timestamp, columns: usize) -> String {
        let mut message = String::new();
        if self.reused > 0 {
            let _ = write!(message, ", {} reused", self.reused);
        }
        if self.failed > 0 {
            let _ = write!(message, ", {} failed", self.failed);
        }
        if let Some(left) = self.time_left(now).filter(|left| left.as_secs() > 0) {
            let _ = write!(message, ", about {} left", minutes(left));
        }
        // Oldest first: what has run longest is what one waits for.
        let mut running: Vec<_> = self.running.iter().collect();
        running.sort_by_key(|(case, start)| (**start, **case));
        for (case, start) in running.iter().take(RUNNING_SHOWN_MAX) {
            let label = self.roster.label(**case);
            let line = format!(
                "             [{:>8.3}s] {} {}",
                now.since(**start).as_secs_f64(),
                one_line(&label.binary_id),
                one_line(&label.name)
            );
            message.push('\n');
            message.extend(line.chars().take(columns.saturating_sub(1)));
        }
        if running.len() > RUNNING_SHOWN_MAX {
            let _ = write!(
                message,
                "\n             and {} more",
                running.len() - RUNNING_SHOWN_MAX
            );
        }
        message
    }
}

fn minutes(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds < 60 {
        format!("{seconds} s")
    } else {
        format!("{}:{:02} min", seconds / 60, seconds % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    fn state() -> State {
        let mut state = State {
            roster: sample::roster(),
            ..State::default()
        };
        state.plan = PlanNews {
            cases: 5,
            reused: 1,
            audited: 0,
            slots: 2,
            workers: None,
            total: Duration::from_secs(100),
            longest: Duration::from_secs(9),
            known: 4,
        };
        for case in [2, 0] {
            let started = ReportEvent::CaseStarted {
                case: CaseIndex(case),
                attempt: 1,
                worker: "w",
            };
            state.event(sample::at(1000 - u64::from(case) * 100), &started);
        }
        state
    }

    #[test]
    fn the_message_names_what_runs_longest_first() {
        let message = state().message(sample::at(2000), 60);
        assert_eq!(
            message,
            ", about 48 s left\n             [   1.200s] alpha tests::it's (odd)\n             [   1.000s] alpha tests::passes"
        );
    }

    #[test]
    fn without_history_the_mean_so_far_is_taken() {
        let mut state = state();
        state.plan.known = 0;
        assert_eq!(state.time_left(sample::at(1000)), None);
        let records = sample::records();
        state.event(
            sample::at(1000),
            &ReportEvent::AttemptEnded {
                case: CaseIndex(0),
                attempt: &records[0].attempts[0],
            },
        );
        state.event(
            sample::at(1000),
            &ReportEvent::CaseEnded {
                case: CaseIndex(0),
                record: &records[0],
            },
        );
        state.worked = Duration::from_secs(60);
        assert_eq!(minutes(state.time_left(sample::at(800)).unwrap()), "1:30 min");
        assert_eq!(state.failed, 0);
    }

    #[test]
    fn long_names_are_cut_at_the_width() {
        let mut state = state();
        let mut roster = (*state.roster).clone();
        roster.cases[0].name = "ü".repeat(4000);
        state.roster = Arc::new(roster);
        let message = state.message(sample::at(2000), 40);
        assert!(message.lines().skip(1).all(|line| line.chars().count() < 40));
    }

    #[test]
    fn the_template_is_valid() {
        style();
    }
}
