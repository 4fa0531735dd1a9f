//! What the node shows, against what the model has: every account, lot, promise and line.

use rand::seq::IndexedRandom;
use serde_json::{Value, json};

use super::shop::WEB_BUFFER;
use super::walk::{RESERVATIONS, Walk};
use crate::harness::events::{check_invariants, noon_date};
use crate::harness::http::Answer;

impl Walk {
    /// Everything that can be asked of the two SKUs.
    pub(super) fn compare(&mut self) {
        for (n, id) in self.skus.clone().iter().enumerate() {
            let sku = &self.shop.skus[id];
            let now = self
                .http
                .get(&format!("/v1/warehouses/main/skus/{id}"))
                .expect_status(200)
                .json();
            check_invariants(&now);
            let accounts = json!({"sellable": sku.sellable(), "quarantine": sku.quarantine(), "in_transit": 0, "supply": sku.supply,
                "demand": sku.demand, "waste": sku.waste, "discrepancy": sku.discrepancy});
            assert_eq!(now["accounts"], accounts, "{now}");
            assert_eq!(
                (&now["owed"], &now["claimed"]),
                (&json!(sku.owed), &json!(sku.claimed())),
                "{now}"
            );
            let available = json!({"default": sku.available(None, 0, ""), "web": sku.available(None, WEB_BUFFER, "")});
            assert_eq!(now["available"], available, "{now}");
            assert_eq!(now["flags"], json!(sku.flags()), "{now}");
            let lots = now["lots"]
                .as_array()
                .expect("lots")
                .iter()
                .filter(|lot| lot["sellable"] != 0 || lot["quarantine"] != 0);
            let lots = lots.map(|lot| [&lot["lot"], &lot["expires_on"], &lot["sellable"], &lot["quarantine"]].map(Value::clone));
            let expected = sku.lots.iter().filter(|(_, lot)| lot.sellable != 0 || lot.quarantine != 0);
            let expected = expected.map(|(id, lot)| {
                [
                    json!(id),
                    json!(lot.expires.map(noon_date)),
                    json!(lot.sellable),
                    json!(lot.quarantine),
                ]
            });
            assert_eq!(lots.collect::<Vec<_>>(), expected.collect::<Vec<_>>(), "{now}");
            self.met.extend(sku.flags().into_iter().map(str::to_owned));
            let version = now["version"].as_u64().expect("a version");
            assert!(version >= self.versions[n], "ordered_publication: {now}");
            self.versions[n] = version;
        }
        let days = *[0, 3, 4, 11].choose(&mut self.random).expect("days");
        let question = json!({"skus": self.skus, "min_shelf_life_days": days});
        let answer = self
            .http
            .post("/v1/warehouses/main/availability", &question)
            .expect_status(200)
            .json();
        for (item, id) in answer["items"].as_array().expect("items").iter().zip(&self.skus) {
            assert_eq!(
                item["available"],
                self.shop.skus[id].available(Some(days), 0, ""),
                "for {days} days: {item}"
            );
        }
    }

    /// Everything that can be asked of a basket.
    pub(super) fn look_at(&mut self, id: &str) {
        let answer: Answer = self.http.get(&format!("{RESERVATIONS}/{id}"));
        let Some(basket) = self.shop.baskets.get(id) else {
            drop(answer.expect_problem(404, "unknown_reservation"));
            return;
        };
        let now = answer.expect_status(200).json();
        assert_eq!(
            (&now["state"], &now["version"]),
            (&json!(basket.state), &json!(basket.version)),
            "{now}"
        );
        if basket.lines.iter().any(|line| line.held > 0 && line.held < line.quantity) {
            self.met.insert("held in part".to_owned());
        }
        let lines = basket.lines.iter().map(|line| {
            let at_risk = line.held > 0 && self.shop.skus[&line.sku].at_risk().iter().any(|risky| risky == id);
            json!({"sku": line.sku, "quantity": line.quantity, "held": line.held, "taken": line.taken,
                "min_shelf_life_days": line.days, "good_until": line.days.map(noon_date), "at_risk": at_risk})
        });
        assert_eq!(now["lines"], Value::from(lines.collect::<Vec<_>>()), "{now}");
    }
}
