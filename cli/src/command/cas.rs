//! `thresh cas`.

use std::io::{self, Write};
use std::path::PathBuf;

use nextest_metadata::NextestExitCode;
use thresh_cas::{Check, PackError, PackStore, Stat, Swept};
use thresh_coordinator::BLOBS;

use crate::args::{CasArgs, CasCommand, CasFolder, MessageFormat};
use crate::failure::Failure;
use crate::output::{closed_pipe, json_line};

/// How many chunks are verified between two words about it.
const PROGRESS_EVERY: u64 = 10_000;

/// Looks at the blobs of a coordinator, or drops some. The exit code says whether they are sound.
///
/// # Errors
/// There are none in the folder, or they cannot be read.
pub(crate) fn cas(args: &CasArgs) -> Result<i32, Failure> {
    match &args.command {
        CasCommand::Stat(folder) => told(folder, &open(folder)?.stat()).map(|()| NextestExitCode::OK),
        CasCommand::Verify(folder) => {
            let check = open(folder)?.check(tell_progress).map_err(failed)?;
            told(folder, &check)?;
            Ok(if is_sound(&check) {
                NextestExitCode::OK
            } else {
                NextestExitCode::SETUP_ERROR
            })
        }
        CasCommand::Gc { folder, max_gib } => {
            let blobs = PackStore::open_alone(&blobs_of(folder)?).map_err(failed)?;
            let swept = blobs.sweep(max_gib.saturating_mul(1 << 30), u32::MAX);
            told(folder, &swept.map_err(failed)?).map(|()| NextestExitCode::OK)
        }
    }
}

fn open(folder: &CasFolder) -> Result<PackStore, Failure> {
    PackStore::open(&blobs_of(folder)?).map_err(failed)
}

fn blobs_of(folder: &CasFolder) -> Result<PathBuf, Failure> {
    let blobs = folder.data.join(BLOBS);
    if !blobs.is_dir() {
        let message = format!(
            "find blobs: there is no folder {}; --data is that of a coordinator",
            blobs.display()
        );
        return Err(Failure::input(message));
    }
    Ok(blobs)
}

fn failed(error: PackError) -> Failure {
    Failure::of(error.fault(), &error)
}

fn is_sound(check: &Check) -> bool {
    check.damaged.is_empty() && check.incomplete.is_empty() && check.lost == 0
}

fn tell_progress(done: u64, all: u64) {
    if done > 0 && done.is_multiple_of(PROGRESS_EVERY) {
        // Nobody may read it.
        let _ = writeln!(io::stderr(), "{done} of {all} verified");
    }
}

fn told(folder: &CasFolder, what: &impl Told) -> Result<(), Failure> {
    let written = match folder.message_format {
        MessageFormat::Human => what.human(&mut io::stdout().lock()),
        MessageFormat::Json => json_line(&what.json()),
    };
    written.or_else(|cause| closed_pipe(cause).map(drop))
}

/// What can be told of blobs.
trait Told {
    fn human(&self, out: &mut dyn Write) -> io::Result<()>;
    fn json(&self) -> serde_json::Value;
}

impl Told for Stat {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "on disk   {} in {} packs", mebibytes(self.bytes), self.packs)?;
        writeln!(
            out,
            "chunks    {}, {} of content in {}",
            self.chunks,
            mebibytes(self.content_bytes),
            mebibytes(self.stored_bytes)
        )?;
        writeln!(out, "blobs of several chunks  {}", self.blobs)
    }

    fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "packs": self.packs,
            "bytes": self.bytes,
            "chunks": self.chunks,
            "content_bytes": self.content_bytes,
            "stored_bytes": self.stored_bytes,
            "blobs": self.blobs,
        })
    }
}

impl Told for Check {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(
            out,
            "{} chunks and {} blobs of several verified",
            self.chunks, self.blobs
        )?;
        for digest in &self.damaged {
            writeln!(out, "damaged, dropped   {digest}")?;
        }
        for digest in &self.incomplete {
            writeln!(out, "chunks are missing {digest}")?;
        }
        if self.lost > 0 {
            writeln!(
                out,
                "headers are damaged in {} places; what stood there is lost",
                self.lost
            )?;
        }
        if !is_sound(self) {
            writeln!(
                out,
                "clients send again what is missing when they next need it; a coordinator that runs on this folder has to be started again to know"
            )?;
        }
        Ok(())
    }

    fn json(&self) -> serde_json::Value {
        let text = |digests: &[thresh_core::digest::Digest]| {
            digests.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        serde_json::json!({
            "chunks": self.chunks,
            "blobs": self.blobs,
            "damaged": text(&self.damaged),
            "incomplete": text(&self.incomplete),
            "lost": self.lost,
        })
    }
}

impl Told for Swept {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(
            out,
            "{} chunks dropped; {} before, {} now",
            self.dropped,
            mebibytes(self.bytes_before),
            mebibytes(self.bytes_after)
        )
    }

    fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "dropped": self.dropped,
            "bytes_before": self.bytes_before,
            "bytes_after": self.bytes_after,
        })
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
