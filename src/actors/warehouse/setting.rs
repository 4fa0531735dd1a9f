//! What is set on one SKU.

use super::super::once;
use super::State;
use super::basket::Said;
use super::ops::{Borrowed, SkuSetting};
use crate::domain::available::risks_after;
use crate::domain::event::Origin;
use crate::domain::fact::{Change, Changes, Outcome};
use crate::domain::refusal::{Code, Refusal};
use crate::domain::stock::Stock;
use crate::domain::units::{Id, Time, Unit};
use crate::storage::append::SkuIndex;

impl State {
    pub(super) fn set_sku(
        &mut self,
        sku: SkuIndex,
        id: &Id,
        setting: SkuSetting,
        origin: &Origin,
        borrowed: &mut Borrowed,
    ) -> Result<u32, Refusal> {
        let warehouse = &self.desk.warehouse;
        let unknown = || Refusal::new(Code::UnknownSku, format!("SKU {id} is not known in warehouse {warehouse}"));
        let stock = borrowed.copies.get(&sku).and_then(Option::as_ref).ok_or_else(unknown)?;
        let (what, changes) = match setting {
            SkuSetting::LotDate(lot, expires_on) => {
                if lot.as_str().is_empty() || stock.lot(&lot).is_none() {
                    let detail = format!("lot {lot} of SKU {id} is not known in warehouse {warehouse}");
                    return Err(Refusal::new(Code::NotFound, detail));
                }
                ("lot_corrected", Changes::from_iter([Change::Lot { lot, expires_on }]))
            }
            SkuSetting::Buffers(buffers) => ("buffers_set", buffer_changes(stock, buffers)),
            SkuSetting::Unit(unit) => ("unit_set", unit_changes(id, stock, unit)?),
        };
        let changes = self.with_risks(stock, changes, borrowed.now);
        let missing = unknown();
        let said = Said {
            what,
            business: borrowed.now,
            origin,
            id: once::remembered(warehouse, origin),
        };
        self.write_sku(id, said, Outcome::APPLIED, changes, borrowed).ok_or(missing)
    }

    /// The changes, and those of the promises that no longer fit, or fit again, because of them.
    fn with_risks(&self, stock: &Stock, mut changes: Changes, now: Time) -> Changes {
        let risks = risks_after(stock, &changes, self.day(now));
        changes.extend(risks);
        changes
    }
}

/// The changes from the overrides that there are to those that are wanted.
fn buffer_changes(stock: &Stock, wanted: Vec<(Id, i64)>) -> Changes {
    let before = stock.rare.as_deref().map_or(&[][..], |rare| &rare.buffers);
    let dropped = before
        .iter()
        .filter(|(channel, _)| !wanted.iter().any(|(named, _)| named == channel));
    let dropped = dropped.map(|(channel, _)| (channel.clone(), None));
    let set = wanted.iter().map(|(channel, buffer)| (channel.clone(), Some(*buffer)));
    dropped
        .chain(set)
        .map(|(channel, buffer)| Change::Buffer { channel, buffer })
        .collect()
}

fn unit_changes(id: &Id, stock: &Stock, unit: Unit) -> Result<Changes, Refusal> {
    if stock.unit != unit && stock.accounts().iter().any(|units| *units != 0) {
        let detail = format!("SKU {id} has units on its accounts: its unit can be changed only while all accounts are 0");
        return Err(Refusal::field(Code::UnitMismatch, "/unit", detail));
    }
    Ok(Changes::from_iter([Change::Unit(unit)]))
}
