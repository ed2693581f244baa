//! Where the blobs are.

use std::fmt;
use std::str::FromStr;

/// A bucket of an S3-compatible store: `s3://BUCKET` or `s3://BUCKET/PREFIX`. Which store, and who asks, is taken from the
/// environment (`AWS_ENDPOINT_URL`, `AWS_REGION`, `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, …).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketAddress {
    pub(super) bucket: String,
    /// Without slashes at its ends; may be empty.
    pub(super) prefix: String,
}

/// A text names no bucket.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` names no bucket: s3://BUCKET or s3://BUCKET/PREFIX")]
pub struct InvalidBucket(String);

impl FromStr for BucketAddress {
    type Err = InvalidBucket;

    fn from_str(text: &str) -> Result<Self, InvalidBucket> {
        let parse = || {
            let rest = text.strip_prefix("s3://")?;
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            let prefix = prefix.trim_matches('/');
            let is_sound = !bucket.is_empty()
                && bucket
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c))
                && !prefix.split('/').any(|part| matches!(part, "." | ".."))
                && !prefix.contains("//")
                && !prefix.contains(['?', '#']);
            is_sound.then(|| Self {
                bucket: bucket.to_owned(),
                prefix: prefix.to_owned(),
            })
        };
        parse().ok_or_else(|| InvalidBucket(text.to_owned()))
    }
}

impl fmt::Display for BucketAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}", self.bucket)?;
        if !self.prefix.is_empty() {
            write!(f, "/{}", self.prefix)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_with_and_without_a_prefix() {
        for text in ["s3://blobs", "s3://blobs/team/app"] {
            assert_eq!(text.parse::<BucketAddress>().unwrap().to_string(), text);
        }
        let slash: BucketAddress = "s3://blobs/team/".parse().unwrap();
        assert_eq!(slash.to_string(), "s3://blobs/team");
        for text in [
            "blobs",
            "s3://",
            "s3:///team",
            "http://blobs",
            "s3://blobs/../x",
            "s3://blobs/a//b",
            "s3://a b",
        ] {
            assert!(text.parse::<BucketAddress>().is_err(), "{text}");
        }
    }
}
