//! Mutant after mutant: change, run with reuse, run for real, restore.

use crate::site::Site;
use crate::{Options, draw, files, guard, rust};
use cargo_metadata::{MetadataCommand, TargetKind};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use thresh_tests::reuse::{End, How, Run, Settled, Suite, passes_for_real};
use thresh_tests::status::{Case, Statuses, Word};
use thresh_tests::workspace::{Workspace, sync};
use walkdir::WalkDir;

/// How long the unchanged suite may take to build and run.
const BASE_LIMIT: Duration = Duration::from_secs(2 * 3600);

/// What building may take at least, for a mutant.
const BUILD_LIMIT: Duration = Duration::from_secs(600);

/// What one mutant came to.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// Its number in the order of the seed, from 1.
    pub(crate) number: usize,
    /// What was changed.
    pub(crate) site: Site,
    /// Whether it builds; else there is nothing more.
    pub(crate) built: bool,
    /// Whether a case fails, or the cases cannot be listed.
    pub(crate) killed: bool,
    /// Cases that ran although reuse was on.
    pub(crate) ran: usize,
    /// Cases that were reused.
    pub(crate) reused: usize,
    /// Cases that were reused and never pass for real.
    pub(crate) wrong: Vec<Case>,
    /// Cases that were reused and do not always pass for real.
    pub(crate) flaky: Vec<Case>,
    /// How long all of it took, in seconds.
    pub(crate) seconds: f64,
}

/// A suite and the mutants that are still to come.
pub(crate) struct Campaign {
    workspace: Workspace,
    suite: Suite,
    sites: std::iter::Enumerate<std::vec::IntoIter<Site>>,
    started: Instant,
    limit: Option<Duration>,
    wanted: usize,
    played: usize,
    places: usize,
    reused: usize,
    /// Cases that fail in the unchanged suite: they say nothing of a mutant.
    failing: BTreeSet<Case>,
    stopped: bool,
}

impl Campaign {
    /// Copies the workspace, runs it unchanged and draws the mutants.
    ///
    /// # Errors
    /// What is wrong with the workspace, in words.
    pub(crate) fn begin(options: &Options) -> Result<Self, String> {
        let started = Instant::now();
        let folder = options.folder.canonicalize();
        let folder = folder.map_err(|error| format!("{}: {error}", options.folder.display()))?;
        guard::bound_memory();
        let workspace = Workspace::copy_of(&folder);
        track(&workspace);
        let base = Suite::new(workspace.thresh(), Vec::new(), options.flags.clone(), BASE_LIMIT);
        let (first, again) = (base.run(How::Reuse), base.run(How::Reuse));
        if first.end != End::Cases || again.end != End::Cases {
            return Err(format!(
                "{} does not run: {:?}\n{}",
                folder.display(),
                first.end,
                first.why()
            ));
        }
        let reused = count(&again.statuses, Word::Reused);
        say(&format!(
            "unchanged: {} cases, {} passed, {reused} reused the second time; {:.0} s to build",
            first.statuses.len(),
            count(&first.statuses, Word::Passed),
            first.building
        ));
        let kept = fs::rename(home(&workspace), base_home(&workspace));
        kept.map_err(|error| format!("the state folder cannot be kept: {error}"))?;
        let suite = bounded(&workspace, options, &first);
        let sites = draw::draw(find(&workspace), options.seed);
        let places = sites.len();
        say(&format!("{places} places that can be changed"));
        let mut sites = sites.into_iter().enumerate();
        if let Some(skipped) = options.from.checked_sub(2) {
            sites.nth(skipped);
        }
        Ok(Self {
            workspace,
            suite,
            sites,
            started,
            limit: options.limit,
            wanted: options.mutants,
            played: 0,
            places,
            reused,
            failing: [first, again]
                .iter()
                .flat_map(|run| failing(&run.statuses))
                .collect(),
            stopped: false,
        })
    }

    /// Whether the unchanged suite reuses any case; else nothing can be found wrong.
    pub(crate) fn reuses(&self) -> bool {
        self.reused > 0
    }

    /// Says what the table does not: how many mutants there are when there are fewer than wanted, and why.
    pub(crate) fn ending(&self) -> String {
        let (played, wanted) = (self.played, self.wanted);
        let mut text = format!(
            "{played} mutants of {} places in {:.0} minutes.\n",
            self.places,
            self.started.elapsed().as_secs_f64() / 60.0
        );
        if played < wanted {
            let why = if self.stopped {
                "the time is over"
            } else {
                "there are no more places"
            };
            text += &format!("Fewer than the {wanted} wanted: {why}.\n");
        }
        if !self.reuses() {
            text += "The unchanged suite reuses nothing, so nothing could be found wrong.\n";
        }
        text
    }

    /// Plays the next mutant; `None` when there are enough, no more, or the time is over.
    pub(crate) fn next(&mut self) -> Option<Row> {
        if self.played == self.wanted {
            return None;
        }
        self.stopped = self.limit.is_some_and(|limit| self.started.elapsed() >= limit);
        if self.stopped {
            return None;
        }
        let (index, site) = self.sites.next()?;
        let row = self.play(index + 1, site);
        self.played += usize::from(row.built);
        say(&progress(&row, self.played, self.wanted));
        Some(row)
    }

    fn play(&self, number: usize, site: Site) -> Row {
        let started = Instant::now();
        self.reset_state();
        let applied = site
            .apply(&self.workspace.root())
            .expect("the copy can be changed");
        let first = self.suite.run(How::Reuse);
        let mut settled = Settled::default();
        let mut killed = first.end != End::Cases || self.fails(&first.statuses);
        let any_reused = count(&first.statuses, Word::Reused) > 0;
        if any_reused {
            let real = self.suite.run(How::Real);
            killed |= self.fails(&real.statuses);
            settled = self.suite.settle(&first.statuses, &real.statuses);
        }
        applied.restore().expect("the copy can be restored");
        let reused = count(&first.statuses, Word::Reused);
        Row {
            number,
            site,
            built: first.end != End::Unbuilt,
            killed,
            ran: first.statuses.len() - reused - count(&first.statuses, Word::NotRun),
            reused,
            wrong: settled.wrong,
            flaky: settled.flaky,
            seconds: started.elapsed().as_secs_f64(),
        }
    }

    fn fails(&self, statuses: &Statuses) -> bool {
        failing(statuses).any(|case| !self.failing.contains(&case))
    }

    /// Gives `thresh` the state that it had after the unchanged suite, at the same place: mutants do not meet.
    fn reset_state(&self) {
        let (from, to) = (base_home(&self.workspace), home(&self.workspace));
        let _ = fs::remove_dir_all(&to);
        sync(&from, &to).expect("a state folder can be copied");
    }
}

fn home(workspace: &Workspace) -> PathBuf {
    workspace.temp().join("home")
}

fn base_home(workspace: &Workspace) -> PathBuf {
    workspace.temp().join("home-of-base")
}

/// Makes the copy a repository, as the original most likely is.
fn track(workspace: &Workspace) {
    workspace.git_do(&["init", "--quiet"]);
    workspace.git_do(&["add", "--all"]);
    workspace.git_do(&["commit", "--quiet", "--allow-empty", "--message=base"]);
}

/// The suite with bounds that the unchanged one tells.
fn bounded(workspace: &Workspace, options: &Options, base: &Run) -> Suite {
    let longest = base.seconds.values().copied().fold(0.0, f64::max);
    let settings = workspace.temp().join("bounds.toml");
    let took = (base.took.as_secs_f64() - base.building).max(0.0);
    guard::write_settings(&settings, longest, took).expect("the temp folder can be written");
    let args = vec![
        "--tool-config-file".to_owned(),
        format!("soundness:{}", settings.display()),
    ];
    let building = BUILD_LIMIT.max(Duration::from_secs_f64(2.0 * base.building));
    Suite::new(
        workspace.thresh(),
        args,
        options.flags.clone(),
        guard::run_limit(took) + building,
    )
}

/// Finds every place of a workspace that was built.
fn find(workspace: &Workspace) -> Vec<Site> {
    let root = workspace.root();
    let tracked = tracked(workspace);
    let built = built(&root);
    let scripts = build_scripts(&root);
    let (mut sites, mut variables) = (Vec::new(), BTreeSet::new());
    for path in &tracked {
        let text = || fs::read_to_string(root.join(path)).unwrap_or_default();
        if path.extension().is_some_and(|ending| ending == "rs") {
            if built.is_empty() || built.contains(path) {
                let found = rust::find(path, &text(), scripts.contains(path));
                sites.extend(found.sites);
                variables.extend(found.variables);
            }
        } else if files::is_c(path) {
            sites.extend(files::c(path, &text()));
        } else if files::is_data(path) {
            sites.extend(files::data(&root, path));
        }
    }
    sites.extend(files::environment(&root, &variables));
    sites
}

/// Files that git tracks, below the root.
fn tracked(workspace: &Workspace) -> Vec<PathBuf> {
    let mut git = std::process::Command::new("git");
    git.args(["ls-files", "-z"]).current_dir(workspace.root());
    let output = git.output().expect("git was there before");
    let names = output
        .stdout
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty());
    names
        .filter_map(|name| Some(PathBuf::from(std::str::from_utf8(name).ok()?)))
        .collect()
}

/// Source files that the compiler says it has read, below the root.
fn built(root: &Path) -> BTreeSet<PathBuf> {
    let entries = WalkDir::new(root.join("target"))
        .into_iter()
        .filter_map(Result::ok);
    let lists = entries.filter(|entry| entry.path().extension().is_some_and(|ending| ending == "d"));
    let mut files = BTreeSet::new();
    for list in lists {
        let text = fs::read_to_string(list.path()).unwrap_or_default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((_, names)) = line.split_once(": ") else {
                continue;
            };
            // A space within a name has a backslash before it.
            let names = names.replace("\\ ", "\0");
            let paths = names.split(' ').map(|name| root.join(name.replace('\0', " ")));
            files.extend(paths.filter_map(|path| Some(path.strip_prefix(root).ok()?.to_owned())));
        }
    }
    files
}

fn build_scripts(root: &Path) -> BTreeSet<PathBuf> {
    let Ok(metadata) = MetadataCommand::new().current_dir(root).no_deps().exec() else {
        return BTreeSet::new();
    };
    let targets = metadata.packages.iter().flat_map(|package| &package.targets);
    let scripts = targets.filter(|target| target.kind.contains(&TargetKind::CustomBuild));
    scripts
        .filter_map(|target| Some(target.src_path.strip_prefix(root).ok()?.into()))
        .collect()
}

fn count(statuses: &Statuses, word: Word) -> usize {
    statuses.values().filter(|status| status.word == word).count()
}

fn failing(statuses: &Statuses) -> impl Iterator<Item = Case> {
    let ended = statuses.iter().filter(|(_, status)| status.word != Word::Reused);
    let failing = ended.filter(|(_, status)| !passes_for_real(**status));
    failing.map(|(case, _)| case.clone())
}

fn progress(row: &Row, played: usize, wanted: usize) -> String {
    let came = if !row.built {
        "does not build".to_owned()
    } else {
        let fate = if row.killed { "killed" } else { "survived" };
        let wrong = if row.wrong.is_empty() {
            String::new()
        } else {
            format!(", {} WRONG", row.wrong.len())
        };
        format!("{fate}, {} ran, {} reused{wrong}", row.ran, row.reused)
    };
    let kind = row.site.kind.name();
    format!(
        "[{played}/{wanted}] {}. {kind}: {}: {came} ({:.0} s)",
        row.number, row.site, row.seconds
    )
}

#[expect(clippy::print_stderr, reason = "progress of a program that takes long")]
fn say(text: &str) {
    eprintln!("{text}");
}
