//! What is to be sent, gathered.

use std::collections::VecDeque;

use thresh_core::id::RunId;
use thresh_proto::convert::run_id_to_wire;
use thresh_proto::v1;
use v1::worker_message::Message;
use v1::worker_report::Report;

/// No message holds more reports than this.
const REPORTS_MAX: usize = 64;
/// No message grows beyond this by a further report.
const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// With more than this unsent, no further endings are taken from the slots, so that none starts another case.
const UNSENT_BYTES_MAX: usize = 64 << 20;
/// What a report takes beside its output, about.
const REPORT_BYTES: usize = 256;

/// What is to be sent on one connection. It ends with its session, and what it holds is then never sent.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    urgent: VecDeque<Message>,
    reports: VecDeque<(v1::WorkerReport, usize)>,
    bytes: usize,
}

impl Outbox {
    /// Adds a message that overtakes all reports.
    pub(super) fn send(&mut self, message: Message) {
        self.urgent.push_back(message);
    }

    /// Adds a report.
    pub(super) fn report(&mut self, run: RunId, report: Report) {
        let bytes = REPORT_BYTES + content_bytes(&report);
        self.bytes += bytes;
        let report = v1::WorkerReport {
            run_id: run_id_to_wire(run),
            report: Some(report),
        };
        self.reports.push_back((report, bytes));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.urgent.is_empty() && self.reports.is_empty()
    }

    /// Whether a message waits that must not, or enough reports for one message.
    pub(super) fn is_urgent(&self) -> bool {
        !self.urgent.is_empty() || self.reports.len() >= REPORTS_MAX || self.bytes >= MESSAGE_BYTES_MAX
    }

    /// Whether the slots may go on.
    pub(super) fn has_room(&self) -> bool {
        self.bytes < UNSENT_BYTES_MAX
    }

    /// Takes the next message.
    pub(super) fn take(&mut self) -> Option<v1::WorkerMessage> {
        let message = match self.urgent.pop_front() {
            Some(message) => message,
            None => Message::Batch(self.take_reports()?),
        };
        Some(v1::WorkerMessage {
            message: Some(message),
        })
    }

    fn take_reports(&mut self) -> Option<v1::WorkerBatch> {
        let (mut reports, mut taken) = (Vec::new(), 0);
        while let Some((_, bytes)) = self.reports.front() {
            let fits = reports.is_empty() || taken + bytes <= MESSAGE_BYTES_MAX;
            if reports.len() == REPORTS_MAX || !fits {
                break;
            }
            let Some((report, bytes)) = self.reports.pop_front() else {
                break;
            };
            taken += bytes;
            reports.push(report);
        }
        self.bytes -= taken;
        (!reports.is_empty()).then_some(v1::WorkerBatch { reports })
    }
}

fn content_bytes(report: &Report) -> usize {
    match report {
        Report::Attempt(attempt) => output_bytes(attempt.output.as_ref()),
        Report::SetupScript(script) => output_bytes(script.output.as_ref()),
        Report::Returned(returned) => returned.cases.len() * 16 + returned.message.len(),
        Report::Started(_) | Report::Slow(_) => 0,
    }
}

fn output_bytes(output: Option<&v1::Output>) -> usize {
    let streams = output
        .into_iter()
        .flat_map(|output| [&output.stdout, &output.stderr])
        .flatten();
    streams.map(|stream| stream.head.len() + stream.tail.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: RunId = RunId::from_u128(7);

    fn started(case: u32) -> Report {
        Report::Started(v1::Started { case, generation: 1 })
    }

    fn attempt(output_bytes: usize) -> Report {
        let head = vec![b'x'; output_bytes].into();
        let stdout = Some(v1::Stream {
            head,
            ..Default::default()
        });
        Report::Attempt(v1::Attempt {
            output: Some(v1::Output { stdout, stderr: None }),
            ..Default::default()
        })
    }

    fn batches(outbox: &mut Outbox) -> Vec<usize> {
        std::iter::from_fn(|| outbox.take())
            .map(|message| match message.message {
                Some(Message::Batch(batch)) => batch.reports.len(),
                _ => 0,
            })
            .collect()
    }

    #[test]
    fn reports_go_in_batches_behind_what_is_urgent() {
        let mut outbox = Outbox::default();
        (0..130).for_each(|case| outbox.report(RUN, started(case)));
        assert!(outbox.is_urgent());
        outbox.send(Message::Heartbeat(v1::Heartbeat::default()));
        assert_eq!(batches(&mut outbox), [0, 64, 64, 2]);
        assert!(outbox.is_empty() && outbox.bytes == 0);
    }

    #[test]
    fn large_outputs_are_spread_over_messages_and_hold_up_the_slots() {
        let mut outbox = Outbox::default();
        (0..3).for_each(|_| outbox.report(RUN, attempt(3 << 20)));
        outbox.report(RUN, started(1));
        assert!(outbox.has_room() && outbox.is_urgent());
        outbox.report(RUN, attempt(60 << 20));
        assert!(!outbox.has_room());
        assert_eq!(batches(&mut outbox), [1, 1, 2, 1]);
        assert!(outbox.has_room());
    }
}
