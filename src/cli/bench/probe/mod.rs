//! What is measured of a node beside its throughput: at rest, at its start, at its end, past its limit, and over a long time.
//!
//! Each probe has a throw-away node of its own and tells *gauges*, figures with a name and a unit. Rejected: a script around the
//! load generator. It would need a second JSON reader, a second HTTP client and a second way to stop a node.

use std::time::{Duration, Instant};

use clap::ValueEnum;

use super::args::Args;
use super::host::{Usage, usage};
use super::load::Plan;
use super::report::Run;
use super::wire::Wire;
use super::{measure, prepare, start};
use crate::cli::Context;
use crate::cli::exit::{Code, Failure};
use crate::cli::scratch::Node;

mod overload;
mod rest;
mod start;

/// Between two looks at whether a node is ready.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// How long a node may take to be ready before the probe gives up.
const READY_TIMEOUT: Duration = Duration::from_secs(120);

/// What a probe measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Probe {
    /// Processor time and memory of a node that nobody asks anything
    Idle,
    /// Memory after a load and after a restart (--awake)
    Memory,
    /// What remembered ids cost, and what waits while they grow (--enough)
    Ids,
    /// Bytes written for an event, beside the bytes of its fact
    Disk,
    /// How soon it is ready after a stop and after kill -9 under load, and whether anything answered was lost
    Start,
    /// Twice and ten times what it can carry
    Overload,
    /// Half of what it can carry, for long
    Soak,
}

impl Probe {
    /// Measures, on a throw-away node.
    pub async fn run(self, args: &Args, context: &Context) -> Result<Run, Failure> {
        let mut bench = Bench {
            args,
            token: context.api.token().map(str::to_owned),
            node: start(args)?,
            run: Run::of(args, args.for_s as f64),
        };
        bench.ready(Instant::now()).await?;
        let plan = bench.plan()?;
        if !args.no_opening {
            prepare::stock_up(plan.address, &plan.terms, args.skus).await?;
        }
        match self {
            Probe::Idle => bench.idle().await?,
            Probe::Memory => bench.memory().await?,
            Probe::Ids => bench.ids().await?,
            Probe::Disk => bench.disk().await?,
            Probe::Start => bench.starts().await?,
            Probe::Overload => bench.overload().await?,
            Probe::Soak => bench.soak().await?,
        }
        Ok(bench.run)
    }
}

/// A node under a probe, and what has been found out so far.
struct Bench<'a> {
    args: &'a Args,
    token: Option<String>,
    node: Node,
    run: Run,
}

impl Bench<'_> {
    /// The load that the options ask for, at the node as it runs now.
    fn plan(&self) -> Result<Plan, Failure> {
        measure::plan(self.args, self.node.url(), self.token.as_deref())
    }

    /// What the node has used so far.
    fn usage(&self) -> Result<Usage, Failure> {
        usage(self.node.pid()).ok_or_else(|| Failure::new(Code::Unavailable, "the node ended during the measuring"))
    }

    fn resident_mib(&self) -> Result<f64, Failure> {
        Ok(self.usage()?.resident_kib as f64 / 1_024.0)
    }

    /// Starts the node anew; how long it took until it was ready.
    async fn start_again(&mut self) -> Result<Duration, Failure> {
        self.node.stop();
        let begun = Instant::now();
        self.node.start_again()?;
        self.ready(begun).await
    }

    /// Waits until the node says that it is ready; how long that is after `begun`.
    async fn ready(&self, begun: Instant) -> Result<Duration, Failure> {
        loop {
            if let Ok((200, _)) = self.get("/readyz").await {
                return Ok(begun.elapsed());
            }
            if begun.elapsed() > READY_TIMEOUT {
                return Err(Failure::new(Code::Unavailable, "the node is not ready after two minutes"));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Reads one page of the node.
    async fn get(&self, path: &str) -> Result<(u16, String), Failure> {
        let (address, host) = prepare::address_of(self.node.url())?;
        let mut wire = Wire::connect(address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n");
        let reply = wire.ask(request.as_bytes()).await?;
        Ok((reply.status, String::from_utf8_lossy(reply.body).into_owned()))
    }

    /// One of the node's own figures, summed over its labels.
    async fn metric(&self, name: &str) -> Result<f64, Failure> {
        let (_, text) = self.get("/metrics").await?;
        sum_of(&text, name).ok_or_else(|| Failure::data(format!("the node has no metric {name}")))
    }
}

fn sum_of(text: &str, name: &str) -> Option<f64> {
    let values = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let rest = if rest.starts_with('{') {
            rest.split_once('}')?.1
        } else {
            rest
        };
        rest.strip_prefix(' ')?.parse::<f64>().ok()
    });
    values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
}

/// How many times `a` is `b`; nothing when that is no number.
fn times(a: f64, b: f64) -> Option<f64> {
    Some(a / b).filter(|times| times.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_the_sum_over_its_labels() {
        let text = "# HELP a_total x\na_total{w=\"1\"} 2\na_total{w=\"2\"} 3\na_total_more 9\nb 1.5\n";
        assert_eq!(
            (sum_of(text, "a_total"), sum_of(text, "b"), sum_of(text, "c")),
            (Some(5.0), Some(1.5), None)
        );
    }
}
