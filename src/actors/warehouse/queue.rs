//! What waits for the copy of one SKU, in order. Nothing does as a rule, and then it is a null pointer: there is one in each place.

use std::collections::VecDeque;

use super::place::Waiting;

/// See the module.
#[derive(Debug, Default)]
#[expect(clippy::box_collection, reason = "there is one in each place, and hardly any is in use")]
pub struct Queue(Option<Box<VecDeque<Waiting>>>);

impl Queue {
    /// How many wait.
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |waiting| waiting.len())
    }

    /// Whether nothing does.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// One waits behind all others.
    pub fn push_back(&mut self, waiting: Waiting) {
        self.0.get_or_insert_default().push_back(waiting);
    }

    /// One waits before all others.
    pub fn push_front(&mut self, waiting: Waiting) {
        self.0.get_or_insert_default().push_front(waiting);
    }

    /// Takes the first.
    pub fn pop_front(&mut self) -> Option<Waiting> {
        let first = self.0.as_mut()?.pop_front();
        self.tidy();
        first
    }

    /// Takes the first for which that holds.
    pub fn take(&mut self, wanted: impl Fn(&Waiting) -> bool) -> Option<Waiting> {
        let waiting = self.0.as_mut()?;
        let taken = waiting.iter().position(wanted).and_then(|at| waiting.remove(at));
        self.tidy();
        taken
    }

    /// Drops those for which it does not hold.
    pub fn retain(&mut self, wanted: impl FnMut(&Waiting) -> bool) {
        if let Some(waiting) = &mut self.0 {
            waiting.retain(wanted);
        }
        self.tidy();
    }

    fn tidy(&mut self) {
        self.0.take_if(|waiting| waiting.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_empty_again_however_its_last_one_goes() {
        let operation = |number| move |waiting: &Waiting| matches!(waiting, Waiting::Operation(n) if *n == number);
        let mut queue = Queue::default();
        assert!(queue.is_empty() && queue.pop_front().is_none() && queue.take(operation(1)).is_none());
        (1..4).for_each(|number| queue.push_back(Waiting::Operation(number)));
        queue.push_front(Waiting::Operation(0));
        assert_eq!(queue.len(), 4);
        assert!(queue.take(operation(2)).is_some() && queue.take(operation(2)).is_none());
        assert!(queue.pop_front().is_some_and(|first| operation(0)(&first)));
        queue.retain(operation(3));
        assert!(!queue.is_empty());
        assert!(queue.pop_front().is_some_and(|first| operation(3)(&first)));
        assert!(queue.is_empty());
        queue.push_back(Waiting::Operation(4));
        queue.retain(|_| false);
        assert!(queue.is_empty());
        queue.push_back(Waiting::Operation(5));
        assert!(queue.take(operation(5)).is_some());
        assert!(queue.is_empty());
    }
}
