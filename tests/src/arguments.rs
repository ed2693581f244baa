//! How the programs of this package read their command line.

use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

/// Runs a program by what `parse` makes of its arguments, and returns its exit code: that of `run`; success where
/// `--help` or `-h` stands before any `--`, which prints `help`; 2 where `parse` says what is wrong.
#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the programs talk to whoever started them"
)]
pub fn run<T>(
    help: &str,
    parse: impl FnOnce(std::vec::IntoIter<String>) -> Result<T, String>,
    run: impl FnOnce(&T) -> ExitCode,
) -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if asks_for_help(&args) {
        println!("{help}");
        return ExitCode::SUCCESS;
    }
    match parse(args.into_iter()) {
        Ok(options) => run(&options),
        Err(message) => {
            eprintln!("{message}\n\n{help}");
            ExitCode::from(2)
        }
    }
}

/// Reads a number.
///
/// # Errors
/// That it is none, in words.
pub fn number<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text:?} is no count"))
}

/// Reads a number of minutes.
///
/// # Errors
/// That it is none, in words.
pub fn minutes(text: &str) -> Result<Duration, String> {
    let minutes: u32 = number(text)?;
    Ok(Duration::from_secs(60 * u64::from(minutes)))
}

fn asks_for_help(args: &[String]) -> bool {
    let mut own = args.iter().take_while(|arg| *arg != "--");
    own.any(|arg| arg == "--help" || arg == "-h")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_is_asked_for_only_before_what_is_passed_on() {
        let asks = |line: &str| asks_for_help(&line.split(' ').map(str::to_owned).collect::<Vec<_>>());
        assert!(asks("one --help"));
        assert!(asks("-h -- two"));
        assert!(!asks("one -- --help"));
        assert!(!asks("help"));
    }
}
