//! What is looked at after every step: the view beside the fold, the answers beside the facts and the disk, the promises beside the
//! clock.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::disk::{Disk, Image};
use super::fold::{Broken, Fold, Key, broken, print, promisable};
use super::life::{Life, Setup};
use super::work::{Answer, Heard, Say};
use crate::actors::desk::underway_of;
use crate::actors::node::{BasketCommand, CommandError, Node, Readiness, Verdict};
use crate::domain::available::buffer_of;
use crate::domain::event::Event;
use crate::domain::fact::Fact;
use crate::domain::refusal::{Code, Refusal};
use crate::domain::reservation::{HoldRequest, State};
use crate::domain::units::{Id, Time};
use crate::storage::database::Handle;
use crate::storage::store::{Options, Store};

/// For how long what is due may wait: a second, and two ticks.
const DUE_MS: u64 = 1_500;

/// A request that is underway.
pub(super) struct Underway {
    pub(super) say: Say,
    pub(super) begun: Time,
    /// The newest fact when it was sent.
    pub(super) from: u64,
}

/// See the module.
#[derive(Default)]
pub(super) struct Checker {
    pub(super) fold: Fold,
    pub(super) underway: BTreeMap<u64, Underway>,
    /// Transfers whose other warehouse must hear of them: by the fact, the event.
    transfers: BTreeMap<u64, Event>,
    /// Overdue baskets, and for how many milliseconds of health.
    overdue: BTreeMap<Key, u64>,
    /// The newest fact that anybody was told of.
    told: u64,
    /// The newest fact that anybody could see.
    seen: u64,
}

impl Checker {
    /// Reads what is new, and checks everything that can be seen. `ms`: how much time has passed; `steady`: nothing is broken that
    /// would excuse lateness.
    pub(super) fn step(
        &mut self,
        life: &Life,
        setup: &Setup,
        answers: Vec<Answer>,
        ms: u64,
        steady: bool,
    ) -> Result<Vec<Fact>, Broken> {
        let node = life.node();
        let Ok(new) = node.store().facts(self.fold.seq + 1, 10_000) else {
            // The store is being reopened: what is new is looked at when it can be read.
            self.keep(answers);
            return Ok(Vec::new());
        };
        self.absorb(node, &new)?;
        self.beside_the_view(node)?;
        self.fold.whole()?;
        self.answers(life, setup, &answers)?;
        self.on_time(life, ms, steady)?;
        let oldest = self.underway.values().map(|underway| underway.from).min();
        self.fold.forget_before(oldest.unwrap_or(self.fold.seq));
        Ok(new)
    }

    fn keep(&mut self, answers: Vec<Answer>) {
        for answer in answers {
            self.underway.remove(&answer.number);
        }
    }

    pub(super) fn absorb(&mut self, node: &Node, new: &[Fact]) -> Result<(), Broken> {
        for fact in new {
            self.fold.take(fact)?;
            if let Some(event) = underway_of(fact)
                && node.view().warehouses().contains_key(&event.warehouse)
            {
                self.transfers.insert(fact.seq, *event);
            }
        }
        self.seen = self.seen.max(self.fold.seq);
        Ok(())
    }

    /// The view is the fold of what is durable.
    pub(super) fn beside_the_view(&self, node: &Node) -> Result<(), Broken> {
        let (view, fold) = (node.view(), &self.fold);
        if view.durable_seq() != fold.seq {
            let what = format!("the view is at {}, the journal at {}", view.durable_seq(), fold.seq);
            return Err(broken("replay", what));
        }
        for ((site, sku), stock) in &fold.stocks {
            let index = view.keys().find(site.as_str(), sku.as_str());
            let seen = index.and_then(|index| view.stock(index));
            if seen.as_ref() != Some(stock) {
                let what = format!("{site}/{sku}: the view has {seen:?}, the fold {stock:?}");
                return Err(broken("replay", what));
            }
        }
        for ((site, id), basket) in &fold.baskets {
            // What the disk does not give now is looked at after the next start.
            let Ok(seen) = node.store().reservation(site.as_str(), id.as_str()) else {
                continue;
            };
            // Ended ones are forgotten one day.
            let old = |at: Time| at < node.now().plus_ms(-Options::default().id_window_ms);
            let same = seen.as_deref() == Some(basket) || (seen.is_none() && basket.end.as_ref().is_some_and(|end| old(end.at)));
            if !same {
                return Err(broken(
                    "replay",
                    format!("{site}/{id}: the view has {seen:?}, the fold {basket:?}"),
                ));
            }
        }
        for site in fold.sites.keys() {
            let (seen, known) = (
                view.sku_count(site.as_str()),
                fold.stocks.range((site.clone(), Id::no_lot())..),
            );
            let known = known.take_while(|((of, _), _)| of == site).count();
            if seen != known {
                return Err(broken(
                    "replay",
                    format!("{site}: the view lists {seen} SKUs, the fold {known}"),
                ));
            }
        }
        Ok(())
    }

    fn answers(&mut self, life: &Life, setup: &Setup, answers: &[Answer]) -> Result<(), Broken> {
        let mut looked: Option<(u64, u64)> = None;
        for answer in answers {
            let underway = self.underway.remove(&answer.number);
            let Some(image) = &answer.synced else { continue };
            let durable = match looked {
                Some((syncs, durable)) if syncs == image.syncs() => durable,
                _ => last_in(image, setup)?,
            };
            looked = Some((image.syncs(), durable));
            if answer.visible > durable {
                let what = format!("fact {} could be seen, {durable} were on the disk", answer.visible);
                return Err(broken("committed_reads", what));
            }
            if let Some(underway) = underway {
                self.answer(&underway, answer, durable)?;
            }
        }
        if let Some(answer) = answers.iter().rev().find(|answer| answer.synced.is_some())
            && self.fold.seq.is_multiple_of(7)
            && let Some(image) = &answer.synced
        {
            self.reopened(life, image, setup)?;
        }
        Ok(())
    }

    fn answer(&mut self, underway: &Underway, answer: &Answer, durable: u64) -> Result<(), Broken> {
        match (&answer.heard, &underway.say) {
            (Heard::Verdicts(verdicts), _) => {
                for (event, verdict, seen) in verdicts {
                    self.verdict(event, verdict, *seen, durable)?;
                }
            }
            (Heard::Set(Ok(seq)), _) => self.was_told(*seq, durable)?,
            (Heard::Basket(Ok(basket)), Say::Basket(site, id, _)) => {
                let key = (site.clone(), id.clone());
                let known = self.fold.baskets.get(&key);
                if known.is_none_or(|known| known.version < basket.reservation.version) {
                    let what = format!(
                        "{site}/{id}: version {} was answered, {known:?} is known",
                        basket.reservation.version
                    );
                    return Err(broken("durable_reply", what));
                }
            }
            (Heard::Basket(Err(CommandError::Dead { letter, .. })), _) => self.was_told(*letter, durable)?,
            (Heard::Basket(Err(CommandError::Refused(refusal))), Say::Basket(site, _, BasketCommand::Hold(request))) => {
                self.refused(site, request, refusal, underway, answer)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn was_told(&mut self, seq: u64, durable: u64) -> Result<(), Broken> {
        self.told = self.told.max(seq);
        match seq > durable || seq > self.fold.seq {
            true => Err(broken(
                "durable_reply",
                format!(
                    "fact {seq} was answered when {durable} were on the disk and {} in the journal",
                    self.fold.seq
                ),
            )),
            false => Ok(()),
        }
    }

    fn verdict(&mut self, event: &Event, verdict: &Verdict, seen: u64, durable: u64) -> Result<(), Broken> {
        let Verdict::Judged {
            outcome,
            seq,
            version,
            duplicate,
        } = verdict
        else {
            return Ok(());
        };
        self.was_told(*seq, durable)?;
        if seen < *version {
            let what = format!("{}: version {version} was answered, a read showed {seen}", event.origin.id);
            return Err(broken("committed_reads", what));
        }
        let id = (event.warehouse.clone(), event.origin.source.clone(), event.origin.id.clone());
        let taken = self.fold.taken.get(&id);
        if outcome.binds() && taken != Some(seq) {
            let what = format!("{}: it was answered by fact {seq}, and taken by {taken:?}", event.origin.id);
            return Err(broken("once", what));
        }
        if *duplicate && !outcome.binds() {
            return Err(broken(
                "once",
                format!("{}: a refusal was repeated as a duplicate", event.origin.id),
            ));
        }
        Ok(())
    }

    /// A refusal for want of stock is true of something durable between the question and the answer.
    fn refused(
        &self,
        site: &Id,
        request: &HoldRequest,
        refusal: &Refusal,
        underway: &Underway,
        answer: &Answer,
    ) -> Result<(), Broken> {
        if refusal.code != Code::InsufficientStock || refusal.lines.is_empty() {
            return Ok(());
        }
        for short in &refusal.lines {
            let days = request.lines.iter().find(|line| line.sku == short.sku);
            let days = days.and_then(|line| line.min_shelf_life_days);
            let key = (site.clone(), short.sku.clone());
            let past = self.fold.past.get(&key).map_or(&[][..], Vec::as_slice);
            // The last state at or before the question, and all until the answer.
            let first = past.partition_point(|(seq, ..)| *seq <= underway.from).saturating_sub(1);
            let states = past[first..].iter().filter(|(seq, ..)| *seq <= answer.visible);
            let mut short_then = states.clone().count() == 0 || past.first().is_some_and(|(seq, ..)| *seq > underway.from);
            for (_, _, stock) in states {
                for now in [underway.begun, answer.at] {
                    let today = self.fold.day(site, now);
                    let want = days.map(|days| today.plus(i32::try_from(days).unwrap_or_default()));
                    let without = self.without(stock, &request.id);
                    let channel = self
                        .fold
                        .sites
                        .get(site)
                        .map_or(0, |site| buffer_of(stock, &request.channel, site));
                    short_then |= promisable(&without, want, today, now) - channel < short.requested;
                }
            }
            if !short_then {
                let what = format!(
                    "{site}/{}: {} of {} were refused, and at no durable moment was there less",
                    request.id, short.requested, short.sku
                );
                return Err(broken("durable_reply", what));
            }
        }
        Ok(())
    }

    fn without(&self, stock: &crate::domain::stock::Stock, basket: &Id) -> crate::domain::stock::Stock {
        let mut without = stock.clone();
        without.claims.end(basket);
        without
    }

    /// The node on the disk as a power cut at the moment of an answer leaves it.
    fn reopened(&self, life: &Life, image: &Image, setup: &Setup) -> Result<(), Broken> {
        let disk = Disk::with(image.clone(), 0);
        life.run(async {
            let store = Store::open_with(disk.backends(), setup.options());
            let store = store.map_err(|error| broken("durable_reply", format!("the disk cannot be opened: {error}")))?;
            self.same_past(&store)
        })
    }

    /// What anybody has seen is what the journal says now.
    pub(super) fn same_past(&self, store: &Store) -> Result<(), Broken> {
        let floor = store.floor();
        let facts = store
            .facts(floor, 100_000)
            .map_err(|error| broken("replay", error.to_string()))?;
        for fact in facts.iter().filter(|fact| fact.seq <= self.fold.seq) {
            if self.fold.prints[fact.seq as usize - 1] != print(fact) {
                return Err(broken(
                    "durable_reply",
                    format!("fact {} is another one now: {fact:?}", fact.seq),
                ));
            }
        }
        Ok(())
    }

    /// After a start: nothing that anybody was told of or could see is missing.
    pub(super) fn after_a_start(&mut self, node: &Node) -> Result<(), Broken> {
        let last = node.view().durable_seq();
        if last < self.told || last < self.seen {
            let what = format!(
                "{last} facts are left; fact {} was answered, {} could be seen",
                self.told, self.seen
            );
            return Err(broken("durable_reply", what));
        }
        self.same_past(node.store())?;
        let new = node.store().facts(self.fold.seq + 1, 10_000);
        let new = new.map_err(|error| broken("replay", error.to_string()))?;
        self.absorb(node, &new)?;
        self.beside_the_view(node)?;
        self.fold.whole()?;
        self.underway.clear();
        self.overdue.clear();
        Ok(())
    }

    /// The power has gone: what was heard before counts.
    pub(super) fn last_words(&mut self, answers: &[Answer]) {
        for answer in answers {
            match &answer.heard {
                Heard::Verdicts(verdicts) => {
                    for (_, verdict, _) in verdicts {
                        if let Verdict::Judged { seq, .. } = verdict {
                            self.told = self.told.max(*seq);
                        }
                    }
                }
                Heard::Set(Ok(seq)) => self.told = self.told.max(*seq),
                _ => {}
            }
            self.seen = self.seen.max(answer.visible);
        }
    }

    /// A deadline becomes a fact within a second.
    fn on_time(&mut self, life: &Life, ms: u64, steady: bool) -> Result<(), Broken> {
        let (now, well) = (life.now(), steady && life.node().readiness() == Readiness::Ready);
        let due = |basket: &&crate::domain::reservation::Reservation| {
            basket.state == State::Held && basket.expires.is_some_and(|deadline| deadline <= now)
        };
        let baskets = self.fold.baskets.iter().filter(|(_, basket)| due(basket));
        let due: Vec<Key> = baskets.map(|(key, _)| key.clone()).collect();
        self.overdue.retain(|key, _| due.contains(key));
        for key in due {
            let Some(since) = self.overdue.get_mut(&key) else {
                self.overdue.insert(key, 0);
                continue;
            };
            *since = if well { *since + ms } else { 0 };
            if *since > DUE_MS && !self.fold.stumbled {
                let what = format!("{}/{} is over for {since} ms, and still held", key.0, key.1);
                return Err(broken("ordered_publication", what));
            }
        }
        Ok(())
    }

    /// When everything has come to rest.
    pub(super) fn at_rest(&self, life: &Life) -> Result<(), Broken> {
        if let Some((number, underway)) = self.underway.first_key_value() {
            return Err(broken(
                "durable_reply",
                format!("request {number} is never answered: {:?}", underway.say),
            ));
        }
        for (seq, event) in &self.transfers {
            let id = (event.warehouse.clone(), event.origin.source.clone(), event.origin.id.clone());
            if !self.fold.taken.contains_key(&id) {
                let what = format!(
                    "what left by fact {seq} never got under way to {}: {}",
                    event.warehouse, event.origin.id
                );
                return Err(broken("conservation", what));
            }
        }
        let now = life.now();
        for ((site, sku), stock) in &self.fold.stocks {
            let Some(of) = self.fold.sites.get(site) else { continue };
            let at = |now: Time| -> Vec<(Id, i64)> {
                let available = promisable(stock, None, self.fold.day(site, now), now);
                let figure = |channel: &Id| (available - buffer_of(stock, channel, of)).max(0);
                of.channels.keys().map(|channel| (channel.clone(), figure(channel))).collect()
            };
            // What the clock changes becomes a fact within a second, so it may be what was true just before.
            let (all, before) = (at(now), at(now.plus_ms(-(DUE_MS as i64))));
            let says = self.fold.offers.get(&(site.clone(), sku.clone()));
            if says.is_some_and(|says| *says != all && *says != before) {
                let what = format!("{site}/{sku}: its newest fact offers {says:?}, and {all:?} is true");
                return Err(broken("ordered_publication", what));
            }
        }
        Ok(())
    }
}

/// The newest fact that is on a disk; what cannot be opened has none.
fn last_in(image: &Image, setup: &Setup) -> Result<u64, Broken> {
    let disk: Arc<Disk> = Disk::with(image.clone(), 0);
    let handle = Handle::new(disk.backends(), setup.options().cache_bytes, 0);
    let unreadable = |error: String| {
        broken(
            "durable_reply",
            format!("after a power cut the store cannot be read: {error}"),
        )
    };
    handle.open().map_err(|error| unreadable(error.to_string()))?;
    handle.last_seq().map_err(|error| unreadable(error.to_string()))
}

/// What a verdict says, in a word.
pub(super) fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Judged { duplicate: true, .. } => "duplicate",
        Verdict::Judged { outcome, .. } => outcome.word(),
        Verdict::NotJudged(refusal) => refusal.code.as_str(),
    }
}
