//! Where a verb's answer goes: tables and lines for people, the API's own JSON for programs.
//!
//! Everything goes through one handle that knows whether colours are wanted and how wide the terminal is, so that no verb
//! asks the terminal by itself. Rejected: `println!`, which panics when the reader of a pipe has seen enough.

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;

use super::client::Answer;

/// When to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Always, also into a pipe.
    Always,
    /// Never.
    Never,
}

impl ColorChoice {
    /// Whether to colour, given whether the output is a terminal and what `NO_COLOR` says (<https://no-color.org>: any
    /// value but the empty one turns colours off).
    pub fn decide(self, terminal: bool, no_color: Option<&str>) -> bool {
        match self {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => terminal && no_color.is_none_or(str::is_empty),
        }
    }
}

/// A colour with a meaning; what it looks like is decided here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Good,
    /// To be looked at.
    Warn,
    /// Wrong.
    Bad,
    /// Beside the point.
    Dim,
    /// A heading.
    Strong,
}

impl Tone {
    fn escape(self) -> &'static str {
        match self {
            Tone::Good => "\x1b[32m",
            Tone::Warn => "\x1b[33m",
            Tone::Bad => "\x1b[31m",
            Tone::Dim => "\x1b[2m",
            Tone::Strong => "\x1b[1m",
        }
    }
}

/// The output of one verb.
#[derive(Debug)]
pub struct Out {
    /// Whether the caller wants the API's JSON.
    pub json: bool,
    colour: bool,
    width: Option<u16>,
}

/// A terminal whose width nobody knows.
const USUAL_WIDTH: u16 = 80;

/// How wide the terminal is: `COLUMNS` where it is set to a number, or what the terminal says.
fn width(columns: Option<&str>, asked: Option<u16>) -> u16 {
    let named = columns
        .and_then(|columns| columns.trim().parse().ok())
        .filter(|width| *width > 0);
    named.or(asked.filter(|width| *width > 0)).unwrap_or(USUAL_WIDTH)
}

impl Out {
    /// The process's standard output.
    pub fn stdout(json: bool, color: ColorChoice) -> Out {
        let terminal = io::stdout().is_terminal();
        let no_color = std::env::var("NO_COLOR").ok();
        Out {
            json,
            colour: color.decide(terminal, no_color.as_deref()),
            width: terminal.then(|| {
                let asked = ratatui::crossterm::terminal::size().ok().map(|(width, _)| width);
                width(std::env::var("COLUMNS").ok().as_deref(), asked)
            }),
        }
    }

    /// An output for tests: plain, no terminal.
    pub fn plain() -> Out {
        Out {
            json: false,
            colour: false,
            width: None,
        }
    }

    /// Whether colours are wanted.
    pub fn colour(&self) -> bool {
        self.colour
    }

    /// Whether a person's terminal is at the other end.
    pub fn is_terminal(&self) -> bool {
        self.width.is_some()
    }

    /// How wide that terminal is, in characters; `None` where there is none, and lines may be of any length.
    pub fn width(&self) -> Option<u16> {
        self.width
    }

    /// A text in a tone, where colours are wanted.
    pub fn paint(&self, tone: Tone, text: &str) -> String {
        if self.colour {
            format!("{}{text}\x1b[0m", tone.escape())
        } else {
            text.to_owned()
        }
    }

    /// Prints one line.
    pub fn line(&self, text: impl AsRef<str>) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_ref().as_bytes())?;
        stdout.write_all(b"\n")
    }

    /// Prints bytes as they are.
    pub fn raw(&self, bytes: &[u8]) -> io::Result<()> {
        io::stdout().lock().write_all(bytes)
    }

    /// Prints an answer of the node as it came: one document.
    pub fn document(&self, answer: &Answer) -> io::Result<()> {
        self.line(answer.text().trim_end())
    }

    /// Prints a value as one line of JSON.
    pub fn value(&self, value: &serde_json::Value) -> io::Result<()> {
        self.line(value.to_string())
    }

    /// What was printed is on its way.
    pub fn flush(&self) -> io::Result<()> {
        io::stdout().lock().flush()
    }
}

/// A note to the person at the terminal that is no part of the answer: progress, an empty list.
pub fn note(text: impl AsRef<str>) {
    // A closed stderr must not end a verb that is doing its work.
    let _ = writeln!(io::stderr().lock(), "{}", text.as_ref());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_only_on_a_terminal_and_never_against_no_color() {
        for (choice, terminal, no_color, expected) in [
            (ColorChoice::Auto, true, None, true),
            (ColorChoice::Auto, false, None, false),
            (ColorChoice::Auto, true, Some("1"), false),
            (ColorChoice::Auto, true, Some(""), true),
            (ColorChoice::Always, false, Some("1"), true),
            (ColorChoice::Never, true, None, false),
        ] {
            assert_eq!(
                choice.decide(terminal, no_color),
                expected,
                "{choice:?} {terminal} {no_color:?}"
            );
        }
    }

    #[test]
    fn the_width_is_what_columns_says_or_the_terminal_or_the_usual() {
        assert_eq!(width(Some("100"), Some(120)), 100);
        assert_eq!(width(None, Some(120)), 120);
        assert_eq!(width(Some("wide"), None), USUAL_WIDTH);
        assert_eq!(width(Some("0"), Some(0)), USUAL_WIDTH);
    }

    #[test]
    fn a_tone_leaves_no_trace_in_plain_output() {
        assert_eq!(Out::plain().paint(Tone::Bad, "x"), "x");
    }
}
