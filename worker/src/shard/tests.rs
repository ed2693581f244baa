use std::fs;
use std::path::{Component, Path};

use prost::Message;
use tempfile::TempDir;
use thresh_core::id::RunId;
use thresh_core::outcome::Outcome;
use thresh_proto::convert::{outcome_from_wire, run_id_to_wire};
use thresh_proto::testing::fuzz;
use thresh_proto::v1::worker_report::Report;
use thresh_proto::v1::{self, PlacedTree, Shard, ShardReports};

use super::execute::{Opened, open};
use super::{ShardError, execute};
use crate::inputs::Brief;
use crate::inputs::testing::{in_place_header, leased_case};

const SOURCE: &str = "/thresh-test-client/shard";

/// A folder as an engine makes it of an input root.
fn input_root(cases: &[&str]) -> (TempDir, v1::RunBrief, Shard) {
    let folder = tempfile::tempdir().unwrap();
    for (tree, file) in [("trees/0", "data.txt"), ("trees/1", "bin")] {
        fs::create_dir_all(folder.path().join(tree)).unwrap();
        fs::write(folder.path().join(tree).join(file), file).unwrap();
    }
    let mut header = in_place_header(RunId::from_u128(7));
    header.keep_passing_output = true;
    header.inputs = Some(v1::Inputs {
        source_root: SOURCE.into(),
        target_root: format!("{SOURCE}/target"),
        ..Default::default()
    });
    SOURCE.clone_into(&mut header.commands[0].cwd);
    let cases = cases.iter().zip(0..).map(|(script, number)| v1::LeasedCase {
        name: (*script).to_owned(),
        ..leased_case(number)
    });
    let tree = |path: &str, at: &str| PlacedTree {
        path: path.into(),
        at: at.into(),
    };
    let shard = Shard {
        lease: Some(v1::Lease {
            lease_id: 3,
            run_id: run_id_to_wire(RunId::from_u128(7)),
            cases: cases.collect(),
        }),
        trees: vec![
            tree(SOURCE, "trees/0"),
            tree(&format!("{SOURCE}/target"), "trees/1"),
        ],
        salt: Default::default(),
    };
    let run = v1::RunBrief {
        header: Some(header),
        test_threads: 1,
    };
    (folder, run, shard)
}

async fn executed(folder: &Path, run: &v1::RunBrief, shard: &Shard) -> Result<ShardReports, ShardError> {
    let (of_run, file, out) = (folder.join("run"), folder.join("shard"), folder.join("outcomes"));
    fs::write(&of_run, run.encode_to_vec()).unwrap();
    fs::write(&file, shard.encode_to_vec()).unwrap();
    execute(folder, &of_run, &file, &out).await?;
    Ok(ShardReports::decode(&*fs::read(out).unwrap()).unwrap())
}

#[tokio::test]
async fn every_case_of_a_shard_is_reported_once() {
    let cases = [
        "cat data.txt target/bin",
        "echo spoiled > data.txt; exit 3",
        "cat data.txt",
    ];
    let (folder, run, shard) = input_root(&cases);
    let reports = executed(folder.path(), &run, &shard).await.unwrap();
    let outcomes: Vec<(u32, Outcome, String)> = reports
        .reports
        .into_iter()
        .map(|report| match report.report {
            Some(Report::Attempt(attempt)) => (
                attempt.case,
                outcome_from_wire(attempt.outcome.as_ref()).unwrap(),
                String::from_utf8(
                    attempt
                        .output
                        .unwrap_or_default()
                        .stdout
                        .unwrap_or_default()
                        .head
                        .to_vec(),
                )
                .unwrap(),
            ),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(outcomes.len(), 3, "{outcomes:?}");
    assert_eq!(outcomes[0], (0, Outcome::Passed, "data.txtbin".to_owned()));
    assert!(
        matches!(outcomes[1], (1, Outcome::Failed { .. }, _)),
        "{outcomes:?}"
    );
    assert_eq!(outcomes[2].1, Outcome::Passed, "{outcomes:?}");
    // The engine's own files are as they were, and no case sees what another wrote.
    assert_eq!(
        fs::read_to_string(folder.path().join("trees/0/data.txt")).unwrap(),
        "data.txt"
    );
    if reports.isolation_shortfalls.is_empty() {
        assert_eq!(outcomes[2].2, "data.txt");
    }
}

#[tokio::test]
async fn what_is_no_shard_is_refused() {
    let (folder, run, shard) = input_root(&["true"]);
    let garbage = folder.path().join("garbage");
    fs::write(&garbage, [0xff; 9]).unwrap();
    let refused = execute(folder.path(), &garbage, &garbage, &folder.path().join("out")).await;
    assert!(
        matches!(refused, Err(ShardError::Unreadable { .. })),
        "{refused:?}"
    );
    let wrong = |change: fn(&mut Shard)| {
        let mut shard = shard.clone();
        change(&mut shard);
        shard
    };
    for shard in [
        wrong(|shard| shard.lease = None),
        wrong(|shard| shard.trees[0].at = "../elsewhere".into()),
        wrong(|shard| shard.trees[0].at = "/etc".into()),
        wrong(|shard| shard.trees[0].path = "relative".into()),
    ] {
        let refused = executed(folder.path(), &run, &shard).await;
        assert!(matches!(refused, Err(ShardError::Invalid(_))), "{refused:?}");
    }
}

#[tokio::test]
async fn cases_that_cannot_be_prepared_come_back() {
    let (folder, run, mut shard) = input_root(&["true", "true"]);
    shard.trees[1].at = "trees/none".into();
    let reports = executed(folder.path(), &run, &shard).await.unwrap().reports;
    let back: usize = reports
        .iter()
        .map(|report| match &report.report {
            Some(Report::Returned(returned)) => returned.cases.len(),
            other => panic!("{other:?}"),
        })
        .sum();
    assert_eq!(back, 2);
}

/// How many cases of a shard come to be executed.
fn open_sound(run: &[u8], shard: &[u8]) -> Result<usize, ShardError> {
    let here = Path::new("/engine/action");
    let Opened { run, lease, trees } = open(here, (Path::new("run"), run), (Path::new("shard"), shard))?;
    let is_plain = |path: &Path| {
        let is_plain = |part| matches!(part, Component::RootDir | Component::Normal(_));
        path.is_absolute() && path.components().all(is_plain)
    };
    for tree in trees {
        assert!(is_plain(&tree.path), "{tree:?}");
        assert!(tree.from.starts_with(here) && is_plain(&tree.from), "{tree:?}");
    }
    let brief = Brief::from_wire(run)?;
    if let Some(shipped) = &brief.shipped {
        let trees = shipped.folders.iter().chain(&shipped.source);
        for tree in trees.chain([&shipped.target]) {
            assert!(is_plain(&tree.path), "{tree:?}");
        }
    }
    for output in brief.outputs.iter().flatten() {
        assert!(output.is_relative() && is_plain(&Path::new("/").join(output)));
    }
    let mut scripts = brief.commands.iter().flat_map(|command| &command.setup_scripts);
    assert!(scripts.all(|script| brief.setup_scripts.get(*script).is_some()));
    let sound = lease.cases.iter().filter(|case| brief.check(case).is_ok());
    Ok(sound.count())
}

#[test]
fn files_of_shards_make_sense_or_are_refused() {
    let (_folder, mut run, shard) = input_root(&["true", "false"]);
    if let Some(header) = &mut run.header {
        header.setup_scripts.push(v1::SetupScript::default());
        header.commands[0].setup_scripts.push(0);
    }
    let (run, shard) = (run.encode_to_vec(), shard.encode_to_vec());
    assert_eq!(open_sound(&run, &shard).unwrap(), 2);
    let check = |run: &[u8], shard: &[u8]| match open_sound(run, shard) {
        Ok(_) | Err(ShardError::Unreadable { .. } | ShardError::Invalid(_)) => {}
        Err(other) => panic!("{other}"),
    };
    fuzz(2_000, &shard, |bytes| check(&run, bytes));
    fuzz(2_000, &run, |bytes| check(bytes, &shard));
}
