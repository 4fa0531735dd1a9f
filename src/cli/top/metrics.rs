//! The node's `/metrics`, read and compared: what happened between two looks.
//! Source of the format: Prometheus text exposition format 0.0.4.
//!
//! Rejected: figures that the node computes for `top` alone. What people watch is then what their monitoring watches.

use std::collections::BTreeMap;
use std::time::Duration;

/// One look at the node's counters.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples {
    series: BTreeMap<String, Vec<(Labels, f64)>>,
}

type Labels = Vec<(String, String)>;

impl Samples {
    /// Reads the text; a line that is none of the format is passed over.
    pub fn read(text: &str) -> Samples {
        let mut series: BTreeMap<String, Vec<(Labels, f64)>> = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            if let Some((name, labels, value)) = sample(line) {
                series.entry(name).or_default().push((labels, value));
            }
        }
        Samples { series }
    }

    /// The sum of a metric over all its labels; 0 when there is none.
    pub fn sum(&self, name: &str) -> f64 {
        total(self.of(name).iter().map(|(_, value)| value))
    }

    /// The sum over one value of one label.
    pub fn sum_where(&self, name: &str, label: &str, value: &str) -> f64 {
        let has = |labels: &Labels| labels.iter().any(|(key, found)| key == label && found == value);
        total(self.of(name).iter().filter(|(labels, _)| has(labels)).map(|(_, value)| value))
    }

    /// The values of a label that a metric has, with the sum of each.
    pub fn by(&self, name: &str, label: &str) -> BTreeMap<String, f64> {
        let mut sums = BTreeMap::new();
        for (labels, value) in self.of(name) {
            if let Some((_, key)) = labels.iter().find(|(key, _)| key == label) {
                *sums.entry(key.clone()).or_default() += value;
            }
        }
        sums
    }

    fn of(&self, name: &str) -> &[(Labels, f64)] {
        self.series.get(name).map_or(&[], Vec::as_slice)
    }

    /// A histogram's cumulative counts by upper bound, summed over all other labels.
    fn buckets(&self, name: &str) -> Vec<(f64, f64)> {
        let mut buckets: Vec<(f64, f64)> = self
            .by(&format!("{name}_bucket"), "le")
            .into_iter()
            .filter_map(|(bound, count)| Some((if bound == "+Inf" { f64::INFINITY } else { bound.parse().ok()? }, count)))
            .collect();
        buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
        buckets
    }
}

/// The sum; 0 of nothing, where `Iterator::sum` of floats says -0.
fn total<'a>(values: impl Iterator<Item = &'a f64>) -> f64 {
    values.fold(0.0, |sum, value| sum + value)
}

/// `name{label="value",…} value [timestamp]`.
fn sample(line: &str) -> Option<(String, Labels, f64)> {
    let (name, labels, rest) = match line.split_once('{') {
        Some((name, rest)) => {
            let (labels, rest) = read_labels(rest)?;
            (name, labels, rest)
        }
        None => {
            let (name, rest) = line.split_once(' ')?;
            (name, Labels::new(), rest)
        }
    };
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some((name.trim().to_owned(), labels, value))
}

/// Labels up to the closing brace. A value may hold any character, with `\"`, `\\` and `\n` escaped.
fn read_labels(text: &str) -> Option<(Labels, &str)> {
    let mut labels = Labels::new();
    let mut rest = text.trim_start();
    loop {
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (key, after) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut chars = after.char_indices();
        let end = loop {
            match chars.next()? {
                (at, '"') => break at,
                (_, '\\') => value.push(match chars.next()?.1 {
                    'n' => '\n',
                    other => other,
                }),
                (_, other) => value.push(other),
            }
        };
        labels.push((key.trim().to_owned(), value));
        rest = after[end + 1..].trim_start().trim_start_matches(',').trim_start();
    }
}

/// What happened between two looks.
#[derive(Clone, Copy, Debug)]
pub struct Between<'a> {
    /// The earlier look.
    pub old: &'a Samples,
    /// The later look.
    pub new: &'a Samples,
    /// The time between them.
    pub elapsed: Duration,
}

impl Between<'_> {
    /// A counter's increase per second. A counter that went down was restarted, and counts from 0.
    pub fn rate(&self, name: &str) -> f64 {
        self.per_second(self.old.sum(name), self.new.sum(name))
    }

    /// The same for one value of one label.
    pub fn rate_where(&self, name: &str, label: &str, value: &str) -> f64 {
        self.per_second(self.old.sum_where(name, label, value), self.new.sum_where(name, label, value))
    }

    fn per_second(&self, old: f64, new: f64) -> f64 {
        let seconds = self.elapsed.as_secs_f64();
        let increase = if new < old { new } else { new - old };
        if seconds > 0.0 { increase / seconds } else { 0.0 }
    }

    /// The mean of what a histogram saw in between; `None` when it saw nothing.
    pub fn mean(&self, name: &str) -> Option<f64> {
        let grown = |suffix: &str| {
            let name = format!("{name}{suffix}");
            self.new.sum(&name) - self.old.sum(&name)
        };
        let count = grown("_count");
        (count > 0.0).then(|| grown("_sum") / count)
    }

    /// A quantile of what a histogram saw in between, interpolated within its bucket as Prometheus' `histogram_quantile`
    /// does; `None` when it saw nothing.
    pub fn quantile(&self, name: &str, quantile: f64) -> Option<f64> {
        let old = self.old.buckets(name);
        let before = |bound: f64| old.iter().find(|(found, _)| *found == bound).map_or(0.0, |(_, count)| *count);
        let grown: Vec<(f64, f64)> = self
            .new
            .buckets(name)
            .into_iter()
            .map(|(bound, count)| (bound, count - before(bound)))
            .collect();
        let total = grown.last().map_or(0.0, |(_, count)| *count);
        if total <= 0.0 {
            return None;
        }
        let rank = quantile * total;
        let at = grown.iter().position(|(_, count)| *count >= rank)?;
        let (bound, count) = grown[at];
        let (low, below) = if at == 0 { (0.0, 0.0) } else { grown[at - 1] };
        if bound.is_infinite() {
            return Some(low);
        }
        let within = if count > below {
            (rank - below) / (count - below)
        } else {
            1.0
        };
        Some(low + (bound - low) * within)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "# HELP x y\nevents{verdict=\"applied\"} 10\nevents{verdict=\"refused\"} 1\nt_bucket{le=\"0.1\"} 0\nt_bucket{le=\"0.2\"} 0\nt_bucket{le=\"+Inf\"} 0\nt_sum 0\nt_count 0\n";
    const NEW: &str = "events{verdict=\"applied\"} 30\nevents{verdict=\"refused\"} 1\nt_bucket{le=\"0.1\"} 50\nt_bucket{le=\"0.2\"} 100\nt_bucket{le=\"+Inf\"} 100\nt_sum 10\nt_count 100\nrotten line without a number\n";

    #[test]
    fn rates_and_quantiles_are_of_the_time_between_two_looks() {
        let (old, new) = (Samples::read(OLD), Samples::read(NEW));
        let between = Between {
            old: &old,
            new: &new,
            elapsed: Duration::from_secs(2),
        };
        assert!((between.rate("events") - 10.0).abs() < 1e-9);
        assert!(between.rate_where("events", "verdict", "refused").abs() < 1e-9);
        assert!(between.quantile("t", 0.5).is_some_and(|median| (median - 0.1).abs() < 1e-9));
        assert!(between.quantile("t", 0.75).is_some_and(|upper| (upper - 0.15).abs() < 1e-9));
        assert!(between.mean("t").is_some_and(|mean| (mean - 0.1).abs() < 1e-9));
        assert_eq!(between.quantile("nothing", 0.5), None);
    }

    #[test]
    fn a_restarted_counter_never_gives_a_negative_rate() {
        let (old, new) = (Samples::read("events 100\n"), Samples::read("events 4\n"));
        let between = Between {
            old: &old,
            new: &new,
            elapsed: Duration::from_secs(1),
        };
        assert!((between.rate("events") - 4.0).abs() < 1e-9);
    }

    #[test]
    fn labels_may_hold_braces_quotes_and_commas() {
        let samples = Samples::read("skus{warehouse=\"a\\\"},b\",x=\"1\"} 7 1700000000\n");
        assert_eq!(
            samples.by("skus", "warehouse").into_iter().collect::<Vec<_>>(),
            [("a\"},b".to_owned(), 7.0)]
        );
    }
}
