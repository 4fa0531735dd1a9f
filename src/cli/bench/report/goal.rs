//! What a row shall reach, and whether it did.
//!
//! A goal is a figure of the row, `<=` or `>=`, and a number, so that it stands beside the row in the script that measures it.
//! Rejected: an exit code for a goal that is missed. A loaded machine is no defect, and figures are for people to judge.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{NODE, Row, Run, median};

/// See the module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Goal {
    /// Which figure: `per_s`, `p50_ms`, `p99_ms`, `p999_ms`, `max_ms`, `refused_p99_ms`, `beside_per_s`, `ratio:PEER`,
    /// `slower_than:ROW`, or the name of a gauge.
    pub figure: String,
    /// Whether it may be at most the bound; otherwise at least.
    pub at_most: bool,
    /// The bound.
    pub bound: f64,
}

impl FromStr for Goal {
    type Err = String;

    fn from_str(text: &str) -> Result<Goal, String> {
        let split = |sign: &str| text.split_once(sign).map(|(figure, bound)| (figure.trim(), bound.trim()));
        let (at_most, (figure, bound)) = match (split("<="), split(">=")) {
            (Some(parts), None) => (true, parts),
            (None, Some(parts)) => (false, parts),
            _ => return Err("expected FIGURE <= NUMBER or FIGURE >= NUMBER".to_owned()),
        };
        match bound.parse::<f64>() {
            Ok(bound) if bound.is_finite() && !figure.is_empty() => Ok(Goal {
                figure: figure.to_owned(),
                at_most,
                bound,
            }),
            _ => Err(format!("expected a number after the sign, found {bound:?}")),
        }
    }
}

impl TryFrom<String> for Goal {
    type Error = String;

    fn try_from(text: String) -> Result<Goal, String> {
        text.parse()
    }
}

impl From<Goal> for String {
    fn from(goal: Goal) -> String {
        goal.to_string()
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.figure, if self.at_most { "<=" } else { ">=" }, self.bound)
    }
}

impl Goal {
    /// Whether a figure reaches it.
    pub fn is_met(&self, value: f64) -> bool {
        if self.at_most {
            value <= self.bound
        } else {
            value >= self.bound
        }
    }

    /// The node's figure in its row, as the median of the rounds; `rows` are all, for figures that compare two.
    pub(super) fn value(&self, row: &Row<'_>, rows: &[Row<'_>]) -> Option<f64> {
        if let Some(peer) = self.figure.strip_prefix("ratio:") {
            return row.ratio(peer);
        }
        let node = row.of(NODE)?;
        if let Some(other) = self.figure.strip_prefix("slower_than:") {
            let other = rows.iter().find(|row| row.name == other)?.of(NODE)?;
            let rate = |runs: &[&Run]| median(runs.iter().map(|run| run.accepted_per_s()));
            return Some(rate(other)? / rate(node)?).filter(|times| times.is_finite());
        }
        median(node.iter().filter_map(|run| self.figure_of(run)))
    }

    fn figure_of(&self, run: &Run) -> Option<f64> {
        match self.figure.as_str() {
            "per_s" => Some(run.accepted_per_s()),
            "p50_ms" => run.latency_ms(|line| line.latency_us.p50),
            "p99_ms" => run.latency_ms(|line| line.latency_us.p99),
            "p999_ms" => run.latency_ms(|line| line.latency_us.p999),
            "max_ms" => run.latency_ms(|line| line.latency_us.max),
            "refused_p99_ms" => run.latency_ms(|line| line.refused_us.map_or(0.0, |refused| refused.p99)),
            "beside_per_s" => Some(run.beside.iter().map(|line| line.accepted_per_s).sum()),
            gauge => run.gauge(gauge),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::grouped;
    use super::super::tests::run;
    use super::*;

    #[test]
    fn a_goal_is_written_as_it_is_read() {
        let goal: Goal = "ratio:bare loop >= 0.85".parse().expect("a goal");
        assert_eq!((goal.figure.as_str(), goal.at_most), ("ratio:bare loop", false));
        assert_eq!(goal.to_string().parse(), Ok(goal));
        for bad in ["p99_ms", "p99_ms <= fast", "<= 3", "a <= 1 >= 2"] {
            assert!(bad.parse::<Goal>().is_err(), "{bad}");
        }
    }

    #[test]
    fn figures_are_compared_with_peers_and_with_other_rows() {
        let runs = [run("few", NODE, 600.0), run("many", NODE, 300.0), run("many", "bare", 500.0)];
        let rows = grouped(&runs);
        let value = |goal: &str| goal.parse::<Goal>().expect("a goal").value(&rows[1], &rows);
        assert_eq!(value("slower_than:few <= 1.5"), Some(2.0));
        assert_eq!(value("ratio:bare >= 0.85"), Some(0.6));
        assert_eq!(value("p99_ms <= 20"), Some(5.0));
        assert_eq!(value("lost <= 0"), None);
        assert!(!"slower_than:few <= 1.5".parse::<Goal>().expect("a goal").is_met(2.0));
    }
}
