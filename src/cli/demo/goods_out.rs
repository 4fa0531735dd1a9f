//! What goes out: customers at the tills, returns, damage, expiry, recalls, and what nobody reports.
//!
//! Tills know no lots and no baskets; they report what left. Rejected: tills that ask the node first, which no till does.

use jiff::ZonedDateTime;
use rand::RngExt;
use serde_json::{Value, json};

use super::shelf::Lot;
use super::story::{Place, SITES, Story, Telling, lot_json};

impl Story {
    /// A customer at a till: one to four goods on one receipt, as far as they stand on the shelf.
    pub fn sale(&mut self, site: usize, till: &str, at: &ZonedDateTime) -> Vec<Value> {
        let document = self.document("CHK");
        let rows = self.rng.random_range(1..=4);
        let mut events = Vec::new();
        let mut bought: Vec<usize> = Vec::new();
        for _ in 0..rows {
            let good = self.wanted();
            let quantity = self.portion(good);
            let (place, today) = (Place { site, good }, self.today());
            if bought.contains(&good) || !self.shelf(place).take(quantity, today) {
                continue;
            }
            bought.push(good);
            let extra = json!({"quantity": quantity, "document": document});
            events.push(self.tell(Telling {
                source: till,
                kind: "sale",
                at,
                place,
                extra,
            }));
        }
        events
    }

    /// A cashier scans the wrong thing and takes it back a moment later.
    pub fn mis_scan(&mut self, site: usize, at: &ZonedDateTime) -> Vec<Value> {
        let till = SITES[site].tills[0];
        let place = self.stocked(site);
        let document = self.document("CHK");
        let sale = self.tell(Telling {
            source: till,
            kind: "sale",
            at,
            place,
            extra: json!({"quantity": 1, "document": document}),
        });
        let extra = json!({"event": sale["id"], "reason": "scanned by mistake"});
        let void = self.tell(Telling {
            source: till,
            kind: "void",
            at,
            place,
            extra,
        });
        vec![sale, void]
    }

    /// A customer brings something back: sealed goods return to the shelf, fresh ones go to quarantine.
    pub fn give_back(&mut self, site: usize, at: &ZonedDateTime) -> Vec<Value> {
        let place = self.stocked(site);
        let (today, keeps) = (self.today(), self.good(place).shelf_life_days > 60);
        let Some(lot) = self.shelf(place).largest(today).cloned() else {
            return Vec::new();
        };
        let quantity = if self.good(place).is_loose() { 200 } else { 1 };
        let to = if keeps { "sellable" } else { "quarantine" };
        if keeps {
            self.shelf(place).put(Lot { quantity, ..lot.clone() });
        }
        let extra = json!({
            "quantity": quantity, "to": to, "lot": lot_json(&lot), "document": self.document("RET"),
            "reason": if keeps { "changed their mind" } else { "quality complaint" },
        });
        vec![self.tell(Telling {
            source: SITES[site].tills[1],
            kind: "return",
            at,
            place,
            extra,
        })]
    }

    /// Something falls: written off as damaged.
    pub fn damage(&mut self, site: usize, at: &ZonedDateTime) -> Vec<Value> {
        let place = self.stocked(site);
        let (today, loose) = (self.today(), self.good(place).is_loose());
        let quantity = if loose { 350 } else { 1 };
        if !self.shelf(place).take(quantity, today) {
            return Vec::new();
        }
        let reason = if self.chance(15) { "theft" } else { "damaged" };
        let extra = json!({"quantity": quantity, "reason": reason, "document": self.document("WO")});
        vec![self.tell(Telling {
            source: SITES[site].wms,
            kind: "write_off",
            at,
            place,
            extra,
        })]
    }

    /// The storekeeper clears one expired lot, if there is one.
    pub fn clear_expired(&mut self, site: usize, at: &ZonedDateTime) -> Vec<Value> {
        let today = self.today();
        let start = self.any();
        let count = self.goods.len();
        for good in (0..count).map(|step| (start + step) % count) {
            let place = Place { site, good };
            let Some(lot) = self.shelf(place).expired(today).cloned() else {
                continue;
            };
            let quantity = self.shelf(place).take_lot(&lot.id, lot.quantity);
            let extra = json!({
                "quantity": quantity, "reason": "expired", "lot": lot_json(&lot), "document": self.document("WO"),
            });
            return vec![self.tell(Telling {
                source: SITES[site].wms,
                kind: "write_off",
                at,
                place,
                extra,
            })];
        }
        Vec::new()
    }

    /// Units vanish and nobody reports it: a count will find out. Returns where.
    pub fn steal(&mut self, site: usize) -> Option<Place> {
        let place = self.stocked(site);
        let today = self.today();
        let quantity = if self.good(place).is_loose() { 400 } else { 1 };
        self.shelf(place).take(quantity, today).then_some(place)
    }

    /// A lot is suspected and put aside, until [`Story::settle`].
    pub fn recall(&mut self, site: usize, at: &ZonedDateTime) -> Option<(Recall, Value)> {
        let place = self.stocked(site);
        let today = self.today();
        let mut lot = self.shelf(place).largest(today)?.clone();
        lot.quantity = self.shelf(place).take_lot(&lot.id, lot.quantity);
        let document = self.document("QA");
        let recall = Recall { place, lot, document };
        let event = self.of_recall(&recall, "quarantine", recall.lot.quantity, "supplier recall", at);
        Some((recall, event))
    }

    /// The laboratory has answered: the lot is released, or half of it is thrown away first.
    pub fn settle(&mut self, recall: Recall, at: &ZonedDateTime) -> Vec<Value> {
        let bad = if self.chance(50) { recall.lot.quantity / 2 } else { 0 };
        let good = recall.lot.quantity - bad;
        let mut events = Vec::new();
        if bad > 0 {
            let mut thrown = self.of_recall(&recall, "write_off", bad, "damaged", at);
            thrown["data"]["from"] = json!("quarantine");
            events.push(thrown);
        }
        events.push(self.of_recall(&recall, "release", good, "laboratory: good", at));
        self.shelf(recall.place).put(Lot {
            quantity: good,
            ..recall.lot
        });
        events
    }

    fn of_recall(&mut self, recall: &Recall, kind: &str, quantity: i64, reason: &str, at: &ZonedDateTime) -> Value {
        let extra = json!({"quantity": quantity, "lot": lot_json(&recall.lot), "reason": reason, "document": recall.document});
        self.tell(Telling {
            source: SITES[recall.place.site].wms,
            kind,
            at,
            place: recall.place,
            extra,
        })
    }
}

/// A lot that stands in quarantine.
#[derive(Clone, Debug)]
pub struct Recall {
    place: Place,
    lot: Lot,
    document: String,
}
