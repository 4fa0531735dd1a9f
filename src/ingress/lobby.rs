//! Where long bodies wait for their turn: a short line in front of the decoders, and the one place where a node that has too much to
//! do says so.
//!
//! A batch is milliseconds of work on a thread that also answers everybody else. Let in as many as there is memory for, the callers of
//! single events and those who are to be refused wait behind all of them, and a batch is refused when its body has been decoded
//! already, for nothing. So as many are decoded at a time as there are processors, a little more is at work behind them, and the rest
//! waits here, whole and not yet looked at, first come, first served. What would wait longer than [`LONGEST_WAIT`] is refused, and that
//! is known from the head of the request: the line is measured in bytes, and so is its pace. Once somebody is refused less is let wait
//! ([`STANDING_WAIT`]), until the line has come to its end.
//!
//! Rejected: a fixed number of batches, which is a second of waiting on one machine and leaves another idle; and refusing by how long
//! the last one has waited, which lets in all that comes until the first of too many has waited too long.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// A body below this is decoded at once: that takes no longer than answering a few single events.
pub const LONG_BYTES: usize = 8 << 10;
/// How long a body may wait for its turn: less than a caller would, and enough for a burst of what is handled in that time.
const LONGEST_WAIT: Duration = Duration::from_millis(250);
/// The same once somebody had to be refused, until nobody waits any more: a long line is for a burst, and one that stands only holds up
/// whoever is in it, in memory that no cache has when its turn comes.
const STANDING_WAIT: Duration = Duration::from_millis(100);
/// Bytes of bodies that are let in behind the decoders: enough that no stage is idle, and a fraction of what a core's caches share.
const AT_WORK_BYTES: usize = 2 << 20;
/// Bytes a second, before it has been measured: a slow machine lets its first burst wait for a second, once.
const FIRST_PACE: f64 = 64e6;
/// A measured pace counts so much against those before.
const PACE_SHARE: f64 = 0.125;

/// See the module. Clones share it.
#[derive(Clone, Debug)]
pub struct Lobby(Arc<Mutex<Line>>);

#[derive(Debug)]
struct Line {
    /// Bodies that may begin to be decoded now.
    decoders: usize,
    /// Bytes let in and not yet answered.
    at_work: usize,
    waiting: VecDeque<Waiting>,
    /// Bytes of those who wait.
    waiting_bytes: usize,
    /// Bytes a second that leave the line.
    pace: f64,
    /// Somebody has been refused since nobody last waited.
    standing: bool,
}

#[derive(Debug)]
struct Waiting {
    bytes: usize,
    /// Bytes of those who waited when it came.
    ahead: usize,
    since: Instant,
    called: oneshot::Sender<Turn>,
}

/// A body's turn: it may be decoded until [`Turn::decoded`], and is at work until this is dropped.
#[derive(Debug)]
pub struct Turn {
    lobby: Lobby,
    bytes: usize,
    decodes: bool,
}

/// It would wait for too long.
#[derive(Debug)]
pub struct TooLong;

impl Line {
    fn is_free(&self) -> bool {
        self.decoders > 0 && self.at_work < AT_WORK_BYTES
    }

    fn let_in(&mut self, bytes: usize) {
        self.decoders -= 1;
        self.at_work += bytes;
    }

    /// Whether one more may wait. One always may: what is larger than all that leaves the line in time would never be taken.
    fn has_room(&mut self) -> Result<(), TooLong> {
        let longest = if self.standing { STANDING_WAIT } else { LONGEST_WAIT };
        let most = (self.pace * longest.as_secs_f64()).max(AT_WORK_BYTES as f64);
        if (self.waiting_bytes as f64) < most {
            return Ok(());
        }
        self.standing = true;
        Err(TooLong)
    }

    /// The next whose turn it is.
    fn next(&mut self) -> Option<Waiting> {
        while self.is_free()
            && let Some(next) = self.waiting.pop_front()
        {
            self.waiting_bytes -= next.bytes;
            // Who has gone away has no turn.
            if next.called.is_closed() {
                continue;
            }
            let waited = next.since.elapsed().as_secs_f64();
            // A short line tells little of the pace, and is let be however slow it is.
            if waited > 0.0 && next.ahead >= AT_WORK_BYTES / 2 {
                self.pace += (next.ahead as f64 / waited - self.pace) * PACE_SHARE;
            }
            self.let_in(next.bytes);
            return Some(next);
        }
        self.standing &= !self.waiting.is_empty();
        None
    }
}

impl Lobby {
    /// An empty one, for this machine.
    pub fn new() -> Lobby {
        Lobby::of(available_parallelism().map_or(1, usize::from))
    }

    fn of(decoders: usize) -> Lobby {
        Lobby(Arc::new(Mutex::new(Line {
            decoders,
            at_work: 0,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            pace: FIRST_PACE,
            standing: false,
        })))
    }

    /// Whether a body that is announced would find room: asked before it is read. Whoever is let go on may still be refused when it is
    /// there, since others were on their way as well.
    pub fn expects(&self) -> Result<(), TooLong> {
        self.0.lock().has_room()
    }

    /// Waits for the turn of a body of so many bytes, or not at all.
    pub async fn turn(&self, bytes: usize) -> Result<Turn, TooLong> {
        let called = {
            let mut line = self.0.lock();
            if line.waiting.is_empty() && line.is_free() {
                line.let_in(bytes);
                return Ok(self.called(bytes));
            }
            line.has_room()?;
            let (call, called) = oneshot::channel();
            let ahead = line.waiting_bytes;
            line.waiting_bytes += bytes;
            line.waiting.push_back(Waiting {
                bytes,
                ahead,
                since: Instant::now(),
                called: call,
            });
            called
        };
        // Nobody is passed over while the lobby is there, and here it is.
        called.await.map_err(|_| TooLong)
    }

    fn called(&self, bytes: usize) -> Turn {
        Turn {
            lobby: self.clone(),
            bytes,
            decodes: true,
        }
    }

    /// Calls those whose turn it is after `free` has made room.
    fn call(&self, free: impl FnOnce(&mut Line)) {
        let mut line = self.0.lock();
        free(&mut line);
        while let Some(next) = line.next() {
            drop(line);
            // One who goes away in this instant drops his turn, which comes here again: outside of the lock.
            drop(next.called.send(self.called(next.bytes)));
            line = self.0.lock();
        }
    }
}

impl Default for Lobby {
    fn default() -> Lobby {
        Lobby::new()
    }
}

impl Turn {
    /// The body has been decoded: another one may be.
    pub fn decoded(&mut self) {
        if std::mem::replace(&mut self.decodes, false) {
            self.lobby.call(|line| line.decoders += 1);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let (bytes, decodes) = (self.bytes, self.decodes);
        self.lobby.call(|line| {
            line.at_work -= bytes;
            line.decoders += usize::from(decodes);
        });
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use futures_util::future::BoxFuture;

    use super::*;

    const BATCH: usize = 200 << 10;

    type Asked = BoxFuture<'static, Result<Turn, TooLong>>;

    /// One who asks for a turn, and has looked once.
    fn ask(lobby: &Lobby, bytes: usize) -> Result<Turn, Asked> {
        let lobby = lobby.clone();
        let mut asked: Asked = Box::pin(async move { lobby.turn(bytes).await });
        match (&mut asked).now_or_never() {
            Some(Ok(turn)) => Ok(turn),
            Some(Err(TooLong)) => panic!("refused"),
            None => Err(asked),
        }
    }

    fn goes(asked: Result<Turn, Asked>) -> Turn {
        asked.unwrap_or_else(|_| panic!("no processor is free"))
    }

    fn waits(asked: Result<Turn, Asked>) -> Asked {
        match asked {
            Ok(_) => panic!("it does not wait"),
            Err(asked) => asked,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_for_each_processor_is_decoded_and_the_others_come_in_order() {
        let lobby = Lobby::of(2);
        let mut first = goes(ask(&lobby, BATCH));
        let second = goes(ask(&lobby, BATCH));
        let (mut third, mut fourth) = (waits(ask(&lobby, BATCH)), waits(ask(&lobby, BATCH)));
        first.decoded();
        assert!((&mut fourth).now_or_never().is_none(), "the third was there before");
        let third = (&mut third).now_or_never().expect("its turn").expect("not refused");
        drop(second);
        assert!((&mut fourth).now_or_never().is_some());
        drop((first, third));
        assert_eq!(lobby.0.lock().at_work, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_much_is_at_work_behind_the_decoders() {
        let lobby = Lobby::of(2);
        let mut at_work = Vec::new();
        let waiting = loop {
            match ask(&lobby, BATCH) {
                Ok(mut turn) => {
                    turn.decoded();
                    at_work.push(turn);
                }
                Err(asked) => break asked,
            }
        };
        assert_eq!(at_work.len(), AT_WORK_BYTES.div_ceil(BATCH));
        at_work.pop();
        waiting.await.expect("its turn");
    }

    #[tokio::test(start_paused = true)]
    async fn who_would_wait_too_long_is_told_before_the_body_has_come() {
        let lobby = Lobby::of(1);
        let turn = goes(ask(&lobby, BATCH));
        let mut line = Vec::new();
        while lobby.expects().is_ok() {
            line.push(waits(ask(&lobby, BATCH)));
        }
        assert!(
            lobby.turn(BATCH).await.is_err(),
            "one whose body has come meanwhile is refused, too"
        );
        let most = FIRST_PACE * LONGEST_WAIT.as_secs_f64();
        assert_eq!(line.len(), (most / BATCH as f64).ceil() as usize);
        // Those who go away leave room for others.
        line.clear();
        drop(turn);
        assert!(ask(&lobby, BATCH).is_ok());
        assert!(lobby.expects().is_ok());
        assert_eq!(lobby.0.lock().waiting_bytes, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_that_was_too_long_is_a_short_one_until_nobody_waits() {
        let lobby = Lobby::of(1);
        let mut turn = goes(ask(&lobby, BATCH));
        let mut line = VecDeque::new();
        let fill = |line: &mut VecDeque<Asked>| {
            while lobby.expects().is_ok() {
                line.push_back(waits(ask(&lobby, BATCH)));
            }
        };
        fill(&mut line);
        let burst = line.len();
        while let Some(next) = line.pop_front() {
            drop(turn);
            turn = next.await.expect("its turn");
            if line.len() == burst / 2 {
                assert!(lobby.expects().is_err(), "somebody was refused, and others still wait");
            }
        }
        fill(&mut line);
        assert_eq!(line.len(), burst, "nobody has waited since");
    }

    /// Bodies that wait together when each takes so long.
    async fn waiting_at(each: Duration) -> usize {
        let lobby = Lobby::of(1);
        let mut line = VecDeque::new();
        let mut turn = goes(ask(&lobby, BATCH));
        for _ in 0..500 {
            while lobby.expects().is_ok() {
                line.push_back(waits(ask(&lobby, BATCH)));
            }
            tokio::time::advance(each).await;
            drop(turn);
            turn = line.pop_front().expect("somebody waits").await.expect("its turn");
        }
        line.len()
    }

    #[tokio::test(start_paused = true)]
    async fn the_line_is_as_long_as_the_node_is_quick() {
        let quick = waiting_at(Duration::from_millis(1)).await;
        assert!((90..=110).contains(&quick), "{quick} of a millisecond each are waited for");
        let slow = waiting_at(Duration::from_millis(4)).await;
        assert!((22..=28).contains(&slow), "{slow} of four milliseconds each are waited for");
        // However slow it is, so much may wait that no stage is idle.
        assert_eq!(waiting_at(Duration::from_secs(1)).await, AT_WORK_BYTES.div_ceil(BATCH) - 1);
    }
}
