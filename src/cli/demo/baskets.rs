//! The customers who order: baskets held, and what becomes of them.
//!
//! Each basket gets its fate when it is held, and meets it later, as the picker, the customer or the clock would have it.
//! A fate is drawn once, and not at each tick, so that one seed tells one story however long it runs.

use std::time::{Duration, Instant};

use rand::RngExt;
use serde_json::{Value, json};

use super::door::{Door, Problem};
use super::story::{Place, SITES, Story, Telling};
use crate::cli::client;

/// What will become of a basket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Picked as ordered.
    Confirm,
    /// Picked, but one line is short: the rest is released.
    ConfirmPart,
    /// The customer changes their mind.
    Cancel,
    /// Nobody comes: the deadline passes.
    Expire,
    /// A till sells what it holds, naming it.
    Till,
    /// Held for as long as the channel allows.
    Stay,
}

/// One basket that the node holds.
#[derive(Debug)]
pub struct Basket {
    id: String,
    site: usize,
    lines: Vec<(usize, i64)>,
    fate: Fate,
    due: Instant,
}

/// All baskets that are still to meet their fate.
#[derive(Debug, Default)]
pub struct Baskets {
    open: Vec<Basket>,
}

/// What happened, for the feed: where, which basket, what, and the refusal if it was one.
#[derive(Debug)]
pub struct Turn {
    /// The site.
    pub site: usize,
    /// The basket.
    pub id: String,
    /// `held`, `confirmed`, …
    pub what: &'static str,
    /// How many lines.
    pub lines: usize,
    /// The code, when it was refused.
    pub refused: Option<String>,
}

impl Baskets {
    /// A customer orders. `ttl_s` is how long the basket may be held; `patience` how long until its fate.
    pub async fn order(
        &mut self,
        story: &mut Story,
        door: &mut Door,
        (site, fate): (usize, Fate),
        (ttl_s, patience): (u64, Duration),
    ) -> Result<Turn, client::Error> {
        let id = story.document("web");
        let mut lines: Vec<(usize, i64)> = Vec::new();
        for _ in 0..story.rng.random_range(2..=7) {
            let good = story.wanted();
            let quantity = story.portion(good);
            let today = story.today();
            // The shop shows only what it has, so a customer hardly ever asks for what is not there.
            let stands = story.shelf(Place { site, good }).fresh(today) > quantity;
            if stands && lines.iter().all(|(other, _)| *other != good) {
                lines.push((good, quantity));
            }
        }
        if lines.is_empty() {
            lines.push((story.stocked(site).good, 1));
        }
        let body = order_body(story, &lines, ttl_s);
        let held = door.hold(SITES[site].id, &id, &body).await?;
        let turn = turn(site, &id, "held", lines.len(), &held);
        if held.is_ok() && !matches!(fate, Fate::Expire | Fate::Stay) {
            self.open.push(Basket {
                id,
                site,
                lines,
                fate,
                due: Instant::now() + patience,
            });
        }
        Ok(turn)
    }

    /// The customer changes the newest held basket of a site: one more of its first line, in one step.
    pub async fn change(&mut self, story: &mut Story, door: &mut Door, site: usize) -> Result<Option<Turn>, client::Error> {
        let Some(basket) = self.open.iter_mut().rev().find(|basket| basket.site == site) else {
            return Ok(None);
        };
        let mut lines = basket.lines.clone();
        lines[0].1 += 1;
        let held = door.hold(SITES[site].id, &basket.id, &order_body(story, &lines, 900)).await?;
        if held.is_ok() {
            basket.lines = lines;
        }
        Ok(Some(turn(site, &basket.id, "replaced", basket.lines.len(), &held)))
    }

    /// A wholesaler asks for more than any shelf has: refused whole, not one line of it is held.
    pub async fn overreach(&mut self, story: &mut Story, door: &mut Door, site: usize) -> Result<Turn, client::Error> {
        let id = story.document("web");
        let lines = [(story.wanted(), 1), (story.wanted(), 500_000)];
        let lines = if lines[0].0 == lines[1].0 { &lines[1..] } else { &lines[..] };
        let held = door.hold(SITES[site].id, &id, &order_body(story, lines, 900)).await?;
        Ok(turn(site, &id, "held", lines.len(), &held))
    }

    /// How many are still to meet their fate.
    pub fn waiting(&self) -> usize {
        self.open.len()
    }

    /// The next basket whose time has come meets its fate.
    pub async fn settle(&mut self, story: &mut Story, door: &mut Door) -> Result<Option<Turn>, client::Error> {
        let now = Instant::now();
        let Some(index) = self.open.iter().position(|basket| basket.due <= now) else {
            return Ok(None);
        };
        let basket = self.open.swap_remove(index);
        let (site, id, lines) = (basket.site, basket.id.clone(), basket.lines.len());
        let (what, answer) = match basket.fate {
            Fate::Cancel => ("cancelled", door.end(SITES[site].id, &id, "cancel", &json!({})).await?),
            Fate::ConfirmPart => {
                let taken = self.pick(story, &basket, true);
                ("confirmed in part", door.end(SITES[site].id, &id, "confirm", &taken).await?)
            }
            Fate::Till => {
                self.sell(story, door, &basket).await?;
                ("sold at the till", Ok(Value::Null))
            }
            Fate::Confirm | Fate::Expire | Fate::Stay => {
                self.pick(story, &basket, false);
                ("confirmed", door.end(SITES[site].id, &id, "confirm", &json!({})).await?)
            }
        };
        Ok(Some(turn(site, &id, what, lines, &answer)))
    }

    /// Takes a basket's goods from the shelf; with `short`, one unit of the first line is missing. Answers with the body of
    /// its `confirm`.
    fn pick(&self, story: &mut Story, basket: &Basket, short: bool) -> Value {
        let today = story.today();
        let mut lines = Vec::new();
        for (index, (good, quantity)) in basket.lines.iter().enumerate() {
            let missing = i64::from(short && index == 0);
            let taken = quantity - missing;
            story
                .shelf(Place {
                    site: basket.site,
                    good: *good,
                })
                .take(taken, today);
            lines.push(json!({"sku": story.goods[*good].gtin, "quantity": taken}));
        }
        json!({"lines": lines})
    }

    async fn sell(&self, story: &mut Story, door: &mut Door, basket: &Basket) -> Result<(), client::Error> {
        let at = story.now();
        let document = story.document("CHK");
        let mut events = Vec::new();
        for (good, quantity) in &basket.lines {
            let (place, today) = (
                Place {
                    site: basket.site,
                    good: *good,
                },
                story.today(),
            );
            story.shelf(place).take(*quantity, today);
            let extra = json!({"quantity": quantity, "reservation": basket.id, "document": document});
            let source = SITES[basket.site].tills[1];
            events.push(story.tell(Telling {
                source,
                kind: "sale",
                at: &at,
                place,
                extra,
            }));
        }
        door.send(&events).await.map(drop)
    }
}

fn turn(site: usize, id: &str, what: &'static str, lines: usize, answer: &Result<Value, Problem>) -> Turn {
    Turn {
        site,
        id: id.to_owned(),
        what,
        lines,
        refused: answer.as_ref().err().map(|problem| problem.code.clone()),
    }
}

fn order_body(story: &Story, lines: &[(usize, i64)], ttl_s: u64) -> Value {
    let lines: Vec<Value> = lines
        .iter()
        .map(|(good, quantity)| {
            let good = &story.goods[*good];
            // What lives for a week or more must keep for two days after it is delivered.
            let keeps = if good.shelf_life_days >= 7 { 2 } else { 0 };
            json!({"sku": good.gtin, "quantity": quantity, "min_shelf_life_days": keeps})
        })
        .collect();
    json!({"channel": "web", "lines": lines, "ttl_s": ttl_s})
}
