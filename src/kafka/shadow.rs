//! SKUs as they stood after a fact, for a publisher that is behind the view.
//!
//! A fact carries the sums after it and not the lots, and the view may be facts ahead. So the publisher folds its own copies of the
//! SKUs that it meets, without their recent book, and keeps those met lately. A copy begins with the view's when that is at
//! this very fact, and otherwise with the SKU's ledger. Publishing the view's newest state with each older fact was rejected:
//! versions would repeat, and nobody could tell what a fact did.

use hashbrown::HashMap;

use crate::actors::node::Node;
use crate::domain::fact::{Change, Changes, Fact, Subject};
use crate::domain::stock::{Stock, evolve};
use crate::domain::units::Time;
use crate::storage::append::SkuIndex;
use crate::storage::database::ReadError;

/// Copies kept: half of them are of the SKUs met last.
const KEPT: usize = 40_000;
/// Facts of a ledger read at once.
const PAGE: usize = 1_000;

/// See the module.
#[derive(Default)]
pub(super) struct Shadows {
    young: HashMap<SkuIndex, Stock>,
    old: HashMap<SkuIndex, Stock>,
}

impl Shadows {
    /// The SKU as it stood after this fact; facts come in the order of the journal.
    pub(super) fn after(&mut self, node: &Node, fact: &Fact) -> Result<Option<&Stock>, ReadError> {
        let Subject::Sku {
            sku, version, changes, ..
        } = &fact.subject
        else {
            return Ok(None);
        };
        let Some(index) = node.view().keys().find(fact.warehouse.as_str(), sku.as_str()) else {
            return Ok(None);
        };
        if self.young.len() >= KEPT / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        let known = self.young.remove(&index).or_else(|| self.old.remove(&index));
        let stock = match known {
            Some(mut stock) if stock.version + 1 == *version => {
                fold(&mut stock, changes, fact.business, fact.recorded, *version);
                stock
            }
            _ => match begin(node, index, fact, *version)? {
                Some(stock) => stock,
                None => return Ok(None),
            },
        };
        Ok(Some(self.young.entry(index).insert(stock).into_mut()))
    }
}

fn fold(stock: &mut Stock, changes: &[Change], business: Time, recorded: Time, version: u64) {
    evolve(stock, changes, business, recorded);
    stock.version = version;
    stock.book.clear();
}

/// The SKU after this fact, without what came before: from the view, or from its ledger.
fn begin(node: &Node, index: SkuIndex, fact: &Fact, version: u64) -> Result<Option<Stock>, ReadError> {
    let now = node.view().read(index, |stock, seq| {
        stock.map(|stock| (seq, (seq == fact.seq).then(|| stock.without_book())))
    });
    match now {
        Some((_, Some(stock))) => return Ok(Some(stock)),
        // The view is not there yet, or the SKU has no state: neither happens to a durable fact that changes something.
        None => return Ok(None),
        Some((_, None)) => {}
    }
    let mut facts: Vec<(u64, Changes, Time, Time)> = Vec::new();
    let mut before = Some(fact.seq + 1);
    let mut first = version;
    while before.is_some() {
        let page = node.store().ledger(index, before, PAGE)?;
        before = page.next;
        for fact in page.facts {
            if let Subject::Sku { version, changes, .. } = fact.subject
                && !changes.is_empty()
            {
                first = version;
                facts.push((version, changes, fact.business, fact.recorded));
            }
        }
    }
    // Where history was cut, the newest state is the best there is: its sums are taken from the fact.
    if first > 1 {
        return Ok(node.view().stock(index).map(|stock| Stock {
            version,
            ..stock.without_book()
        }));
    }
    let mut stock = Stock::default();
    for (version, changes, business, recorded) in facts.into_iter().rev() {
        fold(&mut stock, &changes, business, recorded, version);
    }
    Ok(Some(stock))
}
