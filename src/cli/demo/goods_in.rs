//! What comes in: the opening stock, morning deliveries with their documents, and transfers between the two sites.
//!
//! The warehouse system of each site tells it, row by row, as such systems do. Rejected: one `adjustment` for all opening
//! stock, which would hide lots and expiry dates from the very first screen.

use jiff::{ToSpan, ZonedDateTime};
use rand::RngExt;
use serde_json::{Value, json};

use super::shelf::Lot;
use super::story::{Place, SITES, Story, Telling, lot_json};

/// One good in thirty begins the day with a lot that expired yesterday.
const EXPIRED_AT_OPENING: usize = 30;
/// One good in fifty begins the day nearly empty.
const SCARCE_AT_OPENING: u32 = 2;

impl Story {
    /// The stock with which a site opens: a lot of each good, two of some, and a few that should have been written off.
    pub fn opening(&mut self, site: usize, at: &ZonedDateTime) -> Vec<Value> {
        let document = self.document("OPEN");
        let mut events = Vec::new();
        for good in 0..self.goods.len() {
            let place = Place { site, good };
            let (case, life) = (self.goods[good].case, self.goods[good].shelf_life_days);
            // Yesterday's bread is nearly gone, and so are a few others; the rest is one to three cases.
            let scarce = life <= 4 || self.chance(SCARCE_AT_OPENING);
            let whole = if scarce {
                (case / 6).max(1)
            } else {
                case * self.rng.random_range(1..=3)
            };
            // A good that lives for a day was baked yesterday evening; others have stood for up to half of their life.
            let age = self.rng.random_range(0..=(life / 2).clamp(0, 60));
            let mut parts = vec![(age, whole)];
            if life > 10 && self.chance(30) {
                parts.push((age + life / 3, (case / 3).max(1)));
            }
            if (good + site * 7).is_multiple_of(EXPIRED_AT_OPENING) {
                parts.push((life + 1, (case / 4).max(1)));
            }
            for (age, quantity) in parts {
                let made = self.today().checked_sub(age.days()).unwrap_or(self.today());
                let lot = self.lot(good, made, quantity);
                events.push(self.receive(place, lot, at, &document));
            }
        }
        events
    }

    /// A supplier's delivery to a site: one document, one row for each good that it brings.
    pub fn delivery(&mut self, site: usize, supplier: &str, at: &ZonedDateTime) -> Vec<Value> {
        let document = self.document("ASN");
        let brought: Vec<usize> = (0..self.goods.len())
            .filter(|good| self.goods[*good].supplier == supplier)
            .collect();
        let mut events = Vec::new();
        for good in brought {
            if self.chance(25) {
                continue;
            }
            let quantity = self.goods[good].case * self.rng.random_range(1..=2);
            let lot = self.lot(good, self.today(), quantity);
            events.push(self.receive(Place { site, good }, lot, at, &document));
        }
        events
    }

    /// A case of one good, for instance because the shelf is nearly empty.
    pub fn refill(&mut self, place: Place, at: &ZonedDateTime) -> Value {
        let document = self.document("ASN");
        let lot = self.lot(place.good, self.today(), self.goods[place.good].case);
        self.receive(place, lot, at, &document)
    }

    fn receive(&mut self, place: Place, lot: Lot, at: &ZonedDateTime, document: &str) -> Value {
        let extra = json!({"quantity": lot.quantity, "lot": lot_json(&lot), "document": document});
        self.shelf(place).put(lot);
        self.tell(Telling {
            source: SITES[place.site].wms,
            kind: "receipt",
            at,
            place,
            extra,
        })
    }

    /// The suppliers, each once, in the order of the catalogue.
    pub fn suppliers(&self) -> Vec<String> {
        let mut suppliers: Vec<String> = Vec::new();
        for good in &self.goods {
            if !suppliers.contains(&good.supplier) {
                suppliers.push(good.supplier.clone());
            }
        }
        suppliers
    }

    /// Goods leave the second site for the first. What is on the way stands in nobody's shelf.
    pub fn send(&mut self, at: &ZonedDateTime) -> (Shipment, Vec<Value>) {
        let transfer = self.document("TR");
        let mut shipment = Shipment {
            transfer,
            rows: Vec::new(),
        };
        let mut events = Vec::new();
        for _ in 0..4 {
            let from = self.stocked(1);
            let today = self.today();
            let Some(lot) = self.shelf(from).largest(today).cloned() else {
                continue;
            };
            // One row for a good: the balance of a transfer is kept by its id.
            if shipment.rows.iter().any(|row| row.good == from.good) {
                continue;
            }
            let quantity = self.shelf(from).take_lot(&lot.id, (lot.quantity / 2).max(1));
            let lot = Lot { quantity, ..lot };
            let extra = json!({
                "quantity": quantity, "lot": lot_json(&lot), "transfer": shipment.transfer, "to_warehouse": SITES[0].id,
                "document": shipment.transfer,
            });
            events.push(self.tell(Telling {
                source: SITES[1].wms,
                kind: "transfer_out",
                at,
                place: from,
                extra,
            }));
            shipment.rows.push(Row { good: from.good, lot });
        }
        (shipment, events)
    }

    /// The shipment arrives at the first site. With `short`, its first row lacks a part, which is then written off on the way.
    pub fn arrive(&mut self, shipment: &Shipment, short: bool, at: &ZonedDateTime) -> Vec<Value> {
        let mut events = Vec::new();
        for (index, row) in shipment.rows.iter().enumerate() {
            let place = Place { site: 0, good: row.good };
            let lost = if short && index == 0 {
                (row.lot.quantity / 4).max(1)
            } else {
                0
            };
            let arrived = Lot {
                quantity: row.lot.quantity - lost,
                ..row.lot.clone()
            };
            if arrived.quantity > 0 {
                let extra = json!({
                    "quantity": arrived.quantity, "lot": lot_json(&arrived), "transfer": shipment.transfer,
                    "document": shipment.transfer,
                });
                self.shelf(place).put(arrived);
                events.push(self.tell(Telling {
                    source: SITES[0].wms,
                    kind: "transfer_in",
                    at,
                    place,
                    extra,
                }));
            }
            if lost > 0 {
                let extra = json!({
                    "quantity": lost, "lot": lot_json(&row.lot), "from": "in_transit", "reason": "damaged",
                    "document": shipment.transfer,
                });
                events.push(self.tell(Telling {
                    source: SITES[0].wms,
                    kind: "write_off",
                    at,
                    place,
                    extra,
                }));
            }
        }
        events
    }
}

/// Goods on their way from the second site to the first.
#[derive(Clone, Debug)]
pub struct Shipment {
    transfer: String,
    rows: Vec<Row>,
}

#[derive(Clone, Debug)]
struct Row {
    good: usize,
    lot: Lot,
}
