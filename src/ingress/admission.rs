//! The one valve: how many events and how many bytes may be inside at once. Past it the caller is told at once, and never waits.
//!
//! Every mailbox behind the door is unbounded, so this bound is what keeps memory bounded under any load. Waiting for room was
//! rejected: a queue before the valve is only another mailbox, and the caller's time-out would fire while its event is accepted.
//! So was a semaphore: it keeps a list of those who wait behind a lock, and here nobody waits. (Long bodies, which the valve has
//! counted, wait a moment for a processor; see [`lobby`](super::lobby).)

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::lobby::{LONG_BYTES, Lobby, TooLong, Turn};
use crate::domain::refusal::{Code, Refusal};

/// The valve; clones share it.
#[derive(Clone, Debug)]
pub struct Valve(Arc<Shares>);

/// What may be inside, and what is.
#[derive(Debug)]
struct Shares {
    max_events: usize,
    max_bytes: usize,
    /// Events of the valve that heavy work leaves to everybody else.
    kept_events: usize,
    events: AtomicUsize,
    bytes: AtomicUsize,
    lobby: Lobby,
}

/// One part in so many is kept for light work.
const KEPT_SHARE: usize = 4;

/// What one request holds of the valve; given back when it is dropped, which is when the answer is made.
#[derive(Debug)]
pub struct Permit {
    valve: Valve,
    bytes: usize,
    events: usize,
    turn: Option<Turn>,
}

impl From<TooLong> for Refusal {
    fn from(_: TooLong) -> Refusal {
        let detail = "more batches wait than the node can take in a moment; nothing of this request was taken: send it again after Retry-After";
        Refusal::new(Code::Overloaded, detail)
    }
}

fn overloaded(what: &str) -> Refusal {
    Refusal::new(
        Code::Overloaded,
        format!("the node has as {what} in hand as it may; nothing of this request was taken: send it again after Retry-After"),
    )
}

/// Adds to what is inside, unless that would be more than may be.
fn enter(inside: &AtomicUsize, n: usize, max: usize, what: &str) -> Result<(), Refusal> {
    let more = |inside: usize| inside.checked_add(n).filter(|all| *all <= max);
    let entered = inside.fetch_update(Ordering::AcqRel, Ordering::Acquire, more);
    entered.map(drop).map_err(|_| overloaded(what))
}

impl Valve {
    /// A valve for so many events and so many bytes at once.
    pub fn new(max_events: usize, max_bytes: usize) -> Valve {
        let max_events = max_events.max(1);
        Valve(Arc::new(Shares {
            max_events,
            max_bytes: max_bytes.max(1),
            kept_events: max_events / KEPT_SHARE,
            events: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            lobby: Lobby::new(),
        }))
    }

    /// A permit that holds nothing yet.
    pub fn permit(&self) -> Permit {
        Permit {
            valve: self.clone(),
            bytes: 0,
            events: 0,
            turn: None,
        }
    }

    /// Events taken and not yet answered.
    pub fn events_inside(&self) -> usize {
        self.0.events.load(Ordering::Acquire)
    }

    /// Bytes of bodies taken and not yet answered.
    pub fn bytes_inside(&self) -> usize {
        self.0.bytes.load(Ordering::Acquire)
    }
}

impl Permit {
    /// Refuses a long body that would have to wait for too long, before it has come.
    pub fn expects(&self, n: usize) -> Result<(), Refusal> {
        if n < LONG_BYTES {
            return Ok(());
        }
        Ok(self.valve.0.lobby.expects()?)
    }

    /// Waits until a body of `n` bytes may be decoded; a short one may at once.
    pub async fn turn(&mut self, n: usize) -> Result<(), Refusal> {
        if n >= LONG_BYTES && self.turn.is_none() {
            self.turn = Some(self.valve.0.lobby.turn(n).await?);
        }
        Ok(())
    }

    /// The body has been decoded.
    pub fn decoded(&mut self) {
        if let Some(turn) = &mut self.turn {
            turn.decoded();
        }
    }

    /// Takes `n` more bytes, or refuses at once.
    pub fn take_bytes(&mut self, n: usize) -> Result<(), Refusal> {
        let shares = &self.valve.0;
        enter(&shares.bytes, n, shares.max_bytes, "many bytes")?;
        self.bytes += n;
        Ok(())
    }

    /// As [`Permit::take_events`], and leaves the share that is kept for light work.
    pub fn take_heavy_events(&mut self, n: usize) -> Result<(), Refusal> {
        let shares = &self.valve.0;
        // What is larger than all that is left goes when the valve is empty.
        let most = (shares.max_events - shares.kept_events).max(n.min(shares.max_events));
        enter(&shares.events, n, most, "many events")?;
        self.events += n;
        Ok(())
    }

    /// Takes `n` more events, or refuses at once.
    pub fn take_events(&mut self, n: usize) -> Result<(), Refusal> {
        let shares = &self.valve.0;
        enter(&shares.events, n, shares.max_events, "many events")?;
        self.events += n;
        Ok(())
    }

    /// Takes over what another permit of the same valve holds.
    pub fn absorb(&mut self, mut other: Permit) {
        self.bytes += std::mem::take(&mut other.bytes);
        self.events += std::mem::take(&mut other.events);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let shares = &self.valve.0;
        for (inside, held) in [(&shares.events, self.events), (&shares.bytes, self.bytes)] {
            if held > 0 {
                inside.fetch_sub(held, Ordering::AcqRel);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_valve_refuses_past_its_limit_and_opens_again() {
        let valve = Valve::new(10, 100);
        let mut first = valve.permit();
        first.take_bytes(60).unwrap();
        first.take_bytes(40).unwrap();
        first.take_events(10).unwrap();
        let mut second = valve.permit();
        assert_eq!(second.take_bytes(1).unwrap_err().code, Code::Overloaded);
        assert_eq!(second.take_events(1).unwrap_err().code, Code::Overloaded);
        assert_eq!((valve.events_inside(), valve.bytes_inside()), (10, 100));
        drop(first);
        second.take_bytes(100).unwrap();
        second.take_events(10).unwrap();
    }

    #[test]
    fn heavy_work_leaves_a_share_to_light_work() {
        let valve = Valve::new(100, 100);
        let (mut heavy, mut light) = (valve.permit(), valve.permit());
        heavy.take_heavy_events(75).unwrap();
        assert_eq!(heavy.take_heavy_events(1).unwrap_err().code, Code::Overloaded);
        light.take_events(25).unwrap();
    }

    #[test]
    fn more_than_the_valve_holds_is_refused_and_takes_nothing() {
        let valve = Valve::new(10, 100);
        let mut permit = valve.permit();
        assert!(permit.take_events(11).is_err());
        assert_eq!(valve.events_inside(), 0);
    }
}
