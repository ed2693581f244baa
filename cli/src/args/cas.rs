//! Flags of `thresh cas`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};

use super::MessageFormat;

const HELP: &str = "\
Examples:
  thresh cas stat --data /srv/thresh             what a coordinator keeps
  thresh cas verify --data /srv/thresh           read all blobs, and drop what is damaged
  thresh cas gc --data /srv/thresh --max-gib 20  drop what was longest unused

stat and verify may be used while the coordinator runs; what verify drops, a coordinator notices when it reads it, or \
when it is next started. gc needs the folder for itself: a coordinator keeps its blobs below --blobs-max-gib.";

/// `thresh cas`.
#[derive(Clone, Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct CasArgs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: CasCommand,
}

/// What to do with blobs.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum CasCommand {
    /// Count chunks and bytes
    Stat(CasFolder),
    /// Read and verify all chunks and blobs; drop what is damaged
    Verify(CasFolder),
    /// Drop what was longest unused
    Gc {
        /// Which blobs.
        #[command(flatten)]
        folder: CasFolder,
        /// How much may stay, in GiB
        #[arg(long, value_name = "GIB")]
        max_gib: u64,
    },
}

/// Which blobs, and how to tell of them.
#[derive(Clone, Debug, Args)]
pub(crate) struct CasFolder {
    /// The data folder of the coordinator
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) data: PathBuf,
    /// The form of the answer
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub(crate) message_format: MessageFormat,
}
