//! The second half of a sweep: what the node answers from, held against what the journal says.

use crate::domain::reservation::State;
use crate::domain::stock::{Stock, check};
use crate::domain::units::Id;
use crate::storage::append::SkuIndex;
use crate::storage::view::Found;

use super::sweep::{Basket, Look, Sweep};

impl Sweep {
    /// Looks at a SKU as the view has it now: compares it when the sweep has read as far, and else keeps a copy until it has. Says how
    /// many reservations were looked up for it.
    pub(super) fn look_at(&mut self, look: &Look<'_>, index: SkuIndex) -> i64 {
        let Some((stock, seq)) = look
            .shared
            .view
            .read(index, |stock, seq| stock.map(|stock| (stock.clone(), seq)))
        else {
            self.absent(look, index);
            return 0;
        };
        let claims = stock.claims.len();
        if claims > 0 {
            promised(look, index);
        }
        if seq < self.position() {
            self.compare(look, index, &stock, seq);
        } else {
            self.waiting.insert(index.0, (seq, stock));
        }
        claims as i64
    }

    /// A SKU that somebody has named and that has no state.
    fn absent(&self, look: &Look<'_>, index: SkuIndex) {
        let known = &self.stocks[(index.0 - self.range.start) as usize];
        if let (Some(known), Some((warehouse, sku))) = (known, look.shared.view.keys().names(index)) {
            look.found(
                "replay",
                &warehouse,
                sku.as_str(),
                format!("it has facts up to {}, and no state", known.seq),
            );
        }
    }

    /// Compares a state whose last fact is `seq`, when the sweep has just read that far.
    pub(super) fn compare(&self, look: &Look<'_>, index: SkuIndex, stock: &Stock, seq: u64) {
        let Some((warehouse, sku)) = look.shared.view.keys().names(index) else {
            return;
        };
        look.findings.compared(1);
        let found = |invariant, detail| look.found(invariant, &warehouse, sku.as_str(), detail);
        if let Err(violation) = check(stock) {
            return found(violation.name(), format!("as it is answered now, {violation}"));
        }
        let Some(known) = &self.stocks[(index.0 - self.range.start) as usize] else {
            if self.reaches_zero() {
                found(
                    "replay",
                    format!("its state says that its last fact is {seq}, and the journal has none of it"),
                );
            }
            return;
        };
        if known.broken {
            return;
        }
        if known.seq != seq {
            let last = known.seq;
            return found(
                "replay",
                format!("its state says that its last fact is {seq}, and the journal's is {last}"),
            );
        }
        let differs = match &known.stock {
            Some(folded) if folded != stock => Some(difference(folded, stock)),
            Some(_) => None,
            None => {
                let (here, there) = (
                    (stock.version, stock.accounts(), stock.claimed(), stock.owed),
                    (known.version, known.accounts, known.claimed, known.owed),
                );
                (here != there)
                    .then(|| format!("(version, accounts, claimed, owed) are {here:?}, and the journal gives {there:?}"))
            }
        };
        match differs {
            Some(detail) => found("replay", format!("as of fact {seq}, {detail}")),
            None => drop(look.promises(stock, &warehouse, sku.as_str(), seq, known.recorded)),
        }
    }
}

/// Compares a basket as the view has it with its last fact, and its lines with the claims of their SKUs.
pub(super) fn compare_basket(look: &Look<'_>, (warehouse, id): &(Id, Id), known: &Basket) {
    let view = &look.shared.view;
    let durable = view.durable_seq();
    let found = |invariant, detail| look.found(invariant, warehouse, &format!("reservation {id}"), detail);
    // What the disk does not give now is looked at in the next round.
    let Ok(here) = look.shared.reservation(warehouse.as_str(), id.as_str()) else {
        return;
    };
    let Some((basket, seq)) = here else {
        if known.ended.is_none() {
            found(
                "replay",
                format!("it is held since fact {}, and the node does not know it", known.seq),
            );
        }
        return;
    };
    if seq < known.seq || (seq == known.seq && (basket.version, basket.state) != (known.version, known.state)) {
        let (here, there) = (basket.state.as_str(), known.state.as_str());
        let detail = format!(
            "the node has it {here} as of fact {seq}, and fact {} left it {there}",
            known.seq
        );
        return found("replay", detail);
    }
    if seq > durable || basket.state != State::Held {
        return;
    }
    for line in basket.lines.iter().filter(|line| line.held > 0) {
        let Some(index) = view.keys().find(warehouse.as_str(), line.sku.as_str()) else {
            continue;
        };
        let claim = |stock: &Stock| stock.claims.of(id).map_or(0, |claim| claim.quantity);
        let (claimed, last) = view.read(index, |stock, last| (stock.map_or(0, claim), last));
        // Both as of one durable moment, or nothing is said.
        let same = || matches!(view.reservation(warehouse.as_str(), id.as_str()), Found::Here(_, now) if now == seq);
        if last <= durable && claimed != line.held && same() {
            let detail = format!("reservation {id} holds {} of it, and it has a claim of {claimed}", line.held);
            look.found("whole_basket", warehouse, line.sku.as_str(), detail);
        }
    }
}

/// Whether each claim of a SKU is a line of a basket that is held.
fn promised(look: &Look<'_>, index: SkuIndex) {
    let view = &look.shared.view;
    let Some((warehouse, sku)) = view.keys().names(index) else {
        return;
    };
    let durable = view.durable_seq();
    let claims = |stock: &Stock| -> Vec<(Id, i64)> {
        let claims = stock.claims.iter();
        claims.map(|claim| (claim.reservation.clone(), claim.quantity)).collect()
    };
    let (claims, seq) = view.read(index, |stock, seq| (stock.map_or_else(Vec::new, claims), seq));
    if seq > durable {
        return;
    }
    for (id, claimed) in claims {
        let (held, last) = match view.reservation(warehouse.as_str(), id.as_str()) {
            Found::Here(basket, last) if basket.state == State::Held => {
                let line = basket.lines.iter().find(|line| line.sku == sku);
                (line.map_or(0, |line| line.held), last)
            }
            Found::Here(_, last) => (0, last),
            Found::OnDisk | Found::Nowhere => (0, 0),
        };
        // The node may have gone on between the two looks: then the next round looks again.
        let moved = || view.read(index, |_, now| now) != seq;
        if last <= durable && held != claimed && !moved() {
            let detail = format!("it has a claim of {claimed} for reservation {id}, which holds {held} of it");
            look.found("whole_basket", &warehouse, sku.as_str(), detail);
        }
    }
}

/// Where a state differs from the fold, in words: the first thing that a storekeeper would ask for.
fn difference(folded: &Stock, stock: &Stock) -> String {
    let say = |what: &str, here: &dyn std::fmt::Debug, there: &dyn std::fmt::Debug| {
        format!("{what} is {here:?}, and the fold of the journal gives {there:?}")
    };
    if stock.accounts() != folded.accounts() {
        say("the accounts", &stock.accounts(), &folded.accounts())
    } else if stock.version != folded.version {
        say("the version", &stock.version, &folded.version)
    } else if stock.lots != folded.lots {
        say("the list of lots", &stock.lots, &folded.lots)
    } else if stock.claimed() != folded.claimed() {
        say("what is claimed", &stock.claimed(), &folded.claimed())
    } else if stock.owed != folded.owed {
        say("what is owed", &stock.owed, &folded.owed)
    } else {
        "claims, counts, the recent book or what few SKUs have differ from the fold of the journal".to_owned()
    }
}
