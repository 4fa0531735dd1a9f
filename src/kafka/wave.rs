//! Messages that wait until the broker has confirmed those before them, and then go to the client's library together: a wave.
//!
//! The library sends one batch for each partition and keeps what comes meanwhile; but while it keeps a message for longer than it may
//! linger, its thread looks for the answer without a pause, at the cost of a core, and on the store's two cores that core is missed. So
//! what would only wait there waits here, and meanwhile the next wave is prepared. With idempotence the next batch of a partition waits for
//! the one before in either case; but a wave waits for the slowest of its partitions. (A wave for each partition was rejected: which one a
//! key goes to is the library's to say.)

use std::collections::VecDeque;
use std::time::Duration;

use rdkafka::message::OwnedHeaders;
use tokio::time::Instant;

/// Messages of a wave.
const MESSAGES: usize = 10_000;
/// Bytes of a wave for each partition, within what the library puts into one batch.
const BYTES: usize = 900_000;
/// How long a wave may take to be handed over: less than the library lingers (`linger.ms`), so that it leaves as one.
const HAND_OVER: Duration = Duration::from_micros(1_500);
/// After how many messages the clock is looked at.
const LOOK: usize = 32;
/// Bytes waiting, past which nothing more is read.
const WAITING_BYTES: usize = 4 << 20;

/// A message in the buffer: the lengths of its key and body, and the rest of it.
struct Message {
    flight: usize,
    key: usize,
    body: usize,
    headers: OwnedHeaders,
}

/// What waits, in order.
#[derive(Default)]
pub(super) struct Waiting {
    messages: VecDeque<Message>,
    /// Their keys and bodies, behind one another.
    bytes: Vec<u8>,
    /// Where those of the first one begin.
    at: usize,
}

/// A message as it is handed over.
pub(super) struct Next<'w> {
    pub(super) flight: usize,
    pub(super) key: &'w [u8],
    pub(super) body: &'w [u8],
    pub(super) headers: OwnedHeaders,
}

impl Waiting {
    /// Whether more may be prepared.
    pub(super) fn has_room(&self) -> bool {
        self.bytes.len() < WAITING_BYTES
    }

    /// The last in the line.
    pub(super) fn push(&mut self, flight: usize, key: &str, body: &[u8], headers: OwnedHeaders) {
        self.bytes.extend_from_slice(key.as_bytes());
        self.bytes.extend_from_slice(body);
        self.messages.push_back(Message {
            flight,
            key: key.len(),
            body: body.len(),
            headers,
        });
    }

    /// Hands over the next wave to `take`, for a topic that is known to have so many partitions. Says how many messages it was.
    /// After an error the rest is of no use: whoever failed begins again at its cursor.
    pub(super) fn hand_over<E>(
        &mut self,
        partitions: usize,
        mut take: impl FnMut(Next<'_>) -> Result<(), E>,
    ) -> Result<usize, E> {
        let (begun, from, most) = (Instant::now(), self.at, partitions.max(1) * BYTES);
        let mut handed = 0;
        while handed < MESSAGES && (handed % LOOK != 0 || begun.elapsed() < HAND_OVER || handed == 0) {
            let Some(message) = self.messages.front() else { break };
            let (middle, end) = (self.at + message.key, self.at + message.key + message.body);
            if handed > 0 && end - from > most {
                break;
            }
            let Some(message) = self.messages.pop_front() else { break };
            take(Next {
                flight: message.flight,
                key: &self.bytes[self.at..middle],
                body: &self.bytes[middle..end],
                headers: message.headers,
            })?;
            self.at = end;
            handed += 1;
        }
        self.tidy();
        Ok(handed)
    }

    /// Gives back what the handed ones took: at once when nothing is left, else when it is most of the buffer.
    fn tidy(&mut self) {
        if self.messages.is_empty() {
            self.bytes.clear();
            self.bytes.shrink_to(WAITING_BYTES);
        } else if self.at > self.bytes.len() / 2 {
            self.bytes.drain(..self.at);
        } else {
            return;
        }
        self.at = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(count: usize, body: usize) -> Waiting {
        let mut waiting = Waiting::default();
        for number in 0..count {
            waiting.push(number, &format!("main/{number}"), &vec![b'x'; body], OwnedHeaders::new());
        }
        waiting
    }

    /// The flights of the next wave.
    fn wave(waiting: &mut Waiting, partitions: usize) -> Vec<usize> {
        let mut flights = Vec::new();
        let take = |next: Next<'_>| {
            assert_eq!(next.key, format!("main/{}", next.flight).as_bytes());
            assert!(next.body.iter().all(|byte| *byte == b'x'));
            flights.push(next.flight);
            Ok::<(), ()>(())
        };
        assert_eq!(waiting.hand_over(partitions, take), Ok(flights.len()));
        flights
    }

    #[tokio::test(start_paused = true)]
    async fn a_wave_is_what_fits_into_one_batch_of_each_partition_and_the_order_stays() {
        let mut waiting = waiting(2_500, 1_000);
        let first = wave(&mut waiting, 1);
        assert!((800..900).contains(&first.len()), "{}", first.len());
        let second = wave(&mut waiting, 2);
        assert!(second.len() > first.len() && second.len() < 2 * 900);
        let third = wave(&mut waiting, 3);
        assert_eq!([first, second, third].concat(), (0..2_500).collect::<Vec<_>>());
        assert!(waiting.messages.is_empty() && waiting.bytes.is_empty());
        assert!(wave(&mut waiting, 3).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_is_larger_than_any_batch_goes_alone() {
        let mut waiting = waiting(3, 2 * BYTES);
        assert!(!waiting.has_room());
        for number in 0..3 {
            assert_eq!(wave(&mut waiting, 1), [number]);
        }
        assert!(waiting.has_room());
        assert!(waiting.bytes.capacity() <= WAITING_BYTES, "what a giant took is given back");
    }

    #[tokio::test(start_paused = true)]
    async fn a_wave_ends_when_handing_it_over_has_taken_its_time() {
        let mut waiting = waiting(500, 10);
        let mut handed = 0;
        let take = |_: Next<'_>| {
            handed += 1;
            if handed == 40 {
                // The clock stands still but for this.
                futures_util::FutureExt::now_or_never(tokio::time::advance(HAND_OVER));
            }
            Ok::<(), ()>(())
        };
        assert_eq!(waiting.hand_over(1, take), Ok(2 * LOOK));
        assert_eq!(wave(&mut waiting, 1).len(), 500 - 2 * LOOK);
    }
}
