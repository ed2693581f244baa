//! Paths as text, so that they can be names in a record: any path, and each in one way only.

use std::ffi::OsString;
use std::fmt::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Writes a path. A backslash, and each byte that is not part of UTF-8, is written as `\xNN`.
pub(super) fn text_of(path: &Path) -> String {
    let mut text = String::with_capacity(path.as_os_str().len());
    for chunk in path.as_os_str().as_bytes().utf8_chunks() {
        for part in chunk.valid().split_inclusive('\\') {
            match part.strip_suffix('\\') {
                Some(before) => {
                    text.push_str(before);
                    escape(&mut text, b'\\');
                }
                None => text.push_str(part),
            }
        }
        chunk.invalid().iter().for_each(|byte| escape(&mut text, *byte));
    }
    text
}

fn escape(text: &mut String, byte: u8) {
    write!(text, "\\x{byte:02x}").expect("writing to a string does not fail");
}

/// Reads a path; `None` for what [`text_of`] does not write.
pub(super) fn path_of(text: &str) -> Option<PathBuf> {
    let mut parts = text.split('\\');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let part = part.strip_prefix('x')?;
        bytes.push(u8::from_str_radix(part.get(..2)?, 16).ok()?);
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    Some(PathBuf::from(OsString::from_vec(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_comes_back() {
        for bytes in [
            &b"/w/a b"[..],
            b"/\xff\xfe/\\x",
            b"",
            b"\\",
            "/ü/漢".as_bytes(),
            b"/a\\",
        ] {
            let path = PathBuf::from(OsString::from_vec(bytes.to_vec()));
            assert_eq!(path_of(&text_of(&path)), Some(path));
        }
        assert_eq!(text_of(Path::new("/plain/path")), "/plain/path");
    }

    #[test]
    fn other_text_is_no_path() {
        for text in ["\\", "\\n", "/a\\x", "\\x0", "\\xgg", "\\xü"] {
            assert_eq!(path_of(text), None, "{text}");
        }
    }
}
