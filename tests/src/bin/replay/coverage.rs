//! A peer at the same commits: cargo-affected, which leaves out tests whose lines, by coverage of the commit before, are not
//! among those that changed.

use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// cargo-affected in a workspace.
#[derive(Debug)]
pub(crate) struct Coverage {
    /// The workspace's root.
    pub(crate) root: PathBuf,
    /// A target folder of its own: it builds with instrumentation.
    pub(crate) target: PathBuf,
    /// A file for its reports.
    pub(crate) report: PathBuf,
    /// What goes to cargo-nextest.
    pub(crate) flags: Vec<String>,
}

impl Coverage {
    /// Returns how many tests it leaves out now, and has it learn what they cover at this commit.
    ///
    /// # Errors
    /// What it says when it fails.
    pub(crate) fn left_out(&self) -> Result<usize, String> {
        let report = self.report.to_string_lossy();
        let status = self.call(&["status", "--report-json", &report])?;
        let text =
            fs::read_to_string(&self.report).map_err(|error| format!("{report}: {error}; {status}"))?;
        let left_out = left_out(&text)?;
        self.call(&["collect"])?;
        Ok(left_out)
    }

    fn call(&self, args: &[&str]) -> Result<String, String> {
        let output = Command::new("cargo")
            .arg("affected")
            .args(args)
            .arg("--")
            .args(&self.flags)
            .current_dir(&self.root)
            .env("CARGO_TARGET_DIR", &self.target)
            .stdin(Stdio::null())
            .output();
        let output = output.map_err(|error| format!("cargo affected cannot be started: {error}"))?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() {
            Ok(said)
        } else {
            Err(format!("cargo affected {}: {said}", args.join(" ")))
        }
    }
}

/// Reads how many tests a report leaves out: none where all are to run.
fn left_out(report: &str) -> Result<usize, String> {
    let report: Value = serde_json::from_str(report).map_err(|error| error.to_string())?;
    let skipped = report["selection"]["summary"]["skipped"].as_u64().unwrap_or(0);
    usize::try_from(skipped).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_in_the_summary() {
        let report = r#"{"selection":{"summary":{"selected":2,"skipped":7,"mode":"selection"}}}"#;
        assert_eq!(left_out(report), Ok(7));
        let all = r#"{"selection":{"summary":{"selected":null,"mode":"full-suite-no-listing"}}}"#;
        assert_eq!(left_out(all), Ok(0));
        assert!(left_out("no report").is_err());
    }
}
