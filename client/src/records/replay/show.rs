//! A replay for people.

use std::io::{self, Write};
use std::time::Duration;

use super::super::words::second;
use super::chart::{axis, chart};
use super::layout::share;
use super::story::Replay;
use super::timeline::TimelineAttempt;
use crate::report::{counted, counts, one_line};

/// How many cases, gaps, steps and so on are shown of each kind, unless all are asked for.
const SHOWN: usize = 10;

/// How many workers are drawn, unless all are asked for.
const WORKERS_DRAWN: usize = 40;

/// How a replay is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplayOptions {
    /// Every attempt, and all of everything else.
    pub all: bool,
    /// The width of the picture.
    pub columns: usize,
}

impl ReplayOptions {
    fn shown(&self) -> usize {
        if self.all { usize::MAX } else { SHOWN }
    }
}

/// Writes a replay for people.
///
/// # Errors
/// `sink` cannot be written to.
pub fn write_replay(sink: &mut impl Write, replay: &Replay, options: ReplayOptions) -> io::Result<()> {
    let mut page = Page {
        sink,
        replay,
        options,
    };
    page.heading()?;
    page.missing()?;
    if replay.timeline.attempts.is_empty() {
        return page.line("Attempts", "none");
    }
    page.rule()?;
    page.workers()?;
    page.rule()?;
    page.slowest()?;
    page.tried_again()?;
    page.hedges()?;
    page.idle()?;
    page.path()?;
    if options.all {
        page.rule()?;
        page.attempts()?;
    }
    Ok(())
}

/// The page as it is written. Each line has a word before it, or nothing below the first of a kind.
struct Page<'a, W> {
    sink: &'a mut W,
    replay: &'a Replay,
    options: ReplayOptions,
}

impl<W: Write> Page<'_, W> {
    fn line(&mut self, head: &str, text: impl AsRef<str>) -> io::Result<()> {
        writeln!(self.sink, "{head:>12} {}", text.as_ref())
    }

    fn rule(&mut self) -> io::Result<()> {
        writeln!(self.sink, "────────────")
    }

    /// Lines of one kind, up to the limit, then how many more there are.
    fn list<T>(&mut self, head: &str, items: &[T], text: impl Fn(&Replay, &T) -> String) -> io::Result<()> {
        let shown = self.options.shown();
        for (nth, item) in items.iter().take(shown).enumerate() {
            let line = text(self.replay, item);
            self.line(if nth == 0 { head } else { "" }, line)?;
        }
        match items.len().saturating_sub(shown) {
            0 => Ok(()),
            more => self.line("", format!("and {more} more (--all)")),
        }
    }

    fn heading(&mut self) -> io::Result<()> {
        let timeline = &self.replay.timeline;
        let Some(run) = &timeline.ended else {
            self.line("Run", timeline.run.to_string())?;
            return self.line(
                "Verdict",
                "none: the run is still going on, or its coordinator was lost; this is what is recorded so far",
            );
        };
        let title = one_line(&run.title);
        self.line(
            "Run",
            format!(
                "{} of {}, {}: thresh {title}",
                run.run,
                one_line(&run.project),
                second(run.started)
            ),
        )?;
        self.line("Summary", format!("{} {}", took(run.took), counts(&run.tally)))?;
        self.line("Verdict", run.judgement())
    }

    fn missing(&mut self) -> io::Result<()> {
        match self.replay.missing {
            0 => Ok(()),
            missing => {
                let cases = counted(missing, "case");
                let why = "history keeps 50 attempts of a case, for 90 days";
                self.line(
                    "Missing",
                    format!("what {cases} did is not recorded any more: {why}"),
                )
            }
        }
    }

    fn workers(&mut self) -> io::Result<()> {
        let replay = self.replay;
        let layout = &replay.layout;
        let busy = share(layout.busy(), replay.span(), layout.lanes());
        self.line(
            "Workers",
            format!(
                "{}, {} used, busy for {:.0} % of the time; {} in {}",
                layout.workers.len(),
                counted(layout.lanes(), "slot"),
                busy * 100.0,
                counted(replay.timeline.attempts.len(), "attempt"),
                seconds(replay.span())
            ),
        )?;
        let reasons: Vec<String> = replay
            .reasons
            .iter()
            .map(|(why, count)| format!("{count} {}", one_line(why)))
            .collect();
        self.line("Granted", reasons.join(", "))?;
        if let Some((median, longest)) = replay.waits {
            let (median, longest) = (seconds(median), seconds(longest));
            self.line(
                "Waited",
                format!("{median} from grant to start (median), {longest} at most"),
            )?;
        }
        self.picture()
    }

    fn picture(&mut self) -> io::Result<()> {
        let drawn = if self.options.all {
            usize::MAX
        } else {
            WORKERS_DRAWN
        };
        let rows = chart(self.replay, self.options.columns, drawn);
        for row in &rows {
            let busy = row.busy * 100.0;
            let label = one_line(&row.label);
            writeln!(self.sink, "{label} {} {busy:>3.0} %", row.cells)?;
        }
        if let Some(row) = rows.first() {
            let label = row.label.chars().count();
            let axis = axis(self.replay.span(), row.cells.chars().count());
            writeln!(self.sink, "{:label$} {axis}", "")?;
        }
        match self.replay.layout.workers.len().saturating_sub(drawn) {
            0 => Ok(()),
            more => self.line("", format!("and {more} more workers (--all)")),
        }
    }

    fn slowest(&mut self) -> io::Result<()> {
        // Every attempt is listed anyway where all are asked for.
        let slowest = &self.replay.slowest[..self.replay.slowest.len().min(SHOWN)];
        self.list("Slowest", slowest, |replay, at| {
            let attempt = &replay.timeline.attempts[*at];
            format!("{} {}: {}", took(attempt.took), attempt.case, place(replay, *at))
        })
    }

    fn tried_again(&mut self) -> io::Result<()> {
        let tried_again = &self.replay.tried_again;
        self.list("Tried again", tried_again, |replay, own| {
            let attempts = &replay.timeline.attempts;
            let tries: Vec<String> = own
                .iter()
                .map(|at| {
                    let attempt = &attempts[*at];
                    let outcome = one_line(&attempt.outcome.to_string()).into_owned();
                    format!(
                        "{outcome} on {} at {}",
                        one_line(&attempt.worker),
                        offset(replay, attempt)
                    )
                })
                .collect();
            format!("{}: {}", attempts[own[0]].case, tries.join(", then "))
        })
    }

    fn hedges(&mut self) -> io::Result<()> {
        let hedges = &self.replay.hedges;
        self.list("Hedged", hedges, |replay, hedge| {
            let attempts = &replay.timeline.attempts;
            let (first, copy) = (&attempts[hedge.first], &attempts[hedge.copy]);
            let granted = seconds(replay.offset(copy.granted_or_started()));
            let won = match hedge.winner {
                Some(winner) if winner == hedge.copy => "the copy",
                Some(_) => "the first",
                None => "neither",
            };
            let ended = hedge.winner.map_or_else(String::new, |winner| {
                let ended = replay.offset(attempts[winner].ended());
                format!(" at +{}", seconds(ended))
            });
            format!(
                "{}: on {} first, a copy on {} from +{granted}; {won} won{ended}",
                first.case,
                one_line(&first.worker),
                one_line(&copy.worker)
            )
        })
    }

    fn idle(&mut self) -> io::Result<()> {
        let gaps = &self.replay.gaps;
        self.list("Idle", gaps, |replay, gap| {
            let lane = replay.layout.workers[gap.worker].lane_name(gap.lane);
            let until = match gap.before {
                None => "to the end".to_owned(),
                Some(at) => format!("until {}", replay.timeline.attempts[at].case),
            };
            let from = seconds(replay.offset(gap.from));
            format!("{} {} from +{from} {until}", took(gap.length), one_line(&lane))
        })
    }

    fn path(&mut self) -> io::Result<()> {
        let path = &self.replay.path;
        if path.is_empty() {
            return Ok(());
        }
        let idle: Duration = path.iter().map(|step| step.idle).sum();
        self.line(
            "Last",
            format!(
                "the end hung on {} and {} of waiting; the last first:",
                counted(path.len(), "attempt"),
                seconds(idle)
            ),
        )?;
        self.list("", path, |replay, step| {
            let attempt = &replay.timeline.attempts[step.attempt];
            format!(
                "{} {}: {}; {}",
                took(attempt.took),
                attempt.case,
                place(replay, step.attempt),
                step.cause.clause()
            )
        })
    }

    fn attempts(&mut self) -> io::Result<()> {
        let attempts = &self.replay.timeline.attempts;
        let mut order: Vec<usize> = (0..attempts.len()).collect();
        order.sort_by_key(|at| attempts[*at].started);
        self.list("Attempts", &order, |replay, at| {
            let attempt = &replay.timeline.attempts[*at];
            let outcome = attempt.outcome.to_string();
            format!(
                "{} {}: attempt {} {}, {}",
                took(attempt.took),
                attempt.case,
                attempt.number,
                one_line(&outcome),
                place(replay, *at)
            )
        })
    }
}

/// Where and when an attempt ran, and why there.
fn place(replay: &Replay, at: usize) -> String {
    let attempts = &replay.timeline.attempts;
    let attempt = &attempts[at];
    let lane = replay.layout.name_of(at, attempts);
    let why = match &*attempt.why {
        "" => String::new(),
        why => format!(", {}", one_line(why)),
    };
    let when = match attempt.is_measured() {
        true => offset(replay, attempt),
        false => format!("ended {}", offset(replay, attempt)),
    };
    format!("{} {when}{why}", one_line(&lane))
}

fn offset(replay: &Replay, attempt: &TimelineAttempt) -> String {
    format!("+{}", seconds(replay.offset(attempt.started)))
}

/// A duration in the column that all reports have it in.
fn took(duration: Duration) -> String {
    format!("[{:>8.3}s]", duration.as_secs_f64())
}

fn seconds(duration: Duration) -> String {
    format!("{:.3}s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::super::sample::{attempt, eventful, timeline};
    use super::*;

    fn shown(timeline: super::super::timeline::Timeline, all: bool) -> String {
        let mut out = Vec::new();
        let options = ReplayOptions { all, columns: 80 };
        write_replay(&mut out, &Replay::of(timeline), options).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_eventful_run() {
        assert_eq!(shown(eventful(), false), include_str!("../golden/replay.txt"));
    }

    #[test]
    fn all_shows_every_attempt() {
        let short = shown(eventful(), false);
        let all = shown(eventful(), true);
        assert!(
            all.starts_with(&short) && all.contains("attempt 2 passed, w3"),
            "{all}"
        );
    }

    #[test]
    fn a_large_run_stays_readable() {
        let attempts = (0..10_000).map(|n| attempt(&format!("b case_{n}"), &format!("w{}", n % 50), n, 40));
        let large = timeline(attempts.collect());
        let text = shown(large.clone(), false);
        assert!(text.lines().count() < 100, "{text}");
        assert!(text.contains("and 10 more workers (--all)"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 120), "{text}");
        assert!(shown(large, true).lines().count() > 10_000);
    }

    #[test]
    fn a_run_without_attempts_or_without_an_end_is_told_as_such() {
        let none = shown(timeline(vec![]), false);
        assert!(none.ends_with("Attempts none\n"), "{none}");
        let mut old = timeline(vec![attempt("b one", "w", 0, 10); 3]);
        old.attempts.truncate(1);
        let old = shown(old, false);
        assert!(old.contains("Missing what 2 cases did"), "{old}");
        let mut going_on = timeline(vec![attempt("b one", "w", 0, 10)]);
        going_on.ended = None;
        let text = shown(going_on, false);
        assert!(
            text.contains("still going on") && text.contains("b one"),
            "{text}"
        );
    }
}
