//! How long requests took, by route: counted where they are answered, and put together when somebody asks for the metrics.
//!
//! The exporter keeps each sample of a histogram with its time until it folds them, every few seconds: on a node that answers a hundred
//! thousand requests a second that is ten megabytes, and as much work as finding the route. Here each thread has a row of counts of its
//! own for each route, which nobody else writes.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::telemetry::{METRICS, SECONDS_BUCKETS};

/// The metric's name, as [`METRICS`] has it.
const NAME: &str = "shelfd_http_request_seconds";
/// The buckets, and one for what took longer than all of them.
const BUCKETS: usize = SECONDS_BUCKETS.len() + 1;

/// The upper bounds of the buckets, in nanoseconds.
static BOUNDS: [u64; BUCKETS - 1] = {
    let mut bounds = [0; BUCKETS - 1];
    let mut at = 0;
    while at < bounds.len() {
        bounds[at] = (SECONDS_BUCKETS[at] * 1e9 + 0.5) as u64;
        at += 1;
    }
    bounds
};

/// What all threads have counted, by route.
static ALL: Mutex<BTreeMap<Box<str>, Vec<Arc<Took>>>> = Mutex::new(BTreeMap::new());

/// What one thread has counted of one route.
#[derive(Default)]
pub(super) struct Took {
    buckets: [AtomicU64; BUCKETS],
    nanos: AtomicU64,
}

impl Took {
    /// For this thread, which alone writes it.
    pub(super) fn of(route: &str) -> Arc<Took> {
        let took = Arc::<Took>::default();
        ALL.lock().entry(route.into()).or_default().push(Arc::clone(&took));
        took
    }

    /// One request took so long.
    pub(super) fn record(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.iter().position(|bound| nanos <= *bound).unwrap_or(BUCKETS - 1);
        for (number, more) in [(&self.buckets[bucket], 1), (&self.nanos, nanos)] {
            let sum = number.load(Ordering::Relaxed).wrapping_add(more);
            number.store(sum, Ordering::Relaxed);
        }
    }
}

/// The metric in the Prometheus text format, as of now; nothing before the first request.
pub(super) fn render() -> String {
    let mut text = String::new();
    let all = ALL.lock();
    if let Some(metric) = METRICS.iter().find(|metric| metric.name == NAME)
        && !all.is_empty()
    {
        // Writing to a text cannot fail, here and below.
        let _ = writeln!(text, "# HELP {NAME} {}\n# TYPE {NAME} histogram", metric.help);
    }
    for (route, threads) in &*all {
        let sum = |number: &dyn Fn(&Took) -> &AtomicU64| -> u64 {
            threads.iter().map(|took| number(took).load(Ordering::Relaxed)).sum()
        };
        let mut count = 0;
        for bucket in 0..BUCKETS {
            count += sum(&|took| &took.buckets[bucket]);
            let bound = SECONDS_BUCKETS.get(bucket).map_or("+Inf".to_owned(), f64::to_string);
            let _ = writeln!(text, "{NAME}_bucket{{route=\"{route}\",le=\"{bound}\"}} {count}");
        }
        let seconds = Duration::from_nanos(sum(&|took| &took.nanos)).as_secs_f64();
        let _ = writeln!(
            text,
            "{NAME}_sum{{route=\"{route}\"}} {seconds}\n{NAME}_count{{route=\"{route}\"}} {count}"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_threads_count_of_a_route_is_one_histogram() {
        let route = "/of/the/test/of/times";
        let times = [0, 50_000, 50_001, 2_000_000, 20_000_000_000].map(Duration::from_nanos);
        for thread in 0..2 {
            let took = std::thread::spawn(move || Took::of(route));
            let took = took.join().expect("a thread that only counts");
            times.iter().skip(thread).for_each(|time| took.record(*time));
        }
        let text = render();
        let says = |line: &str| text.lines().any(|said| said == line);
        assert!(says("# TYPE shelfd_http_request_seconds histogram"), "{text}");
        for (le, count) in [
            ("0.00005", 3),
            ("0.0001", 5),
            ("0.001", 5),
            ("0.002", 7),
            ("10", 7),
            ("+Inf", 9),
        ] {
            assert!(
                says(&format!("{NAME}_bucket{{route=\"{route}\",le=\"{le}\"}} {count}")),
                "{le}: {text}"
            );
        }
        assert!(says(&format!("{NAME}_count{{route=\"{route}\"}} 9")), "{text}");
        assert!(says(&format!("{NAME}_sum{{route=\"{route}\"}} 40.004200002")), "{text}");
    }
}
