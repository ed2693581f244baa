//! The command that runs one case again.

use super::event::CaseLabel;

/// Makes the commands that rerun single cases with the build flags of this run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RerunCommand {
    /// Flags that the command needs to build and find the same cases (`--release`, `--features x`, `-C dir`...);
    /// none that select packages or cases.
    pub flags: Vec<String>,
}

impl RerunCommand {
    /// Returns the command for a case, quoted for a POSIX shell.
    pub fn of(&self, label: &CaseLabel) -> String {
        let filter = format!(
            "binary_id(={}) & test(={})",
            escape(&label.binary_id),
            escape(&label.name)
        );
        let words = ["thresh", "run"]
            .into_iter()
            .chain(self.flags.iter().map(String::as_str));
        let words = words.chain(["-p", &label.package, "-E", &filter]);
        // A NUL cannot stand in an argument, and no name holds one.
        shell_words::join(words)
    }
}

/// Escapes a name for the `=` matcher of a filterset.
fn escape(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '\\' | ')' | ',' | '/' => escaped.extend(['\\', c]),
            c if c.is_control() => escaped.push_str(&format!("\\u{{{:x}}}", u32::from(c))),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(name: &str) -> CaseLabel {
        CaseLabel {
            binary_id: "my-crate::it".into(),
            package: "my-crate".into(),
            name: name.into(),
            report: crate::report::sample::SETTINGS,
        }
    }

    #[test]
    fn plain_names_are_quoted_once() {
        let command = RerunCommand {
            flags: vec!["--release".into()],
        };
        assert_eq!(
            command.of(&label("tests::adds")),
            "thresh run --release -p my-crate -E 'binary_id(=my-crate::it) & test(=tests::adds)'"
        );
    }

    #[test]
    fn odd_names_survive_shell_and_filterset() {
        for name in [
            "it's a \"case\"",
            "$(rm) `x` \\ /",
            "f(x), y",
            " lead",
            "trail ",
            "ünï ★",
            "a\tb\nc",
            "=x",
            "#",
        ] {
            let words = shell_words::split(&RerunCommand::default().of(&label(name))).unwrap();
            let filter = words.last().unwrap();
            let parsed = nextest_filtering::ParsedExpr::parse(filter).expect("the filterset is valid");
            let shown = format!("{parsed:?}");
            assert!(
                shown.contains(&format!("Equal {{ value: {name:?}, implicit: false }}")),
                "{shown}"
            );
        }
    }
}
