//! Paths of the client, replaced by paths here: for machines without mount namespaces.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Replaces the paths of folders wherever they stand in a text: whole, before a slash, or within a list such
/// as `PATH`. What programs hold compiled in stays as it is, which is why mount namespaces are better.
#[derive(Clone, Debug, Default)]
pub(crate) struct Remap {
    /// From and to; the longest first, so that a folder within another is found first.
    folders: Vec<(PathBuf, PathBuf)>,
}

impl Remap {
    pub(crate) fn new(mut folders: Vec<(PathBuf, PathBuf)>) -> Self {
        folders.sort_by_key(|(from, _)| std::cmp::Reverse(from.as_os_str().len()));
        Self { folders }
    }

    /// Whether it replaces nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.folders.is_empty()
    }

    pub(crate) fn apply(&self, text: &OsStr) -> OsString {
        let bytes = text.as_bytes();
        let mut out = Vec::with_capacity(bytes.len());
        let mut at = 0;
        while at < bytes.len() {
            let begins = bytes[at] == b'/' && !out.last().is_some_and(|&before| is_in_name(before));
            match begins.then(|| self.folder_at(&bytes[at..])).flatten() {
                Some((from, to)) => {
                    out.extend_from_slice(to.as_os_str().as_bytes());
                    at += from.as_os_str().len();
                }
                None => {
                    out.push(bytes[at]);
                    at += 1;
                }
            }
        }
        OsString::from_vec(out)
    }

    fn folder_at(&self, text: &[u8]) -> Option<(&Path, &Path)> {
        let folder = self.folders.iter().find(|(from, _)| {
            text.strip_prefix(from.as_os_str().as_bytes())
                .is_some_and(|rest| rest.first().is_none_or(|&next| next == b'/' || !is_in_name(next)))
        });
        folder.map(|(from, to)| (from.as_path(), to.as_path()))
    }
}

/// Whether a byte usually goes on with a file's name. A slash counts: a path does not begin within a path.
fn is_in_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80 || b"/._-+~@".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_replaced_where_they_begin_and_end() {
        let remap = Remap::new(vec![
            ("/src/app".into(), "/data/s".into()),
            ("/src/app/target".into(), "/data/t".into()),
        ]);
        for (text, expected) in [
            ("/src/app", "/data/s"),
            ("/src/app/Cargo.toml", "/data/s/Cargo.toml"),
            ("/src/app/target/debug/x", "/data/t/debug/x"),
            ("/src/app/targets", "/data/s/targets"),
            ("/src/application", "/src/application"),
            (
                "/src/app-2:/src/app:/src/app/target",
                "/src/app-2:/data/s:/data/t",
            ),
            ("--config=/src/app/x", "--config=/data/s/x"),
            ("/other/src/app", "/other/src/app"),
            ("-L'/src/app'", "-L'/data/s'"),
            ("", ""),
        ] {
            assert_eq!(remap.apply(OsStr::new(text)), OsStr::new(expected), "{text}");
        }
    }
}
