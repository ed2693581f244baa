//! The folder where Thresh keeps what it remembers on this machine.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use thresh_core::digest::FieldHasher;
use thresh_core::fault::Fault;

/// The environment variables that say where the folder is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateVariables {
    /// `THRESH_HOME`
    pub thresh_home: Option<OsString>,
    /// `XDG_CACHE_HOME`
    pub xdg_cache_home: Option<OsString>,
    /// `HOME`
    pub home: Option<OsString>,
}

impl StateVariables {
    /// Reads them from the process.
    pub fn of_process() -> Self {
        Self {
            thresh_home: std::env::var_os("THRESH_HOME"),
            xdg_cache_home: std::env::var_os("XDG_CACHE_HOME"),
            home: std::env::var_os("HOME"),
        }
    }
}

/// Why there is no state folder.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// None of the variables is set.
    #[error("find the state folder: THRESH_HOME, XDG_CACHE_HOME and HOME are all unset; set THRESH_HOME")]
    Nowhere,
    /// THRESH_HOME is not absolute.
    #[error("use THRESH_HOME={}: it must be an absolute path", .0.display())]
    Relative(PathBuf),
    /// A folder cannot be made.
    #[error("make the folder {}: {cause}; set THRESH_HOME to a folder that can be written", path.display())]
    Unwritable {
        /// The folder.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
}

impl StateError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Relative(_) => Fault::Input,
            Self::Nowhere | Self::Unwritable { .. } => Fault::Environment,
        }
    }
}

/// `$THRESH_HOME`, else `$XDG_CACHE_HOME/thresh`, else `$HOME/.cache/thresh`. All workspaces share it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateFolder {
    root: PathBuf,
}

impl StateFolder {
    /// Finds the folder; makes nothing.
    ///
    /// # Errors
    /// The variables name no absolute path.
    pub fn locate(variables: &StateVariables) -> Result<Self, StateError> {
        let set =
            |value: &Option<OsString>| value.clone().filter(|value| !value.is_empty()).map(PathBuf::from);
        if let Some(root) = set(&variables.thresh_home) {
            return if root.is_absolute() {
                Ok(Self { root })
            } else {
                Err(StateError::Relative(root))
            };
        }
        // The XDG specification has relative paths ignored.
        let cache = set(&variables.xdg_cache_home)
            .filter(|path| path.is_absolute())
            .or_else(|| set(&variables.home).map(|home| home.join(".cache")))
            .ok_or(StateError::Nowhere)?;
        Ok(Self {
            root: cache.join("thresh"),
        })
    }

    /// Uses `root`, an absolute path.
    pub fn at(root: PathBuf) -> Self {
        Self { root }
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What an embedded coordinator keeps: its store and blobs.
    pub fn coordinator(&self) -> PathBuf {
        self.root.join("coordinator")
    }

    /// What is known of the code of binaries, by their digests.
    pub fn reach(&self) -> PathBuf {
        self.root.join("reach")
    }

    /// The part of the folder that belongs to one workspace.
    ///
    /// # Errors
    /// A folder cannot be made.
    pub fn workspace(&self, workspace_root: &Path) -> Result<WorkspaceState, StateError> {
        let digest = FieldHasher::new("thresh workspace folder v1")
            .field(workspace_root.as_os_str().as_encoded_bytes())
            .finish()
            .to_string();
        let root = self.root.join("workspaces").join(&digest[..32]);
        let state = WorkspaceState { root };
        let path = state.records();
        std::fs::create_dir_all(&path).map_err(|cause| StateError::Unwritable { path, cause })?;
        Ok(state)
    }
}

/// What the client keeps of one workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkspaceState {
    root: PathBuf,
}

impl WorkspaceState {
    /// The workspace's own folder in the state folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The file that remembers digests of files.
    pub fn digest_memo(&self) -> PathBuf {
        self.root.join("digests")
    }

    /// The file that remembers which cases write which files.
    pub fn written(&self) -> PathBuf {
        self.root.join("written")
    }

    /// The file that remembers digests of files without their debug sections.
    pub fn lean_digests(&self) -> PathBuf {
        // The number is to rise when files are made lean in another way.
        self.root.join("lean-digests-1")
    }

    /// The file that remembers how engines name files.
    pub fn engine_names(&self) -> PathBuf {
        self.root.join("engine-names")
    }

    /// The folder that remembers what was shipped to farms.
    pub fn shipped(&self) -> PathBuf {
        self.root.join("shipped")
    }

    /// The folder for the workspace as it was at another commit.
    pub fn base(&self) -> PathBuf {
        self.root.join("base")
    }

    /// The folder of the records behind the parts of keys.
    pub fn records(&self) -> PathBuf {
        self.root.join("records")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locate(thresh: &str, xdg: &str, home: &str) -> Result<StateFolder, StateError> {
        let set = |text: &str| Some(OsString::from(text));
        StateFolder::locate(&StateVariables {
            thresh_home: set(thresh),
            xdg_cache_home: set(xdg),
            home: set(home),
        })
    }

    #[test]
    fn the_first_variable_that_is_set_decides() {
        assert_eq!(locate("/t", "/x", "/h").unwrap().root(), Path::new("/t"));
        assert_eq!(locate("", "/x", "/h").unwrap().root(), Path::new("/x/thresh"));
        assert_eq!(
            locate("", "relative", "/h").unwrap().root(),
            Path::new("/h/.cache/thresh")
        );
        assert!(matches!(
            locate("relative", "/x", "/h"),
            Err(StateError::Relative(_))
        ));
        assert!(matches!(locate("", "", ""), Err(StateError::Nowhere)));
    }

    #[test]
    fn workspaces_have_folders_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::at(folder.path().to_owned());
        let one = state.workspace(Path::new("/w/one")).unwrap();
        let two = state.workspace(Path::new("/w/two")).unwrap();
        assert_ne!(one, two);
        assert!(one.records().is_dir());
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let state = StateFolder::at(file.path().to_owned());
        let error = state.workspace(Path::new("/w")).unwrap_err();
        assert!(error.to_string().contains("set THRESH_HOME"), "{error}");
        assert_eq!(error.fault(), Fault::Environment);
    }
}
