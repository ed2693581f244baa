//! The project whose past is asked for, and the coordinator that knows it.

use std::path::{Path, PathBuf};

use thresh_client::project::{ProjectConfig, project_name};

use crate::args::ProjectArgs;
use crate::connect::Connection;
use crate::failure::Failure;
use crate::options::{state, surroundings};

/// A project, and a connection to the coordinator that knows its past.
pub(crate) struct Project {
    pub(crate) name: String,
    pub(crate) connection: Connection,
}

impl Project {
    /// Finds the project and connects: to the farm that is asked for or configured, else to a coordinator within the
    /// process.
    ///
    /// # Errors
    /// The configuration cannot be read, or the coordinator cannot be reached.
    pub(crate) async fn open(args: &ProjectArgs) -> Result<Self, Failure> {
        let here = surroundings(args.directory.as_deref())?;
        let root = workspace_root(here.directory.as_std_path());
        let config = ProjectConfig::load(&root).map_err(|error| Failure::of(error.fault(), &error))?;
        let explicit = args.farm.project.as_deref().or(config.project.as_deref());
        let farm = (args.farm.farm.as_deref())
            .or(config.farm.url.as_deref())
            .filter(|url| !url.is_empty());
        Ok(Self {
            name: project_name(explicit, &root),
            connection: Connection::open(farm, &state()?, None, None).await?,
        })
    }
}

/// The nearest folder above that holds a Cargo.lock, which only a workspace's root does; else the folder itself.
fn workspace_root(from: &Path) -> PathBuf {
    from.ancestors()
        .find(|folder| folder.join("Cargo.lock").is_file())
        .unwrap_or(from)
        .to_owned()
}
