//! What a run cost the node: its processor time and memory, from the kernel's `/proc`.
//!
//! A throughput without the cores behind it says little. Rejected: asking the node's own metrics, which the bare peers of a
//! comparison do not have.

use std::fs;

use serde::{Deserialize, Serialize};

/// Clock ticks in a second, as `/proc` counts them; Linux has had 100 on all its platforms since 2.6 (`man 5 proc`).
const TICKS_PER_S: f64 = 100.0;

/// What a process has used.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Usage {
    /// Processor time, user and system, in seconds.
    pub cpu_s: f64,
    /// Resident memory now, in KiB.
    pub resident_kib: u64,
    /// The most resident memory so far, in KiB.
    pub peak_kib: u64,
    /// Bytes that it had written to the disk, as the kernel counts them (`man 5 proc`: `write_bytes`); 0 when it may not be told.
    #[serde(default)]
    pub written_bytes: u64,
}

/// What a process has used so far; `None` when it is gone.
pub fn usage(pid: u32) -> Option<Usage> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    // Readable for the process's own user alone.
    let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    parse(&stat, &status, &io)
}

fn parse(stat: &str, status: &str, io: &str) -> Option<Usage> {
    // The name in parentheses may hold blanks; utime and stime are the 12th and 13th fields after it.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    let kib = |name: &str| -> Option<u64> {
        let line = status.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    Some(Usage {
        cpu_s: (user + system) / TICKS_PER_S,
        resident_kib: kib("VmRSS:")?,
        peak_kib: kib("VmHWM:")?,
        written_bytes: io
            .lines()
            .find_map(|line| line.strip_prefix("write_bytes:")?.trim().parse().ok())
            .unwrap_or(0),
    })
}

/// The processor time of the whole machine so far, in clock ticks of all cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticks {
    all: u64,
    /// What the host gave to others while this machine had work (`steal`, `man 5 proc`); 0 on real hardware.
    stolen: u64,
}

/// What the machine's cores have done so far; `None` where the kernel does not tell.
pub fn ticks() -> Option<Ticks> {
    Ticks::parse(&fs::read_to_string("/proc/stat").ok()?)
}

impl Ticks {
    fn parse(stat: &str) -> Option<Ticks> {
        // user, nice, system, idle, iowait, irq, softirq, steal; what guests have had, behind these, is in user already.
        let fields: Option<Vec<u64>> = stat
            .lines()
            .next()?
            .strip_prefix("cpu ")?
            .split_whitespace()
            .take(8)
            .map(|n| n.parse().ok())
            .collect();
        let fields = fields.filter(|fields| fields.len() == 8)?;
        Some(Ticks {
            all: fields.iter().sum(),
            stolen: fields[7],
        })
    }

    /// The share of all cores' time, 0 to 1, that the host has given to others from here to a later look; `None`: no time has passed.
    pub fn stolen_until(self, later: Ticks) -> Option<f64> {
        let all = later.all.checked_sub(self.all).filter(|all| *all > 0)?;
        // The kernel's own count may go back by a little.
        Some(later.stolen.saturating_sub(self.stolen) as f64 / all as f64)
    }
}

/// The machine, in a line: cores and processor.
pub fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("", |(_, name)| name.trim());
    format!("{cores} cores, {model}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_host_took_is_a_share_of_all_cores() {
        let at = |text: &str| Ticks::parse(text).expect("ticks");
        let before = at("cpu  100 0 50 300 10 5 5 30 0 0\ncpu0 1 2 3\n");
        let after = at("cpu  150 0 70 310 10 5 5 50 7 0\n");
        assert_eq!(before.stolen_until(after), Some(0.2));
        assert_eq!((before.stolen_until(before), after.stolen_until(before)), (None, None));
        assert_eq!(Ticks::parse("cpu  1 2 3\n"), None);
        assert!(super::ticks().is_some());
    }

    #[test]
    fn a_name_with_blanks_does_not_shift_the_fields() {
        let stat = "42 (a (b) c) S 1 42 42 0 -1 4194304 100 0 0 0 250 150 0 0 20 0 4 0 100 1000 10";
        let usage = parse(
            stat,
            "Name:\tx\nVmHWM:\t   2048 kB\nVmRSS:\t   1024 kB\n",
            "wchar: 9\nwrite_bytes: 4096\n",
        )
        .expect("usage");
        assert_eq!(usage.written_bytes, 4_096);
        assert!((usage.cpu_s - 4.0).abs() < 1e-9);
        assert_eq!((usage.resident_kib, usage.peak_kib), (1024, 2048));
        assert!(super::usage(std::process::id()).is_some());
    }
}
