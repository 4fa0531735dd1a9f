//! A shop as one object: a few SKUs and baskets, one call at a time, by the rules of stock alone.
//!
//! The model knows nothing of the node's code, only what a storekeeper would say: a basket is promised when every line is there, a
//! sale takes what left and finds what the book lacked, a receipt repays that first, an id has one effect. What a call without an
//! answer did is both: nothing, or all of it.
//!
//! SKUs that no basket has in common are independent, so their calls are judged apart (Horn and Kroening, "Faster linearizability
//! checking via P-compositionality", 2015). Judging every SKU by itself was rejected: a torn basket would look right twice.

use std::collections::{BTreeMap, BTreeSet};

use super::checker::{Call, Model};

/// Where a basket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Basket {
    Unknown,
    Held,
    Confirmed,
    Cancelled,
}

/// What an event reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Receipt,
    Sale,
    /// A negative adjustment: the one that may be refused.
    Loss,
}

/// What was answered to an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    Applied { found: i64 },
    Duplicate,
    Refused,
}

/// What was answered to a hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    Created,
    /// Known already, and as it is now.
    Same(Basket),
    /// Each short line with what there was.
    Refused(Vec<(usize, i64)>),
}

/// A SKU as a read shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    pub sellable: i64,
    pub demand: i64,
    pub discrepancy: i64,
    pub owed: i64,
    pub claimed: i64,
    pub available: i64,
}

/// A call with its answer; `None`: there was none.
#[derive(Clone, Debug)]
pub enum Op {
    Tell {
        id: u64,
        kind: Kind,
        sku: usize,
        quantity: i64,
        answer: Option<Told>,
    },
    Hold {
        basket: usize,
        answer: Option<Held>,
    },
    /// Confirm or cancel; the answer is where the basket is after it.
    End {
        basket: usize,
        by: Basket,
        answer: Option<Basket>,
    },
    Look {
        sku: usize,
        answer: Page,
    },
    LookAt {
        basket: usize,
        answer: Basket,
    },
}

/// One SKU's shelf. `supply` is what the others leave to zero.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shelf {
    sellable: i64,
    demand: i64,
    discrepancy: i64,
    owed: i64,
}

impl Shelf {
    fn receive(&mut self, quantity: i64) {
        let repaid = self.owed.min(quantity);
        self.owed -= repaid;
        self.discrepancy += repaid;
        self.sellable += quantity - repaid;
    }

    fn sell(&mut self, quantity: i64) -> i64 {
        let found = (quantity - self.sellable).max(0);
        self.discrepancy -= found;
        self.owed += found;
        self.sellable += found - quantity;
        self.demand += quantity;
        found
    }
}

/// The whole shop.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct State {
    shelves: Vec<Shelf>,
    baskets: Vec<Basket>,
    /// Of the ids that were sent more than once, those that have had their effect.
    told: BTreeSet<u64>,
}

/// See the module: the baskets' lines, and which ids were sent more than once.
pub struct Shop {
    pub skus: usize,
    pub baskets: Vec<Vec<(usize, i64)>>,
    repeated: BTreeSet<u64>,
}

impl Shop {
    pub fn new(skus: usize, baskets: Vec<Vec<(usize, i64)>>, calls: &[Call<Op>]) -> Shop {
        let (mut once, mut repeated) = (BTreeSet::new(), BTreeSet::new());
        for call in calls {
            if let Op::Tell { id, .. } = call.op
                && !once.insert(id)
            {
                repeated.insert(id);
            }
        }
        Shop { skus, baskets, repeated }
    }

    /// The calls in groups that have no SKU in common.
    pub fn parts(&self, calls: &[Call<Op>]) -> Vec<Vec<Call<Op>>> {
        let mut group: Vec<usize> = (0..self.skus).collect();
        for lines in &self.baskets {
            for pair in lines.windows(2) {
                let (into, from) = (group[pair[0].0], group[pair[1].0]);
                group
                    .iter_mut()
                    .filter(|group| **group == from)
                    .for_each(|group| *group = into);
            }
        }
        let mut parts: BTreeMap<usize, Vec<Call<Op>>> = BTreeMap::new();
        for call in calls {
            let sku = match call.op {
                Op::Tell { sku, .. } | Op::Look { sku, .. } => sku,
                Op::Hold { basket, .. } | Op::End { basket, .. } | Op::LookAt { basket, .. } => self.baskets[basket][0].0,
            };
            parts.entry(group[sku]).or_default().push(call.clone());
        }
        parts.into_values().collect()
    }

    fn claimed(&self, state: &State, sku: usize) -> i64 {
        let held = self.baskets.iter().zip(&state.baskets).filter(|(_, at)| **at == Basket::Held);
        held.flat_map(|(lines, _)| lines)
            .filter(|(of, _)| *of == sku)
            .map(|(_, quantity)| quantity)
            .sum()
    }

    fn page(&self, state: &State, sku: usize) -> Page {
        let (shelf, claimed) = (&state.shelves[sku], self.claimed(state, sku));
        Page {
            sellable: shelf.sellable,
            demand: shelf.demand,
            discrepancy: shelf.discrepancy,
            owed: shelf.owed,
            claimed,
            available: (shelf.sellable - claimed).max(0),
        }
    }

    fn tell(&self, state: &State, id: u64, kind: Kind, sku: usize, quantity: i64) -> (State, Told) {
        if state.told.contains(&id) {
            return (state.clone(), Told::Duplicate);
        }
        let mut after = state.clone();
        let shelf = &mut after.shelves[sku];
        let mut found = 0;
        match kind {
            Kind::Receipt => shelf.receive(quantity),
            Kind::Sale => found = shelf.sell(quantity),
            Kind::Loss if shelf.sellable < quantity => return (state.clone(), Told::Refused),
            Kind::Loss => {
                shelf.sellable -= quantity;
                shelf.discrepancy += quantity;
            }
        }
        if self.repeated.contains(&id) {
            after.told.insert(id);
        }
        (after, Told::Applied { found })
    }

    fn hold(&self, state: &State, basket: usize) -> (State, Held) {
        if state.baskets[basket] != Basket::Unknown {
            return (state.clone(), Held::Same(state.baskets[basket]));
        }
        let there = |sku| self.page(state, sku).available;
        let short: Vec<_> = self.baskets[basket]
            .iter()
            .filter(|(sku, quantity)| there(*sku) < *quantity)
            .map(|(sku, _)| (*sku, there(*sku)))
            .collect();
        if !short.is_empty() {
            return (state.clone(), Held::Refused(short));
        }
        let mut after = state.clone();
        after.baskets[basket] = Basket::Held;
        (after, Held::Created)
    }

    fn end(&self, state: &State, basket: usize, by: Basket) -> (State, Basket) {
        let at = state.baskets[basket];
        if at != Basket::Held {
            return (state.clone(), at);
        }
        let mut after = state.clone();
        after.baskets[basket] = by;
        if by == Basket::Confirmed {
            for (sku, quantity) in &self.baskets[basket] {
                after.shelves[*sku].sell(*quantity);
            }
        }
        (after, by)
    }
}

/// The state when that was the answer; both states when there was none.
fn when<A: PartialEq>(before: &State, (after, answer): (State, A), heard: Option<&A>) -> Vec<State> {
    match heard {
        Some(heard) if *heard == answer => vec![after],
        Some(_) => Vec::new(),
        None if after == *before => vec![after],
        None => vec![before.clone(), after],
    }
}

impl Model for Shop {
    type Op = Op;
    type State = State;

    fn start(&self) -> State {
        State {
            shelves: vec![Shelf::default(); self.skus],
            baskets: vec![Basket::Unknown; self.baskets.len()],
            told: BTreeSet::new(),
        }
    }

    fn step(&self, state: &State, op: &Op) -> Vec<State> {
        match op {
            Op::Tell {
                id,
                kind,
                sku,
                quantity,
                answer,
            } => when(state, self.tell(state, *id, *kind, *sku, *quantity), answer.as_ref()),
            Op::Hold { basket, answer } => when(state, self.hold(state, *basket), answer.as_ref()),
            Op::End { basket, by, answer } => when(state, self.end(state, *basket, *by), answer.as_ref()),
            Op::Look { sku, answer } if self.page(state, *sku) == *answer => vec![state.clone()],
            Op::LookAt { basket, answer } if state.baskets[*basket] == *answer => vec![state.clone()],
            Op::Look { .. } | Op::LookAt { .. } => Vec::new(),
        }
    }

    fn only_looks(&self, op: &Op) -> bool {
        match op {
            Op::Look { .. } | Op::LookAt { .. } => true,
            Op::Tell { answer, .. } => matches!(answer, Some(Told::Duplicate | Told::Refused)),
            Op::Hold { answer, .. } => matches!(answer, Some(Held::Same(_) | Held::Refused(_))),
            // Of two that end a basket in the same way, one has ended it.
            Op::End { by, answer, .. } => answer.is_some_and(|at| at != *by),
        }
    }
}
