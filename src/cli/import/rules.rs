//! Which kind of row becomes which event: conditions on cells, and the kind that they lead to.

use super::document::{Place, Placed, Problem, Section};

/// The keys of one `[[rules]]` table.
pub const KEYS: [&str; 6] = ["when", "event", "sign", "reason", "to", "from"];

/// What a row becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `inventory.receipt`
    Receipt,
    /// `inventory.sale`
    Sale,
    /// `inventory.return`
    Return,
    /// `inventory.quarantine`
    Quarantine,
    /// `inventory.release`
    Release,
    /// `inventory.write_off`
    WriteOff,
    /// `inventory.transfer_out`
    TransferOut,
    /// `inventory.transfer_in`
    TransferIn,
    /// `inventory.adjustment`: the only one whose sign matters.
    Adjustment,
    /// `inventory.count`: zero is a count, too; below zero is not.
    Count,
    /// `inventory.snapshot`: as a count.
    Snapshot,
    /// No event: the row goes to the rejected rows with the rule's reason (fees, postage, totals).
    Reject,
}

/// Every kind with its name in a mapping.
pub const KINDS: [(&str, Kind); 12] = [
    ("receipt", Kind::Receipt),
    ("sale", Kind::Sale),
    ("return", Kind::Return),
    ("quarantine", Kind::Quarantine),
    ("release", Kind::Release),
    ("write_off", Kind::WriteOff),
    ("transfer_out", Kind::TransferOut),
    ("transfer_in", Kind::TransferIn),
    ("adjustment", Kind::Adjustment),
    ("count", Kind::Count),
    ("snapshot", Kind::Snapshot),
    ("reject", Kind::Reject),
];

impl Kind {
    /// The name in a mapping.
    pub fn name(self) -> &'static str {
        KINDS.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }
}

/// What an adjustment does with the sign of the row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// The row's own.
    AsIs,
    /// Always more.
    Plus,
    /// Always less.
    Minus,
    /// The other one than the row's.
    Reverse,
}

impl Sign {
    /// The delta of an adjustment for the quantity of a row; `None` when it cannot be written as a number.
    pub fn apply(self, quantity: i64) -> Option<i64> {
        match self {
            Sign::AsIs => Some(quantity),
            Sign::Plus => quantity.checked_abs(),
            Sign::Minus => quantity.checked_abs().and_then(i64::checked_neg),
            Sign::Reverse => quantity.checked_neg(),
        }
    }
}

/// What a condition looks for in its cell. Texts are compared as they stand, letter case included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Test {
    /// One of these, whole.
    Equals(Vec<String>),
    /// Begins with one of these.
    StartsWith(Vec<String>),
    /// Ends with one of these.
    EndsWith(Vec<String>),
    /// Has one of these inside.
    Contains(Vec<String>),
    /// Whether nothing but spaces stands there.
    Empty(bool),
    /// A number below (-1), at (0) or above (1) zero. Judged on the text, so it works for any number: `-0.00` is zero.
    Sign(i8),
}

const TESTS: [&str; 6] = ["equals", "starts_with", "ends_with", "contains", "empty", "sign"];

/// One condition: a column, named as in the table, and what it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// The column's name.
    pub column: Placed<String>,
    /// What it must be.
    pub test: Test,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// All must hold. None: every row fits.
    pub conditions: Vec<Condition>,
    /// What the row becomes.
    pub kind: Kind,
    /// The sign of an adjustment.
    pub sign: Sign,
    /// The reason of all its rows, where no column gives one.
    pub reason: Option<String>,
    /// Where a return goes: `quarantine`; without it, to sellable.
    pub to: Option<&'static str>,
    /// Where a write-off comes from; without it, from sellable.
    pub from: Option<&'static str>,
    /// Where the rule stands in the mapping.
    pub place: Place,
}

impl Rule {
    /// Reads one `[[rules]]` table. Refuses what has no meaning for the rule's event.
    pub fn read(section: &Section<'_>, reason_has_column: bool) -> Result<Rule, Problem> {
        let kind = section.choice("event", &KINDS)?.ok_or_else(|| {
            section.problem("`event` is missing: it says what rows of this rule become, for instance `event = \"sale\"`")
        })?;
        let signs = [
            ("as_is", Sign::AsIs),
            ("plus", Sign::Plus),
            ("minus", Sign::Minus),
            ("reverse", Sign::Reverse),
        ];
        let rule = Rule {
            conditions: conditions(section)?,
            kind,
            sign: section.choice("sign", &signs)?.unwrap_or(Sign::AsIs),
            reason: section.text("reason")?.map(|reason| reason.value),
            to: section.choice("to", &[("sellable", "sellable"), ("quarantine", "quarantine")])?,
            from: section.choice(
                "from",
                &[
                    ("sellable", "sellable"),
                    ("quarantine", "quarantine"),
                    ("in_transit", "in_transit"),
                ],
            )?,
            place: section.place().clone(),
        };
        let only = |key: &str, kind: Kind| format!("`{key}` is only for `event = \"{}\"`", kind.name());
        if rule.sign != Sign::AsIs && kind != Kind::Adjustment {
            return Err(section.problem(only("sign", Kind::Adjustment)));
        }
        if rule.to.is_some() && kind != Kind::Return {
            return Err(section.problem(only("to", Kind::Return)));
        }
        if rule.from.is_some() && kind != Kind::WriteOff {
            return Err(section.problem(only("from", Kind::WriteOff)));
        }
        let needs_reason = matches!(kind, Kind::Adjustment | Kind::WriteOff);
        if (kind == Kind::Reject || needs_reason && !reason_has_column) && rule.reason.is_none() {
            return Err(section.problem(format!("a rule with `event = \"{}\"` needs a `reason`", kind.name())));
        }
        Ok(rule)
    }
}

fn conditions(section: &Section<'_>) -> Result<Vec<Condition>, Problem> {
    let Some(when) = section.section("when", None)? else {
        return Ok(Vec::new());
    };
    let mut conditions = Vec::new();
    for column in when.keys() {
        let wanted = format!(
            "`when` must say what `{0}` is, for instance `when = {{ {0} = {{ starts_with = \"C\" }} }}`",
            column.value
        );
        let tests = when.section(&column.value, Some(&TESTS)).map_err(|problem| {
            if problem.what.contains("must be a table") {
                column.place.problem(wanted.clone())
            } else {
                problem
            }
        })?;
        let found = tests.map(|tests| self::tests(&tests)).transpose()?.unwrap_or_default();
        if found.is_empty() {
            return Err(column.place.problem(wanted));
        }
        conditions.extend(found.into_iter().map(|test| Condition {
            column: column.clone(),
            test,
        }));
    }
    Ok(conditions)
}

fn tests(section: &Section<'_>) -> Result<Vec<Test>, Problem> {
    type Make = fn(Vec<String>) -> Test;
    let texts: [(&str, Make); 4] = [
        ("equals", Test::Equals),
        ("starts_with", Test::StartsWith),
        ("ends_with", Test::EndsWith),
        ("contains", Test::Contains),
    ];
    let mut tests = Vec::new();
    for (key, make) in texts {
        if let Some(texts) = section.texts(key)? {
            if let Some(empty) = texts.iter().find(|text| text.value.is_empty() && key != "equals") {
                return Err(empty
                    .place
                    .problem(format!("`{key}` with an empty text is true of every cell")));
            }
            tests.push(make(texts.into_iter().map(|text| text.value).collect()));
        }
    }
    tests.extend(section.flag("empty")?.map(Test::Empty));
    tests.extend(
        section
            .choice("sign", &[("negative", -1), ("zero", 0), ("positive", 1)])?
            .map(Test::Sign),
    );
    Ok(tests)
}

impl Test {
    /// Whether a cell fits.
    pub fn fits(&self, cell: &str) -> bool {
        match self {
            Test::Equals(texts) => texts.iter().any(|text| cell == text),
            Test::StartsWith(texts) => texts.iter().any(|text| cell.starts_with(text.as_str())),
            Test::EndsWith(texts) => texts.iter().any(|text| cell.ends_with(text.as_str())),
            Test::Contains(texts) => texts.iter().any(|text| cell.contains(text.as_str())),
            Test::Empty(wanted) => cell.trim().is_empty() == *wanted,
            Test::Sign(wanted) => sign_of(cell) == Some(*wanted),
        }
    }
}

/// The sign of a number as it is written; `None` when it is none.
fn sign_of(cell: &str) -> Option<i8> {
    let cell = cell.trim();
    let (negative, digits) = match cell.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, cell.strip_prefix('+').unwrap_or(cell)),
    };
    let is_number =
        digits.bytes().any(|b| b.is_ascii_digit()) && digits.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b','));
    is_number.then(|| match digits.bytes().any(|b| matches!(b, b'1'..=b'9')) {
        false => 0,
        true if negative => -1,
        true => 1,
    })
}
