//! The afternoon: the same story goes on, a few events a second, until somebody stops it.
//!
//! Each step draws what happens next by weight, and what it draws is what the morning had, told at the present. Rejected: a
//! recording played in a loop, which would repeat ids and run out of stock.

use std::time::Duration;

use jiff::{SignedDuration, ZonedDateTime};
use rand::RngExt;
use serde_json::Value;

use super::baskets::{Baskets, Fate, Turn};
use super::door::{Door, Verdict};
use super::goods_in::Shipment;
use super::goods_out::Recall;
use super::story::{LATE_TILL, Place, SITES, Story};
use crate::cli::client;

/// What a basket's customer does, in percent, and after how many seconds.
const FATES: [(u32, Fate, u64); 5] = [
    (60, Fate::Confirm, 25),
    (8, Fate::ConfirmPart, 30),
    (12, Fate::Cancel, 15),
    (12, Fate::Expire, 0),
    (8, Fate::Till, 20),
];

/// What has begun and is not over yet.
#[derive(Debug, Default)]
pub struct Live {
    /// The baskets of the day.
    pub baskets: Baskets,
    shipment: Option<Shipment>,
    recall: Option<Recall>,
    /// The last rows of the warehouse systems, in case they say them again.
    last_rows: Vec<Value>,
}

/// What one step did.
#[derive(Debug)]
pub enum Step {
    /// Events were sent, and judged.
    Events(Vec<(Value, Verdict)>),
    /// Something happened to a basket.
    Basket(Turn),
    /// Nobody reported anything.
    Nothing,
}

impl Live {
    /// The next thing that happens.
    pub async fn step(&mut self, story: &mut Story, door: &mut Door) -> Result<Step, client::Error> {
        if let Some(turn) = self.baskets.settle(story, door).await? {
            return Ok(Step::Basket(turn));
        }
        let at = story.now();
        let site = story.rng.random_range(0..SITES.len());
        let drawn = story.rng.random_range(0..100);
        if drawn < 22 {
            return self.order(story, door, site).await.map(Step::Basket);
        }
        if drawn < 24 {
            return match self.baskets.change(story, door, site).await? {
                Some(turn) => Ok(Step::Basket(turn)),
                None => Ok(Step::Nothing),
            };
        }
        if drawn == 99 && story.chance(30) {
            return self.baskets.overreach(story, door, site).await.map(Step::Basket);
        }
        let events = self.happen(story, (drawn, site), &at);
        if events.is_empty() {
            return Ok(Step::Nothing);
        }
        let verdicts = door.send(&events).await?;
        if events.iter().all(|event| event["source"] == SITES[site].wms) {
            self.last_rows.clone_from(&events);
        }
        Ok(Step::Events(events.into_iter().zip(verdicts).collect()))
    }

    /// The events of one thing that happens at a site, by the lot that was drawn (24 to 99).
    fn happen(&mut self, story: &mut Story, (drawn, site): (u32, usize), at: &ZonedDateTime) -> Vec<Value> {
        match drawn {
            0..70 => {
                let till = SITES[site].tills[story.rng.random_range(0..2)];
                story.sale(site, till, at)
            }
            70..78 => {
                let place = scarcest(story, site);
                vec![story.refill(place, at)]
            }
            78..83 => {
                let place = story.stocked(site);
                vec![story.count(place, at)]
            }
            83..86 => story.damage(site, at),
            86..88 => story.clear_expired(site, at),
            88..90 => story.give_back(site, at),
            90 => {
                story.steal(site);
                Vec::new()
            }
            91..93 => self.last_rows.clone(),
            93 => story.beliefs(site, 3, at),
            94..96 => {
                let late = at.checked_sub(SignedDuration::from_mins(12)).unwrap_or_else(|_| at.clone());
                story.sale(0, LATE_TILL, &late)
            }
            96 => match self.recall.take() {
                Some(recall) => story.settle(recall, at),
                None => story.recall(site, at).map_or_else(Vec::new, |(recall, event)| {
                    self.recall = Some(recall);
                    vec![event]
                }),
            },
            97 => match self.shipment.take() {
                Some(shipment) => story.arrive(&shipment, false, at),
                None => {
                    let (shipment, events) = story.send(at);
                    self.shipment = Some(shipment);
                    events
                }
            },
            98 => story.mis_scan(site, at),
            _ => story.mistakes(site, at).into_iter().take(1).collect(),
        }
    }

    async fn order(&mut self, story: &mut Story, door: &mut Door, site: usize) -> Result<Turn, client::Error> {
        let mut drawn = story.rng.random_range(0..100);
        let mut chosen = (Fate::Stay, 0);
        for (percent, fate, seconds) in FATES {
            if drawn < percent {
                chosen = (fate, seconds);
                break;
            }
            drawn -= percent;
        }
        let (fate, seconds) = chosen;
        let ttl_s = if fate == Fate::Expire {
            story.rng.random_range(5..30)
        } else {
            900
        };
        let patience = Duration::from_secs(seconds + story.rng.random_range(0..20));
        self.baskets.order(story, door, (site, fate), (ttl_s, patience)).await
    }

    /// The baskets that the morning leaves behind: some of every fate, those that expire with the shortest time to live.
    pub async fn baskets_of_the_morning(&mut self, story: &mut Story, door: &mut Door) -> Result<(), client::Error> {
        for site in 0..SITES.len() {
            for (count, fate, ttl_s) in [
                (4, Fate::Expire, 1),
                (14, Fate::Confirm, 900),
                (3, Fate::ConfirmPart, 900),
                (5, Fate::Cancel, 900),
                (3, Fate::Till, 900),
                (12, Fate::Stay, 900),
            ] {
                for _ in 0..count {
                    self.baskets.order(story, door, (site, fate), (ttl_s, Duration::ZERO)).await?;
                }
            }
            self.baskets.change(story, door, site).await?;
            self.baskets.overreach(story, door, site).await?;
        }
        while self.baskets.settle(story, door).await?.is_some() {}
        Ok(())
    }
}

/// The good of a site with the fewest cases left, among a few: what somebody would order next.
fn scarcest(story: &mut Story, site: usize) -> Place {
    let today = story.today();
    let looked_at: Vec<_> = (0..12)
        .map(|_| Place {
            site,
            good: story.wanted(),
        })
        .collect();
    let least = looked_at
        .iter()
        .min_by_key(|place| story.shelf(**place).fresh(today) * 100 / story.goods[place.good].case.max(1));
    least.copied().unwrap_or_else(|| story.stocked(site))
}
