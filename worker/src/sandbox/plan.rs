//! Which steps make a view.

use std::ffi::{CString, OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::thread::UnshareFlags;

use super::level::{self, Item};
use super::paths::{FOLDERS, Kind, LAYERS, Layout, Node, c_path};
use super::scratch::Scratch;
use super::step::Step;
use super::view::{Folder, ViewError, ViewSpec};

/// How the view comes by the right to mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rights {
    /// The worker has it.
    Own,
    /// In a user namespace, in which the worker's user and group are the same as outside.
    UserNamespace,
}

/// How folders are made writable without writing to where they come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writes {
    /// By an overlay.
    Overlay,
    /// In a copy, at [`Scratch::copy`].
    Copy,
}

/// Lists the steps that make the view, from inside a freshly forked child.
pub(super) fn plan(
    spec: &ViewSpec,
    layout: &Layout,
    scratch: &Scratch,
    rights: Rights,
    writes: Writes,
) -> Result<Vec<Step>, ViewError> {
    let mut planner = Planner {
        spec,
        scratch,
        rights,
        writes,
        steps: Vec::new(),
    };
    let root = scratch.root();
    planner.begin().map_err(ViewError::scratch(scratch.path()))?;
    planner.attach(&layout.root, Some(Path::new("/")), &root, false)?;
    planner.show_again(&root)?;
    planner.steps.push(Step::Enter { root: path(&root)? });
    Ok(planner.steps)
}

/// The steps into a mount namespace of one's own.
pub(super) fn own_mounts(rights: Rights) -> io::Result<Vec<Step>> {
    let user = rights == Rights::UserNamespace;
    let user_flag = if user {
        UnshareFlags::NEWUSER
    } else {
        UnshareFlags::empty()
    };
    let mut steps = vec![Step::Unshare(user_flag | UnshareFlags::NEWNS)];
    if user {
        let uid = rustix::process::geteuid().as_raw();
        let gid = rustix::process::getegid().as_raw();
        for (file, content) in [
            ("uid_map", format!("{uid} {uid} 1")),
            ("setgroups", "deny".to_owned()),
            ("gid_map", format!("{gid} {gid} 1")),
        ] {
            let path = c_path(format!("/proc/self/{file}"))?;
            steps.push(Step::Write {
                path,
                content: content.into_bytes(),
                optional: false,
            });
        }
    }
    steps.push(Step::Detach);
    Ok(steps)
}

struct Planner<'a> {
    spec: &'a ViewSpec,
    scratch: &'a Scratch,
    rights: Rights,
    writes: Writes,
    steps: Vec<Step>,
}

impl Planner<'_> {
    fn begin(&mut self) -> io::Result<()> {
        self.steps.extend(own_mounts(self.rights)?);
        self.steps.push(Step::WorkIn {
            folder: c_path(self.scratch.path())?,
        });
        Ok(())
    }

    /// Makes the presented paths at and below `node` appear at and below `at`, which is a folder of the new
    /// root. `host` is what the machine has at that path, if anything; `shown` says that `at` shows it already.
    fn attach(&mut self, node: &Node, host: Option<&Path>, at: &Path, shown: bool) -> Result<(), ViewError> {
        match (node.kind, host) {
            (Some(kind), _) => {
                let lower = self.present(kind, at)?;
                self.attach_inside(node, lower.as_deref(), at)
            }
            (None, None) => self.attach_inside(node, None, at),
            (None, Some(host)) if level::has_places(node, host) => {
                if !shown {
                    self.bind(host, at)?;
                }
                for (name, child) in &node.children {
                    self.attach(child, Some(&host.join(name)), &at.join(name), true)?;
                }
                Ok(())
            }
            (None, Some(host)) => self.rebuild(node, host, at),
        }
    }

    /// Shows a folder or the temp folders of all cases; returns the folder it comes from.
    fn present(&mut self, kind: Kind, at: &Path) -> Result<Option<PathBuf>, ViewError> {
        match kind {
            Kind::Temp(index) => {
                self.bind(&self.scratch.temps(index), at)?;
                Ok(None)
            }
            Kind::Folder(index) => {
                let Folder { from, live, .. } = &self.spec.folders[index];
                match self.writes {
                    _ if *live => self.bind(from, at)?,
                    Writes::Copy => self.bind(&self.scratch.copy(index), at)?,
                    Writes::Overlay => {
                        self.bind(from, &self.scratch.lower(index))?;
                        let in_user_namespace = self.rights == Rights::UserNamespace;
                        let overlay =
                            Step::overlay(path(at)?, &format!("lower-{index}"), index, in_user_namespace);
                        self.steps.push(overlay.map_err(ViewError::scratch(at))?);
                    }
                }
                Ok(Some(from.clone()))
            }
        }
    }

    /// Attaches children of a writable folder of the view, and makes their places. What `lower`, the folder's
    /// content, has in a place and is no folder (a link would lead out of the new root) is taken away.
    fn attach_inside(&mut self, node: &Node, lower: Option<&Path>, at: &Path) -> Result<(), ViewError> {
        for (name, child) in &node.children {
            let at = at.join(name);
            let lower = lower.map(|lower| lower.join(name));
            let found = lower.as_ref().and_then(|lower| fs::symlink_metadata(lower).ok());
            if found.as_ref().is_some_and(|found| !found.is_dir()) {
                self.steps.push(Step::Clear { at: path(&at)? });
            }
            self.steps.push(Step::Folder { at: path(&at)? });
            match child.kind {
                Some(_) => self.attach(child, None, &at, false)?,
                None => {
                    let lower = lower.filter(|_| found.is_some_and(|found| found.is_dir()));
                    self.attach_inside(child, lower.as_deref(), &at)?;
                }
            }
        }
        Ok(())
    }

    /// Makes a level of the new root anew, as the machine's folder lacks a place and must not be changed.
    fn rebuild(&mut self, node: &Node, host: &Path, at: &Path) -> Result<(), ViewError> {
        self.steps.push(Step::Tmpfs {
            at: path(at)?,
            temp: false,
        });
        for item in level::items(node, host)? {
            self.copy_item(item, host, at)?;
        }
        for (name, child) in &node.children {
            let (from, at) = (level::folder_behind(&host.join(name)), at.join(name));
            self.steps.push(Step::Folder { at: path(&at)? });
            self.attach(child, from.as_deref(), &at, false)?;
        }
        Ok(())
    }

    /// Shows every folder at a second path, at which it stays when a case puts an overlay over it, and makes room for
    /// what the case writes.
    fn show_again(&mut self, root: &Path) -> Result<(), ViewError> {
        let folders = in_root(root, Path::new(FOLDERS));
        for place in [&folders, &in_root(root, Path::new(LAYERS))] {
            self.steps.push(Step::Folder { at: path(place)? });
        }
        for (index, folder) in self.spec.folders.iter().enumerate() {
            let at = folders.join(index.to_string());
            self.steps.push(Step::Folder { at: path(&at)? });
            self.bind(&in_root(root, &folder.at), &at)?;
        }
        Ok(())
    }

    fn copy_item(&mut self, item: Item, host: &Path, at: &Path) -> Result<(), ViewError> {
        let place = |name: &OsString| path(at.join(name));
        let (name, step) = match item {
            Item::Link(name, to) => {
                self.steps.push(Step::Link {
                    at: place(&name)?,
                    to: path(to)?,
                });
                return Ok(());
            }
            Item::Folder(name) => (name.clone(), Step::Folder { at: place(&name)? }),
            Item::File(name) => (name.clone(), Step::File { at: place(&name)? }),
        };
        self.steps.push(step);
        let (from, at) = (path(host.join(&name))?, place(&name)?);
        self.steps.push(Step::Bind {
            from,
            at,
            optional: true,
        });
        Ok(())
    }

    fn bind(&mut self, from: &Path, at: &Path) -> Result<(), ViewError> {
        self.steps.push(Step::Bind {
            from: path(from)?,
            at: path(at)?,
            optional: false,
        });
        Ok(())
    }
}

fn in_root(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

fn path(path: impl AsRef<OsStr>) -> Result<CString, ViewError> {
    let path = path.as_ref();
    c_path(path).map_err(ViewError::scratch(Path::new(path)))
}
