//! The mapping: which column is what, and which kind of row is which event, in a few lines of TOML.
//!
//! The first rule whose conditions all hold decides a row. Expressions and regular expressions were rejected: the tables
//! that shops export are told apart by a prefix, a word or a sign, and a list of such rules can be read aloud.
//!
//! ```toml
//! source    = "import/online-retail"
//! warehouse = "main"
//! copies    = "several"
//!
//! [columns]
//! sku      = "StockCode"
//! quantity = "Quantity"
//! time     = "InvoiceDate"
//! document = "InvoiceNo"
//!
//! [time]
//! zone    = "Europe/London"
//! formats = ["%Y-%m-%d %H:%M:%S"]
//!
//! [[rules]]
//! when  = { InvoiceNo = { starts_with = "C" } }
//! event = "return"
//!
//! [[rules]]
//! event = "sale"
//! ```

use super::amount::AmountFormat;
use super::document::{Place, Placed, Problem, Section, Text, suggestion};
use super::moment::TimeFormat;
use super::rules::Rule;
use crate::domain::units::{Id, Unit};

/// Whether rows that are equal in every column are several events, or one that was exported more than once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copies {
    /// Each is an event: two equal lines of an invoice sold two.
    Several,
    /// They are one event, and all but the first are duplicates.
    One,
}

/// What a column can be in an event. The order is that of [`COLUMNS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The SKU. Required.
    Sku,
    /// How many, with a sign where the rules look at it. Required.
    Quantity,
    /// When it happened. Required, since a row without it could not be told from its copy after a while.
    Time,
    /// The warehouse, where a table holds several.
    Warehouse,
    /// The document: an invoice, an order, an ASN.
    Document,
    /// Why: required by write-offs and adjustments, unless the rule gives one reason to all.
    Reason,
    /// The unit: `each`, `g` or `ml`.
    Unit,
    /// The lot's id.
    Lot,
    /// The lot's expiry date, `YYYY-MM-DD`.
    ExpiresOn,
    /// The id of a transfer.
    Transfer,
    /// Where a transfer goes.
    ToWarehouse,
    /// The reservation that a sale belongs to.
    Reservation,
    /// Who did it: the cashier, the picker.
    Actor,
}

/// Every role with its key in `[columns]`.
pub const COLUMNS: [(&str, Role); 13] = [
    ("sku", Role::Sku),
    ("quantity", Role::Quantity),
    ("time", Role::Time),
    ("warehouse", Role::Warehouse),
    ("document", Role::Document),
    ("reason", Role::Reason),
    ("unit", Role::Unit),
    ("lot", Role::Lot),
    ("expires_on", Role::ExpiresOn),
    ("transfer", Role::Transfer),
    ("to_warehouse", Role::ToWarehouse),
    ("reservation", Role::Reservation),
    ("actor", Role::Actor),
];

/// A mapping that was read and makes sense by itself; whether the table has the columns is seen when it is opened.
#[derive(Debug, Clone)]
pub struct Mapping {
    /// The source of the events; `None` is `import/` and the mapping's file name.
    pub source: Option<String>,
    /// The warehouse of all rows, where no column names it.
    pub warehouse: Option<String>,
    /// The unit of all rows, where no column names it.
    pub unit: Option<Unit>,
    /// What exact copies are.
    pub copies: Copies,
    /// What separates the cells; `,` by default.
    pub delimiter: u8,
    /// The column of each role, in the order of [`COLUMNS`].
    pub columns: Vec<(Role, Placed<String>)>,
    /// Columns that are kept with the event, under a name each: the price, the customer.
    pub keep: Vec<(String, Placed<String>)>,
    /// How times are written.
    pub times: TimeFormat,
    /// How quantities are written.
    pub amounts: AmountFormat,
    /// The rules, first fit first.
    pub rules: Vec<Rule>,
    /// Where the mapping begins, for complaints about the whole.
    pub place: Place,
}

const ROOT: [&str; 10] = [
    "source",
    "warehouse",
    "unit",
    "copies",
    "delimiter",
    "columns",
    "keep",
    "time",
    "quantity",
    "rules",
];

impl Mapping {
    /// Reads a mapping. Refuses what is not TOML, unknown keys, missing keys, and values that mean nothing.
    pub fn parse(file: &str, text: &str) -> Result<Mapping, Problem> {
        let text = Text::new(file, text);
        let document = text.parse()?;
        let root = Section::root(text, &document, &ROOT)?;
        let columns = columns(&root)?;
        let warehouse = checked_id(root.text("warehouse")?, "warehouse", Id::check)?;
        let has = |role| columns.iter().any(|(r, _)| *r == role);
        match (&warehouse, has(Role::Warehouse)) {
            (None, false) => {
                return Err(
                    root.problem("`warehouse` is missing: name the warehouse of all rows, or its column as `columns.warehouse`")
                );
            }
            (Some(_), true) => return Err(root.problem("`warehouse` and `columns.warehouse` exclude each other: keep one")),
            _ => {}
        }
        let unit = root.choice("unit", &[("each", Unit::Each), ("g", Unit::G), ("ml", Unit::Ml)])?;
        if unit.is_some() && has(Role::Unit) {
            return Err(root.problem("`unit` and `columns.unit` exclude each other: keep one"));
        }
        let rules = root
            .sections("rules", &super::rules::KEYS)?
            .iter()
            .map(|section| Rule::read(section, has(Role::Reason)))
            .collect::<Result<Vec<_>, _>>()?;
        if rules.is_empty() {
            return Err(root.problem("`[[rules]]` is missing: at least one rule must say which event a row is"));
        }
        check_reachable(&rules)?;
        Ok(Mapping {
            source: checked_id(root.text("source")?, "source", Id::check_source)?,
            warehouse,
            unit,
            copies: root
                .choice("copies", &[("several", Copies::Several), ("one", Copies::One)])?
                .ok_or_else(|| {
                    root.problem(
                        "`copies` is missing: say whether rows that are exact copies are `\"several\"` events or `\"one\"`",
                    )
                })?,
            delimiter: delimiter(&root)?,
            keep: kept(&root)?,
            times: TimeFormat::read(&root)?,
            amounts: AmountFormat::read(&root)?,
            place: root.place().clone(),
            columns,
            rules,
        })
    }

    /// The source of the events: the mapping's own, or `import/` and the name of its file without the ending.
    pub fn source_or(&self, mapping_file: &std::path::Path) -> String {
        self.source.clone().unwrap_or_else(|| {
            let stem = mapping_file
                .file_stem()
                .map(|stem| stem.to_string_lossy().into_owned())
                .unwrap_or_default();
            format!("import/{stem}")
        })
    }
}

fn columns(root: &Section<'_>) -> Result<Vec<(Role, Placed<String>)>, Problem> {
    let known = COLUMNS.map(|(key, _)| key);
    let missing = || root.problem("`[columns]` is missing: it says which column is the sku, the quantity and the time");
    let section = root.section("columns", Some(&known))?.ok_or_else(missing)?;
    let mut columns = Vec::new();
    for (key, role) in COLUMNS {
        match section.text(key)? {
            Some(column) => columns.push((role, column)),
            None if matches!(role, Role::Sku | Role::Quantity | Role::Time) => {
                return Err(section.problem(format!("`columns.{key}` is missing: name the column that holds the {key}")));
            }
            None => {}
        }
    }
    Ok(columns)
}

/// The longest name of a kept column; CloudEvents 1.0 (section 3.1) asks for at most 20 characters.
const NAME_BYTES: usize = 20;
/// Names that an event has already (CloudEvents 1.0, section 3.1, and the API's own).
const TAKEN: [&str; 11] = [
    "specversion",
    "id",
    "source",
    "type",
    "time",
    "subject",
    "data",
    "datacontenttype",
    "dataschema",
    "traceparent",
    "actor",
];

/// Reads `[keep]`: names are those of CloudEvents extensions, lower-case letters and digits.
fn kept(root: &Section<'_>) -> Result<Vec<(String, Placed<String>)>, Problem> {
    let Some(section) = root.section("keep", None)? else {
        return Ok(Vec::new());
    };
    let mut kept = Vec::new();
    for name in section.keys() {
        let plain = name.value.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if !plain || name.value.is_empty() || name.value.len() > NAME_BYTES {
            let what = format!(
                "`keep.{}`: a name is up to {NAME_BYTES} lower-case letters and digits",
                name.value
            );
            return Err(name.place.problem(what));
        }
        if TAKEN.contains(&name.value.as_str()) {
            return Err(name.place.problem(format!(
                "`keep.{0}`: an event has a `{0}` of its own; choose another name",
                name.value
            )));
        }
        kept.extend(section.text(&name.value)?.map(|column| (name.value, column)));
    }
    Ok(kept)
}

fn checked_id(
    text: Option<Placed<String>>,
    key: &str,
    check: fn(&str) -> Result<(), crate::domain::units::BadId>,
) -> Result<Option<String>, Problem> {
    let Some(text) = text else { return Ok(None) };
    check(&text.value).map_err(|bad| text.place.problem(format!("`{key}` {bad}")))?;
    Ok(Some(text.value))
}

fn delimiter(root: &Section<'_>) -> Result<u8, Problem> {
    let Some(text) = root.text("delimiter")? else {
        return Ok(b',');
    };
    match text.value.as_bytes() {
        [byte] if byte.is_ascii() && !matches!(byte, b'"' | b'\n' | b'\r') => Ok(*byte),
        _ => Err(text
            .place
            .problem("`delimiter` must be one ASCII character, such as \",\", \";\" or \"\\t\"")),
    }
}

/// A rule after one without conditions is never asked, which its author cannot have meant.
fn check_reachable(rules: &[Rule]) -> Result<(), Problem> {
    let catch_all = rules.iter().position(|rule| rule.conditions.is_empty());
    match catch_all.and_then(|at| rules.get(at + 1)) {
        Some(dead) => Err(dead
            .place
            .problem("this rule is never reached: the rule before it has no `when` and takes every row")),
        None => Ok(()),
    }
}

/// Where each column of the mapping stands in a table with this header. Refuses a column that is not there, naming the
/// likely one, and one whose name stands twice.
pub fn find_column(header: &[String], column: &Placed<String>) -> Result<usize, Problem> {
    let mut found = header
        .iter()
        .enumerate()
        .filter(|(_, name)| **name == column.value)
        .map(|(at, _)| at);
    match (found.next(), found.next()) {
        (Some(at), None) => Ok(at),
        (Some(_), Some(_)) => Err(column
            .place
            .problem(format!("the table has more than one column `{}`", column.value))),
        (None, _) => {
            let names = header.iter().map(String::as_str).collect::<Vec<_>>();
            Err(column.place.problem(format!(
                "the table has no column `{}`{}",
                column.value,
                suggestion(&column.value, &names)
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"source = "import/x"
warehouse = "main"
copies = "several"

[columns]
sku = "StockCode"
quantity = "Quantity"
time = "InvoiceDate"

[time]
zone = "Europe/London"
formats = ["%Y-%m-%d %H:%M:%S"]

[[rules]]
when = { InvoiceNo = { starts_with = "C" } }
event = "return"

[[rules]]
event = "sale"
"#;

    /// What is replaced in the good mapping, by what, and what must be said of it.
    const TYPOS: &[(&str, &str, &str)] = &[
        (
            "copies = ",
            "copys = ",
            "m.toml:3:1: unknown key `copys`; did you mean `copies`?",
        ),
        (
            "quantity =",
            "quantty =",
            "m.toml:7:1: unknown key `quantty` in columns; did you mean `quantity`?",
        ),
        (
            "\"return\"",
            "\"retrun\"",
            "m.toml:16:9: `rules.event` cannot be `retrun`; did you mean `return`?",
        ),
        (
            "starts_with",
            "startswith",
            "m.toml:15:24: unknown key `startswith` in rules.when.InvoiceNo; did you mean `starts_with`?",
        ),
        (
            "\"several\"",
            "2",
            "m.toml:3:10: `copies` must be a text in quotes, not an integer",
        ),
        (
            "warehouse = \"main\"",
            "warehouse = \"a/b\"",
            "m.toml:2:13: `warehouse` must not contain '/'",
        ),
        (
            "{ starts_with = \"C\" }",
            "\"C\"",
            "m.toml:15:10: `when` must say what `InvoiceNo` is",
        ),
        (
            "event = \"return\"",
            "event = \"adjustment\"",
            "m.toml:14:1: a rule with `event = \"adjustment\"` needs a `reason`",
        ),
        (
            "event = \"sale\"",
            "event = \"sale\"\nto = \"quarantine\"",
            "`to` is only for `event = \"return\"`",
        ),
        (
            "when = { InvoiceNo = { starts_with = \"C\" } }\n",
            "",
            "m.toml:17:1: this rule is never reached",
        ),
        ("warehouse = \"main\"\n", "", "`warehouse` is missing"),
        ("copies = \"several\"\n", "", "`copies` is missing"),
        ("sku = \"StockCode\"\n", "", "m.toml:5:1: `columns.sku` is missing"),
        (
            "formats = [",
            "formats = [1, ",
            "`time.formats` must be a text in quotes, or a list of them",
        ),
        (
            "[time]",
            "[keep]\nPrice = \"UnitPrice\"\n[time]",
            "m.toml:11:1: `keep.Price`: a name is up to 20 lower-case",
        ),
        (
            "[time]",
            "[keep]\ntime = \"UnitPrice\"\n[time]",
            "m.toml:11:1: `keep.time`: an event has a `time` of its own",
        ),
        ("[[rules]]", "[rules]", "m.toml:"),
        ("= \"main\"", "= \"main", "m.toml:2:"),
    ];

    #[test]
    fn a_typo_is_answered_with_its_place_and_what_was_meant() {
        assert!(Mapping::parse("m.toml", GOOD).is_ok());
        for (from, to, expected) in TYPOS {
            let broken = GOOD.replacen(from, to, 1);
            assert_ne!(broken, GOOD, "{from}");
            let problem = Mapping::parse("m.toml", &broken).unwrap_err().to_string();
            assert!(problem.contains(expected), "{problem}\n  is not\n{expected}");
        }
    }

    #[test]
    fn a_column_that_the_table_has_not_is_named_with_the_likely_one() {
        let mapping = Mapping::parse("m.toml", GOOD).unwrap();
        let header = ["StockCode", "quantity", "InvoiceDate"].map(str::to_owned);
        let problem = find_column(&header, &mapping.columns[1].1).unwrap_err().to_string();
        assert_eq!(
            problem,
            "m.toml:7:12: the table has no column `Quantity`; did you mean `quantity`?"
        );
    }

    #[test]
    fn without_a_source_the_mapping_is_it() {
        let mapping = Mapping::parse("m.toml", &GOOD.replacen("source = \"import/x\"\n", "", 1)).unwrap();
        assert_eq!(
            mapping.source_or(std::path::Path::new("/etc/shelfd/till.toml")),
            "import/till"
        );
    }
}
