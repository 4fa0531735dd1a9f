//! Baskets over the shelf, and what each request must be answered with.

use std::collections::BTreeMap;

use super::shelf::{Inside, Leave, Left, Refused, Sku, To};

/// The units that the channel `web` never promises.
pub const WEB_BUFFER: i64 = 2;

#[derive(Clone, Debug)]
pub struct Line {
    pub sku: String,
    pub quantity: i64,
    pub held: i64,
    pub taken: i64,
    /// What the confirm took, and how much of that sales have told again.
    pub confirmed: i64,
    pub matched: i64,
    /// Days of shelf life: as the model's day is always today, also the date.
    pub days: Option<i64>,
}

#[derive(Clone, Debug)]
pub struct Basket {
    pub state: &'static str,
    pub version: i64,
    pub lines: Vec<Line>,
    /// The request that made it what it is, and the one that ended it.
    pub request: String,
    pub ended_by: Option<String>,
}

/// A wanted basket.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub request: String,
    pub channel: &'static str,
    pub lines: Vec<(String, i64, Option<i64>)>,
    pub allow_partial: bool,
    pub expected_version: Option<i64>,
}

#[derive(Clone, Debug, Default)]
pub struct Shop {
    pub skus: BTreeMap<String, Sku>,
    pub baskets: BTreeMap<String, Basket>,
}

/// What a hold is answered with, or the refusal with its short lines.
pub type Held = Result<u16, (Refused, Vec<(String, i64, i64)>)>;

fn sale(quantity: i64, named: Option<(String, i64)>, good_until: Option<i64>) -> Leave {
    Leave {
        from: Inside::Sellable,
        to: To::Demand,
        quantity,
        named,
        good_until,
        expired_first: false,
        finds: true,
    }
}

fn ended(state: &str) -> Option<Refused> {
    match state {
        "confirmed" => Some("already_confirmed"),
        "cancelled" => Some("already_cancelled"),
        _ => None,
    }
}

impl Shop {
    pub fn sku(&mut self, id: &str) -> &mut Sku {
        self.skus.get_mut(id).expect("a SKU of the test")
    }

    /// A sale that may name a basket: the verdict, and what leaving came to.
    pub fn sell(&mut self, id: &str, quantity: i64, lot: Option<&str>, basket: Option<&str>) -> (&'static str, Left) {
        let named = |units: i64| lot.map(|lot| (lot.to_owned(), units));
        let sku = self.skus.get_mut(id).expect("a SKU of the test");
        let mut leave = |units: i64, good_until| sku.leave(&sale(units, named(units), good_until)).expect("a sale finds");
        let basket_id = basket.unwrap_or_default();
        let Some(basket) = basket.and_then(|basket| self.baskets.get_mut(basket)) else {
            return ("applied", leave(quantity, None));
        };
        let held = basket.state == "held";
        let confirmed = basket.state == "confirmed";
        let Some(line) = basket.lines.iter_mut().find(|line| line.sku == id) else {
            return ("applied", leave(quantity, None));
        };
        if held && line.held > 0 {
            let claimed = quantity.min(line.held);
            let mut left = leave(claimed, line.days);
            if quantity > claimed {
                let more = leave(quantity - claimed, None);
                left.found += more.found;
                left.expired_lots.extend(more.expired_lots);
            }
            line.held -= claimed;
            line.taken += claimed;
            sku.unclaim(basket_id, claimed);
            basket.version += 1;
            if basket.lines.iter().all(|line| line.held == 0) {
                basket.state = "confirmed";
            }
            return ("applied", left);
        }
        let again = if confirmed {
            quantity.min(line.confirmed - line.matched)
        } else {
            0
        };
        line.matched += again;
        if again == quantity {
            return ("recorded", Left::default());
        }
        ("applied", leave(quantity - again, None))
    }

    pub fn hold(&mut self, id: &str, wanted: &Wanted) -> Held {
        let plain = |code: Refused| Err((code, Vec::new()));
        let old = self.baskets.get(id);
        if let Some(old) = old {
            if old.request == wanted.request {
                return Ok(200);
            }
            if let Some(code) = ended(old.state) {
                return plain(code);
            }
        }
        if wanted
            .expected_version
            .is_some_and(|version| version != old.map_or(0, |old| old.version))
        {
            return plain("version_mismatch");
        }
        if old.is_some_and(|old| old.lines.iter().any(|line| line.taken > 0)) {
            return plain("partly_taken");
        }
        let buffer = if wanted.channel == "web" { WEB_BUFFER } else { 0 };
        let (mut lines, mut short) = (Vec::new(), Vec::new());
        for (sku, quantity, days) in &wanted.lines {
            let had = old.and_then(|old| old.lines.iter().find(|line| line.sku == *sku));
            let secure = had.filter(|had| *days <= had.days).map_or(0, |had| had.held);
            let available = self.skus[sku].available(*days, buffer, id).max(secure);
            if available < *quantity {
                short.push((sku.clone(), *quantity, available));
            }
            lines.push(Line {
                sku: sku.clone(),
                quantity: *quantity,
                held: available.min(*quantity),
                taken: 0,
                confirmed: 0,
                matched: 0,
                days: *days,
            });
        }
        let nothing = lines.iter().all(|line| line.held == 0);
        if !short.is_empty() && (nothing || !wanted.allow_partial) {
            return Err(("insufficient_stock", short));
        }
        let version = old.map_or(0, |old| old.version) + 1;
        for (sku, stock) in &mut self.skus {
            let line = lines.iter().find(|line| line.sku == *sku);
            stock.claim(id, line.map_or(0, |line| line.held), line.and_then(|line| line.days));
        }
        let basket = Basket {
            state: "held",
            version,
            lines,
            request: wanted.request.clone(),
            ended_by: None,
        };
        self.baskets.insert(id.to_owned(), basket);
        Ok(if version == 1 { 201 } else { 200 })
    }

    /// `taken`: what of which SKU, and of which one lot; none: everything.
    pub fn confirm(&mut self, id: &str, request: &str, taken: Option<&[(String, i64, Option<String>)]>) -> Result<(), Refused> {
        let basket = self.baskets.get_mut(id).ok_or("unknown_reservation")?;
        if let Some(code) = ended(basket.state) {
            let same = basket.ended_by.as_deref() == Some(request) && basket.state == "confirmed";
            return if same { Ok(()) } else { Err(code) };
        }
        let held = |sku: &str| basket.lines.iter().find(|line| line.sku == sku).map_or(0, |line| line.held);
        if taken.is_some_and(|taken| taken.iter().any(|(sku, units, _)| *units > held(sku))) {
            return Err("exceeds_held");
        }
        for line in &mut basket.lines {
            let (units, lot) = match taken {
                None => (line.held, None),
                Some(taken) => {
                    let listed = taken.iter().find(|(sku, ..)| *sku == line.sku);
                    listed.map_or((0, None), |(_, units, lot)| (*units, lot.clone()))
                }
            };
            let sku = self.skus.get_mut(&line.sku).expect("a SKU of the test");
            if units > 0 {
                sku.leave(&sale(units, lot.map(|lot| (lot, units)), line.days))?;
            }
            sku.unclaim(id, line.held);
            line.held = 0;
            line.taken += units;
            line.confirmed = units;
        }
        basket.state = "confirmed";
        basket.version += 1;
        basket.ended_by = Some(request.to_owned());
        Ok(())
    }

    pub fn cancel(&mut self, id: &str) -> Result<(), Refused> {
        let basket = self.baskets.get_mut(id).ok_or("unknown_reservation")?;
        match basket.state {
            "cancelled" => return Ok(()),
            "confirmed" => return Err("already_confirmed"),
            _ => {}
        }
        for line in &mut basket.lines {
            self.skus
                .get_mut(&line.sku)
                .expect("a SKU of the test")
                .unclaim(id, line.held);
            line.held = 0;
        }
        basket.state = "cancelled";
        basket.version += 1;
        Ok(())
    }
}
