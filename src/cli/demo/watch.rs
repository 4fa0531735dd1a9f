//! Who looks: counts of the shelf, what the ERP believes, and those who get it wrong.
//!
//! A count reports what the shelf really holds. The ERP computes, so its figures drift; it is a witness, never an authority.
//! The mistakes at the end are those that every integration makes once, each answered with a refusal that says why.

use jiff::{ToSpan, ZonedDateTime};
use rand::RngExt;
use serde_json::{Value, json};

use super::story::{Place, SITES, Story, Telling};

impl Story {
    /// Somebody counts a good: what stands there now, whatever any book says.
    pub fn count(&mut self, place: Place, at: &ZonedDateTime) -> Value {
        let extra = json!({"quantity": self.shelf(place).total(), "document": self.document("CNT")});
        self.tell(Telling {
            source: SITES[place.site].wms,
            kind: "count",
            at,
            place,
            extra,
        })
    }

    /// What the ERP believes of some goods of a site, in its numbered stream: one in four is wrong.
    pub fn beliefs(&mut self, site: usize, rows: usize, at: &ZonedDateTime) -> Vec<Value> {
        (0..rows)
            .map(|_| {
                let place = self.stocked(site);
                let standing = self.shelf(place).total();
                let drift = if self.chance(25) {
                    self.rng.random_range(1..=3) * if self.good(place).is_loose() { 500 } else { 1 }
                } else {
                    0
                };
                let believed = if self.chance(50) {
                    standing + drift
                } else {
                    (standing - drift).max(0)
                };
                let number = self.number(&format!("erp/{}/{}", place.site, place.good));
                let extra = json!({"quantity": believed, "stream": "stock", "stream_seq": number * 2});
                self.tell(Telling {
                    source: "erp",
                    kind: "snapshot",
                    at,
                    place,
                    extra,
                })
            })
            .collect()
    }

    /// The ERP sends an old figure after a new one: it is stale, and ignored.
    pub fn old_belief(&mut self, site: usize, at: &ZonedDateTime) -> Vec<Value> {
        let place = self.stocked(site);
        let standing = self.shelf(place).total();
        let series = format!("erp/{}/{}", place.site, place.good);
        let (older, newer) = (self.number(&series) * 2, self.number(&series) * 2);
        [newer, older]
            .into_iter()
            .map(|number| {
                let extra = json!({"quantity": standing, "stream": "stock", "stream_seq": number});
                self.tell(Telling {
                    source: "erp",
                    kind: "snapshot",
                    at,
                    place,
                    extra,
                })
            })
            .collect()
    }

    /// What goes wrong in integrations: each is refused, with the reason in the answer and in the list of what was ignored.
    pub fn mistakes(&mut self, site: usize, at: &ZonedDateTime) -> Vec<Value> {
        let wms = SITES[site].wms;
        let mut events: Vec<Value> = Vec::new();
        let mut mistake = |story: &mut Story, source: &str, kind: &str, at: &ZonedDateTime, extra: Value| {
            let place = story.stocked(site);
            events.push(story.tell(Telling {
                source,
                kind,
                at,
                place,
                extra,
            }));
        };
        let ahead = at.checked_add(1.day()).unwrap_or_else(|_| at.clone());
        mistake(self, wms, "receipt", at, json!({"quantity": 12, "warehouse": "msk-7"}));
        mistake(self, wms, "receipt", at, json!({"quantity": 12, "unit": "kg"}));
        mistake(self, SITES[site].tills[0], "sale", at, json!({"quantity": 0}));
        mistake(self, SITES[site].tills[1], "sale", at, json!({"qty": 1}));
        mistake(
            self,
            "console",
            "adjustment",
            at,
            json!({"delta": -900_000, "reason": "typing error"}),
        );
        mistake(self, wms, "count", &ahead, json!({"quantity": 3}));
        mistake(self, wms, "write_off", at, json!({"quantity": 1}));
        events
    }
}
