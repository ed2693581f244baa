use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use camino::Utf8PathBuf;
use thresh_cas::{EntryKind, Manifest};
use thresh_core::digest::Digest;
use thresh_core::time::Timestamp;
use thresh_core::verdict::Verdict;
use tokio::sync::watch;
use tonic::transport::Channel;

use super::super::fake::{Fake, Script, State};
use super::super::*;
use crate::project::StateFolder;
use crate::report::{ReportEvent, Reporter, Reporters};
use crate::surroundings::Surroundings;

/// A small Cargo workspace, built for real.
struct Workspace {
    folder: tempfile::TempDir,
}

impl Workspace {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, content: &str| {
            let path = folder.path().join("w").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        };
        write(
            "Cargo.toml",
            "[package]\nname = \"tiny\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[workspace]\n",
        );
        write("src/main.rs", "fn main() {}\n");
        write(
            "tests/it.rs",
            "#[test]\nfn one() {}\n#[test]\nfn two() {}\n#[test]\n#[ignore]\nfn three() {}\n",
        );
        write(
            "build.rs",
            "fn main() { let out = std::env::var(\"OUT_DIR\").unwrap();\nstd::fs::write(format!(\"{out}/made\"), \"x\").unwrap(); }\n",
        );
        Self { folder }
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("w")
    }

    fn prepared(&self, change: impl FnOnce(&mut RunOptions)) -> Prepared {
        let mut surroundings = Surroundings::of_process().unwrap();
        surroundings.directory = Utf8PathBuf::try_from(self.root())
            .unwrap()
            .canonicalize_utf8()
            .unwrap();
        // What the cargo that runs this test has set is not for the one that it starts.
        let cargo = surroundings.variables.get(std::ffi::OsStr::new("CARGO")).cloned();
        surroundings
            .variables
            .retain(|name, _| !name.to_string_lossy().starts_with("CARGO"));
        surroundings
            .variables
            .extend(cargo.map(|cargo| ("CARGO".into(), cargo)));
        let state = StateFolder::at(self.folder.path().join("state"));
        let mut options = RunOptions::new(surroundings, state);
        options.build.target_dir = Some(Utf8PathBuf::try_from(self.root().join("target")).unwrap());
        options.build.offline = true;
        change(&mut options);
        Prepared::new(options).unwrap()
    }
}

/// Keeps the notes of a run.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<String>>>);

impl Reporter for Notes {
    fn name(&self) -> &str {
        "notes"
    }

    fn event(&mut self, _: Timestamp, event: &ReportEvent<'_>) -> std::io::Result<()> {
        if let ReportEvent::Note(note) = event {
            self.0.lock().unwrap().push((*note).to_owned());
        }
        Ok(())
    }
}

async fn run(prepared: Prepared, channel: Channel) -> (Finished, Vec<String>) {
    let notes = Notes::default();
    let mut reporters = Reporters::new().with(notes.clone());
    let (_sender, cancel) = watch::channel(0);
    let finished = prepared.run(channel, None, &mut reporters, cancel).await.unwrap();
    let notes = notes.0.lock().unwrap().clone();
    (finished, notes)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_is_built_listed_keyed_submitted_and_confirmed() {
    let workspace = Workspace::new();
    let watches = [Script::AllPass, Script::AllPass].into();
    let (fake, channel) = Fake::start(State {
        watches,
        ..State::default()
    })
    .await;
    let (finished, notes) = run(workspace.prepared(|_| {}), channel.clone()).await;
    let Finished::Judged(summary) = finished else {
        panic!("{finished:?}")
    };
    assert_eq!(
        (summary.verdict, summary.cases.len(), summary.skipped),
        (Verdict::Pass, 2, 1)
    );
    assert_eq!(notes, [""; 0]);
    assert_eq!(fake.state().confirms, 1);
    let lists_put = fake.state().lists_put;
    assert!(lists_put > 0);
    let first = fake.state().submissions[0].clone();
    let header = first[0].header.clone().unwrap();
    assert!(header.inputs.as_ref().unwrap().in_place && header.reuse);
    assert_eq!((header.binaries.len(), header.key_parts.len()), (1, 1));
    assert_eq!(
        first[0]
            .cases
            .iter()
            .map(|case| (case.name.as_str(), case.key_parts))
            .collect::<Vec<_>>(),
        [("one", 1), ("two", 1)]
    );

    // Unchanged: the same keys, and nothing is listed again.
    run(workspace.prepared(|_| {}), channel.clone()).await;
    let again = fake.state().submissions[1][0].header.clone().unwrap();
    assert_eq!(again.key_parts, header.key_parts);
    assert_ne!(again.run_id, header.run_id);
    assert_eq!(fake.state().lists_put, lists_put);

    // A changed file shows in the key and in the explanation.
    fake.state().last_pass = Some(header.key_parts[0].clone());
    let told = workspace
        .prepared(|_| {})
        .explain(channel.clone(), "one")
        .await
        .unwrap();
    assert!(told[0].reused, "{}", told[0]);
    fake.state().nothing_reusable = true;
    fs::write(workspace.root().join("data.txt"), "x").unwrap();
    let told = workspace
        .prepared(|_| {})
        .explain(channel.clone(), "it one")
        .await;
    assert!(matches!(told, Err(RunError::NoSuchCase { .. })));
    let told = workspace
        .prepared(|_| {})
        .explain(channel.clone(), "tiny::it one")
        .await
        .unwrap();
    assert!(!told[0].reused);
    assert!(
        told[0].to_string().contains("  files:\n    data.txt (new)\n"),
        "{}",
        told[0]
    );

    fake.state().nothing_reusable = false;
    let plan = workspace.prepared(|_| {}).plan(channel.clone()).await.unwrap();
    assert_eq!(
        (
            plan.cases[0].name.as_str(),
            plan.cases[1].reused,
            plan.floor_seconds
        ),
        ("two", true, 1.0)
    );
    let suite = workspace.prepared(|_| {}).list(None).await.unwrap();
    assert_eq!(suite.cases.len(), 2);

    let none = workspace.prepared(|options| options.selection.patterns.push("nothing".into()));
    let (finished, _) = run(none, channel).await;
    assert!(
        matches!(finished, Finished::NoCases { skipped: 3 }),
        "{finished:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_farm_gets_manifests_and_every_blob_of_them() {
    let workspace = Workspace::new();
    let (fake, channel) = Fake::start(State {
        watches: [Script::AllPass].into(),
        ..State::default()
    })
    .await;
    let farm = |options: &mut RunOptions| options.farm = Some("http://farm".into());
    let (finished, notes) = run(workspace.prepared(farm), channel).await;
    assert!(matches!(finished, Finished::Judged(_)), "{finished:?}");
    assert!(notes[0].starts_with("shipping "), "{notes:?}");
    let state = fake.state();
    assert_eq!(state.confirms, 0, "a farm stores passes by itself");
    let header = state.submissions[0][0].header.clone().unwrap();
    let inputs = header.inputs.unwrap();
    let paths = |digest: &[u8]| -> Vec<String> {
        let digest = Digest::try_from(digest).unwrap();
        let manifest = fake.blobs.read_whole(&digest).unwrap();
        let manifest = Manifest::parse(&manifest).unwrap();
        assert!(manifest.files().all(|(digest, _)| fake.blobs.contains(&digest)));
        assert!(manifest.entries().iter().all(|entry| match entry.kind {
            EntryKind::OnDemand { digest, .. } => !fake.blobs.contains(&digest),
            _ => true,
        }));
        manifest
            .entries()
            .iter()
            .map(|entry| entry.path.display().to_string())
            .collect()
    };
    assert!(paths(&inputs.source_manifest).contains(&"tests/it.rs".to_owned()));
    let target = paths(&inputs.target_manifest);
    assert!(target.contains(&"debug/tiny".to_owned()), "{target:?}");
    assert!(
        target.iter().any(|path| path.ends_with("/out/made")),
        "{target:?}"
    );
    let binary = paths(&header.binaries[0].manifest);
    assert!(
        binary.len() == 2
            && binary[0].starts_with("debug/deps/.debug/")
            && binary[1].starts_with("debug/deps/it-"),
        "{binary:?}"
    );
    let names: Vec<&str> = header.commands[0]
        .env
        .iter()
        .map(|variable| variable.name.as_str())
        .collect();
    assert!(
        names.contains(&"CARGO_BIN_EXE_tiny") && !names.contains(&"HOME"),
        "{names:?}"
    );
}
