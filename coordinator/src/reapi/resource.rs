//! Names of resources that are streamed.

use thresh_cas::{BlobName, DigestFunction};
use tonic::Status;

use super::wire::unknown_function;

/// How the bytes of a stream stand for those of its blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Identity,
    Zstd,
}

/// What a resource name says, beside the instance, which is not asked: blobs are everybody's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Resource {
    pub(super) blob: BlobName,
    pub(super) encoding: Encoding,
}

impl Resource {
    /// Reads `[INSTANCE/]blobs/[FUNCTION/]HASH/SIZE` or `[INSTANCE/]compressed-blobs/zstd/[FUNCTION/]HASH/SIZE`.
    pub(super) fn of_read(name: &str) -> Result<Self, Status> {
        let segments: Vec<&str> = name.split('/').collect();
        Self::parse(&segments, true).unwrap_or_else(|| Err(malformed(name)))
    }

    /// Reads `[INSTANCE/]uploads/UUID/` and then the same, and maybe more, which is ignored.
    pub(super) fn of_write(name: &str) -> Result<Self, Status> {
        let segments: Vec<&str> = name.split('/').collect();
        let uploads = segments.iter().position(|segment| *segment == "uploads");
        let behind = uploads.and_then(|uploads| segments.get(uploads + 2..));
        let parsed = behind.and_then(|behind| Self::parse(behind, false));
        parsed.unwrap_or_else(|| Err(malformed(name)))
    }

    /// `None` where it is no such name.
    fn parse(segments: &[&str], is_whole: bool) -> Option<Result<Self, Status>> {
        let is_kind = |segment: &&str| matches!(*segment, "blobs" | "compressed-blobs");
        let kind = segments.iter().position(is_kind)?;
        let (encoding, mut rest) = match segments[kind..].split_first()? {
            (&"compressed-blobs", [compressor, rest @ ..]) => match *compressor {
                "zstd" => (Encoding::Zstd, rest),
                "identity" => (Encoding::Identity, rest),
                other => {
                    let problem = format!("compressor {other:?} is not served; zstd is");
                    return Some(Err(Status::invalid_argument(problem)));
                }
            },
            (_, rest) => (Encoding::Identity, rest),
        };
        let mut function = DigestFunction::Sha256;
        if let [word, behind @ ..] = rest
            && behind.len() >= 2
            && word.len() < 32
        {
            let Some(named) = DigestFunction::named(word) else {
                return Some(Err(unknown_function(word)));
            };
            function = named;
            rest = behind;
        }
        let [hash, size, more @ ..] = rest else {
            return None;
        };
        let blob = BlobName::parse(function, hash, size.parse().ok()?)?;
        (!is_whole || more.is_empty()).then_some(Ok(Self { blob, encoding }))
    }
}

fn malformed(name: &str) -> Status {
    Status::invalid_argument(format!("resource name {name:?} is not that of a blob"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_text_is_a_name_or_none(
            words in prop::collection::vec(
                "blobs|compressed-blobs|uploads|zstd|identity|blake3|sha256|[0-9a-f]{64}|[0-9]{1,20}|\\PC{0,40}",
                0..9,
            ),
        ) {
            let name = words.join("/");
            for resource in [Resource::of_read(&name), Resource::of_write(&name)].into_iter().flatten() {
                prop_assert!(name.contains(&resource.blob.hash_text()));
            }
        }
    }

    #[test]
    fn names_of_blobs_are_read() {
        let hash = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
        let read = |name: &str| {
            let resource = Resource::of_read(&name.replace("HASH", hash))
                .map_err(|status| status.message().to_owned())?;
            Ok::<_, String>((resource.blob.function, resource.blob.size, resource.encoding))
        };
        let write = |name: &str| Resource::of_write(&name.replace("HASH", hash)).is_ok();
        use DigestFunction::{Blake3, Sha256};
        for (name, expected) in [
            ("blobs/HASH/12", (Sha256, 12, Encoding::Identity)),
            ("a/b/trusted/blobs/HASH/12", (Sha256, 12, Encoding::Identity)),
            ("a/blobs/blake3/HASH/0", (Blake3, 0, Encoding::Identity)),
            ("compressed-blobs/zstd/HASH/7", (Sha256, 7, Encoding::Zstd)),
            (
                "x/compressed-blobs/zstd/blake3/HASH/7",
                (Blake3, 7, Encoding::Zstd),
            ),
        ] {
            assert_eq!(read(name), Ok(expected), "{name}");
        }
        assert!(
            read("compressed-blobs/brotli/HASH/7")
                .unwrap_err()
                .contains("brotli")
        );
        assert!(read("blobs/md5/HASH/7").unwrap_err().contains("md5"));
        for name in [
            "",
            "blobs",
            "blobs/HASH",
            "blobs/HASH/-1",
            "blobs/HASH/x",
            "blobs/HASH/1/more",
            "blobs/zz/1",
            "HASH/1",
        ] {
            assert!(read(name).is_err(), "{name}");
        }
        assert!(write("uploads/1-2-3/blobs/HASH/5"));
        assert!(write("inst/uploads/1-2-3/compressed-blobs/zstd/HASH/5/file.txt"));
        for name in ["blobs/HASH/5", "uploads/blobs/HASH/5", "uploads"] {
            assert!(!write(name), "{name}");
        }
    }
}
