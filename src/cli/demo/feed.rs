//! What a person sees of the demo: the addresses, three commands to try, and a line for each thing that happens.
//!
//! Rejected: a full-screen view. `shelfd top` is one, and can look at the demo like at any node.

use serde_json::{Value, json};

use super::baskets::Turn;
use super::door::{Tally, Verdict};
use super::live::Step;
use super::story::{SITES, Story};
use crate::cli::exit::Failure;
use crate::cli::out::{Out, Tone};

/// The screen, or the pipe.
#[derive(Debug)]
pub struct Feed<'a> {
    out: &'a Out,
    quiet: bool,
}

impl Feed<'_> {
    /// A feed to `out`; a quiet one leaves out the line for each thing that happens.
    pub fn new(out: &Out, quiet: bool) -> Feed<'_> {
        Feed { out, quiet }
    }

    /// Says where the node is.
    pub fn listening(&self, url: &str) -> Result<(), Failure> {
        if !self.out.json {
            self.out.line(format!("listening on {url}"))?;
            self.out.flush()?;
        }
        Ok(())
    }

    /// The end of the morning: what was told, where to look, and what to try.
    pub fn morning(&self, url: &str, store: Option<&str>, tally: &Tally, seconds: f64, story: &Story) -> Result<(), Failure> {
        if self.out.json {
            self.out
                .value(&json!({"told": "morning", "url": url, "seconds": seconds, "tally": tally.json()}))?;
            return Ok(self.out.flush()?);
        }
        let bread = story
            .goods
            .iter()
            .find(|good| good.category == "bread")
            .map_or("", |good| good.gtin.as_str());
        let own = if url.ends_with(":7480") {
            String::new()
        } else {
            format!(" --url {url}")
        };
        let strong = |text: &str| self.out.paint(Tone::Strong, text);
        self.out.line(format!(
            "the morning is told: {} events in {seconds:.1} s ({})",
            tally.events(),
            Tally::list(&tally.verdicts)
        ))?;
        self.out.line(format!(
            "baskets: {}; refused: {}",
            Tally::list(&tally.baskets),
            Tally::list(&tally.refused)
        ))?;
        self.out.line("")?;
        self.out.line(format!(
            "  API      {}",
            strong(&format!("{url}/v1/warehouses/{}/skus", SITES[0].id))
        ))?;
        self.out.line(format!("  docs     {}", strong(&format!("{url}/docs"))))?;
        self.out.line(format!("  metrics  {}", strong(&format!("{url}/metrics"))))?;
        if let Some(store) = store {
            self.out.line(format!("  store    {store}"))?;
        }
        self.out.line("")?;
        self.out.line("Try in another terminal:")?;
        let shelfd = called_as();
        self.out.line(format!("  {shelfd} top{own}"))?;
        self.out.line(format!("  {shelfd} stock -w {} {bread}{own}", SITES[1].id))?;
        self.out.line(format!("  {shelfd} ledger -w {} {bread}{own}", SITES[1].id))?;
        self.out.line("")?;
        self.out.line("The day goes on; Ctrl-C ends it.")?;
        Ok(self.out.flush()?)
    }

    /// One step of the day.
    pub fn step(&self, step: &Step, story: &mut Story) -> Result<(), Failure> {
        if self.quiet {
            return Ok(());
        }
        let time = story.now().strftime("%H:%M:%S").to_string();
        match step {
            Step::Nothing => {}
            Step::Basket(turn) => self.basket(&time, turn)?,
            Step::Events(events) => {
                for (event, verdict) in events {
                    self.event(&time, event, verdict, story)?;
                }
            }
        }
        Ok(self.out.flush()?)
    }

    fn basket(&self, time: &str, turn: &Turn) -> Result<(), Failure> {
        let site = SITES[turn.site].id;
        if self.out.json {
            let line =
                json!({"time": time, "warehouse": site, "reservation": turn.id, "what": turn.what, "refused": turn.refused});
            return Ok(self.out.value(&line)?);
        }
        let end = match &turn.refused {
            Some(code) => self.out.paint(Tone::Warn, &format!("refused: {code}")),
            None => self.out.paint(Tone::Good, turn.what),
        };
        Ok(self.out.line(format!(
            "{time}  {site}  {:<12} {:<13} {} lines: {end}",
            "web", "basket", turn.lines
        ))?)
    }

    fn event(&self, time: &str, event: &Value, verdict: &Verdict, story: &Story) -> Result<(), Failure> {
        if self.out.json {
            let code = verdict.problem.as_ref().map(|problem| &problem.code);
            let line = json!({"time": time, "event": event, "verdict": verdict.verdict, "found": verdict.found, "refused": code});
            return Ok(self.out.value(&line)?);
        }
        let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or("");
        let quantity = event["data"]["quantity"]
            .as_i64()
            .map_or(String::new(), |quantity| quantity.to_string());
        let sku = text("/data/sku");
        let name = story
            .goods
            .iter()
            .find(|good| good.gtin == sku)
            .map_or(sku, |good| good.name_ru.as_str());
        let kind = text("/type").trim_start_matches("inventory.");
        let tone = match verdict.verdict.as_str() {
            "applied" | "recorded" => Tone::Dim,
            "refused" | "dead_letter" => Tone::Bad,
            _ => Tone::Warn,
        };
        let mut end = verdict.verdict.clone();
        if let Some(problem) = &verdict.problem {
            end = format!("{end}: {}", problem.code);
        }
        if let Some(found) = verdict.found {
            end = format!("{end}, {found} found");
        }
        let end = self.out.paint(tone, &end);
        let (site, source) = (text("/data/warehouse"), text("/source"));
        Ok(self.out.line(format!(
            "{time}  {site:<6}  {source:<12} {kind:<13} {quantity:>6} {name}  {end}"
        ))?)
    }

    /// What the whole day came to.
    pub fn end(&self, tally: &Tally, store: Option<&str>) -> Result<(), Failure> {
        if self.out.json {
            return Ok(self
                .out
                .value(&json!({"told": "day", "tally": tally.json(), "store": store}))?);
        }
        self.out.line(format!(
            "the day is over: {} events ({})",
            tally.events(),
            Tally::list(&tally.verdicts)
        ))?;
        if let Some(store) = store {
            self.out.line(format!("the store is kept: shelfd run --data {store}"))?;
        }
        Ok(())
    }
}

/// How a person starts this program again: as it was started, since `make run` does not put it on the `PATH`.
fn called_as() -> String {
    std::env::args().next().unwrap_or_else(|| "shelfd".to_owned())
}
