//! Where each partition goes on: the journal's place on assignment, and what the first messages say about it.
//!
//! The message before the place is read once more and compared, since a topic that was made anew has offsets that mean other
//! messages. Trusting the offset alone was rejected: it would skip as many messages of the new topic as the old one had. The topic's
//! id was not taken in its stead: librdkafka tells it to nobody, and its change only in passing ([`super::assigned`]).
//!
//! Nothing here knows a broker: what one says comes in as numbers, and what to do goes out as a word.

use std::sync::Arc;

use hashbrown::HashMap;

/// What is known of one partition.
struct Known {
    /// The offset that comes next.
    next: i64,
    /// The message before it, when that has still to be compared.
    compare: Option<u64>,
}

/// What a message is to the place of its partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sight {
    /// It is the next one, or the first.
    New,
    /// It is to be taken, and so many offsets before it have no message that anybody will see: a transaction's mark, compaction, or
    /// retention that was quicker.
    Gap {
        /// The offset that should have come.
        expected: i64,
    },
    /// It is to be taken, although its offset has been passed before: the topic was made anew.
    Back {
        /// The offset that should have come.
        expected: i64,
    },
    /// It is to be taken, and those before it cannot be read: the broker's records are damaged.
    Damaged {
        /// The first offset that cannot be read.
        expected: i64,
    },
    /// It was taken before: the one before the place.
    Taken,
    /// The topic is another one: begin at its beginning.
    Restart,
}

/// See the module.
#[derive(Default)]
pub(super) struct Places {
    known: HashMap<(Arc<str>, i32), Known>,
}

impl Places {
    /// Forgets all partitions: others are assigned.
    pub(super) fn clear(&mut self) {
        self.known.clear();
    }

    /// A partition is assigned whose next message the journal says to be at `next`, after one with this fingerprint. The offset to begin
    /// at: that of the message before.
    pub(super) fn assign(&mut self, topic: &Arc<str>, partition: i32, next: i64, print: u64) -> i64 {
        let compare = (next > 0).then_some(print);
        self.known.insert((topic.clone(), partition), Known { next, compare });
        if next > 0 { next - 1 } else { next }
    }

    /// Looks at a message before it is taken.
    pub(super) fn look(&mut self, topic: &Arc<str>, partition: i32, offset: i64, print: impl FnOnce() -> u64) -> Sight {
        let key = (topic.clone(), partition);
        let Some(place) = self.known.get_mut(&key) else {
            let next = offset + 1;
            self.known.insert(key, Known { next, compare: None });
            return Sight::New;
        };
        let compare = place.compare.take();
        if compare.is_some() && offset == place.next - 1 {
            if compare == Some(print()) {
                return Sight::Taken;
            }
            place.next = 0;
            return Sight::Restart;
        }
        let expected = std::mem::replace(&mut place.next, offset + 1);
        match offset.cmp(&expected) {
            std::cmp::Ordering::Less => Sight::Back { expected },
            std::cmp::Ordering::Equal => Sight::New,
            std::cmp::Ordering::Greater => Sight::Gap { expected },
        }
    }

    /// Partitions of which the message before the place has not come yet.
    pub(super) fn waiting(&self) -> Vec<(Arc<str>, i32)> {
        let waiting = self.known.iter().filter(|(_, place)| place.compare.is_some());
        waiting.map(|(key, _)| key.clone()).collect()
    }

    /// The offset that comes next; `None`: nothing has been seen of the partition.
    pub(super) fn next(&self, topic: &Arc<str>, partition: i32) -> Option<i64> {
        self.known.get(&(topic.clone(), partition)).map(|place| place.next)
    }

    /// What the bounds of a partition that waits say: whether its topic is another one, which ends before the place. A client that
    /// was sent there waits for a message that nobody may ever send, and sees none of those before it.
    pub(super) fn ends_before(&mut self, topic: &Arc<str>, partition: i32, low: i64, high: i64) -> bool {
        let Some(place) = self.known.get_mut(&(topic.clone(), partition)) else {
            return false;
        };
        if place.compare.is_none() {
            return false;
        }
        if high < place.next {
            (place.next, place.compare) = (0, None);
            return true;
        }
        // Retention has taken the message before the place: there is nothing to compare with.
        if low >= place.next {
            place.compare = None;
        }
        false
    }

    /// The topic is another one, whatever its offsets say: its partitions, each to begin at its beginning.
    pub(super) fn made_anew(&mut self, topic: &str) -> Vec<i32> {
        let mine = self.known.iter_mut().filter(|((name, _), _)| &**name == topic);
        mine.map(|((_, partition), place)| {
            (place.next, place.compare) = (0, None);
            *partition
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places() -> (Places, Arc<str>) {
        let (mut places, topic) = (Places::default(), Arc::from("t"));
        assert_eq!(places.assign(&topic, 0, 10, 77), 9);
        (places, topic)
    }

    fn never() -> u64 {
        panic!("nothing is to be compared")
    }

    #[test]
    fn the_message_before_the_place_is_known_and_the_next_is_new() {
        let (mut places, topic) = places();
        assert_eq!(places.look(&topic, 0, 9, || 77), Sight::Taken);
        assert_eq!(places.look(&topic, 0, 10, never), Sight::New);
        assert_eq!(places.look(&topic, 0, 13, never), Sight::Gap { expected: 11 });
        assert_eq!(places.look(&topic, 0, 2, never), Sight::Back { expected: 14 });
        assert_eq!(places.look(&topic, 1, 5, never), Sight::New, "a partition without a place");
    }

    #[test]
    fn another_message_before_the_place_is_another_topic() {
        let (mut places, topic) = places();
        assert_eq!(places.look(&topic, 0, 9, || 78), Sight::Restart);
        for offset in 0..12 {
            assert_eq!(places.look(&topic, 0, offset, never), Sight::New);
        }
    }

    #[test]
    fn a_topic_that_ends_before_the_place_is_another_one() {
        let (mut places, topic) = places();
        assert_eq!(places.waiting(), [(topic.clone(), 0)]);
        // The old one, whose message before the place is there; and one that retention has emptied.
        assert!(!places.ends_before(&topic, 0, 0, 10));
        assert!(!places.ends_before(&topic, 0, 10, 10));
        assert!(places.waiting().is_empty());
        assert!(!places.ends_before(&topic, 0, 0, 9), "nothing is compared any more");
        places.assign(&topic, 0, 10, 77);
        assert!(places.ends_before(&topic, 0, 0, 9));
        assert_eq!(places.look(&topic, 0, 0, never), Sight::New);
    }

    #[test]
    fn a_topic_with_another_id_begins_at_its_beginning() {
        let (mut places, topic) = places();
        assert_eq!(places.made_anew("other"), Vec::<i32>::new());
        assert_eq!(places.made_anew("t"), [0]);
        assert_eq!(places.look(&topic, 0, 0, never), Sight::New);
    }
}
