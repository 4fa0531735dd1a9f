//! `shelfd demo`: a node with a throw-away store, and a darkstore that works in it.
//!
//! What lives here: the goods, the shelves, what happens to them, and the way to the node's public API. First a morning is told
//! within a second or two, then the day goes on. Rejected: a canned store file, which is of yesterday by tomorrow, and shows
//! stock that never moves.

use std::time::{Duration, Instant};

use clap::ArgAction;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::MissedTickBehavior;

use self::door::Door;
use self::feed::Feed;
use self::live::{Live, Step};
use self::story::{Story, ZONE};
use super::Context;
use super::exit::{Code, Failure};
use super::scratch;

pub mod baskets;
pub mod catalogue;
pub mod door;
pub mod feed;
pub mod goods_in;
pub mod goods_out;
pub mod live;
pub mod morning;
pub mod node;
pub mod shelf;
pub mod story;
pub mod watch;

const EXAMPLES: &str = "\
Examples:
  shelfd demo                            a morning at once, then a few events a second
  shelfd demo --seed 7 --rate 50         another day, and a busy one
  shelfd demo --for 5 --seed 1 --quiet   for a script: the picture, five seconds of the day, and the end
  shelfd demo --url http://127.0.0.1:7480   feeds a node that runs already (it keeps what it is told)";

/// Options of `shelfd demo`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Where the demo's node listens; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7480")]
    listen: String,
    /// Tells another day: the same seed tells the same one
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// Things that happen in a second, once the morning is told
    #[arg(long, value_name = "PER_SECOND", default_value_t = 4.0, value_parser = rate)]
    rate: f64,
    /// Ends after so many seconds of the day; without it, at Ctrl-C
    #[arg(long = "for", value_name = "SECONDS")]
    for_s: Option<u64>,
    /// Keeps the store at the end, and says where it is
    #[arg(long, action = ArgAction::SetTrue)]
    keep: bool,
    /// Does not print what happens
    #[arg(long, short, action = ArgAction::SetTrue)]
    quiet: bool,
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.01..=1_000.0).contains(&rate) => Ok(rate),
        _ => Err("expected a number from 0.01 to 1000".to_owned()),
    }
}

/// Runs the demo to its end.
pub async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let mut stop = Stop::listen()?;
    let named = scratch::url_was_typed().then_some(&context.api);
    let fed = node::open(named, &args.listen, args.keep)?;
    let store = fed.own.as_ref().map(|node| node.store().display().to_string());
    let kept = store.as_deref().filter(|_| args.keep);
    let feed = Feed::new(&context.out, args.quiet);
    feed.listening(fed.api.url())?;

    let now = jiff::Timestamp::now()
        .in_tz(ZONE)
        .map_err(|error| Failure::new(Code::Configuration, error.to_string()))?;
    let mut story = Story::new(args.seed, &now).map_err(|error| Failure::data(error.to_string()))?;
    let mut door = Door::new(fed.api.clone());
    let began = Instant::now();
    let mut live = Live::default();
    let told = tokio::select! {
        told = morning(&mut story, &mut door, &mut live, &now) => Some(told?),
        () = stop.asked() => None,
    };
    if told.is_some() {
        feed.morning(door.url(), kept, &door.tally, began.elapsed().as_secs_f64(), &story)?;
        let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / args.rate));
        let mut over = std::pin::pin!(over(args.for_s));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.asked() => break,
                () = &mut over => break,
                _ = ticks.tick() => {
                    let step = live.step(&mut story, &mut door).await?;
                    if !matches!(step, Step::Nothing) {
                        feed.step(&step, &mut story)?;
                    }
                }
            }
        }
    }
    feed.end(&door.tally, kept)
}

async fn morning(story: &mut Story, door: &mut Door, live: &mut Live, now: &jiff::ZonedDateTime) -> Result<(), Failure> {
    door.furnish(story).await?;
    let events = morning::tell(story, now);
    door.send(&events).await?;
    Ok(live.baskets_of_the_morning(story, door).await?)
}

/// Ctrl-C and `kill`. Listened to from the beginning to the end: one that comes between two things that the demo does is not
/// lost, as it would be if each of them listened for itself.
struct Stop {
    typed: Signal,
    terminated: Signal,
}

impl Stop {
    fn listen() -> Result<Stop, Failure> {
        Ok(Stop {
            typed: signal(SignalKind::interrupt())?,
            terminated: signal(SignalKind::terminate())?,
        })
    }

    /// Ends when one of them comes, or has come.
    async fn asked(&mut self) {
        tokio::select! {
            _ = self.typed.recv() => {}
            _ = self.terminated.recv() => {}
        }
    }
}

/// Ends after so many seconds, or never.
async fn over(seconds: Option<u64>) {
    match seconds {
        Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
        None => std::future::pending().await,
    }
}
