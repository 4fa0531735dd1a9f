//! The storyteller: which goods, which sites, who reports, and the words in which events are written.
//!
//! One seed tells one story: everything random comes from one generator that is the same on every machine, so that a picture
//! can be shown again. Rejected: the operating system's randomness, with which no bug seen in a demo could be seen twice.

use std::collections::HashMap;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{ToSpan, ZonedDateTime};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use super::catalogue::{self, Good};
use super::shelf::{Lot, Shelf};

/// The time zone of both sites.
pub const ZONE: &str = "Europe/Moscow";

/// One darkstore.
#[derive(Debug)]
pub struct Site {
    /// Its warehouse id.
    pub id: &'static str,
    /// What people call it.
    pub name: &'static str,
    /// The source name of its warehouse system.
    pub wms: &'static str,
    /// The source names of its tills.
    pub tills: [&'static str; 2],
}

/// The two sites, in the order in which the story counts them.
pub const SITES: [Site; 2] = [
    Site {
        id: "msk-07",
        name: "Даркстор Таганка / Taganka",
        wms: "wms/msk-07",
        tills: ["pos/071", "pos/072"],
    },
    Site {
        id: "msk-12",
        name: "Даркстор Сокол / Sokol",
        wms: "wms/msk-12",
        tills: ["pos/121", "pos/122"],
    },
];

/// The till whose network fails in the morning; it stands in the first site.
pub const LATE_TILL: &str = "pos/073";

/// Where in the story something happens: a site and a good, by their places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// Index in [`SITES`].
    pub site: usize,
    /// Index in the catalogue.
    pub good: usize,
}

/// What an event is of; what only some types carry is in `extra`.
#[derive(Debug)]
pub struct Telling<'a> {
    /// Who reports.
    pub source: &'a str,
    /// `receipt`, `sale`, …
    pub kind: &'a str,
    /// The business time.
    pub at: &'a ZonedDateTime,
    /// Where.
    pub place: Place,
    /// Members of `data` beside warehouse, sku and unit.
    pub extra: Value,
}

/// Everything that is known to the one who tells the story, and to nobody else.
#[derive(Debug)]
pub struct Story {
    /// The catalogue.
    pub goods: Vec<Good>,
    /// The only source of chance.
    pub rng: Xoshiro256PlusPlus,
    /// What stands where.
    shelves: Vec<Vec<Shelf>>,
    /// Makes ids of this run differ from those of another run on the same node.
    tag: String,
    /// The last number that each source, document or lot series has given.
    numbers: HashMap<String, u32>,
    /// Running sums of the goods' demand.
    demand: Vec<u32>,
    /// The day on which the story plays.
    today: Date,
    zone: TimeZone,
}

impl Story {
    /// A story that begins with empty shelves. `now` is where its clock stands, in [`ZONE`].
    pub fn new(seed: u64, now: &ZonedDateTime) -> Result<Story, catalogue::Error> {
        let goods = catalogue::load()?;
        let demand = goods
            .iter()
            .scan(0, |sum, good| {
                *sum += good.demand;
                Some(*sum)
            })
            .collect();
        Ok(Story {
            shelves: SITES.iter().map(|_| vec![Shelf::default(); goods.len()]).collect(),
            rng: Xoshiro256PlusPlus::seed_from_u64(seed),
            tag: now.strftime("%m%d-%H%M%S").to_string(),
            numbers: HashMap::new(),
            today: now.date(),
            zone: now.time_zone().clone(),
            goods,
            demand,
        })
    }

    /// The day of the story.
    pub fn today(&self) -> Date {
        self.today
    }

    /// The present, in the time zone of the sites; the day of the story follows it past midnight.
    pub fn now(&mut self) -> ZonedDateTime {
        let now = jiff::Timestamp::now().to_zoned_datetime(self.zone.clone());
        self.today = now.date();
        now
    }

    /// The good at a place.
    pub fn good(&self, place: Place) -> &Good {
        &self.goods[place.good]
    }

    /// What stands at a place.
    pub fn shelf(&mut self, place: Place) -> &mut Shelf {
        &mut self.shelves[place.site][place.good]
    }

    /// The next number of a series, from 1.
    pub fn number(&mut self, series: &str) -> u32 {
        let number = self.numbers.entry(series.to_owned()).or_default();
        *number += 1;
        *number
    }

    /// The next document of a series, for instance `ASN-1123-081500-0007`.
    pub fn document(&mut self, series: &str) -> String {
        let number = self.number(series);
        format!("{series}-{}-{number:04}", self.tag)
    }

    /// Whether something with a chance of `percent` happens.
    pub fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }

    /// A good, the more often the more it is in demand.
    pub fn wanted(&mut self) -> usize {
        let all = self.demand.last().copied().unwrap_or(1);
        let drawn = self.rng.random_range(0..all);
        self.demand.partition_point(|sum| *sum <= drawn)
    }

    /// Any good, each as often as any other.
    pub fn any(&mut self) -> usize {
        self.rng.random_range(0..self.goods.len())
    }

    /// A place in a site where something may be sold today.
    pub fn stocked(&mut self, site: usize) -> Place {
        let start = self.any();
        let (today, goods) = (self.today, self.goods.len());
        let found = (0..goods)
            .map(|step| (start + step) % goods)
            .find(|good| self.shelves[site][*good].fresh(today) > 1);
        Place {
            site,
            good: found.unwrap_or(start),
        }
    }

    /// What one customer takes of a good: one or two pieces, or a bag of something loose.
    pub fn portion(&mut self, good: usize) -> i64 {
        match self.goods[good].unit.as_str() {
            "g" => self.rng.random_range(20..150) * 10,
            "ml" => self.rng.random_range(1..5) * 250,
            _ => 1 + i64::from(self.chance(25)),
        }
    }

    /// A fresh lot of a good, delivered on a day.
    pub fn lot(&mut self, good: usize, delivered: Date, quantity: i64) -> Lot {
        let number = self.number("lot");
        let life = self.goods[good].shelf_life_days;
        let expires_on = delivered.checked_add(life.days()).unwrap_or(Date::MAX);
        Lot {
            id: format!("L{}-{number:04}", delivered.strftime("%m%d")),
            expires_on,
            quantity,
        }
    }

    /// Writes an event as its source would: a CloudEvent in the API's words.
    pub fn tell(&mut self, telling: Telling<'_>) -> Value {
        let Telling {
            source,
            kind,
            at,
            place,
            extra,
        } = telling;
        let number = self.number(source);
        let good = &self.goods[place.good];
        let warehouse = SITES[place.site].id;
        let mut data = json!({"warehouse": warehouse, "sku": good.gtin});
        if kind != "void" {
            data["unit"] = json!(good.unit);
        }
        if let (Some(data), Value::Object(extra)) = (data.as_object_mut(), extra) {
            data.extend(extra);
        }
        json!({
            "specversion": "1.0",
            "id": format!("{}-{number:06}", self.tag),
            "source": source,
            "type": format!("inventory.{kind}"),
            "time": at.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
            "subject": format!("{warehouse}/{}", good.gtin),
            "data": data,
        })
    }
}

/// A lot as the API writes it.
pub fn lot_json(lot: &Lot) -> Value {
    json!({"id": lot.id, "expires_on": lot.expires_on.to_string()})
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn noon() -> ZonedDateTime {
        date(2026, 11, 23)
            .at(12, 0, 0, 0)
            .in_tz(ZONE)
            .expect("a zone of the embedded database")
    }

    #[test]
    fn one_seed_tells_one_story() {
        let draw = |seed| {
            let mut story = Story::new(seed, &noon()).expect("the table is sound");
            (0..50).map(|_| story.wanted()).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn what_is_in_demand_is_drawn_more_often() {
        let mut story = Story::new(7, &noon()).expect("the table is sound");
        let mut drawn = [0; 11];
        for _ in 0..20_000 {
            let good = story.wanted();
            drawn[story.goods[good].demand as usize] += 1;
        }
        let of = |demand: usize| drawn[demand] * 1_000 / story.goods.iter().filter(|good| good.demand as usize == demand).count();
        assert!(of(10) > 3 * of(2), "{drawn:?}");
    }

    #[test]
    fn an_event_is_written_in_the_words_of_the_api() {
        let mut story = Story::new(1, &noon()).expect("the table is sound");
        let at = noon();
        let event = story.tell(Telling {
            source: "pos/2",
            kind: "sale",
            at: &at,
            place: Place { site: 0, good: 0 },
            extra: json!({"quantity": 2}),
        });
        assert_eq!(event["id"], "1123-120000-000001");
        assert_eq!(event["time"], "2026-11-23T12:00:00+03:00");
        assert_eq!(
            event["data"],
            json!({"warehouse": "msk-07", "sku": story.goods[0].gtin, "unit": "each", "quantity": 2})
        );
    }
}
