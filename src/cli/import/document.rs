//! A TOML document whose every complaint names file, line and column.
//!
//! A mapping is written by hand by someone who has never seen one, so a typo must be answered with where it stands and
//! what was meant. Deserialising with serde was rejected: it names an unknown key but not the likely one, and knows
//! nothing of what a value means once it is read.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What is wrong with a mapping, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {what}")]
pub struct Problem {
    /// The file, as it was named by the caller.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What is wrong, and what to do about it.
    pub what: String,
}

/// The text of a document, which turns places into lines.
#[derive(Debug, Clone, Copy)]
pub struct Text<'t> {
    file: &'t str,
    text: &'t str,
}

/// A place in the document, kept to complain later about what stands there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    file: String,
    line: usize,
    column: usize,
}

impl Place {
    /// A complaint about this place.
    pub fn problem(&self, what: impl Into<String>) -> Problem {
        Problem {
            file: self.file.clone(),
            line: self.line,
            column: self.column,
            what: what.into(),
        }
    }
}

/// A value and the place where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub place: Place,
}

impl<'t> Text<'t> {
    /// The text of the file of this name.
    pub fn new(file: &'t str, text: &'t str) -> Text<'t> {
        Text { file, text }
    }

    fn place(&self, span: &Range<usize>) -> Place {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Place {
            file: self.file.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }

    /// Parses the document. Refuses what is not TOML.
    pub fn parse(&self) -> Result<Spanned<DeTable<'t>>, Problem> {
        DeTable::parse(self.text).map_err(|error| self.place(&error.span().unwrap_or(0..0)).problem(error.message().to_owned()))
    }
}

/// One table of the document, opened with the keys that it may have.
#[derive(Debug, Clone)]
pub struct Section<'d> {
    text: Text<'d>,
    name: String,
    place: Place,
    table: &'d DeTable<'d>,
}

/// The one of `known` that a mistyped word most likely meant.
pub fn did_you_mean<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let lower = word.to_lowercase();
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.chars().count() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `; did you mean "x"?`, or the list of what is possible.
pub fn suggestion(word: &str, known: &[&str]) -> String {
    match did_you_mean(word, known.iter().copied()) {
        Some(meant) => format!("; did you mean `{meant}`?"),
        None if known.len() <= 24 => format!(
            "; known are {}",
            known.iter().map(|k| format!("`{k}`")).collect::<Vec<_>>().join(", ")
        ),
        None => String::new(),
    }
}

impl<'d> Section<'d> {
    /// The whole document as a table with these keys and no others.
    pub fn root(text: Text<'d>, table: &'d Spanned<DeTable<'d>>, known: &[&str]) -> Result<Section<'d>, Problem> {
        Section::open(text, String::new(), &table.span(), table.get_ref(), Some(known))
    }

    fn open(
        text: Text<'d>,
        name: String,
        span: &Range<usize>,
        table: &'d DeTable<'d>,
        known: Option<&[&str]>,
    ) -> Result<Section<'d>, Problem> {
        let section = Section {
            text,
            place: text.place(span),
            name,
            table,
        };
        let unknown = |known: &[&str]| table.keys().find(|key| !known.contains(&key.get_ref().as_ref()));
        if let Some(known) = known
            && let Some(key) = unknown(known)
        {
            let within = if section.name.is_empty() {
                String::new()
            } else {
                format!(" in {}", section.name)
            };
            let what = format!("unknown key `{}`{within}{}", key.get_ref(), suggestion(key.get_ref(), known));
            return Err(text.place(&key.span()).problem(what));
        }
        Ok(section)
    }

    /// A complaint about the table as a whole.
    pub fn problem(&self, what: impl Into<String>) -> Problem {
        self.place.problem(what)
    }

    /// Where the table begins.
    pub fn place(&self) -> &Place {
        &self.place
    }

    fn get(&self, key: &str) -> Option<&'d Spanned<DeValue<'d>>> {
        self.table.iter().find(|(k, _)| k.get_ref() == key).map(|(_, value)| value)
    }

    fn path(&self, key: &str) -> String {
        if self.name.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.name)
        }
    }

    fn wrong_type(&self, key: &str, value: &Spanned<DeValue<'_>>, wanted: &str) -> Problem {
        let what = format!(
            "`{}` must be {wanted}, not {}",
            self.path(key),
            article(value.get_ref().type_str())
        );
        self.text.place(&value.span()).problem(what)
    }

    /// Every key with its place, in the order of the names. For tables whose keys are the user's own.
    pub fn keys(&self) -> Vec<Placed<String>> {
        self.table
            .keys()
            .map(|key| Placed {
                value: key.get_ref().to_string(),
                place: self.text.place(&key.span()),
            })
            .collect()
    }

    /// A text that may be absent. Refuses other types and the empty text.
    pub fn text(&self, key: &str) -> Result<Option<Placed<String>>, Problem> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let text = value
            .get_ref()
            .as_str()
            .ok_or_else(|| self.wrong_type(key, value, "a text in quotes"))?;
        let place = self.text.place(&value.span());
        if text.is_empty() {
            return Err(place.problem(format!("`{}` must not be empty", self.path(key))));
        }
        Ok(Some(Placed {
            value: text.to_owned(),
            place,
        }))
    }

    /// A text that must be there; `why` tells the user what it is for.
    pub fn required_text(&self, key: &str, why: &str) -> Result<Placed<String>, Problem> {
        self.text(key)?
            .ok_or_else(|| self.problem(format!("`{}` is missing: {why}", self.path(key))))
    }

    /// One of a few words.
    pub fn choice<T: Copy>(&self, key: &str, choices: &[(&str, T)]) -> Result<Option<T>, Problem> {
        let Some(word) = self.text(key)? else { return Ok(None) };
        match choices.iter().find(|(name, _)| *name == word.value) {
            Some((_, choice)) => Ok(Some(*choice)),
            None => {
                let names = choices.iter().map(|(name, _)| *name).collect::<Vec<_>>();
                let what = format!(
                    "`{}` cannot be `{}`{}",
                    self.path(key),
                    word.value,
                    suggestion(&word.value, &names)
                );
                Err(word.place.problem(what))
            }
        }
    }

    /// One text, or a list of texts; empty texts are allowed here, since a cell may be empty.
    pub fn texts(&self, key: &str) -> Result<Option<Vec<Placed<String>>>, Problem> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let wanted = "a text in quotes, or a list of them";
        let one = |value: &Spanned<DeValue<'_>>| match value.get_ref().as_str() {
            Some(text) => Ok(Placed {
                value: text.to_owned(),
                place: self.text.place(&value.span()),
            }),
            None => Err(self.wrong_type(key, value, wanted)),
        };
        let texts = match value.get_ref().as_array() {
            Some(array) => array.iter().map(one).collect::<Result<Vec<_>, _>>()?,
            None => vec![one(value)?],
        };
        if texts.is_empty() {
            return Err(self.wrong_type(key, value, wanted));
        }
        Ok(Some(texts))
    }

    /// A yes or no.
    pub fn flag(&self, key: &str) -> Result<Option<bool>, Problem> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value
            .get_ref()
            .as_bool()
            .map(Some)
            .ok_or_else(|| self.wrong_type(key, value, "true or false"))
    }

    /// A whole number of at least 1.
    pub fn count(&self, key: &str) -> Result<Option<i64>, Problem> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let number = value
            .get_ref()
            .as_integer()
            .and_then(|i| i64::from_str_radix(i.as_str(), i.radix()).ok());
        number
            .filter(|n| *n >= 1)
            .map(Some)
            .ok_or_else(|| self.wrong_type(key, value, "a whole number above 0"))
    }

    /// A table that may be absent, with these keys and no others; `None` leaves the keys to the user.
    pub fn section(&self, key: &str, known: Option<&[&str]>) -> Result<Option<Section<'d>>, Problem> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let table = value
            .get_ref()
            .as_table()
            .ok_or_else(|| self.wrong_type(key, value, "a table"))?;
        Section::open(self.text, self.path(key), &value.span(), table, known).map(Some)
    }

    /// A list of tables (`[[key]]`), each with these keys and no others; empty when absent.
    pub fn sections(&self, key: &str, known: &[&str]) -> Result<Vec<Section<'d>>, Problem> {
        let Some(value) = self.get(key) else { return Ok(Vec::new()) };
        let wanted = format!("a list of tables: `[[{}]]`", self.path(key));
        let array = value
            .get_ref()
            .as_array()
            .ok_or_else(|| self.wrong_type(key, value, &wanted))?;
        let one = |value: &'d Spanned<DeValue<'d>>| {
            let table = value
                .get_ref()
                .as_table()
                .ok_or_else(|| self.wrong_type(key, value, &wanted))?;
            Section::open(self.text, self.path(key), &value.span(), table, Some(known))
        };
        array.iter().map(one).collect()
    }
}

fn article(type_name: &str) -> String {
    if type_name.starts_with(['a', 'e', 'i', 'o', 'u']) {
        format!("an {type_name}")
    } else {
        format!("a {type_name}")
    }
}
