//! From a row to the event that it claims, or to the reason why it claims none.

use std::collections::BTreeMap;

use csv::ByteRecord;
use serde::Serialize;

use super::document::Problem;
use super::mapping::{Mapping, Role, find_column};
use super::rules::{Kind, Rule, Test};
use crate::domain::units::Id;

/// A mapping fitted to the header of one table.
#[derive(Debug, Clone)]
pub struct Layout {
    mapping: Mapping,
    source: String,
    columns: usize,
    /// Where each column of the mapping stands, in the order of [`Role`].
    roles: [Option<usize>; ROLES],
    /// The column index of each kept column, in the order of the mapping.
    keep: Vec<usize>,
    /// The column index of each condition of each rule.
    conditions: Vec<Vec<usize>>,
}

const ROLES: usize = super::mapping::COLUMNS.len();

/// Why a row is not sent: a code as the node would use it, and a reason for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// `malformed_row`, `invalid_value`, `no_rule` or `excluded`.
    pub code: &'static str,
    /// What is wrong, where, in a sentence.
    pub reason: String,
}

impl Rejection {
    fn new(code: &'static str, reason: impl Into<String>) -> Rejection {
        Rejection {
            code,
            reason: reason.into(),
        }
    }
}

/// One event, as it is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    specversion: &'static str,
    /// The row's id.
    pub id: String,
    source: String,
    #[serde(rename = "type")]
    kind: String,
    time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<String>,
    /// Kept columns, as CloudEvents extensions.
    #[serde(flatten)]
    kept: BTreeMap<String, String>,
    data: Data,
    /// Whether a rule of the domain may refuse it for want of stock: a batch then ends before the SKU's next row.
    #[serde(skip)]
    pub refusable: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
struct Data {
    warehouse: String,
    sku: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    quantity: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delta: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lot: Option<Lot>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    document: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transfer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to_warehouse: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reservation: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Lot {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_on: Option<String>,
}

impl Event {
    /// The same event under an id.
    #[must_use]
    pub fn with_id(self, id: String) -> Event {
        Event { id, ..self }
    }

    /// Its type: `inventory.sale`, …
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The SKU that it moves.
    pub fn sku(&self) -> &str {
        &self.data.sku
    }

    /// The warehouse that it moves it in.
    pub fn warehouse(&self) -> &str {
        &self.data.warehouse
    }
}

impl Layout {
    /// Fits a mapping to a header. Refuses a mapping that names columns the table has not.
    pub fn new(mapping: Mapping, source: String, header: &[String]) -> Result<Layout, Problem> {
        let mut roles = [None; ROLES];
        for (role, column) in &mapping.columns {
            roles[*role as usize] = Some(find_column(header, column)?);
        }
        let keep = mapping
            .keep
            .iter()
            .map(|(_, column)| find_column(header, column))
            .collect::<Result<Vec<_>, _>>()?;
        let of_rule = |rule: &Rule| {
            rule.conditions
                .iter()
                .map(|condition| find_column(header, &condition.column))
                .collect()
        };
        let conditions = mapping.rules.iter().map(of_rule).collect::<Result<Vec<_>, _>>()?;
        Ok(Layout {
            mapping,
            source,
            columns: header.len(),
            roles,
            keep,
            conditions,
        })
    }

    /// The mapping.
    pub fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    /// The event of a row, with an empty id; the caller numbers it. Refuses rows of the wrong length, values that mean
    /// nothing, rows that no rule takes and rows that a rule rejects.
    pub fn event(&self, row: &ByteRecord) -> Result<Event, Rejection> {
        if row.len() != self.columns {
            let reason = format!("the row has {} cells, the header {}", row.len(), self.columns);
            return Err(Rejection::new("malformed_row", reason));
        }
        let rule = self.rule(row)?;
        if rule.kind == Kind::Reject {
            return Err(Rejection::new("excluded", rule.reason.clone().unwrap_or_default()));
        }
        let quantity = self.required(row, Role::Quantity)?;
        let quantity = self
            .mapping
            .amounts
            .parse(quantity)
            .map_err(|reason| Rejection::new("invalid_value", reason))?;
        let time = self
            .mapping
            .times
            .parse(self.required(row, Role::Time)?)
            .map_err(|reason| Rejection::new("invalid_value", reason))?;
        let mut data = self.data(row, rule)?;
        amounts(rule, quantity, &mut data)?;
        let refusable = rule.kind == Kind::Release || data.delta.is_some_and(|delta| delta < 0);
        Ok(Event {
            specversion: "1.0",
            id: String::new(),
            source: self.source.clone(),
            kind: format!("inventory.{}", rule.kind.name()),
            time,
            actor: self.cell(row, Role::Actor)?.map(str::to_owned),
            kept: self.kept(row)?,
            data,
            refusable,
        })
    }

    fn kept(&self, row: &ByteRecord) -> Result<BTreeMap<String, String>, Rejection> {
        let mut kept = BTreeMap::new();
        for ((name, _), at) in self.mapping.keep.iter().zip(&self.keep) {
            let cell = std::str::from_utf8(row.get(*at).unwrap_or_default())
                .map_err(|_| Rejection::new("invalid_value", format!("the {name} is not UTF-8")))?;
            if !cell.trim().is_empty() {
                kept.insert(name.clone(), cell.trim().to_owned());
            }
        }
        Ok(kept)
    }

    fn rule(&self, row: &ByteRecord) -> Result<&Rule, Rejection> {
        for (rule, columns) in self.mapping.rules.iter().zip(&self.conditions) {
            let mut fits = true;
            for (condition, at) in rule.conditions.iter().zip(columns) {
                let cell = row.get(*at).unwrap_or_default();
                // A cell in another encoding has no text, but it is there.
                fits &= match std::str::from_utf8(cell) {
                    Ok(cell) => condition.test.fits(cell),
                    Err(_) => condition.test == Test::Empty(false),
                };
            }
            if fits {
                return Ok(rule);
            }
        }
        Err(Rejection::new("no_rule", "no rule of the mapping takes this row"))
    }

    fn cell<'r>(&self, row: &'r ByteRecord, role: Role) -> Result<Option<&'r str>, Rejection> {
        let Some(at) = self.roles[role as usize] else {
            return Ok(None);
        };
        let cell = std::str::from_utf8(row.get(at).unwrap_or_default())
            .map_err(|_| Rejection::new("invalid_value", format!("the {} is not UTF-8", role.name())))?;
        Ok(Some(cell.trim()).filter(|cell| !cell.is_empty()))
    }

    fn required<'r>(&self, row: &'r ByteRecord, role: Role) -> Result<&'r str, Rejection> {
        self.cell(row, role)?
            .ok_or_else(|| Rejection::new("invalid_value", format!("the {} is empty", role.name())))
    }

    fn id(&self, row: &ByteRecord, role: Role) -> Result<Option<String>, Rejection> {
        let Some(text) = self.cell(row, role)? else { return Ok(None) };
        Id::check(text).map_err(|bad| Rejection::new("invalid_value", format!("the {} `{text}` {bad}", role.name())))?;
        Ok(Some(text.to_owned()))
    }

    fn data(&self, row: &ByteRecord, rule: &Rule) -> Result<Data, Rejection> {
        self.required(row, Role::Sku)?;
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let warehouse = match &self.mapping.warehouse {
            Some(warehouse) => warehouse.clone(),
            None => {
                self.required(row, Role::Warehouse)?;
                self.id(row, Role::Warehouse)?.unwrap_or_default()
            }
        };
        let expires_on = owned(self.cell(row, Role::ExpiresOn)?);
        let lot = self.id(row, Role::Lot)?;
        if lot.is_none() && expires_on.is_some() {
            return Err(Rejection::new("invalid_value", "an expiry date needs a lot"));
        }
        let transfer = matches!(rule.kind, Kind::TransferOut | Kind::TransferIn);
        Ok(Data {
            warehouse,
            sku: self.id(row, Role::Sku)?.unwrap_or_default(),
            unit: self
                .mapping
                .unit
                .map(|unit| unit.as_str().to_owned())
                .or(owned(self.cell(row, Role::Unit)?)),
            lot: lot.map(|id| Lot { id, expires_on }),
            reason: owned(self.cell(row, Role::Reason)?).or_else(|| rule.reason.clone()),
            document: owned(self.cell(row, Role::Document)?),
            to: rule.to,
            from: rule.from,
            transfer: if transfer { self.id(row, Role::Transfer)? } else { None },
            to_warehouse: if rule.kind == Kind::TransferOut {
                self.id(row, Role::ToWarehouse)?
            } else {
                None
            },
            reservation: if rule.kind == Kind::Sale {
                self.id(row, Role::Reservation)?
            } else {
                None
            },
            ..Data::default()
        })
    }
}

/// Puts the quantity where the event's kind has it. Refuses zero where nothing would move, and counts below zero.
fn amounts(rule: &Rule, quantity: i64, data: &mut Data) -> Result<(), Rejection> {
    match rule.kind {
        Kind::Count | Kind::Snapshot if quantity < 0 => {
            return Err(Rejection::new(
                "invalid_value",
                format!("a {} of {quantity}: nobody counts below zero", rule.kind.name()),
            ));
        }
        Kind::Count | Kind::Snapshot => data.quantity = Some(quantity),
        _ if quantity == 0 => return Err(Rejection::new("invalid_value", "the quantity is zero: nothing would move")),
        // Quantities are within ±10^12, so the sign can always be turned.
        Kind::Adjustment => data.delta = rule.sign.apply(quantity),
        _ => data.quantity = Some(quantity.abs()),
    }
    Ok(())
}

impl Role {
    /// The key in `[columns]`, which is also the word for people.
    pub fn name(self) -> &'static str {
        super::mapping::COLUMNS
            .iter()
            .find(|(_, role)| *role == self)
            .map_or("", |(key, _)| key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPPING: &str = r#"
source = "import/till"
warehouse = "main"
copies = "several"
[columns]
sku = "code"
quantity = "qty"
time = "at"
document = "invoice"
lot = "lot"
expires_on = "best before"
[keep]
remark = "note"
[time]
zone = "Europe/London"
formats = ["%Y-%m-%d %H:%M:%S"]
[[rules]]
when = { code = { equals = ["POST", "FEE"] } }
event = "reject"
reason = "not goods"
[[rules]]
when = { invoice = { starts_with = "C" } }
event = "return"
to = "quarantine"
[[rules]]
when = { qty = { sign = "negative" }, invoice = { empty = false } }
event = "adjustment"
reason = "by hand"
[[rules]]
when = { invoice = { empty = true } }
event = "count"
[[rules]]
when = { qty = { sign = "positive" } }
event = "sale"
"#;

    fn layout() -> Layout {
        layout_of(MAPPING)
    }

    fn layout_of(mapping: &str) -> Layout {
        let header = ["code", "qty", "at", "invoice", "lot", "best before", "note"].map(str::to_owned);
        Layout::new(Mapping::parse("m.toml", mapping).unwrap(), "import/till".to_owned(), &header).unwrap()
    }

    fn json(cells: [&str; 7]) -> String {
        serde_json::to_string(
            &layout()
                .event(&ByteRecord::from(cells.to_vec()))
                .unwrap()
                .with_id("r-1".to_owned()),
        )
        .unwrap()
    }

    fn rejection(cells: &[&[u8]]) -> (&'static str, String) {
        let rejection = layout().event(&ByteRecord::from(cells.to_vec())).unwrap_err();
        (rejection.code, rejection.reason)
    }

    #[test]
    fn a_row_becomes_the_event_of_the_first_rule_that_fits() {
        let at = "2010-12-01 08:26:00";
        for (cells, expected) in [
            (
                [" A ", "6", at, "536365", "", "", "x"],
                r#"{"specversion":"1.0","id":"r-1","source":"import/till","type":"inventory.sale","time":"2010-12-01T08:26:00+00:00","remark":"x","data":{"warehouse":"main","sku":"A","quantity":6,"document":"536365"}}"#,
            ),
            (
                ["A", "-6", at, "C536365", "L1", "2011-01-01", ""],
                r#"{"specversion":"1.0","id":"r-1","source":"import/till","type":"inventory.return","time":"2010-12-01T08:26:00+00:00","data":{"warehouse":"main","sku":"A","quantity":6,"lot":{"id":"L1","expires_on":"2011-01-01"},"document":"C536365","to":"quarantine"}}"#,
            ),
            (
                ["A", "-6", at, "536366", "", "", ""],
                r#"{"specversion":"1.0","id":"r-1","source":"import/till","type":"inventory.adjustment","time":"2010-12-01T08:26:00+00:00","data":{"warehouse":"main","sku":"A","delta":-6,"reason":"by hand","document":"536366"}}"#,
            ),
            (
                ["A", "0", at, "", "", "", ""],
                r#"{"specversion":"1.0","id":"r-1","source":"import/till","type":"inventory.count","time":"2010-12-01T08:26:00+00:00","data":{"warehouse":"main","sku":"A","quantity":0}}"#,
            ),
        ] {
            assert_eq!(json(cells), expected);
        }
    }

    #[test]
    fn a_row_that_means_nothing_is_rejected_with_its_reason() {
        let at: &[u8] = b"2010-12-01 08:26:00";
        for (cells, code, reason) in [
            (
                vec![b"A" as &[u8], b"6"],
                "malformed_row",
                "the row has 2 cells, the header 7",
            ),
            (vec![b"POST", b"6", at, b"1", b"", b"", b""], "excluded", "not goods"),
            (vec![b"A", b"0", at, b"1", b"", b"", b""], "no_rule", "no rule"),
            (
                vec![b"A", b"six", at, b"C1", b"", b"", b""],
                "invalid_value",
                "quantity `six` is no number",
            ),
            (
                vec![b"A", b"0", at, b"C1", b"", b"", b""],
                "invalid_value",
                "the quantity is zero",
            ),
            (vec![b"A", b"-1", at, b"", b"", b"", b""], "invalid_value", "a count of -1"),
            (vec![b" ", b"6", at, b"1", b"", b"", b""], "invalid_value", "the sku is empty"),
            (
                vec![b"A/B", b"6", at, b"1", b"", b"", b""],
                "invalid_value",
                "the sku `A/B` must not contain '/'",
            ),
            (
                vec![b"caf\xe9", b"6", at, b"1", b"", b"", b""],
                "invalid_value",
                "the sku is not UTF-8",
            ),
            (
                vec![b"A", b"6", b"1 Dec", b"1", b"", b"", b""],
                "invalid_value",
                "time `1 Dec` fits none",
            ),
            (
                vec![b"A", b"6", at, b"1", b"", b"2011-01-01", b""],
                "invalid_value",
                "an expiry date needs a lot",
            ),
        ] {
            let (found, why) = rejection(&cells);
            assert_eq!(found, code, "{why}");
            assert!(why.contains(reason), "{why}");
        }
        let accented = ByteRecord::from(vec![b"A" as &[u8], b"6", at, b"1", b"", b"", b"caf\xe9"]);
        assert_eq!(layout().event(&accented).unwrap_err().reason, "the remark is not UTF-8");
        let without = layout_of(&MAPPING.replace("remark = \"note\"", ""));
        assert!(
            without.event(&accented).is_ok(),
            "a column that nobody asked for may be anything"
        );
    }
}
