//! Whatever happens, in whatever order: what must always hold of baskets and of the stock that they promise.
//!
//! A machine of random commands over a few SKUs, lots, baskets and days, judged after each step by sums and scans that
//! share no code with the decisions.

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::Config;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};

use super::*;
use crate::domain::event::LotRef;
use crate::domain::stock::check;

const SKUS: [&str; 3] = ["A", "B", "C"];
const BASKETS: [&str; 6] = ["r1", "r2", "r3", "r4", "r5", "r6"];
/// `""`, three lots with a date, and one without.
const LOTS: [&str; 5] = ["", "l1", "l2", "l3", "salt"];

#[derive(Clone, Debug)]
enum Step {
    Put {
        basket: &'static str,
        web: bool,
        lines: Vec<(&'static str, i64, Option<u32>)>,
        ttl_s: Option<u32>,
        partial: bool,
    },
    Confirm {
        basket: &'static str,
        lines: Option<Vec<(&'static str, i64, Option<usize>)>>,
        ago_ms: i64,
    },
    Cancel {
        basket: &'static str,
    },
    Extend {
        basket: &'static str,
        by_ms: i64,
    },
    Pass {
        ms: i64,
    },
    Receive {
        sku: &'static str,
        lot: usize,
        quantity: i64,
    },
    Sell {
        sku: &'static str,
        quantity: i64,
        basket: Option<&'static str>,
        lot: Option<usize>,
        ago_ms: i64,
    },
    WriteOff {
        sku: &'static str,
        quantity: i64,
    },
    Count {
        sku: &'static str,
        lot: Option<usize>,
        quantity: i64,
        ago_ms: i64,
    },
}

fn lot(number: usize) -> LotRef {
    let expires_on = (1..=3).contains(&number).then(|| TODAY.plus(number as i32));
    LotRef {
        id: id(LOTS[number]),
        expires_on,
    }
}

struct Machine;

impl ReferenceStateMachine for Machine {
    type State = ();
    type Transition = Step;

    fn init_state() -> BoxedStrategy<()> {
        Just(()).boxed()
    }

    fn transitions((): &()) -> BoxedStrategy<Step> {
        let (sku, basket) = (|| select(&SKUS[..]), || select(&BASKETS[..]));
        let ago_ms = || prop_oneof![Just(0), 1..100_000i64];
        let any_lot = || prop::option::weighted(0.3, 0..LOTS.len());
        let lines = || prop::collection::btree_map(sku(), (1..6i64, prop::option::weighted(0.4, 0..4u32)), 1..4);
        let put = (
            basket(),
            any::<bool>(),
            lines(),
            select(vec![None, None, None, Some(0), Some(30), Some(600)]),
            any::<bool>(),
        );
        let taken = prop::collection::btree_map(sku(), (0..4i64, any_lot()), 0..4);
        prop_oneof![
            6 => put.prop_map(|(basket, web, lines, ttl_s, partial)| {
                let lines = lines.into_iter().map(|(sku, (quantity, days))| (sku, quantity, days)).collect();
                Step::Put { basket, web, lines, ttl_s, partial }
            }),
            5 => (basket(), prop::option::weighted(0.4, taken), ago_ms()).prop_map(|(basket, lines, ago_ms)| {
                let lines = lines.map(|lines| lines.into_iter().map(|(sku, (units, lot))| (sku, units, lot)).collect());
                Step::Confirm { basket, lines, ago_ms }
            }),
            1 => basket().prop_map(|basket| Step::Cancel { basket }),
            1 => (basket(), -10_000..900_000i64).prop_map(|(basket, by_ms)| Step::Extend { basket, by_ms }),
            2 => select(vec![1_000, 1_000, 40_000, 40_000, 700_000, 43_200_000]).prop_map(|ms| Step::Pass { ms }),
            5 => (sku(), 0..LOTS.len(), 4..25i64).prop_map(|(sku, lot, quantity)| Step::Receive { sku, lot, quantity }),
            6 => (sku(), 1..5i64, prop::option::weighted(0.85, basket()), any_lot(), ago_ms())
                .prop_map(|(sku, quantity, basket, lot, ago_ms)| Step::Sell { sku, quantity, basket, lot, ago_ms }),
            1 => (sku(), 1..5i64).prop_map(|(sku, quantity)| Step::WriteOff { sku, quantity }),
            2 => (sku(), any_lot(), 0..15i64, ago_ms())
                .prop_map(|(sku, lot, quantity, ago_ms)| Step::Count { sku, lot, quantity, ago_ms }),
        ]
        .boxed()
    }

    fn apply((): (), _: &Step) {}
}

/// The shop, and what has been told of it so far.
struct Shop {
    world: World,
    /// Units that should stand in `demand`, by what was told.
    sold: BTreeMap<&'static str, i64>,
    /// Units confirmed that no sale has matched.
    unmatched: BTreeMap<(Id, &'static str), i64>,
    /// Baskets as they were when they ended.
    ended: BTreeMap<Id, Reservation>,
    /// The last day that was told to the SKUs.
    told: Day,
}

/// The least difference by the book of rules: every threshold one by one, every day up to the date.
fn room(stock: &Stock, good_until: Option<Day>, today: Day, without: Option<&str>) -> i64 {
    let last = good_until.map(|day| day.max(today));
    let days = (today.0..=last.map_or(today.0 - 1, |day| day.0)).map(|day| Some(Day(day)));
    let difference = |threshold: Option<Day>| -> i64 {
        let outlives = |lot: &&Lot| match (lot.id.as_str(), lot.expires_on, threshold) {
            (_, Some(expires), None) => expires >= today,
            (_, Some(expires), Some(day)) => expires >= day,
            ("", None, Some(_)) => !stock.dated,
            (_, None, _) => true,
        };
        let asks = |claim: &&Claim| {
            Some(claim.reservation.as_str()) != without
                && threshold.is_none_or(|day| claim.good_until.is_some_and(|asked| asked.max(today) >= day))
        };
        let lots: i64 = stock.lots.iter().filter(outlives).map(Lot::sellable).sum();
        lots - stock.claims.iter().filter(asks).map(|claim| claim.quantity).sum::<i64>()
    };
    days.chain([None]).map(difference).min().unwrap()
}

impl Shop {
    fn today(&self) -> Day {
        self.world.calendar.day_of(self.world.now)
    }

    /// What the caller of the domain owes it: what is due has expired, and a new day was told to every SKU.
    fn sweep(&mut self) {
        let today = self.today();
        let read = |world: &World| SKUS.map(|sku| world.stocks.get(sku).map(|_| world.available(sku, None)));
        let before = read(&self.world);
        let due = |basket: &&Reservation| basket.state == State::Held && basket.expires.is_some_and(|at| at <= self.world.now);
        let due: Vec<Id> = self
            .world
            .baskets
            .values()
            .filter(due)
            .map(|basket| basket.id.clone())
            .collect();
        for basket in due {
            self.world.expire(basket.as_str()).unwrap();
        }
        assert_eq!(
            read(&self.world),
            before,
            "availability was right before anything had swept the claims"
        );
        let turned = std::mem::replace(&mut self.told, today) != today;
        for sku in SKUS.map(id).into_iter().filter(|_| turned) {
            let changes = self
                .world
                .stocks
                .get(&sku)
                .map(|stock| at_risk_changes(stock, today))
                .unwrap_or_default();
            self.world.commit(&sku, &changes, self.world.now);
        }
    }

    fn put(&mut self, request: &HoldRequest) {
        let old = self.world.baskets.get(&request.id).cloned();
        let expected = self.expected(old.as_ref(), request);
        let before = (self.world.stocks.clone(), self.world.baskets.clone());
        match self.world.put(request.clone()) {
            Ok(decision) if decision.reply == Reply::Same => {}
            Ok(decision) => {
                let held: Vec<i64> = decision.after.lines.iter().map(|line| line.held).collect();
                assert_eq!(Some(held), expected, "each line gets what the rules give it");
                self.never_oversold(old.as_ref(), &decision.after);
                assert_eq!(self.world.put(request.clone()).unwrap().reply, Reply::Same);
            }
            Err(refusal) => {
                assert_eq!(
                    (&self.world.stocks, &self.world.baskets),
                    (&before.0, &before.1),
                    "a refusal changes nothing"
                );
                assert!(
                    refusal.code != Code::InsufficientStock || expected.is_none(),
                    "{refusal} but {expected:?}"
                );
            }
        }
    }

    /// What each line of an acceptable request would get; `None`: too little.
    fn expected(&self, old: Option<&Reservation>, request: &HoldRequest) -> Option<Vec<i64>> {
        let today = self.today();
        let kept_back = self.world.warehouse.channels[&request.channel].buffer;
        let gives = |wanted: &LineRequest| {
            let had = old.and_then(|old| old.lines.iter().find(|line| line.sku == wanted.sku));
            let same = had.filter(|had| had.min_shelf_life_days == wanted.min_shelf_life_days && wanted.quantity <= had.quantity);
            let date = same.map_or(wanted.min_shelf_life_days.map(|days| today.plus(days as i32)), |had| {
                had.good_until
            });
            let stock = self.world.stocks.get(&wanted.sku).cloned().unwrap_or_default();
            let free = room(&stock, date, today, Some(request.id.as_str())) - kept_back;
            let at_least = |day: Option<Day>| day.map(|day| day.max(today));
            let secure = had
                .filter(|had| at_least(date) <= at_least(had.good_until))
                .map_or(0, |had| had.held);
            wanted.quantity.min(free.max(secure).max(0))
        };
        let gives: Vec<i64> = request.lines.iter().map(gives).collect();
        let whole = request.lines.iter().zip(&gives).all(|(line, gives)| line.quantity == *gives);
        (whole || (request.allow_partial && gives.iter().sum::<i64>() > 0)).then_some(gives)
    }

    /// no_oversell: for every threshold up to its own, the lots cover the claims, each grown promise included.
    fn never_oversold(&self, old: Option<&Reservation>, basket: &Reservation) {
        for line in basket.lines.iter().filter(|line| line.held > 0) {
            let had = old.and_then(|old| old.lines.iter().find(|had| had.sku == line.sku));
            let grows = had.is_none_or(|had| line.held > had.held || line.good_until > had.good_until);
            let room = room(&self.world.stocks[&line.sku], line.good_until, self.today(), None);
            assert!(
                !grows || room >= 0,
                "{} of {} were promised, {room} below what there is",
                line.held,
                line.sku
            );
        }
    }

    fn confirm(&mut self, basket: &'static str, lines: &Option<Vec<(&'static str, i64, Option<usize>)>>, ago_ms: i64) {
        let line = |(sku, quantity, of): &(&'static str, i64, Option<usize>)| ConfirmLine {
            sku: id(sku),
            quantity: *quantity,
            lots: of
                .filter(|_| *quantity > 0)
                .map(|of| (id(LOTS[of]), *quantity))
                .into_iter()
                .collect(),
        };
        let lines: Option<Vec<ConfirmLine>> = lines.as_ref().map(|lines| lines.iter().map(line).collect());
        let time = Some(self.world.now.plus_ms(-ago_ms));
        let request = ConfirmRequest {
            time,
            fingerprint: fingerprint(&lines),
            lines,
        };
        let before = (self.world.stocks.clone(), self.world.baskets.clone());
        let held: BTreeMap<Id, i64> = before
            .1
            .get(basket)
            .iter()
            .flat_map(|old| &old.lines)
            .map(|l| (l.sku.clone(), l.held))
            .collect();
        match self.world.confirm(basket, request.clone()) {
            Ok(decision) if decision.reply == Reply::Same => {}
            Ok(decision) => {
                for line in &decision.after.lines {
                    let listed = request
                        .lines
                        .as_ref()
                        .map(|all| all.iter().find(|l| l.sku == line.sku).map_or(0, |l| l.quantity));
                    let taken = listed.unwrap_or(held[&line.sku]);
                    let sku = SKUS.into_iter().find(|sku| *sku == line.sku.as_str()).unwrap();
                    *self.sold.entry(sku).or_default() += taken;
                    self.unmatched.insert((id(basket), sku), taken);
                    assert_eq!((line.held, line.confirmed), (0, taken));
                }
                assert_eq!(self.world.confirm(basket, request).unwrap().reply, Reply::Same);
            }
            Err(_) => assert_eq!(
                (&self.world.stocks, &self.world.baskets),
                (&before.0, &before.1),
                "a refusal changes nothing"
            ),
        }
    }

    fn sell(&mut self, sku: &'static str, quantity: i64, basket: Option<&'static str>, of: Option<usize>, ago_ms: i64) {
        let what = What::Sale {
            quantity,
            reservation: basket.map(id),
        };
        let happened = event(sku, what, self.world.now.plus_ms(-ago_ms));
        let decision = self.world.tell(&Event {
            lot: of.map(lot),
            ..happened
        });
        if let Outcome::Refused(refusal) = &decision.outcome {
            panic!("a sale is never refused: {refusal}");
        }
        let unmatched = basket.and_then(|basket| self.unmatched.get_mut(&(id(basket), sku)));
        let again = unmatched.map_or(0, |unmatched| {
            let again = quantity.min(*unmatched);
            *unmatched -= again;
            again
        });
        assert_eq!(decision.outcome == Outcome::Recorded, again == quantity);
        *self.sold.entry(sku).or_default() += quantity - again;
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Put {
                basket,
                web,
                lines,
                ttl_s,
                partial,
            } => {
                let request = with(wants(basket, &lines), |request| {
                    request.channel = id(if web { "web" } else { "default" });
                    request.ttl_s = ttl_s;
                    request.allow_partial = partial;
                });
                self.put(&request);
            }
            Step::Confirm { basket, lines, ago_ms } => self.confirm(basket, &lines, ago_ms),
            Step::Cancel { basket } => {
                let _ = self
                    .world
                    .cancel(basket, 7)
                    .map(|_| assert_eq!(self.world.cancel(basket, 7).unwrap().reply, Reply::Same));
            }
            Step::Extend { basket, by_ms } => {
                let until = self.world.now.plus_ms(by_ms);
                let repeat = |world: &mut World| world.extend(basket, until, until.0 as u64).unwrap().reply;
                let _ = self
                    .world
                    .extend(basket, until, until.0 as u64)
                    .map(|_| assert_eq!(repeat(&mut self.world), Reply::Same));
            }
            Step::Pass { ms } => self.world.now = self.world.now.plus_ms(ms),
            Step::Receive { sku, lot: of, quantity } => {
                let arrived = event(sku, What::Receipt { quantity }, self.world.now);
                // One SKU never learns of lots.
                let lot = (sku != "B").then(|| lot(of));
                self.world.tell(&Event { lot, ..arrived });
            }
            Step::Sell {
                sku,
                quantity,
                basket,
                lot,
                ago_ms,
            } => {
                self.sell(sku, quantity, basket, lot.filter(|_| sku != "B"), ago_ms);
            }
            Step::WriteOff { sku, quantity } => {
                let from = crate::domain::event::Inside::Sellable;
                self.world
                    .tell(&event(sku, What::WriteOff { quantity, from }, self.world.now));
            }
            Step::Count {
                sku,
                lot: of,
                quantity,
                ago_ms,
            } => {
                let counted = event(sku, What::Count { quantity }, self.world.now.plus_ms(-ago_ms));
                let lot = of.filter(|_| sku != "B").map(lot);
                self.world.tell(&Event { lot, ..counted });
            }
        }
    }

    fn judge(&mut self) {
        let today = self.today();
        for (sku, stock) in &self.world.stocks {
            assert_eq!(check(stock), Ok(()), "conservation, no_negative: {sku}");
            assert!(
                at_risk_changes(stock, today).is_empty(),
                "what is at risk is marked so: {sku}"
            );
            let sold = self.sold.get(sku.as_str()).copied().unwrap_or_default();
            assert_eq!(
                stock.accounts()[Account::Demand as usize],
                sold,
                "every sale went to demand once: {sku}"
            );
            let held: BTreeMap<&Id, i64> = stock
                .claims
                .iter()
                .map(|claim| (&claim.reservation, claim.quantity))
                .collect();
            let of_baskets = |basket: &'_ Reservation| -> i64 {
                basket
                    .lines
                    .iter()
                    .filter(|line| &line.sku == sku && basket.state == State::Held)
                    .map(|line| line.held)
                    .sum()
            };
            let promised = self.world.baskets.values().map(|basket| (&basket.id, of_baskets(basket)));
            assert_eq!(
                held,
                promised.filter(|(_, units)| *units > 0).collect(),
                "whole_basket: {sku}"
            );
        }
        for (name, basket) in self.world.baskets.iter().filter(|(_, basket)| basket.state != State::Held) {
            let mut shown = basket.clone();
            shown.lines.iter_mut().for_each(|line| line.matched = 0);
            let first = self.ended.entry(name.clone()).or_insert_with(|| shown.clone());
            assert_eq!(*first, shown, "final_ends");
        }
        let mut replayed: BTreeMap<Id, Stock> = BTreeMap::new();
        for (sku, changes, business, recorded) in &self.world.journal {
            evolve(replayed.entry(sku.clone()).or_default(), changes, *business, *recorded);
        }
        assert_eq!(replayed, self.world.stocks, "replay");
    }
}

struct ShopTest;

impl StateMachineTest for ShopTest {
    type SystemUnderTest = Shop;
    type Reference = Machine;

    fn init_test((): &()) -> Shop {
        Shop {
            world: World::with(&[]),
            sold: BTreeMap::new(),
            unmatched: BTreeMap::new(),
            ended: BTreeMap::new(),
            told: TODAY,
        }
    }

    fn apply(mut shop: Shop, (): &(), step: Step) -> Shop {
        shop.step(step);
        shop.sweep();
        shop.judge();
        shop
    }
}

prop_state_machine! {
    #![proptest_config(Config { max_shrink_iters: 4_000, ..crate::domain::at_least(600) })]

    #[test]
    fn baskets_and_stock_keep_every_promise(sequential 1..80 => ShopTest);
}
