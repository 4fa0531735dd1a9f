//! The one valve: how many events and how many bytes may be inside at once. Past it the caller is told at once, and never waits.
//!
//! Every mailbox behind the door is unbounded, so this bound is what keeps memory bounded under any load. Waiting for room was
//! rejected: a queue before the valve is only another mailbox, and the caller's time-out would fire while its event is accepted.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::domain::refusal::{Code, Refusal};

/// The valve; clones share it.
#[derive(Clone, Debug)]
pub struct Valve {
    events: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    max_events: usize,
    max_bytes: usize,
    /// Events of the valve that heavy work leaves to everybody else.
    kept_events: usize,
}

/// One part in so many is kept for light work.
const KEPT_SHARE: usize = 4;

/// What one request holds of the valve; given back when it is dropped, which is when the answer is made.
#[derive(Debug)]
pub struct Permit {
    valve: Valve,
    bytes: Option<OwnedSemaphorePermit>,
    events: Option<OwnedSemaphorePermit>,
}

fn overloaded(what: &str) -> Refusal {
    Refusal::new(
        Code::Overloaded,
        format!("the node has as {what} in hand as it may; nothing of this request was taken: send it again after Retry-After"),
    )
}

impl Valve {
    /// A valve for so many events and so many bytes at once.
    pub fn new(max_events: usize, max_bytes: usize) -> Valve {
        let cap = |n: usize| n.clamp(1, Semaphore::MAX_PERMITS);
        Valve {
            events: Arc::new(Semaphore::new(cap(max_events))),
            bytes: Arc::new(Semaphore::new(cap(max_bytes))),
            max_events: cap(max_events),
            max_bytes: cap(max_bytes),
            kept_events: cap(max_events) / KEPT_SHARE,
        }
    }

    /// A permit that holds nothing yet.
    pub fn permit(&self) -> Permit {
        Permit {
            valve: self.clone(),
            bytes: None,
            events: None,
        }
    }

    /// Events taken and not yet answered.
    pub fn events_inside(&self) -> usize {
        self.max_events - self.events.available_permits()
    }

    /// Bytes of bodies taken and not yet answered.
    pub fn bytes_inside(&self) -> usize {
        self.max_bytes - self.bytes.available_permits()
    }
}

fn take(from: &Arc<Semaphore>, held: &mut Option<OwnedSemaphorePermit>, n: usize, what: &str) -> Result<(), Refusal> {
    let n = u32::try_from(n).map_err(|_| overloaded(what))?;
    let more = from.clone().try_acquire_many_owned(n).map_err(|_| overloaded(what))?;
    match held {
        Some(held) => held.merge(more),
        None => *held = Some(more),
    }
    Ok(())
}

impl Permit {
    /// Takes `n` more bytes, or refuses at once.
    pub fn take_bytes(&mut self, n: usize) -> Result<(), Refusal> {
        take(&self.valve.bytes, &mut self.bytes, n, "many bytes")
    }

    /// Takes over what another permit of the same valve holds.
    pub fn absorb(&mut self, other: Permit) {
        for (mine, theirs) in [(&mut self.bytes, other.bytes), (&mut self.events, other.events)] {
            match (mine.as_mut(), theirs) {
                (Some(mine), Some(theirs)) => mine.merge(theirs),
                (None, theirs) => *mine = theirs,
                (Some(_), None) => {}
            }
        }
    }

    /// As [`Permit::take_events`], and leaves the share that is kept for light work.
    pub fn take_heavy_events(&mut self, n: usize) -> Result<(), Refusal> {
        // What is larger than all that is left goes when the valve is empty.
        let needed = n.saturating_add(self.valve.kept_events).min(self.valve.max_events);
        if self.valve.events.available_permits() < needed {
            return Err(overloaded("many events"));
        }
        self.take_events(n)
    }

    /// Takes `n` more events, or refuses at once.
    pub fn take_events(&mut self, n: usize) -> Result<(), Refusal> {
        take(&self.valve.events, &mut self.events, n, "many events")
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
