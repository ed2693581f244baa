//! The project's name: the same on every machine and in every clone, so that they share one history.

use std::path::Path;

/// Returns the project's name: `explicit`, else git's `origin` as `host/path`, else the folder's name.
pub fn project_name(explicit: Option<&str>, workspace_root: &Path) -> String {
    explicit
        .map(str::to_owned)
        .or_else(|| origin_url(workspace_root).and_then(|url| normalise_url(&url)))
        .or_else(|| {
            workspace_root
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
        })
        .unwrap_or_else(|| "root".to_owned())
}

fn origin_url(workspace_root: &Path) -> Option<String> {
    let mut git = thresh_cas::git_in(workspace_root);
    let output = git.args(["config", "--get", "remote.origin.url"]).output().ok()?;
    let url = String::from_utf8(output.stdout).ok()?;
    let url = url.trim();
    (output.status.success() && !url.is_empty()).then(|| url.to_owned())
}

/// Reduces the forms that git accepts to `host/path`: scheme, credentials, port and `.git` say how one reaches
/// the repository, not which it is. `None` when the URL names no host (a path on this machine).
fn normalise_url(url: &str) -> Option<String> {
    let (authority, path) = match url.split_once("://") {
        Some(("file", _)) => return None,
        Some((_, rest)) => rest.split_once('/')?,
        // The scp-like form `user@host:path`; a slash before the colon makes it a local path.
        None => url.split_once(':').filter(|(host, _)| !host.contains('/'))?,
    };
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let path = path.split(['?', '#']).next().unwrap_or(path).trim_matches('/');
    let path = path.strip_suffix(".git").unwrap_or(path).trim_end_matches('/');
    (!host.is_empty() && !path.is_empty()).then(|| format!("{}/{path}", host.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms_of_one_repository_have_one_name() {
        for url in [
            "https://github.com/owner/repo",
            "https://GitHub.com/owner/repo.git",
            "https://user:secret@github.com/owner/repo.git/",
            "https://token@github.com:443/owner/repo.git?x=1",
            "ssh://git@github.com:22/owner/repo.git",
            "git@github.com:owner/repo.git",
            "github.com:owner/repo",
            "git@github.com:/owner/repo",
        ] {
            assert_eq!(
                normalise_url(url).as_deref(),
                Some("github.com/owner/repo"),
                "{url}"
            );
        }
    }

    #[test]
    fn local_paths_have_no_name() {
        for url in [
            "/srv/git/repo.git",
            "../repo",
            "file:///srv/repo.git",
            "./a:b",
            "",
            "https://host",
        ] {
            assert_eq!(normalise_url(url), None, "{url}");
        }
    }

    #[test]
    fn the_explicit_name_wins_and_the_folder_is_the_last_resort() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("some workspace");
        std::fs::create_dir(&root).unwrap();
        assert_eq!(project_name(Some("mine"), &root), "mine");
        assert_eq!(project_name(None, &root), "some workspace");
    }
}
