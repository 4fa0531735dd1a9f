//! What a view shows of everything, to be compared with what it must show.
//!
//! The view compares itself with another for `verify`; this one can be kept for each place of a journal, of which there are hundreds.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::domain::reservation::Reservation;
use crate::domain::stock::Stock;
use crate::domain::units::Id;
use crate::domain::warehouse::Warehouse;
use crate::storage::store::{ReadError, Store};
use crate::storage::view::View;

/// What a view says of everything, to be compared.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Picture {
    stocks: BTreeMap<(String, String), Stock>,
    baskets: BTreeMap<(String, String), Reservation>,
    warehouses: BTreeMap<Id, Arc<Warehouse>>,
    catalogue: BTreeMap<Id, Arc<str>>,
}

impl Picture {
    pub(crate) fn of(view: &View) -> Picture {
        let mut picture = Picture {
            warehouses: BTreeMap::clone(&view.warehouses()),
            catalogue: view.catalogue(None, usize::MAX).into_iter().collect(),
            ..Picture::default()
        };
        for warehouse in ["w"] {
            for (sku, index) in view.skus_of(warehouse, None, usize::MAX) {
                let key = (warehouse.to_owned(), sku.as_str().to_owned());
                picture.stocks.extend(view.stock(index).map(|stock| (key, stock)));
            }
            for basket in view.reservations(warehouse, None, None, usize::MAX) {
                let key = (warehouse.to_owned(), basket.id.as_str().to_owned());
                picture.baskets.insert(key, Reservation::clone(&basket));
            }
        }
        picture
    }

    /// As [`Picture::of`], of a store, with the baskets that are on its disk only.
    pub(crate) fn of_store(store: &Store) -> Result<Picture, ReadError> {
        let mut picture = Picture::of(store.view());
        let mut after: Option<Id> = None;
        loop {
            let page = store.reservations("w", None, after.as_ref().map(Id::as_str), 100)?;
            let named = page.items.iter().map(|basket| {
                let key = ("w".to_owned(), basket.id.as_str().to_owned());
                (key, Reservation::clone(basket))
            });
            picture.baskets.extend(named);
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(picture),
            }
        }
    }

    /// Where another picture differs; what has ended may be missing there.
    pub(crate) fn differs(&self, found: &Picture) -> Option<String> {
        if self.stocks != found.stocks {
            let of = |stocks: &BTreeMap<(String, String), Stock>| {
                let lines = stocks
                    .iter()
                    .map(|((_, sku), stock)| format!("{sku} {} {:?}", stock.version, stock.accounts()));
                lines.collect::<Vec<_>>().join(", ")
            };
            return Some(format!("stocks: expected {}, found {}", of(&self.stocks), of(&found.stocks)));
        }
        for (key, basket) in &found.baskets {
            if self.baskets.get(key) != Some(basket) {
                return Some(format!("basket {key:?} is {basket:?}"));
            }
        }
        let missing = self
            .baskets
            .iter()
            .find(|(key, basket)| basket.end.is_none() && !found.baskets.contains_key(*key));
        if let Some((key, _)) = missing {
            return Some(format!("the held basket {key:?} is missing"));
        }
        (self.warehouses != found.warehouses || self.catalogue != found.catalogue)
            .then(|| "the warehouses or the catalogue differ".to_owned())
    }
}
