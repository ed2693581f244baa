//! What has cargo call this program in rustc's place, so that what is linked is analysed.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The program as rustc's wrapper. See [`thresh_reach::compile`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrapper {
    /// The path by which cargo calls it.
    program: PathBuf,
    /// Where analyses are kept.
    folder: PathBuf,
}

impl Wrapper {
    /// Makes a name for `program`, which acts as [`thresh_reach::is_compiler`] says, in the folder of the analyses.
    ///
    /// # Errors
    /// The folder cannot be written to. Builds work without a wrapper, and reuse is coarser then.
    pub fn new(program: &Path, folder: PathBuf) -> std::io::Result<Self> {
        if folder.to_str().is_none() {
            return Err(std::io::Error::other(
                "its path is not UTF-8, which rustc's options have to be",
            ));
        }
        let program = thresh_reach::compiler(&folder, program)?;
        Ok(Self { program, folder })
    }

    /// The variables that cargo gets; `inner` is the wrapper that the user has configured.
    pub(super) fn variables(&self, inner: Option<OsString>) -> Vec<(&'static str, OsString)> {
        let own = [
            ("RUSTC_WRAPPER", self.program.clone().into()),
            (thresh_reach::FOLDER_VARIABLE, self.folder.clone().into()),
        ];
        let inner = inner.map(|inner| (thresh_reach::COMPILER_VARIABLE, inner));
        own.into_iter().chain(inner).collect()
    }
}
