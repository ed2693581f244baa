//! What is kept of the output of a case whose audit disagreed.

use prost::Message;
use thresh_proto::v1;

/// The most that is kept of a stream, in bytes: one half of its beginning, one of its end.
const STREAM_BYTES_MAX: usize = 64 << 10;

/// Drops all but the first and the last 32 KiB of each stream, and counts what it drops.
pub(crate) fn clip(output: v1::Output) -> v1::Output {
    v1::Output {
        stdout: output.stdout.map(clip_stream),
        stderr: output.stderr.map(clip_stream),
    }
}

fn clip_stream(stream: v1::Stream) -> v1::Stream {
    let kept = stream.head.len() + stream.tail.len();
    if kept <= STREAM_BYTES_MAX {
        return stream;
    }
    let half = STREAM_BYTES_MAX / 2;
    // A stream that was kept whole is all head.
    let end = if stream.tail.is_empty() {
        &stream.head
    } else {
        &stream.tail
    };
    // Copies: slices would keep all of the output in memory.
    let tail = end[end.len().saturating_sub(half)..].to_vec();
    let head = stream.head[..stream.head.len().min(half)].to_vec();
    let dropped = kept - head.len() - tail.len();
    v1::Stream {
        omitted_bytes: stream.omitted_bytes.saturating_add(dropped as u64),
        head: head.into(),
        tail: tail.into(),
    }
}

/// The form in which the store keeps it.
pub(crate) fn encode(output: Option<v1::Output>) -> Vec<u8> {
    output.map(clip).unwrap_or_default().encode_to_vec()
}

/// Reads what the store kept; `None` where there is none, or it cannot be understood.
pub(crate) fn decode(bytes: &[u8]) -> Option<v1::Output> {
    let output = v1::Output::decode(bytes).ok();
    output.filter(|_| !bytes.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clipped(head: &[u8], tail: &[u8], omitted_bytes: u64) -> (usize, usize, u64) {
        let stream = clip_stream(v1::Stream {
            head: head.to_vec().into(),
            tail: tail.to_vec().into(),
            omitted_bytes,
        });
        assert!(stream.head.iter().all(|byte| *byte == b'a'));
        assert!(stream.tail.iter().rev().take(1).all(|byte| *byte == b'z'));
        (stream.head.len(), stream.tail.len(), stream.omitted_bytes)
    }

    #[test]
    fn the_beginning_and_the_end_of_a_stream_are_kept() {
        let half = STREAM_BYTES_MAX / 2;
        assert_eq!(clipped(b"aa", b"z", 5), (2, 1, 5));
        let whole = [&vec![b'a'; 4 * half][..], b"z"].concat();
        assert_eq!(clipped(&whole, b"", 0), (half, half, 2 * half as u64 + 1));
        let long = vec![b'z'; 3 * half];
        assert_eq!(clipped(b"aa", &long, 7), (2, half, 2 * half as u64 + 7));
        let short_end = clipped(&vec![b'a'; 3 * half], b"z", 7);
        assert_eq!(short_end, (half, 1, 2 * half as u64 + 7));
    }

    #[test]
    fn what_is_kept_is_read_again() {
        let output = v1::Output {
            stdout: Some(v1::Stream {
                head: b"said"[..].into(),
                ..Default::default()
            }),
            stderr: None,
        };
        assert_eq!(decode(&encode(Some(output.clone()))), Some(output));
        assert_eq!(decode(&encode(None)), None);
        assert_eq!(decode(b"\xff"), None);
    }
}
