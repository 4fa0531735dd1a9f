//! Whether a history of concurrent calls could have happened one call at a time.
//!
//! The search of Wing and Gong ("Testing and verifying concurrent objects", 1993) with Lowe's memory of configurations ("Testing for
//! linearizability", 2017), as Knossos and porcupine have it: take any call that began before every call still open has returned,
//! let the model answer, go on; undo when stuck; never look twice at the same calls in the same state. A model may answer with
//! several states (a call whose outcome nobody knows); they are carried as a set.
//!
//! A call that only looks is put in order as soon as it fits: whatever follows could as well follow now. Tried like all others, a few
//! looks at a time made one history in some hundreds of a busy machine take minutes.
//!
//! A dependency was rejected: the search is a page, and what a verdict rests on should be read here.

use std::collections::{HashMap, HashSet};
use std::fmt::Debug;
use std::hash::Hash;
use std::rc::Rc;

use foldhash::fast::FixedState;

/// A sequential object: what one call does when nothing else happens.
pub trait Model {
    /// A call together with what it was answered.
    type Op: Debug;
    /// The object's state.
    type State: Clone + Ord + Hash;

    /// The state before the first call.
    fn start(&self) -> Self::State;

    /// The states in which the object may be when it was in `state` and gave this answer; none: it cannot have given it.
    fn step(&self, state: &Self::State, op: &Self::Op) -> Vec<Self::State>;

    /// Whether a call that gave this answer has left the object as it was, whatever its state.
    fn only_looks(&self, op: &Self::Op) -> bool;
}

/// One call, by a clock that orders what did not overlap.
#[derive(Clone, Debug)]
pub struct Call<Op> {
    /// What was asked and answered.
    pub op: Op,
    /// When it began.
    pub invoked: u64,
    /// When its effect had happened, if it happens; `None`: at any time after it began, or never.
    pub returned: Option<u64>,
}

/// What the search found.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is an order.
    Linearizable,
    /// There is none: with the most calls that could be put in order, and the open ones that did not fit after them.
    Refused {
        /// How many could be put in order.
        placed: usize,
        /// The calls that were open then.
        stuck: Vec<String>,
    },
    /// The search was given up at its bound.
    Undecided,
}

/// The list of begins and returns that the search takes calls out of and puts them back into.
struct Timeline {
    /// The call and whether this is its return; the first is a sentinel.
    entries: Vec<(usize, bool)>,
    next: Vec<usize>,
    before: Vec<usize>,
    /// Where each call's begin and return stand; 0: none.
    places: Vec<(usize, usize)>,
}

impl Timeline {
    fn of<Op>(calls: &[Call<Op>]) -> Timeline {
        let begins = calls.iter().enumerate().map(|(n, call)| (call.invoked, false, n));
        let returns = calls.iter().enumerate();
        let returns = returns.filter_map(|(n, call)| call.returned.map(|at| (at, true, n)));
        let mut all: Vec<_> = begins.chain(returns).collect();
        // At the same tick a begin stands before a return: they overlap.
        all.sort_unstable();
        let mut entries = vec![(usize::MAX, false)];
        let mut places = vec![(0, 0); calls.len()];
        for (_, is_return, n) in all {
            match is_return {
                false => places[n].0 = entries.len(),
                true => places[n].1 = entries.len(),
            }
            entries.push((n, is_return));
        }
        let length = entries.len();
        Timeline {
            entries,
            next: (1..=length).collect(),
            before: (0..length).map(|n| n.saturating_sub(1)).collect(),
            places,
        }
    }

    fn at(&self, place: usize) -> Option<(usize, bool)> {
        self.entries.get(place).copied()
    }

    fn take(&mut self, call: usize) {
        let (begin, end) = self.places[call];
        for place in [begin, end].into_iter().filter(|place| *place > 0) {
            let (before, next) = (self.before[place], self.next[place]);
            self.next[before] = next;
            if next < self.before.len() {
                self.before[next] = before;
            }
        }
    }

    fn put_back(&mut self, call: usize) {
        let (begin, end) = self.places[call];
        for place in [end, begin].into_iter().filter(|place| *place > 0) {
            let (before, next) = (self.before[place], self.next[place]);
            self.next[before] = place;
            if next < self.before.len() {
                self.before[next] = place;
            }
        }
    }
}

/// Every set of states that the search has met, as a number, and what each call makes of it: a step is taken once, and what has been
/// seen is told apart by numbers.
struct Known<'a, M: Model> {
    model: &'a M,
    numbers: HashMap<Rc<Vec<M::State>>, usize, FixedState>,
    sets: Vec<Rc<Vec<M::State>>>,
    steps: HashMap<(usize, usize), Option<usize>, FixedState>,
}

impl<M: Model> Known<'_, M> {
    fn number(&mut self, states: Vec<M::State>) -> usize {
        if let Some(number) = self.numbers.get(&states) {
            return *number;
        }
        let (number, states) = (self.sets.len(), Rc::new(states));
        self.sets.push(Rc::clone(&states));
        self.numbers.insert(states, number);
        number
    }

    /// The states after a call; `None`: it cannot have happened then.
    fn step(&mut self, states: usize, call: usize, op: &M::Op) -> Option<usize> {
        if let Some(known) = self.steps.get(&(states, call)) {
            return *known;
        }
        let before = Rc::clone(&self.sets[states]);
        let mut after: Vec<M::State> = before.iter().flat_map(|state| self.model.step(state, op)).collect();
        after.sort_unstable();
        after.dedup();
        let after = (!after.is_empty()).then(|| self.number(after));
        self.steps.insert((states, call), after);
        after
    }
}

/// Searches for an order, looking at no more than `bound` configurations.
pub fn check<M: Model>(model: &M, calls: &[Call<M::Op>], bound: usize) -> Verdict {
    let mut timeline = Timeline::of(calls);
    let mut left = calls.iter().filter(|call| call.returned.is_some()).count();
    let mut placed = vec![0_u64; calls.len().div_ceil(64)];
    let mut known = Known {
        model,
        numbers: HashMap::default(),
        sets: Vec::new(),
        steps: HashMap::default(),
    };
    let mut states = known.number(vec![model.start()]);
    let mut seen: HashSet<(Box<[u64]>, usize), FixedState> = HashSet::default();
    let mut path: Vec<(usize, usize)> = Vec::new();
    let mut best = (0, Vec::new());
    // Looks that fit come first, and when the search is stuck there is nothing else to try in their place. One that tells which of several
    // states it was is a choice like others.
    let looks = |call: usize, before: usize, after: usize| before == after && model.only_looks(&calls[call].op);
    let (mut place, mut looking) = (timeline.next[0], true);
    while left > 0 {
        if let Some((call, false)) = timeline.at(place) {
            let after = known.step(states, call, &calls[call].op);
            placed[call / 64] |= 1 << (call % 64);
            let fits = after.filter(|after| looking == looks(call, states, *after));
            if let Some(after) = fits.filter(|after| seen.insert((placed.clone().into(), *after))) {
                if seen.len() > bound {
                    return Verdict::Undecided;
                }
                path.push((call, std::mem::replace(&mut states, after)));
                timeline.take(call);
                left -= usize::from(calls[call].returned.is_some());
                (place, looking) = (timeline.next[0], true);
            } else {
                placed[call / 64] &= !(1 << (call % 64));
                // It would lead to where the search has been in vain.
                let in_vain = looking && fits.is_some();
                place = if in_vain { usize::MAX } else { timeline.next[place] };
                looking &= !in_vain;
            }
            continue;
        }
        if looking {
            (place, looking) = (timeline.next[0], false);
            continue;
        }
        // A return whose call has found no place, or the end of the list: the last choice was wrong.
        if path.len() > best.0 || best.1.is_empty() {
            best = (path.len(), open(&timeline, calls));
        }
        loop {
            let Some((call, before)) = path.pop() else {
                let (placed, stuck) = best;
                return Verdict::Refused { placed, stuck };
            };
            let looked = looks(call, before, states);
            states = before;
            placed[call / 64] &= !(1 << (call % 64));
            timeline.put_back(call);
            left += usize::from(calls[call].returned.is_some());
            if !looked {
                place = timeline.next[timeline.places[call].0];
                break;
            }
        }
    }
    Verdict::Linearizable
}

/// The calls that began before the first return of those that are left.
fn open<Op: Debug>(timeline: &Timeline, calls: &[Call<Op>]) -> Vec<String> {
    let mut open = Vec::new();
    let mut place = timeline.next[0];
    while let Some((call, false)) = timeline.at(place) {
        open.push(format!("{:?}", calls[call].op));
        place = timeline.next[place];
    }
    open
}
