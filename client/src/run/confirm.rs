//! Storing the passes of a run by what its cases were seen to read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use thresh_cas::DigestMemo;
use thresh_core::observe::Observation;
use thresh_core::reuse::KeyParts;

use super::loading::{Loaded, save, timed};
use super::prepare::Prepared;
use super::seen::{self, Observations};
use super::session::Session;
use super::work::Ready;
use crate::reuse::InputWatch;
use crate::reuse::seen::{Learnt, Shipped, Written, learn};
use crate::ship::Shipment;
use crate::suite::Suite;

/// Paths that a note on changed files names.
const PATHS_SHOWN_MAX: usize = 5;

impl Prepared {
    /// Stores the passes of a run: those of cases that were seen to read what is still so and, where the run was on this machine,
    /// the others if nothing at all has changed meanwhile. Then what audits found is recorded, too. Returns what the user is
    /// told where something has changed. A failure to store costs reuse, not the verdict.
    ///
    /// # Errors
    /// Nothing is stored; what the user is told.
    pub(super) async fn confirm(
        &self,
        session: &mut Session,
        ready: Ready,
        watch: InputWatch,
        observations: Observations,
    ) -> Result<Option<String>, String> {
        let Ready {
            run,
            loaded,
            keys,
            shipment,
            ..
        } = ready;
        let Some(keys) = keys else { return Ok(None) };
        let shown = shipment.map(|shipment| shown(&loaded, &shipment));
        let in_place = shown.is_none();
        let seen_keys = seen::seen_keys(&loaded.suite, &keys);
        let opens_nothing = move |case: &u32| keys.opens_nothing(*case as usize);
        let memo_file = self.state.digest_memo();
        let written_file = in_place.then(|| self.state.written());
        let looked = tokio::task::spawn_blocking(move || {
            let changed = timed("look for changes", || watch.changes());
            let changed = changed.map_err(|error| format!("passes not stored: failed to {error}"))?;
            let shipped = shown.map(|folders| shipped(folders, &loaded, &changed));
            let built = loaded.files.all().any(|file| changed.contains(&file.path));
            let away = shipped.is_some();
            let mut learnt = if built {
                // What ran may not be what was analysed.
                Learnt::default()
            } else {
                timed("learn what cases read", || {
                    let mut memo = DigestMemo::load(&memo_file);
                    let (seen, unseen) = observations.into_inner();
                    let unfit = written_file.map(|file| readers(&loaded.suite, &seen, &file));
                    let unfit = unfit.unwrap_or_default();
                    let programs = loaded.code.programs();
                    let mut learnt = learn(&seen, &unfit, shipped.as_ref(), programs, &mut memo);
                    let unseen = unseen.into_iter().filter(opens_nothing);
                    learnt
                        .of_case
                        .extend(unseen.map(|case| (case, KeyParts::no_files())));
                    save(&mut memo, &memo_file);
                    learnt
                })
            };
            // Here stamps tell what was edited while it was looked at.
            if away && watch.changes().ok().as_ref() != Some(&changed) {
                learnt = Learnt::default();
            }
            Ok::<_, String>((changed, learnt))
        });
        let (changed, learnt) = looked
            .await
            .map_err(|error| format!("passes not stored: {error}"))??;
        tell(&learnt);
        // What ran on a farm are the files that were shipped, whatever has become of them here.
        let changed = if in_place { changed } else { Vec::new() };
        if !in_place && learnt.of_case.is_empty() {
            return Ok(None);
        }
        let stored = async {
            seen::keep(session, &seen_keys, &learnt).await?;
            session
                .confirm_inputs(run, &learnt.of_case, !changed.is_empty())
                .await
        };
        stored
            .await
            .map_err(|error| format!("passes not stored: failed to {error}"))?;
        Ok((!changed.is_empty()).then(|| note(&changed, learnt.of_case.len())))
    }
}

/// The cases that were seen to read what another case writes, with that as a reason. Who writes what is remembered in `file`.
fn readers(suite: &Suite, seen: &BTreeMap<u32, Observation>, file: &Path) -> BTreeMap<u32, String> {
    if seen.is_empty() {
        return BTreeMap::new();
    }
    let named = |case: &u32| Some(suite.name_of(suite.cases.get(*case as usize)?));
    let before = Written::load(file);
    let mut written = before.clone();
    written.retain(|writer| suite.may_have(writer));
    for (case, observation) in seen {
        if let Some(name) = named(case) {
            written.learn(&name, observation);
        }
    }
    if written != before
        && let Err(error) = written.save(file)
    {
        tracing::warn!(
            "which cases write files is not remembered: failed to write {}: {error}",
            file.display()
        );
    }
    let reads = |(case, observation): (&u32, &Observation)| {
        let (path, writer) = written.read_of_another(&named(case)?, observation)?;
        Some((*case, format!("{} is written by {writer}", path.display())))
    };
    seen.iter().filter_map(reads).collect()
}

/// The folders that a worker shows as they were shipped.
fn shown(loaded: &Loaded, shipment: &Shipment) -> Vec<PathBuf> {
    let suite = &loaded.suite;
    let own = [&suite.workspace_root, &suite.target_directory].map(|folder| folder.as_std_path().to_owned());
    let further = shipment.folders.iter().map(|(folder, _)| folder.clone());
    own.into_iter().chain(further).collect()
}

fn shipped(folders: Vec<PathBuf>, loaded: &Loaded, changed: &[PathBuf]) -> Shipped {
    let root = loaded.suite.workspace_root.as_std_path();
    Shipped {
        folders,
        // Joining leaves absolute paths as they are.
        changed: changed.iter().map(|path| root.join(path)).collect(),
        outside: (loaded.outside.iter().flat_map(|outside| &outside.files))
            .map(|file| file.path.clone())
            .collect(),
    }
}

/// Logs why passes count by the whole workspace.
fn tell(learnt: &Learnt) {
    for (why, count) in &learnt.unfit {
        tracing::debug!("{count} passes hold while nothing changes in the workspace: {why}");
    }
}

/// `seen` passes are stored all the same.
fn note(changed: &[PathBuf], seen: usize) -> String {
    let paths: Vec<String> = changed
        .iter()
        .take(PATHS_SHOWN_MAX)
        .map(|path| path.display().to_string())
        .collect();
    let more = changed.len().saturating_sub(PATHS_SHOWN_MAX);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    let (count, files) = (changed.len(), if changed.len() == 1 { "file" } else { "files" });
    let what = match seen {
        0 => "passes not stored".to_owned(),
        _ => format!("of the passes only the {seen} stored whose cases were seen not to read them"),
    };
    format!(
        "{count} {files} changed during the run, {what}: {}{more}",
        paths.join(", ")
    )
}
