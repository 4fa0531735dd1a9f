//! The morning: everything that happened since the sites opened, in the order in which the node hears of it.
//!
//! Happenings are played in the order of business time, so that every count sees the shelf as it was; each event then gets a
//! time of arrival, and is sent in that order. That is what makes late tills, late bookings and repeats come out as they do
//! in life. Rejected: events made up in the order of sending, in which nothing is ever truly late.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp, ZonedDateTime};
use rand::RngExt;
use serde_json::Value;

use super::goods_in::Shipment;
use super::goods_out::Recall;
use super::story::{LATE_TILL, Place, SITES, Story};

/// Customers at the tills of each site.
const CUSTOMERS: usize = 700;
/// Customers at the till whose network is down.
const LATE_CUSTOMERS: usize = 25;
/// The supplier whose delivery to the second site is unloaded at once and booked much later.
const BOOKED_LATE: &str = "Хлебозавод № 5";
/// How many rows a warehouse system sends again when it repeats itself.
const REPEATED_ROWS: usize = 20;

/// One thing that happens.
#[derive(Debug)]
enum Act {
    Open(usize),
    Deliver { site: usize, supplier: String },
    Sell { site: usize, till: &'static str },
    SellLate,
    MisScan(usize),
    GiveBack(usize),
    Damage(usize),
    ClearExpired(usize),
    Steal(usize),
    Count(Place),
    Recall(usize),
    Settle(Recall),
    Send,
    Arrive { shipment: Shipment, short: bool },
    Believe { site: usize, rows: usize },
    OldBelief(usize),
    Mistakes(usize),
    Repeat(usize),
}

/// An event and when the node hears of it.
#[derive(Debug)]
struct Heard {
    arrives: Timestamp,
    event: Value,
}

/// A morning in the making.
struct Morning<'a> {
    story: &'a mut Story,
    opened: ZonedDateTime,
    now: ZonedDateTime,
    agenda: BTreeMap<(Timestamp, u32), Act>,
    heard: Vec<Heard>,
    order: u32,
    shipments: u32,
}

/// When the sites opened: at six, when that was between three and ten hours ago, and else five hours ago.
pub fn opening_time(now: &ZonedDateTime) -> ZonedDateTime {
    let hours = |hours| SignedDuration::from_hours(hours);
    let six = now.date().at(6, 0, 0, 0).to_zoned_datetime(now.time_zone().clone());
    match six {
        Ok(six) if (hours(3)..=hours(10)).contains(&now.duration_since(&six)) => six,
        _ => now.checked_sub(hours(5)).unwrap_or_else(|_| now.clone()),
    }
}

/// All events of the morning up to `now`, in the order of their arrival.
pub fn tell(story: &mut Story, now: &ZonedDateTime) -> Vec<Value> {
    let opened = opening_time(now);
    let mut morning = Morning {
        story,
        opened,
        now: now.clone(),
        agenda: BTreeMap::new(),
        heard: Vec::new(),
        order: 0,
        shipments: 0,
    };
    morning.plan();
    while let Some(((at, _), act)) = morning.agenda.pop_first() {
        let at = at.to_zoned_datetime(morning.now.time_zone().clone());
        morning.play(act, &at);
    }
    // A stable sort: what one source says at one time stays in its order.
    morning.heard.sort_by_key(|heard| heard.arrives);
    morning.heard.into_iter().map(|heard| heard.event).collect()
}

impl Morning<'_> {
    /// A moment of the morning, from 0 (opened) to 1000 (now), in whole seconds.
    fn moment(&self, permille: i64) -> ZonedDateTime {
        let whole = self.now.duration_since(&self.opened).as_secs();
        self.opened
            .checked_add(SignedDuration::from_secs(whole * permille / 1000))
            .unwrap_or_else(|_| self.now.clone())
    }

    /// Puts an act on the agenda at a moment; acts of one moment stay in the order of their planning.
    fn at(&mut self, permille: i64, act: Act) {
        let moment = self.moment(permille).timestamp();
        self.put(moment, act);
    }

    fn put(&mut self, moment: Timestamp, act: Act) {
        self.order += 1;
        self.agenda.insert((moment, self.order), act);
    }

    /// Later than `at`, if it is still morning then.
    fn follow(&mut self, at: &ZonedDateTime, minutes: i64, act: Act) {
        if let Ok(then) = at.timestamp().checked_add(SignedDuration::from_mins(minutes))
            && then < self.now.timestamp()
        {
            self.put(then, act);
        }
    }

    fn plan(&mut self) {
        let suppliers = self.story.suppliers();
        for (site, names) in SITES.iter().enumerate() {
            self.at(0, Act::Open(site));
            for supplier in &suppliers {
                let when = if supplier == BOOKED_LATE {
                    60
                } else {
                    self.story.rng.random_range(40..600)
                };
                self.at(
                    when,
                    Act::Deliver {
                        site,
                        supplier: supplier.clone(),
                    },
                );
            }
            for _ in 0..CUSTOMERS {
                let when = self.story.rng.random_range(30..995);
                let till = names.tills[self.story.rng.random_range(0..2)];
                self.at(when, Act::Sell { site, till });
            }
            self.plan_incidents(site);
        }
        for _ in 0..LATE_CUSTOMERS {
            let when = self.story.rng.random_range(550..850);
            self.at(when, Act::SellLate);
        }
        for when in [150, 400, 650, 960] {
            self.at(when, Act::Send);
        }
    }

    /// The few things of each kind that go otherwise than planned.
    fn plan_incidents(&mut self, site: usize) {
        for (times, from, until, act) in [
            (10, 50, 700, Act::Steal as fn(usize) -> Act),
            (6, 50, 500, Act::ClearExpired),
            (8, 100, 950, Act::Damage),
            (7, 200, 950, Act::GiveBack),
            (4, 200, 950, Act::MisScan),
            (4, 100, 980, Act::Recall),
            (1, 700, 950, Act::OldBelief),
            (1, 850, 851, Act::Mistakes),
            (2, 300, 990, Act::Repeat),
        ] {
            for _ in 0..times {
                let when = self.story.rng.random_range(from..until);
                self.at(when, act(site));
            }
        }
        for _ in 0..12 {
            let when = self.story.rng.random_range(200..980);
            let good = self.story.any();
            self.at(when, Act::Count(Place { site, good }));
        }
        for (when, rows) in [(20, 60), (970, 60)] {
            self.at(when, Act::Believe { site, rows });
        }
    }

    fn play(&mut self, act: Act, at: &ZonedDateTime) {
        match act {
            Act::Open(site) => self.hear(at, |story| story.opening(site, at)),
            Act::Deliver { site, supplier } => {
                // Unloaded now, booked when somebody finds the time: what sells in between is found, owed, and repaid.
                let late = if site == 1 && supplier == BOOKED_LATE { 90 } else { 0 };
                let booked = at.checked_add(SignedDuration::from_mins(late)).unwrap_or_else(|_| at.clone());
                self.hear(&booked, |story| story.delivery(site, &supplier, at));
            }
            Act::Sell { site, till } => self.hear(at, |story| story.sale(site, till, at)),
            Act::SellLate => self.sell_late(at),
            Act::MisScan(site) => self.hear(at, |story| story.mis_scan(site, at)),
            Act::GiveBack(site) => self.hear(at, |story| story.give_back(site, at)),
            Act::Damage(site) => self.hear(at, |story| story.damage(site, at)),
            Act::ClearExpired(site) => self.hear(at, |story| story.clear_expired(site, at)),
            Act::Steal(site) => {
                if let Some(place) = self.story.steal(site) {
                    self.follow(at, 30, Act::Count(place));
                }
            }
            Act::Count(place) => {
                // Counted now, typed in some minutes later: what sold in between is told before the count.
                let typed = at
                    .checked_add(SignedDuration::from_mins(self.story.rng.random_range(0..6)))
                    .unwrap_or_else(|_| at.clone());
                self.hear(&typed, |story| vec![story.count(place, at)]);
            }
            Act::Recall(site) => {
                if let Some((recall, event)) = self.story.recall(site, at) {
                    self.hear(at, |_| vec![event]);
                    self.follow(at, 25, Act::Settle(recall));
                }
            }
            Act::Settle(recall) => self.hear(at, |story| story.settle(recall, at)),
            Act::Send => self.send(at),
            Act::Arrive { shipment, short } => self.hear(at, |story| story.arrive(&shipment, short, at)),
            Act::Believe { site, rows } => self.hear(at, |story| story.beliefs(site, rows, at)),
            Act::OldBelief(site) => self.hear(at, |story| story.old_belief(site, at)),
            Act::Mistakes(site) => self.hear(at, |story| story.mistakes(site, at)),
            Act::Repeat(site) => self.repeat(site, at),
        }
    }

    /// The node hears of what happens, all of it at one time.
    fn hear(&mut self, arrives: &ZonedDateTime, happen: impl FnOnce(&mut Story) -> Vec<Value>) {
        // What would arrive after the present is told at once: the morning ends now.
        let arrives = arrives.timestamp().min(self.now.timestamp());
        self.heard
            .extend(happen(self.story).into_iter().map(|event| Heard { arrives, event }));
    }

    /// A sale at the till without a network: the shelf knows, the node hears at the very end, and one good in three is
    /// counted in between.
    fn sell_late(&mut self, at: &ZonedDateTime) {
        let events = self.story.sale(0, LATE_TILL, at);
        for event in &events {
            let sku = event["data"]["sku"].as_str().unwrap_or_default();
            let good = self.story.goods.iter().position(|good| good.gtin == sku);
            if let Some(good) = good.filter(|_| self.story.chance(33)) {
                self.follow(at, 8, Act::Count(Place { site: 0, good }));
            }
        }
        let now = self.now.clone();
        self.hear(&now, |_| events);
    }

    /// A transfer: the second one arrives short, the third is received before its sender has reported it, the last is still
    /// on its way.
    fn send(&mut self, at: &ZonedDateTime) {
        let (shipment, events) = self.story.send(at);
        self.shipments += 1;
        let reported = if self.shipments == 3 { 60 } else { 0 };
        let reported = at
            .checked_add(SignedDuration::from_mins(reported))
            .unwrap_or_else(|_| at.clone());
        self.hear(&reported, |_| events);
        if self.shipments < 4 {
            self.follow(
                at,
                40,
                Act::Arrive {
                    shipment,
                    short: self.shipments == 2,
                },
            );
        }
    }

    /// The warehouse system has lost its place and sends its last rows again, byte for byte.
    fn repeat(&mut self, site: usize, at: &ZonedDateTime) {
        let wms = SITES[site].wms;
        let last = self
            .heard
            .iter()
            .rev()
            .filter(|heard| heard.event["source"] == wms && heard.arrives <= at.timestamp());
        let mut copies: Vec<Value> = last.take(REPEATED_ROWS).map(|heard| heard.event.clone()).collect();
        copies.reverse();
        self.hear(at, |_| copies);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use jiff::civil::date;

    use super::super::story::ZONE;
    use super::*;

    fn told(seed: u64) -> Vec<Value> {
        let now = date(2026, 11, 23)
            .at(12, 30, 0, 0)
            .in_tz(ZONE)
            .expect("a zone of the embedded database");
        tell(&mut Story::new(seed, &now).expect("the table is sound"), &now)
    }

    #[test]
    fn the_morning_has_every_kind_of_event_and_thousands_of_them() {
        let events = told(1);
        let mut kinds: HashMap<&str, usize> = HashMap::new();
        for event in &events {
            *kinds.entry(event["type"].as_str().expect("a text")).or_default() += 1;
        }
        assert!((3_000..9_000).contains(&events.len()), "{}", events.len());
        for kind in [
            "receipt",
            "sale",
            "return",
            "quarantine",
            "release",
            "write_off",
            "transfer_out",
            "transfer_in",
            "adjustment",
            "count",
            "snapshot",
            "void",
        ] {
            assert!(
                kinds.contains_key(format!("inventory.{kind}").as_str()),
                "no {kind} in {kinds:?}"
            );
        }
    }

    #[test]
    fn only_exact_copies_share_an_id() {
        let mut seen: HashMap<(String, String, String), Value> = HashMap::new();
        let mut copies = 0;
        for event in told(2) {
            let key = (
                event["data"]["warehouse"].to_string(),
                event["source"].to_string(),
                event["id"].to_string(),
            );
            if let Some(first) = seen.insert(key, event.clone()) {
                assert_eq!(first, event);
                copies += 1;
            }
        }
        assert!(copies >= 20, "{copies}");
    }

    #[test]
    fn a_late_till_is_heard_after_the_counts_that_it_explains() {
        let events = told(3);
        let place = |event: &Value| (event["data"]["warehouse"].clone(), event["data"]["sku"].clone());
        let explained = events
            .iter()
            .enumerate()
            .filter(|(_, event)| event["source"] == LATE_TILL)
            .any(|(index, late)| {
                events[..index].iter().any(|event| {
                    event["type"] == "inventory.count"
                        && place(event) == place(late)
                        && event["time"].as_str() > late["time"].as_str()
                })
            });
        assert!(explained);
    }

    #[test]
    fn the_sites_open_at_six_or_five_hours_ago() {
        let zoned = |hour, minute| date(2026, 11, 23).at(hour, minute, 0, 0).in_tz(ZONE).expect("a zone");
        assert_eq!(opening_time(&zoned(12, 30)), zoned(6, 0));
        assert_eq!(opening_time(&zoned(7, 30)), zoned(2, 30));
        assert_eq!(opening_time(&zoned(22, 0)), zoned(17, 0));
    }

    #[test]
    fn no_event_but_the_mistakes_is_dated_ahead() {
        let now = "2026-11-23T12:30:00+03:00";
        let ahead: HashSet<String> = told(4)
            .iter()
            .filter(|event| event["time"].as_str() > Some(now))
            .map(|event| event["type"].to_string())
            .collect();
        assert!(ahead.iter().all(|kind| kind.contains("count")), "{ahead:?}");
    }
}
