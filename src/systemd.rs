//! What the service manager is told: ready, reloading, stopping, a status line, and that there is progress.
//!
//! Outside systemd (`NOTIFY_SOCKET` unset) everything here does nothing. The watchdog is fed by progress: a commit went through since
//! the last look, or there was nothing to commit. A timer that pets it was rejected: it lives on in a node whose journal is stuck,
//! and that is the one failure a restart would cure.

use std::time::Duration;

use sd_notify::NotifyState;

/// Tells that the node takes events, with a status line.
pub fn ready(status: &str) {
    send(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Tells that a reload has begun. [`ready`] ends it. Carries the monotonic time that `Type=notify-reload` asks for.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => send(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "no monotonic clock, so the reload is not reported to systemd"),
    }
}

/// Tells that an orderly stop has begun.
pub fn stopping(status: &str) {
    send(&[NotifyState::Stopping, NotifyState::Status(status)]);
}

/// Sets the line that `systemctl status` shows.
pub fn status(line: &str) {
    send(&[NotifyState::Status(line)]);
}

/// Asks for more time to start or stop, for instance while a long journal is replayed.
pub fn extend_timeout(by: Duration) {
    send(&[NotifyState::ExtendTimeoutUsec(
        u32::try_from(by.as_micros()).unwrap_or(u32::MAX),
    )]);
}

/// How often systemd wants to hear of progress at the latest (`WatchdogSec`); `None` when it does not watch this process.
pub fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|interval| !interval.is_zero())
}

/// What the journal has done so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Commits that went through since the start, those answered as failed included: a full disk is a state that is told, not a hang.
    pub commits: u64,
    /// Whether anything waits for a commit now.
    pub waiting: bool,
}

/// Remembers what was seen at the last look.
#[derive(Debug, Default)]
pub struct Watch {
    commits: u64,
}

impl Watch {
    /// Whether there was progress since the last look: a commit, or nothing to commit.
    pub fn look(&mut self, now: Progress) -> bool {
        let moved = now.commits != self.commits;
        self.commits = now.commits;
        moved || !now.waiting
    }
}

/// Feeds the watchdog while there is progress; ends at once when systemd does not watch. Looks four times an interval, so that one
/// missed look does not restart a busy node. `progress` must not block.
pub async fn feed_watchdog(mut progress: impl FnMut() -> Progress + Send) {
    let Some(interval) = watchdog_interval() else { return };
    let mut looks = tokio::time::interval(interval / 4);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut watch = Watch::default();
    let mut stuck = false;
    loop {
        looks.tick().await;
        let now = progress();
        if watch.look(now) {
            send(&[NotifyState::Watchdog]);
            stuck = false;
        } else if !stuck {
            tracing::error!(
                commits = now.commits,
                ?interval,
                "no commit since the last look and events wait: the watchdog is not fed"
            );
            stuck = true;
        }
    }
}

/// A message that does not reach systemd is logged and costs nothing else.
fn send(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "systemd could not be told");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;
    use std::process::Command;

    #[test]
    fn the_watchdog_is_fed_by_a_commit_or_by_nothing_to_commit() {
        let mut watch = Watch::default();
        assert!(
            watch.look(Progress {
                commits: 0,
                waiting: false
            }),
            "idle"
        );
        assert!(
            !watch.look(Progress {
                commits: 0,
                waiting: true
            }),
            "stuck"
        );
        assert!(
            watch.look(Progress {
                commits: 1,
                waiting: true
            }),
            "busy, and moving"
        );
        assert!(
            !watch.look(Progress {
                commits: 1,
                waiting: true
            }),
            "stuck again"
        );
        assert!(
            watch.look(Progress {
                commits: 1,
                waiting: false
            }),
            "idle again"
        );
    }

    /// Runs a test of this file in a process of its own, under a pretended systemd, and returns what it said.
    fn said_by(test: &str, watchdog_us: &str) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap());
        child
            .args(["--exact", test])
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", watchdog_us)
            .env_remove("WATCHDOG_PID");
        assert!(child.output().unwrap().status.success());
        socket.set_nonblocking(true).unwrap();
        let mut buffer = [0; 4096];
        let next = || {
            socket
                .recv(&mut buffer)
                .ok()
                .map(|len| String::from_utf8_lossy(&buffer[..len]).into_owned())
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn outside_systemd_nothing_happens() {
        ready("up");
        reloading();
        ready("reloaded");
        status("busy");
        extend_timeout(Duration::from_secs(7));
        stopping("bye");
    }

    #[test]
    fn systemd_hears_the_whole_life() {
        let said = said_by("systemd::tests::outside_systemd_nothing_happens", "");
        assert_eq!(said[0], "READY=1\nSTATUS=up\n");
        assert!(
            said[1].starts_with("RELOADING=1\nMONOTONIC_USEC=") && !said[1].contains("USEC=0\n"),
            "{said:?}"
        );
        assert_eq!(
            said[2..],
            [
                "READY=1\nSTATUS=reloaded\n",
                "STATUS=busy\n",
                "EXTEND_TIMEOUT_USEC=7000000\n",
                "STOPPING=1\nSTATUS=bye\n"
            ]
        );
    }

    #[tokio::test]
    async fn a_stuck_journal_starves_the_watchdog() {
        let (done, mut looks) = (tokio::sync::Notify::new(), 0);
        let feed = feed_watchdog(|| {
            looks += 1;
            if looks == 6 {
                done.notify_one();
            }
            Progress {
                commits: looks.min(3),
                waiting: true,
            }
        });
        tokio::select! { () = feed => assert!(watchdog_interval().is_none()), () = done.notified() => {} }
    }

    #[test]
    fn systemd_hears_of_progress_and_then_of_none() {
        let said = said_by("systemd::tests::a_stuck_journal_starves_the_watchdog", "8000");
        assert_eq!(said, ["WATCHDOG=1\n"; 3], "three commits, then silence");
    }
}
