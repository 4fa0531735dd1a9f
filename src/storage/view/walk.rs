//! Walks over the view, in pages, so that no lock is held for longer than one look.

use crate::domain::reservation::{Reservation, State};
use crate::domain::stock::Stock;
use crate::domain::units::Id;
use crate::storage::append::SkuIndex;

use super::View;

const PAGE: usize = 512;

impl View {
    /// Looks at every held reservation of a warehouse.
    pub fn each_held(&self, warehouse: &Id, mut look: impl FnMut(&Reservation)) {
        let mut after: Option<Id> = None;
        loop {
            let page = self.reservations(warehouse.as_str(), Some(State::Held), after.as_ref().map(Id::as_str), PAGE);
            let Some(last) = page.last() else { break };
            after = Some(last.id.clone());
            page.iter().for_each(|reservation| look(reservation));
        }
    }

    /// Looks at every SKU of a warehouse that has a state, and at the sequence of its last fact.
    pub fn each_sku(&self, warehouse: &Id, mut look: impl FnMut(SkuIndex, &Stock, u64)) {
        let mut after: Option<Id> = None;
        loop {
            let page = self.skus_of(warehouse.as_str(), after.as_ref().map(Id::as_str), PAGE);
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            for (_, sku) in &page {
                self.read(*sku, |stock, seq| {
                    if let Some(stock) = stock {
                        look(*sku, stock, seq);
                    }
                });
            }
        }
    }
}
