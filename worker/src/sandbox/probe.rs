//! Whether this machine lets the worker make views.

use std::path::Path;

use super::view::{Folder, View, ViewSpec};

/// Whether views can be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Support {
    /// They can.
    Namespaces,
    /// They cannot; the text says why.
    None(String),
}

/// Finds out by making one, with its files in `scratch`.
pub fn probe(scratch: &Path) -> Support {
    let from = scratch.join(format!("probe-{}", uuid::Uuid::new_v4().simple()));
    let at = Path::new("/thresh-probe").join(uuid::Uuid::new_v4().simple().to_string());
    if let Err(cause) = std::fs::create_dir_all(&from) {
        return Support::None(format!("make {}: {cause}", from.display()));
    }
    let folders = vec![Folder {
        at,
        from: from.clone(),
        live: false,
        shared: false,
    }];
    let built = View::build(&ViewSpec {
        folders,
        temp_dirs: Vec::new(),
        scratch: scratch.to_owned(),
    });
    // It is empty, and of no use to anyone if it stays.
    let _ = std::fs::remove_dir(&from);
    match built {
        Ok(_) => Support::Namespaces,
        Err(error) => Support::None(error.to_string()),
    }
}
