//! Where a store differs from a fold of its journal, in words.

use crate::domain::units::Id;
use crate::storage::database::ReadError;
use crate::storage::store::Shared;
use crate::storage::view::View;

impl Shared {
    /// Where the store differs from a fold of the same facts that is all in memory; empty: nowhere. With `forgetful`, what has ended may
    /// be missing here.
    pub(crate) fn differences(&self, fold: &View, forgetful: bool) -> Result<Vec<String>, ReadError> {
        let view = &self.view;
        let mut found = Vec::new();
        let mut warehouses = view.shelf_names();
        warehouses.extend(fold.shelf_names());
        warehouses.sort();
        warehouses.dedup();
        for warehouse in &warehouses {
            self.compare_shelf(fold, warehouse, forgetful, &mut found)?;
        }
        if view.warehouses() != fold.warehouses() {
            found.push("the warehouses differ".into());
        }
        if view.catalogue(None, usize::MAX) != fold.catalogue(None, usize::MAX) {
            found.push("the catalogue differs".into());
        }
        let all = |view: &View| view.dead_letters(None, None, usize::MAX);
        if !forgetful && all(view) != all(fold) {
            found.push("the dead letters differ".into());
        }
        Ok(found)
    }

    fn compare_shelf(&self, fold: &View, warehouse: &Id, forgetful: bool, found: &mut Vec<String>) -> Result<(), ReadError> {
        let name = warehouse.as_str();
        let (mine, theirs) = (
            self.view.skus_of(name, None, usize::MAX),
            fold.skus_of(name, None, usize::MAX),
        );
        if mine.iter().map(|(sku, _)| sku).ne(theirs.iter().map(|(sku, _)| sku)) {
            found.push(format!("{warehouse}: other SKUs"));
            return Ok(());
        }
        for ((sku, here), (_, there)) in mine.into_iter().zip(theirs) {
            if self.view.stock(here) != fold.stock(there) {
                found.push(format!("{warehouse}/{sku}: another state"));
            }
        }
        let theirs = fold.reservations(name, None, None, usize::MAX);
        let mut here_too = 0;
        for basket in &theirs {
            let here = self.reservation(name, basket.id.as_str())?.map(|(here, _)| here);
            here_too += usize::from(here.is_some());
            let forgotten = forgetful && here.is_none() && basket.end.is_some();
            if here.as_ref() != Some(basket) && !forgotten {
                found.push(format!("{warehouse}: reservation {} differs", basket.id));
            }
        }
        if self.view.reservation_count(name) > here_too {
            found.push(format!("{warehouse}: reservations that nobody made"));
        }
        Ok(())
    }
}
