//! `thresh completions` and `thresh man`.

use std::io::{self, Write};
use std::path::Path;

use clap::CommandFactory;

use crate::args::Program;

/// Prints a shell completion script.
///
/// # Errors
/// Standard output cannot be written.
pub(crate) fn completions(shell: clap_complete::Shell) -> io::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Program::command(), "thresh", &mut script);
    io::stdout().write_all(&script)
}

/// Prints the manual page, or writes a page for every command into `folder`.
///
/// # Errors
/// A page cannot be written.
pub(crate) fn man(folder: Option<&Path>) -> io::Result<()> {
    let program = Program::command();
    match folder {
        None => clap_mangen::Man::new(program).render(&mut io::stdout().lock()),
        Some(folder) => {
            std::fs::create_dir_all(folder)?;
            clap_mangen::generate_to(program, folder)
        }
    }
}
