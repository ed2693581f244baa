//! A picture of a run in text: time goes to the right, one row for each lane or for each worker.

use std::time::Duration;

use super::layout::WorkerLanes;
use super::story::Replay;

/// Up to so many lanes each have a row of their own.
const LANE_ROWS_MAX: usize = 16;

/// The fewest columns in which a picture is drawn.
const CELLS_MIN: usize = 10;

/// How full a cell is, in eighths.
const LEVELS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Attempts that follow each other in a lane are told apart by these.
const ATTEMPTS: [char; 2] = ['█', '▓'];

/// An attempt ended here that did not pass.
const FAILED: char = '✗';

/// The longest label, in characters.
const LABEL_MAX: usize = 20;

/// A row: what it is about, its cells, and how much of it was busy, from 0 to 1.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) label: String,
    pub(super) cells: String,
    pub(super) busy: f64,
}

/// Draws a replay in so many columns, label and share included. At most `rows_max` workers are drawn.
pub(super) fn chart(replay: &Replay, columns: usize, rows_max: usize) -> Vec<Row> {
    let workers = &replay.layout.workers;
    let by_lane = replay.layout.lanes() <= LANE_ROWS_MAX;
    let labels = workers
        .iter()
        .take(rows_max)
        .flat_map(|worker| labels(worker, by_lane));
    let label = labels
        .map(|label| label.chars().count())
        .max()
        .unwrap_or(0)
        .clamp(12, LABEL_MAX);
    let cells = columns.saturating_sub(label + 2 + " 100 %".len()).max(CELLS_MIN);
    let mut rows = Vec::new();
    for worker in workers.iter().take(rows_max) {
        if by_lane {
            for (lane, name) in labels_of_lanes(worker).enumerate() {
                rows.push(lane_row(replay, &worker.lanes[lane], &name, cells));
            }
        } else {
            rows.push(worker_row(replay, worker, cells));
        }
    }
    for row in &mut rows {
        row.label = format!("{:>label$}", shortened(&row.label));
    }
    rows
}

fn labels(worker: &WorkerLanes, by_lane: bool) -> Vec<String> {
    if by_lane {
        labels_of_lanes(worker).collect()
    } else {
        vec![worker.name.clone()]
    }
}

fn labels_of_lanes(worker: &WorkerLanes) -> impl Iterator<Item = String> {
    (0..worker.lanes.len()).map(|lane| worker.lane_name(lane))
}

fn shortened(label: &str) -> String {
    if label.chars().count() <= LABEL_MAX {
        return label.to_owned();
    }
    // Names of machines and lanes differ at their ends.
    let tail: Vec<char> = label.chars().rev().take(LABEL_MAX - 1).collect();
    std::iter::once('…').chain(tail.into_iter().rev()).collect()
}

/// The line below the rows: when the run began, was half through, and ended, under the right cells.
pub(super) fn axis(span: Duration, cells: usize) -> String {
    let (middle, end) = (short(span / 2), short(span));
    let half = (cells / 2).saturating_sub(middle.chars().count() / 2);
    let line = format!("{:<half$}{middle}", "0 s");
    let gap = cells.saturating_sub(line.chars().count() + end.chars().count());
    format!("{line}{:gap$}{end}", "")
}

fn short(time: Duration) -> String {
    let secs = time.as_secs_f64();
    match secs {
        0.0..10.0 => format!("{secs:.2} s"),
        10.0..600.0 => format!("{secs:.0} s"),
        _ => format!("{:.0} min", secs / 60.0),
    }
}

/// The part of each cell that an attempt fills, with the cell's position.
fn filled(from: f64, until: f64, cells: usize) -> impl Iterator<Item = (usize, f64)> {
    let last = cells.saturating_sub(1);
    let (first, until_cell) = ((from as usize).min(last), (until as usize).min(last));
    (first..=until_cell).map(move |cell| {
        let (left, right) = (cell as f64, (cell + 1) as f64);
        (cell, (until.min(right) - from.max(left)).max(0.0))
    })
}

/// From and until when an attempt ran, in cells.
fn extent(replay: &Replay, attempt: usize, cells: usize) -> (f64, f64) {
    let attempt = &replay.timeline.attempts[attempt];
    let span = replay.span().as_secs_f64();
    let cell = |time: Duration| {
        if span > 0.0 {
            (time.as_secs_f64() / span).min(1.0) * cells as f64
        } else {
            0.0
        }
    };
    (
        cell(replay.offset(attempt.started)),
        cell(replay.offset(attempt.ended())),
    )
}

fn lane_row(replay: &Replay, lane: &[usize], label: &str, cells: usize) -> Row {
    let mut drawn: Vec<(f64, char)> = vec![(0.0, ' '); cells];
    let mut busy = vec![0.0; cells];
    for (nth, at) in lane.iter().enumerate() {
        let (from, until) = extent(replay, *at, cells);
        let mut last = None;
        for (cell, part) in filled(from, until, cells) {
            busy[cell] += part;
            if part > drawn[cell].0 {
                drawn[cell] = (part, ATTEMPTS[nth % 2]);
            }
            if part > 0.0 {
                last = Some(cell);
            }
        }
        if let Some(cell) = last.filter(|_| replay.timeline.attempts[*at].fails()) {
            drawn[cell] = (f64::MAX, FAILED);
        }
    }
    let share = busy.iter().sum::<f64>() / cells as f64;
    let shown = drawn.iter().zip(&busy).map(|(&(_, cell), &busy)| match cell {
        FAILED => FAILED,
        _ if busy < 0.25 => ' ',
        cell => cell,
    });
    Row {
        label: label.to_owned(),
        cells: shown.collect(),
        busy: share.min(1.0),
    }
}

fn worker_row(replay: &Replay, worker: &WorkerLanes, cells: usize) -> Row {
    let mut busy = vec![0.0; cells];
    for at in worker.lanes.iter().flatten() {
        let (from, until) = extent(replay, *at, cells);
        for (cell, part) in filled(from, until, cells) {
            busy[cell] += part;
        }
    }
    let lanes = worker.lanes.len().max(1) as f64;
    let level = |busy: &f64| {
        let full = (busy / lanes).clamp(0.0, 1.0) * 8.0;
        // Anything at all is shown.
        LEVELS[if full > 0.0 {
            (full.round() as usize).clamp(1, 8)
        } else {
            0
        }]
    };
    Row {
        label: worker.name.clone(),
        cells: busy.iter().map(level).collect(),
        busy: worker.busy_share(replay.span()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::{at, attempt, failed, timeline};
    use super::*;

    #[test]
    fn lanes_are_drawn_to_scale() {
        let mut attempts = vec![
            attempt("b one", "w1", 0, 500),
            attempt("b two", "w1", 500, 250),
            attempt("b three", "w2", 250, 750),
        ];
        attempts[2].outcome = failed();
        let replay = Replay::of(timeline(attempts));
        let rows = chart(&replay, 12 + 2 + 6 + 20, 9);
        assert_eq!(rows[0].label, "          w1");
        assert_eq!(rows[0].cells, "██████████▓▓▓▓▓     ");
        assert_eq!(rows[1].cells, "     ██████████████✗");
        assert!((rows[1].busy - 0.75).abs() < 1e-6);
        assert_eq!(chart(&replay, 0, 1).len(), 1);
    }

    #[test]
    fn many_lanes_become_one_row_for_each_worker() {
        let attempts =
            (0..20).map(|lane| attempt(&format!("b {lane}"), "w", 0, if lane < 10 { 1_000 } else { 500 }));
        let rows = chart(&Replay::of(timeline(attempts.collect())), 40, 9);
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].cells, "██████████▄▄▄▄▄▄▄▄▄▄");
        assert_eq!(rows[0].busy, 0.75);
    }

    #[test]
    fn long_names_keep_their_end() {
        assert_eq!(shortened("ip-10-0-0-117.ec2.internal#3"), "…-117.ec2.internal#3");
        assert_eq!(shortened("w1"), "w1");
    }

    #[test]
    fn the_axis_ends_with_the_run() {
        assert_eq!(axis(Duration::from_secs(4), 30), "0 s         2.00 s      4.00 s");
        assert_eq!(axis(Duration::from_secs(1_200), 30).chars().count(), 30);
        assert!(axis(Duration::ZERO, 3).starts_with("0 s"));
    }

    #[test]
    fn nothing_measured_is_an_empty_picture() {
        let mut lost = attempt("b one", "w1", 5, 0);
        lost.started = at(5);
        assert!(chart(&Replay::of(timeline(vec![lost])), 80, 9).is_empty());
        assert!(chart(&Replay::of(timeline(vec![])), 80, 9).is_empty());
    }
}
