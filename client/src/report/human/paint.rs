//! Colours.

/// What a word means to the reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Good,
    Warn,
    Bad,
    /// Neither: the word stands out by weight alone.
    Plain,
}

/// Paints words, or leaves them as they are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paint {
    pub(super) on: bool,
}

impl Paint {
    pub(super) fn new(on: bool) -> Self {
        Self { on }
    }

    /// The first word of a line, right-aligned in its column.
    pub(super) fn head(&self, word: &str, tone: Tone) -> String {
        let aligned = format!("{word:>12}");
        self.wrap(
            &aligned,
            match tone {
                Tone::Good => "1;32",
                Tone::Warn => "1;33",
                Tone::Bad => "1;31",
                Tone::Plain => "1",
            },
        )
    }

    pub(super) fn binary(&self, text: &str) -> String {
        self.wrap(text, "1;35")
    }

    pub(super) fn name(&self, text: &str) -> String {
        self.wrap(text, "1;34")
    }

    pub(super) fn dim(&self, text: &str) -> String {
        self.wrap(text, "2")
    }

    fn wrap(&self, text: &str, code: &str) -> String {
        if self.on {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}
