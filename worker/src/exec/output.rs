//! What a process wrote, kept up to a limit: its beginning and its end.

/// How much of one stream is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputLimit {
    /// Bytes kept from the beginning.
    pub head_bytes: usize,
    /// Bytes kept from the end.
    pub tail_bytes: usize,
}

impl OutputLimit {
    /// Bytes kept of each end of a stream by default: 4 MiB.
    pub const END_BYTES_DEFAULT: usize = 4 << 20;
}

impl Default for OutputLimit {
    fn default() -> Self {
        Self {
            head_bytes: Self::END_BYTES_DEFAULT,
            tail_bytes: Self::END_BYTES_DEFAULT,
        }
    }
}

/// What was kept of one stream. The bytes are as written: not necessarily UTF-8.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// The beginning.
    pub head: Vec<u8>,
    /// The end; it follows `head` directly when nothing was omitted.
    pub tail: Vec<u8>,
    /// Bytes between the two that were not kept.
    pub omitted_bytes: u64,
}

/// Takes a stream chunk by chunk and keeps both ends of it.
#[derive(Debug)]
pub(super) struct Keeper {
    limit: OutputLimit,
    head: Vec<u8>,
    /// The last bytes after the head; once full, a ring whose oldest byte is at `oldest`.
    ring: Vec<u8>,
    oldest: usize,
    omitted: u64,
}

impl Keeper {
    pub(super) fn new(limit: OutputLimit) -> Self {
        Self {
            limit,
            head: Vec::new(),
            ring: Vec::new(),
            oldest: 0,
            omitted: 0,
        }
    }

    pub(super) fn push(&mut self, chunk: &[u8]) {
        let rest = fill(&mut self.head, self.limit.head_bytes, chunk);
        let rest = fill(&mut self.ring, self.limit.tail_bytes, rest);
        self.overwrite(rest);
    }

    /// Replaces the oldest bytes of the full ring.
    fn overwrite(&mut self, chunk: &[u8]) {
        self.omitted += chunk.len() as u64;
        let size = self.ring.len();
        if chunk.is_empty() || size == 0 {
            return;
        }
        let skipped = chunk.len().saturating_sub(size);
        let kept = &chunk[skipped..];
        let at = (self.oldest + skipped) % size;
        let before_end = kept.len().min(size - at);
        self.ring[at..at + before_end].copy_from_slice(&kept[..before_end]);
        self.ring[..kept.len() - before_end].copy_from_slice(&kept[before_end..]);
        self.oldest = (at + kept.len()) % size;
    }

    pub(super) fn finish(mut self) -> Kept {
        self.ring.rotate_left(self.oldest);
        Kept {
            head: self.head,
            tail: self.ring,
            omitted_bytes: self.omitted,
        }
    }
}

/// Appends what fits below `limit` and returns the rest. Capacity never exceeds the limit.
fn fill<'a>(kept: &mut Vec<u8>, limit: usize, chunk: &'a [u8]) -> &'a [u8] {
    let (fits, rest) = chunk.split_at(chunk.len().min(limit - kept.len()));
    let needed = kept.len() + fits.len();
    if needed > kept.capacity() {
        let capacity = needed.max(2 * kept.capacity()).min(limit);
        kept.reserve_exact(capacity - kept.len());
    }
    kept.extend_from_slice(fits);
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keep(limit: OutputLimit, chunks: &[&[u8]]) -> Kept {
        let mut keeper = Keeper::new(limit);
        for chunk in chunks {
            keeper.push(chunk);
        }
        keeper.finish()
    }

    #[test]
    fn keeps_everything_below_the_limit() {
        let kept = keep(
            OutputLimit {
                head_bytes: 4,
                tail_bytes: 4,
            },
            &[b"abc", b"defgh"],
        );
        assert_eq!(
            kept,
            Kept {
                head: b"abcd".into(),
                tail: b"efgh".into(),
                omitted_bytes: 0
            }
        );
    }

    #[test]
    fn both_ends_are_right_for_every_chunk_size() {
        let written: Vec<u8> = (0..=255u8).cycle().take(1_000).collect();
        for limit in [
            (0, 0),
            (0, 7),
            (7, 0),
            (5, 7),
            (400, 599),
            (400, 600),
            (2_000, 10),
        ] {
            for size in [1, 2, 3, 6, 7, 8, 64, 999, 1_000] {
                let limit = OutputLimit {
                    head_bytes: limit.0,
                    tail_bytes: limit.1,
                };
                let kept = keep(limit, &written.chunks(size).collect::<Vec<_>>());
                let head = limit.head_bytes.min(written.len());
                let tail = limit.tail_bytes.min(written.len() - head);
                assert_eq!(kept.head, written[..head]);
                assert_eq!(kept.tail, written[written.len() - tail..]);
                assert_eq!(kept.omitted_bytes, (written.len() - head - tail) as u64);
            }
        }
    }
}
