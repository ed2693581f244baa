//! Chunks that are read in an object store, by addresses that the coordinator has signed.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::{Request, StatusCode, Uri};
use http_body_util::Empty;
use prost::bytes::Bytes;
use thresh_cas::chunk_of_record;
use thresh_proto::convert::{bases_from_wire, digest_from_wire, frame_to_wire};
use thresh_proto::v1::{Elsewhere, GetReply, Record, Wanted};
use thresh_proto::{Https, causes};

/// After a reading failed, everything comes from the coordinator for so long.
const OFF_FOR: Duration = Duration::from_secs(30);
/// No reading takes longer; it has some MiB.
const READING_TIME: Duration = Duration::from_secs(30);
/// No reading is longer, in bytes.
const READING_BYTES_MAX: u64 = 16 << 20;

/// Reads chunks in an object store. Clones share everything.
#[derive(Clone, Debug)]
pub(super) struct ObjectReader {
    /// Absent where TLS cannot be set up.
    https: Option<Https>,
    failed: Arc<Mutex<Option<Instant>>>,
}

impl ObjectReader {
    pub(super) fn new() -> Self {
        let https = Https::new();
        if let Err(error) = &https {
            tracing::warn!("blobs are not read in object stores: {error}");
        }
        Self {
            https: https.ok(),
            failed: Arc::default(),
        }
    }

    /// Whether to try.
    pub(super) fn is_on(&self) -> bool {
        let failed = *self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        self.https.is_some() && failed.is_none_or(|since| since.elapsed() >= OFF_FOR)
    }

    /// Notes that a reading did not work.
    pub(super) fn failed(&self, why: &str) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if failed.is_none_or(|since| since.elapsed() >= OFF_FOR) {
            tracing::warn!(
                "failed to read blobs in the object store: {why}; the coordinator is asked for them"
            );
        }
        *failed = Some(Instant::now());
    }

    /// Reads the chunks that were asked for as `wanted`.
    ///
    /// # Errors
    /// Why it did not work.
    pub(super) async fn read(&self, elsewhere: &Elsewhere, wanted: &[Wanted]) -> Result<GetReply, String> {
        let (first, last) = (elsewhere.records.first(), elsewhere.records.last());
        let (Some(first), Some(last), Some(https)) = (first, last, &self.https) else {
            return Err("it was not said what to read".to_owned());
        };
        let end = last.offset.checked_add(last.size_bytes.into());
        let length = end.and_then(|end| end.checked_sub(first.offset));
        let length = length.filter(|length| (1..=READING_BYTES_MAX).contains(length));
        let length = length.ok_or("what is to be read is too long")?;
        let range = format!("bytes={}-{}", first.offset, first.offset + length - 1);
        let request = Request::get(&elsewhere.url)
            .header("range", range)
            .body(Empty::<Bytes>::new())
            .map_err(|error| error.to_string())?;
        if is_of_the_machine(request.uri()) {
            return Err("the address is one of the machine's own services".to_owned());
        }
        let length = usize::try_from(length).map_err(|error| error.to_string())?;
        let answer = https.ask(request, length, READING_TIME).await;
        let answer = answer.map_err(|error| causes(&error))?;
        if answer.status() != StatusCode::PARTIAL_CONTENT {
            return Err(format!("the store answers with {}", answer.status()));
        }
        let content = answer.into_body();
        let chunk = |(record, wanted): (&Record, &Wanted)| chunk(record, wanted, first.offset, &content);
        let frames = elsewhere.records.iter().zip(wanted).map(chunk);
        Ok(GetReply {
            frames: frames.collect::<Result<_, _>>()?,
            elsewhere: None,
        })
    }
}

/// Whether an address is link-local, as those of cloud metadata services are: nobody keeps blobs there.
fn is_of_the_machine(url: &Uri) -> bool {
    let host = url.host().unwrap_or_default();
    match host.trim_matches(['[', ']']).parse() {
        Ok(IpAddr::V4(address)) => address.is_link_local(),
        Ok(IpAddr::V6(address)) => address.is_unicast_link_local(),
        Err(_) => false,
    }
}

/// The chunk of a record in what was read from `begin` on.
fn chunk(
    record: &Record,
    wanted: &Wanted,
    begin: u64,
    content: &[u8],
) -> Result<thresh_proto::v1::Frame, String> {
    let part = || {
        let begin = usize::try_from(record.offset.checked_sub(begin)?).ok()?;
        content.get(begin..begin.checked_add(record.size_bytes as usize)?)
    };
    let part = part().ok_or("the store answers with less than was asked for")?;
    let digest = digest_from_wire("records.digest", &record.digest).map_err(|error| error.to_string())?;
    let bases = match record.against_bases {
        true => bases_from_wire("chunks.bases", &wanted.bases).map_err(|error| error.to_string())?,
        false => Vec::new(),
    };
    let frame = chunk_of_record(part.to_vec(), digest, &bases);
    frame
        .map(frame_to_wire)
        .ok_or_else(|| format!("what is there is not chunk {digest}"))
}
