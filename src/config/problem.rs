//! What is wrong with a configuration: every mistake at once, each with its place, and what to do.
//!
//! The alternative, stopping at the first mistake, makes an operator restart once per typo.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use miette::{Diagnostic, LabeledSpan, NamedSource, SourceCode};

/// The text of a configuration file under its name.
pub(super) type Source = Arc<NamedSource<String>>;

/// Where a value came from.
#[derive(Clone, Debug)]
pub(super) enum Origin {
    /// The embedded defaults.
    Default,
    /// A range of bytes in the file.
    File(Source, Range<usize>),
    /// An environment variable.
    Env(String),
    /// A flag of the command line.
    Flag(String),
}

/// One mistake.
#[derive(Clone, Debug)]
pub struct Problem {
    pub(super) origin: Origin,
    what: String,
    help: String,
}

impl Problem {
    pub(super) fn new(origin: &Origin, what: impl Into<String>, help: impl Into<String>) -> Problem {
        Problem {
            origin: origin.clone(),
            what: what.into(),
            help: help.into(),
        }
    }

    /// Line and column in the file, both from 1; `None` when it is not in a file.
    pub fn line_column(&self) -> Option<(usize, usize)> {
        let Origin::File(source, range) = &self.origin else {
            return None;
        };
        let before = source.inner().get(..range.start)?;
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Some((before.matches('\n').count() + 1, before[line_start..].chars().count() + 1))
    }

    /// What is wrong, without its place.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// What to do about it.
    pub fn advice(&self) -> &str {
        &self.help
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.origin, self.line_column()) {
            (Origin::File(source, _), Some((line, column))) => write!(out, "{}:{line}:{column}: {}", source.name(), self.what),
            (Origin::Env(name), _) => write!(out, "environment variable {name}: {}", self.what),
            (Origin::Flag(name), _) => write!(out, "flag {name}: {}", self.what),
            _ => write!(out, "{}", self.what),
        }
    }
}

impl std::error::Error for Problem {}

impl Diagnostic for Problem {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        (!self.help.is_empty()).then(|| Box::new(&self.help) as Box<dyn fmt::Display + 'a>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        match &self.origin {
            Origin::File(source, _) => Some(source.as_ref()),
            _ => None,
        }
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        match &self.origin {
            Origin::File(_, range) => Some(Box::new(std::iter::once(LabeledSpan::new(
                Some("here".to_owned()),
                range.start,
                range.len(),
            )))),
            _ => None,
        }
    }
}

/// A configuration that is refused, with every mistake that was found in it. At the edge it becomes a `miette::Report` by `?`.
#[derive(Debug)]
pub struct Invalid {
    problems: Vec<Problem>,
}

impl Invalid {
    pub(super) fn new(mut problems: Vec<Problem>) -> Invalid {
        problems.sort_by_key(|p| {
            if let Origin::File(_, range) = &p.origin {
                range.start
            } else {
                usize::MAX
            }
        });
        Invalid { problems }
    }

    /// The mistakes: those of the file in its order, then all others.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Each mistake with its advice as one line, for logs.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.problems.iter().map(|p| {
            if p.help.is_empty() {
                p.to_string()
            } else {
                format!("{p} ({})", p.help)
            }
        })
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.len() {
            1 => write!(out, "the configuration is refused"),
            n => write!(out, "the configuration is refused: {n} problems"),
        }
    }
}

impl std::error::Error for Invalid {}

impl Diagnostic for Invalid {
    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(self.problems.iter().map(|p| p as &dyn Diagnostic)))
    }
}

/// "did you mean …?" for a word that is not among the known ones; empty when none is near.
pub(super) fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let word = word.to_lowercase();
    let near = known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&word, &name.to_lowercase()), name))
        .min_by_key(|(distance, _)| *distance);
    match near {
        Some((distance, name)) if distance * 3 <= name.chars().count().max(3) => format!("did you mean `{name}`?"),
        _ => String::new(),
    }
}
