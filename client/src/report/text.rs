//! Text for people: what other programs wrote, made fit to be shown, and counts.

use std::borrow::Cow;
use std::iter::Peekable;
use std::str::Chars;

/// What becomes of colour sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colours {
    /// They stay: the reader is a terminal.
    Keep,
    /// They go.
    Strip,
}

/// Returns `text` without what could move a cursor, ring a bell or retitle a window. Newlines and tabs stay; a
/// lone carriage return becomes a newline, so that overwritten progress remains readable.
pub(super) fn sanitise(text: &str, colours: Colours) -> Cow<'_, str> {
    if !text.chars().any(|c| c.is_control() && c != '\n' && c != '\t') {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\n' | '\t' => clean.push(c),
            '\r' => {
                if chars.peek() != Some(&'\n') {
                    clean.push('\n');
                }
            }
            '\u{1b}' => {
                let colour = escape_sequence(&mut chars);
                if let (Some(parameters), Colours::Keep) = (colour, colours) {
                    clean.push_str("\u{1b}[");
                    clean.push_str(&parameters);
                    clean.push('m');
                }
            }
            c if c.is_control() => {}
            c => clean.push(c),
        }
    }
    Cow::Owned(clean)
}

/// Returns `text` on one line: control characters are written as escapes.
pub fn one_line(text: &str) -> Cow<'_, str> {
    if !text.chars().any(char::is_control) {
        return Cow::Borrowed(text);
    }
    let mut line = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if c.is_control() {
            line.extend(c.escape_default())
        } else {
            line.push(c)
        }
    }
    Cow::Owned(line)
}

/// Reads what follows an ESC (ECMA-48). Returns the parameters when it is a colour sequence.
fn escape_sequence(chars: &mut Peekable<Chars<'_>>) -> Option<String> {
    match chars.peek()? {
        '[' => {
            chars.next();
            let mut parameters = String::new();
            while let Some(&c) = chars.peek() {
                match c {
                    ' '..='?' => parameters.push(c),
                    '@'..='~' => {
                        chars.next();
                        let plain = parameters.chars().all(|c| matches!(c, '0'..=';'));
                        return (c == 'm' && plain).then_some(parameters);
                    }
                    // Not a sequence after all; what stands here is text.
                    _ => return None,
                }
                chars.next();
            }
            None
        }
        ']' | 'P' | 'X' | '^' | '_' => {
            skip_string(chars);
            None
        }
        ' '..='/' => {
            while chars.next_if(|c| matches!(c, ' '..='/')).is_some() {}
            chars.next_if(|c| matches!(c, '0'..='~'));
            None
        }
        '0'..='~' => {
            chars.next();
            None
        }
        _ => None,
    }
}

/// Skips a control string up to BEL or ST, or to the end of the line: a string that nobody ended must not
/// swallow the rest of the output.
fn skip_string(chars: &mut Peekable<Chars<'_>>) {
    while let Some(c) = chars.next_if(|c| *c != '\n') {
        if c == '\u{7}' {
            return;
        }
        if c == '\u{1b}' {
            chars.next_if_eq(&'\\');
            return;
        }
    }
}

/// A count with its noun, which takes an `s` for more than one.
pub(crate) fn counted(count: usize, noun: &str) -> String {
    if count == 1 {
        format!("1 {noun}")
    } else {
        format!("{count} {noun}s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_stay_only_for_terminals_and_nothing_else_stays() {
        let text =
            "a\u{1b}[1;31mred\u{1b}[0m\u{1b}[2Jb\u{1b}]0;title\u{7}c\u{1b}]8;;x\u{1b}\\d\u{7}\u{8}e\u{9b}f";
        assert_eq!(sanitise(text, Colours::Strip), "aredbcdef");
        assert_eq!(sanitise(text, Colours::Keep), "a\u{1b}[1;31mred\u{1b}[0mbcdef");
    }

    #[test]
    fn carriage_returns_become_newlines() {
        assert_eq!(sanitise("1%\r2%\r\n\tü\n", Colours::Strip), "1%\n2%\n\tü\n");
    }

    #[test]
    fn broken_sequences_do_not_swallow_text() {
        assert_eq!(sanitise("\u{1b}[31ümlaut", Colours::Keep), "ümlaut");
        assert_eq!(sanitise("\u{1b}]0;no end\nnext", Colours::Strip), "\nnext");
        assert_eq!(sanitise("end\u{1b}", Colours::Strip), "end");
        assert_eq!(sanitise("\u{1b}(Bx\u{1b}7y", Colours::Strip), "xy");
    }

    #[test]
    fn names_stay_on_one_line() {
        assert_eq!(one_line("a\nb\u{1b}[1m"), "a\\nb\\u{1b}[1m");
        assert!(matches!(one_line("tests::ü b"), Cow::Borrowed(_)));
    }
}
