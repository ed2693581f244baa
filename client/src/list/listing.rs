//! Asking binaries for their cases.

use std::collections::BTreeMap;

use rayon::iter::{IntoParallelIterator, ParallelIterator};
use thresh_core::digest::Digest;
use thresh_core::id::RunId;

use super::{CaseList, ListError, Selection, TestBinary, cases, run};
use crate::command::{CommandContext, ListCommand};
use crate::nextest::Profile;

/// A binary that must be listed, because a case of it may be selected.
#[derive(Debug)]
pub struct Listing {
    /// The binary's position.
    pub binary: usize,
    id: String,
    has_own_harness: bool,
    command: ListCommand,
}

impl Listing {
    /// Returns the listings of all binaries of which a case may be selected.
    pub fn all(
        binaries: &[TestBinary<'_>],
        selection: &Selection,
        profile: &Profile,
        context: &CommandContext<'_>,
    ) -> Vec<Self> {
        let listing = |(at, binary): (usize, &TestBinary<'_>)| {
            let query = binary.query();
            selection
                .binary_mismatch(&query, profile)
                .is_none()
                .then(|| Self {
                    binary: at,
                    id: binary.id().to_string(),
                    has_own_harness: binary.has_own_harness,
                    command: context.list_command(binary, profile.list_wrapper(&query)),
                })
        };
        binaries.iter().enumerate().filter_map(listing).collect()
    }

    /// Returns under what the list may be kept, given the digest of the binary. `None` for a binary that must
    /// be asked each time, since its harness may make its cases from files.
    pub fn key(&self, binary: Digest) -> Option<Digest> {
        (!self.has_own_harness).then(|| cases::list_key(binary, &self.command))
    }

    /// Returns how the list is asked for.
    pub fn command(&self) -> &ListCommand {
        &self.command
    }
}

/// Asks the binaries whose lists are not known, on all cores, and returns all lists by the binary's position.
///
/// # Errors
/// When a binary fails or answers with something else than a list.
pub fn list_missing(
    listings: &[Listing],
    mut known: BTreeMap<usize, CaseList>,
    run: RunId,
) -> Result<BTreeMap<usize, CaseList>, ListError> {
    let missing: Vec<_> = listings
        .iter()
        .filter(|listing| !known.contains_key(&listing.binary))
        .collect();
    let asked: Vec<_> = missing
        .into_par_iter()
        .map(|listing| Ok((listing.binary, run::list(&listing.id, &listing.command, run)?)))
        .collect::<Result<_, ListError>>()?;
    known.extend(asked);
    Ok(known)
}
