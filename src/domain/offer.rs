//! What each channel of a warehouse may promise of a SKU, as every fact of that SKU says it.
//!
//! Buffers and channels change, facts do not: so each fact carries the figures themselves, and whoever reads the journal needs
//! nothing else to tell what was on offer after it. Most warehouses keep nothing back, and then one figure is every channel's:
//! such a fact names the channels, in a list that is made once per warehouse, and nothing is computed for it. (To look the
//! channels up when a fact is read was rejected: they may be others by then.)

use std::sync::Arc;

use super::available::buffer_of;
use super::fact::{After, OnOffer};
use super::stock::Stock;
use super::units::{Day, Id, Time};
use super::warehouse::Warehouse;

/// The channels of a warehouse, laid out for what every fact says of them.
#[derive(Clone, Debug)]
pub struct Offer {
    site: Arc<Warehouse>,
    alike: OnOffer,
    buffered: bool,
}

impl Offer {
    /// The channels as the warehouse has them now.
    pub fn of(site: &Arc<Warehouse>) -> Offer {
        Offer {
            site: Arc::clone(site),
            alike: OnOffer::Alike(site.channels.keys().cloned().collect()),
            buffered: site.channels.values().any(|channel| channel.buffer > 0),
        }
    }

    /// The figures that a fact carries, as of an instant and its day in the warehouse; all 0 for a SKU that is not there.
    pub fn after(&self, stock: Option<&Stock>, today: Day, now: Time) -> After {
        let mut after = stock.map(|stock| stock.after(today, now)).unwrap_or_default();
        after.on_offer = match stock {
            // A buffer is never negative, so that where nothing is left without one nothing is left with one.
            Some(stock) if after.available > 0 && self.keeps_back(stock) => self.each(stock, after.available),
            _ => self.alike.clone(),
        };
        after
    }

    fn keeps_back(&self, stock: &Stock) -> bool {
        self.buffered || stock.rare.as_ref().is_some_and(|rare| !rare.buffers.is_empty())
    }

    fn each(&self, stock: &Stock, before_buffers: i64) -> OnOffer {
        let of = |channel: &Id| {
            let left = before_buffers.saturating_sub(buffer_of(stock, channel, &self.site)).max(0);
            (channel.clone(), left)
        };
        OnOffer::Each(self.site.channels.keys().map(of).collect())
    }
}
