//! Which environment variables a test case gets, and which of them its reuse key holds.
//!
//! Two questions are answered by name alone:
//!
//! * *Does the variable count?* On the client's own machine a case gets the client's whole environment, as it
//!   does from nextest, and all of it is in the key, but for [`VOLATILE`]: variables that name one terminal,
//!   one shell or one CI run, and would otherwise change the key at every run.
//! * *Does it travel?* To another machine only [`TRAVELS`] and what the user names go: paths, identities and
//!   secrets of the client mean nothing, or too much, elsewhere.

/// Variables that a case gets on the client's machine but that are not in the reuse key. An entry that ends
/// with `*` stands for every name with that beginning. A case whose outcome depends on one of these can be
/// wrongly reused; `env.key` in `thresh.toml` puts a name back into the key.
pub const VOLATILE: &[&str] = &[
    "_",
    "ACTIONS_*",
    "BUILDKITE_*",
    "BUILD_ID",
    "BUILD_NUMBER",
    "BUILD_TAG",
    "BUILD_URL",
    "CARGO_MAKEFLAGS",
    "CI_*",
    "COLUMNS",
    "DBUS_SESSION_BUS_ADDRESS",
    "GITHUB_*",
    "GPG_TTY",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "LINES",
    "MAKEFLAGS",
    "MAKELEVEL",
    "MFLAGS",
    "OLDPWD",
    "PWD",
    "RUNNER_*",
    "SHLVL",
    "SSH_AUTH_SOCK",
    "SSH_CLIENT",
    "SSH_CONNECTION",
    "SSH_TTY",
    "STY",
    "TERM_SESSION_ID",
    "THRESH_*",
    "TMUX",
    "TMUX_PANE",
    "WINDOWID",
    "XDG_SESSION_ID",
];

/// Variables of the client that also go to workers on other machines, same form.
pub const TRAVELS: &[&str] = &[
    "CARGO_TERM_*",
    "CI",
    "INSTA_*",
    "LANG",
    "LC_*",
    "PROPTEST_*",
    "QUICKCHECK_*",
    "RUST_BACKTRACE",
    "RUST_LIB_BACKTRACE",
    "RUST_LOG",
    "RUST_MIN_STACK",
    "RUST_TEST_*",
    "SNAPSHOTS",
    "TRYBUILD",
    "TRYCMD",
    "TZ",
];

/// The two lists, with what the user's configuration adds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnvironmentPolicy {
    /// Further names (or beginnings with `*`) that travel to workers: `env.pass` in `thresh.toml`.
    pub pass: Vec<String>,
    /// Names that are in the key although they are volatile: `env.key` in `thresh.toml`.
    pub key: Vec<String>,
}

impl EnvironmentPolicy {
    /// Whether `name` is part of the reuse key.
    pub fn is_in_key(&self, name: &str) -> bool {
        self.key.iter().any(|pattern| matches(pattern, name))
            || !VOLATILE.iter().any(|pattern| matches(pattern, name))
    }

    /// Whether `name` goes to workers on other machines.
    pub fn travels(&self, name: &str) -> bool {
        self.pass.iter().any(|pattern| matches(pattern, name))
            || TRAVELS.iter().any(|pattern| matches(pattern, name))
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => pattern == name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_variables_are_in_the_key_and_stay_at_home() {
        let policy = EnvironmentPolicy::default();
        assert!(policy.is_in_key("DATABASE_URL"));
        assert!(!policy.travels("DATABASE_URL"));
        assert!(!policy.is_in_key("GITHUB_RUN_ID"));
        assert!(policy.travels("LC_ALL"));
        assert!(!policy.travels("AWS_SECRET_ACCESS_KEY"));
    }

    #[test]
    fn configuration_adds_to_both_lists() {
        let policy = EnvironmentPolicy {
            pass: vec!["DATABASE_*".into()],
            key: vec!["GITHUB_REF".into()],
        };
        assert!(policy.travels("DATABASE_URL"));
        assert!(policy.is_in_key("GITHUB_REF"));
        assert!(!policy.is_in_key("GITHUB_REF_NAME"));
    }
}
