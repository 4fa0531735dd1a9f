//! The shelf as its rules are written for people: a few maps and plain loops, nothing of the engine, no attention to speed.
//! Dates are days from today, and nothing ends by itself.

use std::collections::BTreeMap;

/// Why something is refused, by its code.
pub type Refused = &'static str;

#[derive(Clone, Debug, Default)]
pub struct Lot {
    pub expires: Option<i64>,
    pub sellable: i64,
    pub quarantine: i64,
}

#[derive(Clone, Debug)]
pub struct Claim {
    pub basket: String,
    pub quantity: i64,
    /// The least expiry date that serves; none: any unexpired stock.
    pub good_until: Option<i64>,
}

#[derive(Clone, Debug, Default)]
pub struct Sku {
    pub lots: BTreeMap<String, Lot>,
    pub supply: i64,
    pub demand: i64,
    pub waste: i64,
    pub discrepancy: i64,
    pub owed: i64,
    pub count_due: bool,
    /// Whether any lot ever had a date.
    pub dated: bool,
    /// Oldest first.
    pub claims: Vec<Claim>,
}

/// Where units leave from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inside {
    Sellable,
    Quarantine,
}

/// Where units go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    Sellable,
    Quarantine,
    Demand,
    Waste,
    Discrepancy,
}

/// Units that leave, and how they are picked.
#[derive(Clone, Debug)]
pub struct Leave {
    pub from: Inside,
    pub to: To,
    pub quantity: i64,
    /// A lot that is named, and units of it.
    pub named: Option<(String, i64)>,
    pub good_until: Option<i64>,
    pub expired_first: bool,
    /// Whether what the book lacks is found; refused otherwise.
    pub finds: bool,
}

/// What leaving came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Left {
    pub found: i64,
    pub expired_lots: Vec<String>,
}

impl Lot {
    fn expired(&self) -> bool {
        self.expires.is_some_and(|day| day < 0)
    }

    fn units(&mut self, of: Inside) -> &mut i64 {
        match of {
            Inside::Sellable => &mut self.sellable,
            Inside::Quarantine => &mut self.quarantine,
        }
    }
}

impl Sku {
    pub fn sellable(&self) -> i64 {
        self.lots.values().map(|lot| lot.sellable).sum()
    }

    pub fn quarantine(&self) -> i64 {
        self.lots.values().map(|lot| lot.quarantine).sum()
    }

    fn lot(&mut self, id: &str) -> &mut Lot {
        self.lots.entry(id.to_owned()).or_default()
    }

    /// Learns a lot's date; another one than is known is refused.
    pub fn learn(&mut self, id: &str, expires: Option<i64>) -> Result<(), Refused> {
        let known = self.lots.get(id).and_then(|lot| lot.expires);
        match (expires, known) {
            (None, _) => Ok(()),
            (Some(day), Some(known)) if day != known => Err("lot_mismatch"),
            (Some(day), _) => {
                self.lot(id).expires = Some(day);
                self.dated = true;
                Ok(())
            }
        }
    }

    pub fn receive(&mut self, lot: &str, quantity: i64) {
        self.supply -= quantity;
        let repaid = quantity.min(self.owed);
        self.owed -= repaid;
        self.discrepancy += repaid;
        self.lot(lot).sellable += quantity - repaid;
    }

    pub fn take_back(&mut self, lot: &str, quantity: i64, to: Inside) {
        self.demand -= quantity;
        *self.lot(lot).units(to) += quantity;
    }

    pub fn add(&mut self, lot: &str, quantity: i64) {
        self.discrepancy -= quantity;
        self.lot(lot).sellable += quantity;
    }

    /// Whether units of the lot are good for a line that asks for a date.
    fn serves(&self, id: &str, lot: &Lot, good_until: Option<i64>) -> bool {
        match (good_until, lot.expires) {
            _ if lot.expired() => false,
            (None, _) => true,
            (Some(_), _) if id.is_empty() => !self.dated,
            (Some(day), expires) => expires.is_none_or(|expires| expires >= day),
        }
    }

    /// First expired, first out, among what serves; then the rest, and expired lots last, or first where they are asked for.
    fn order(&self, leave: &Leave) -> Vec<String> {
        let rank = |id: &str, lot: &Lot| match (lot.expired(), self.serves(id, lot, leave.good_until)) {
            (true, _) => {
                if leave.expired_first {
                    0
                } else {
                    3
                }
            }
            (false, true) => 1,
            (false, false) => 2,
        };
        let key = |(id, lot): &(&String, &Lot)| (rank(id, lot), !id.is_empty(), lot.expires.unwrap_or(i64::MAX));
        let mut lots = self.lots.iter().collect::<Vec<_>>();
        lots.sort_by_key(key);
        lots.into_iter().map(|(id, _)| id.clone()).collect()
    }

    pub fn leave(&mut self, leave: &Leave) -> Result<Left, Refused> {
        let order = self.order(leave);
        let mut after = self.clone();
        let mut left = Left::default();
        // Units that go to the other side, by the lot in whose name they go.
        let mut gone = BTreeMap::<String, i64>::new();
        let mut missing = 0;
        let named = leave.named.as_ref().map_or(0, |(_, units)| *units);
        if let Some((id, units)) = &leave.named {
            let had = after.lots.get(id).map_or(0, |lot| *lot.clone().units(leave.from)).min(*units);
            *after.lot(id).units(leave.from) -= had;
            *gone.entry(id.clone()).or_default() += units;
            missing = units - had;
        }
        let mut rest = leave.quantity - named;
        for id in &order {
            let room = after.lot(id).units(leave.from);
            let units = rest.min(*room);
            if units > 0 {
                *room -= units;
                rest -= units;
                *gone.entry(id.clone()).or_default() += units;
            }
        }
        if rest > 0 {
            *gone.entry(String::new()).or_default() += rest;
        }
        if missing > 0 && leave.finds {
            for id in &order {
                let room = after.lot(id).units(leave.from);
                let units = missing.min(*room);
                *room -= units;
                missing -= units;
                if units > 0 && after.lots[id].expired() {
                    left.expired_lots.push(id.clone());
                }
            }
        }
        left.found = missing + rest;
        if left.found > 0 && !leave.finds {
            return Err("insufficient_stock");
        }
        for (id, units) in gone {
            if after.lots.get(&id).is_some_and(Lot::expired) {
                left.expired_lots.push(id.clone());
            }
            match leave.to {
                To::Sellable => after.lot(&id).sellable += units,
                To::Quarantine => after.lot(&id).quarantine += units,
                To::Demand => after.demand += units,
                To::Waste => after.waste += units,
                To::Discrepancy => after.discrepancy += units,
            }
        }
        after.discrepancy -= left.found;
        after.count_due |= left.found > 0;
        if leave.from == Inside::Sellable {
            after.owed += left.found;
        }
        *self = after;
        Ok(left)
    }

    /// Units of lots that are good at `day`, or unexpired ones.
    fn outlive(&self, day: Option<i64>) -> i64 {
        let lots = self.lots.iter().filter(|(id, lot)| self.serves(id, lot, day));
        lots.map(|(_, lot)| lot.sellable).sum()
    }

    /// The least that is left over all thresholds up to `want`, beside the claims given.
    fn least(&self, want: Option<i64>, claims: &[Claim]) -> i64 {
        let mut thresholds = vec![None, want];
        thresholds.extend(claims.iter().map(|claim| claim.good_until));
        let asked = |day| {
            claims
                .iter()
                .filter(|claim| claim.good_until >= day)
                .map(|claim| claim.quantity)
                .sum::<i64>()
        };
        let left = thresholds
            .into_iter()
            .filter(|day| *day <= want)
            .map(|day| self.outlive(day) - asked(day));
        left.min().expect("there is a threshold")
    }

    /// What may be promised, beside all claims but those of one basket.
    pub fn available(&self, want: Option<i64>, buffer: i64, without: &str) -> i64 {
        let claims = self
            .claims
            .iter()
            .filter(|claim| claim.basket != without)
            .cloned()
            .collect::<Vec<_>>();
        (self.least(want, &claims) - buffer).max(0)
    }

    pub fn claimed(&self) -> i64 {
        self.claims.iter().map(|claim| claim.quantity).sum()
    }

    pub fn claim(&mut self, basket: &str, quantity: i64, good_until: Option<i64>) {
        match self.claims.iter_mut().find(|claim| claim.basket == basket) {
            Some(claim) => (claim.quantity, claim.good_until) = (quantity, good_until),
            None => self.claims.push(Claim {
                basket: basket.to_owned(),
                quantity,
                good_until,
            }),
        }
        self.claims.retain(|claim| claim.quantity > 0);
    }

    pub fn unclaim(&mut self, basket: &str, quantity: i64) {
        if let Some(claim) = self.claims.iter_mut().find(|claim| claim.basket == basket) {
            claim.quantity -= quantity;
        }
        self.claims.retain(|claim| claim.quantity > 0);
    }

    /// The baskets whose claim no longer fits: each, oldest first, beside the older ones that fit.
    pub fn at_risk(&self) -> Vec<String> {
        let (mut fitted, mut risky) = (Vec::new(), Vec::new());
        for claim in &self.claims {
            fitted.push(claim.clone());
            if self.least(claim.good_until, &fitted) < 0 {
                fitted.pop();
                risky.push(claim.basket.clone());
            }
        }
        risky
    }

    pub fn flags(&self) -> Vec<&'static str> {
        let expired = self.lots.values().any(|lot| lot.expired() && lot.sellable > 0);
        let flags = [
            ("count_due", self.count_due),
            ("at_risk", !self.at_risk().is_empty()),
            ("expired_stock", expired),
        ];
        flags.into_iter().filter(|(_, is)| *is).map(|(flag, _)| flag).collect()
    }
}
