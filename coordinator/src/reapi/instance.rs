//! Instance names: a project, and by which trust a client acts.

use tonic::Status;

/// What an instance without a name stands for.
const DEFAULT_PROJECT: &str = "default";
/// The longest name in bytes.
const NAME_BYTES_MAX: usize = 200;

/// Whose results of actions a client sees and writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// Sees and writes what everybody sees, also results of its own.
    Trusted,
    /// Sees what the trusted have and what this farm has executed for those of its kind; brings no results itself.
    Untrusted,
}

/// An instance, as its name says: `PROJECT`, `PROJECT/trusted` or `PROJECT/untrusted`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Instance {
    pub(super) project: String,
    pub(super) trust: Trust,
}

impl Instance {
    pub(super) fn parse(name: &str) -> Result<Self, Status> {
        if name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
            let problem = format!(
                "the instance name is longer than {NAME_BYTES_MAX} bytes or has a control character in it"
            );
            return Err(Status::invalid_argument(problem));
        }
        let (project, trust) = match name.rsplit_once('/').unwrap_or(("", name)) {
            (project, "trusted") => (project, Trust::Trusted),
            (project, "untrusted") => (project, Trust::Untrusted),
            _ => (name, Trust::Untrusted),
        };
        let project = match project {
            "" => DEFAULT_PROJECT,
            project => project,
        };
        Ok(Self {
            project: project.to_owned(),
            trust,
        })
    }

    /// Under which names results of actions are looked for, those first that count first.
    pub(super) fn namespaces(&self) -> Vec<String> {
        let trusted = format!("{}/trusted", self.project);
        match self.trust {
            Trust::Trusted => vec![trusted],
            Trust::Untrusted => vec![trusted, format!("{}/untrusted", self.project)],
        }
    }

    /// Under which name its own results are kept.
    pub(super) fn namespace(&self) -> String {
        self.namespaces().pop().expect("there is one")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_project_and_a_trust() {
        for (name, project, trust) in [
            ("", "default", Trust::Untrusted),
            ("trusted", "default", Trust::Trusted),
            ("shop", "shop", Trust::Untrusted),
            ("shop/untrusted", "shop", Trust::Untrusted),
            ("shop/trusted", "shop", Trust::Trusted),
            ("a/b/trusted", "a/b", Trust::Trusted),
            ("shop/trust", "shop/trust", Trust::Untrusted),
        ] {
            let instance = Instance::parse(name).unwrap();
            assert_eq!(
                (instance.project.as_str(), instance.trust),
                (project, trust),
                "{name}"
            );
        }
        assert!(Instance::parse("a\nb").is_err());
        assert!(Instance::parse(&"x".repeat(300)).is_err());
    }

    #[test]
    fn the_untrusted_see_more_than_they_write() {
        let namespaces = |name| Instance::parse(name).unwrap().namespaces();
        assert_eq!(namespaces("a/trusted"), ["a/trusted"]);
        assert_eq!(namespaces("a"), ["a/trusted", "a/untrusted"]);
        assert_eq!(Instance::parse("a").unwrap().namespace(), "a/untrusted");
    }
}
