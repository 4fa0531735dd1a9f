//! What has come for a warehouse since it looked last, and how far its facts are durable.
//!
//! The doors put work in and knock only when nobody has knocked since the last look; the warehouse takes all of it at once, decides
//! it into one draft, and sends the journal one message. A mailbox message, a journal message and a receipt for each request cost
//! more than judging a sale did. What is durable is a number that the journal raises, and it knocks only when somebody waits for it.
//!
//! A door's knock is a task of its own, behind the connections of the door's thread that have something to say: at once it had the
//! warehouse look on another core at one sale, and again at the next one.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use ractor::ActorRef;
use tokio::runtime::Handle;

use super::super::batch::Ticket;
use super::{Command, DRAFT_BYTES, Msg, State};

/// Rows of batches that are judged in one look, about: while it lasts, the thread answers nobody else.
const LOOK_ROWS: usize = 2_048;

/// Work from the doors.
pub enum Work {
    /// Rows of a batch, as a range of its working order.
    Events(Arc<Ticket>, Range<u32>),
    /// A command about a reservation or a setting.
    Command(Box<Command>),
}

#[derive(Default)]
struct Queue {
    work: Vec<Work>,
    /// Whether the warehouse has been told, and has not looked since.
    knocked: bool,
    /// Whether the warehouse has died; its successor has an inbox of its own.
    closed: bool,
}

/// See the module.
#[derive(Default)]
pub struct Inbox {
    queue: Mutex<Queue>,
    durable: AtomicU64,
    awaited: AtomicBool,
}

/// Knocks when it is dropped, so that no work waits for a task that its runtime did not come to.
struct Knock(Arc<Inbox>, ActorRef<Msg>);

impl Drop for Knock {
    fn drop(&mut self) {
        self.0.knock(&self.1);
    }
}

impl Inbox {
    /// Puts work in. Work for a dead warehouse is dropped, which tells its caller to send it again.
    pub fn put(self: &Arc<Inbox>, work: Work, warehouse: &ActorRef<Msg>) {
        let mut queue = self.queue.lock();
        if queue.closed {
            return;
        }
        queue.work.push(work);
        let knocked = std::mem::replace(&mut queue.knocked, true);
        drop(queue);
        if !knocked {
            let knock = Knock(Arc::clone(self), warehouse.clone());
            // Beside a runtime it is dropped, and knocks, here.
            if let Ok(runtime) = Handle::try_current() {
                runtime.spawn(async move { drop(knock) });
            }
        }
    }

    /// Takes all that is there, in order, into an empty list.
    pub(super) fn take(&self, into: &mut Vec<Work>) {
        let mut queue = self.queue.lock();
        queue.knocked = false;
        std::mem::swap(&mut queue.work, into);
    }

    /// Nothing will be taken any more; what is there is dropped.
    pub(super) fn close(&self) {
        let mut queue = self.queue.lock();
        queue.closed = true;
        let left = std::mem::take(&mut queue.work);
        // Whoever waits for it is told outside the lock.
        drop(queue);
        drop(left);
    }

    /// The warehouse's own journal message of this number is durable, and so is every one before it.
    pub(in super::super) fn durable(&self, number: u64, warehouse: &ActorRef<Msg>) {
        self.durable.fetch_max(number, Ordering::SeqCst);
        if self.awaited.swap(false, Ordering::SeqCst) {
            self.knock(warehouse);
        }
    }

    /// The newest of the warehouse's own journal messages that is durable.
    pub(super) fn newest_durable(&self) -> u64 {
        self.durable.load(Ordering::SeqCst)
    }

    /// The warehouse wants to be told when more than `seen` is durable.
    pub(super) fn await_more_than(&self, seen: u64, warehouse: &ActorRef<Msg>) {
        self.awaited.store(true, Ordering::SeqCst);
        // The journal may have looked for the mark just before it was set.
        if self.newest_durable() > seen && self.awaited.swap(false, Ordering::SeqCst) {
            self.knock(warehouse);
        }
    }

    fn knock(&self, warehouse: &ActorRef<Msg>) {
        if warehouse.cast(Msg::Look).is_err() {
            self.close();
        }
    }
}

impl State {
    /// All that has come since the last look, with one stamp.
    pub(super) fn on_look(&mut self) {
        let mut work = std::mem::take(&mut self.work);
        self.inbox.take(&mut work);
        self.settle();
        let now = self.stamp();
        self.expire_due(now);
        let sources = self.shared.sources.load_full();
        let sifted = self.sift_singles(&work);
        self.draft.reserve(sifted.len());
        let mut singles = 0..;
        for work in work.drain(..) {
            match work {
                // A look is no longer than what somebody else may wait for: batches take their turns, in the order in which they came.
                Work::Events(ticket, range) if range.len() > 1 => self.rest.push_back((ticket, range)),
                Work::Events(ticket, range) => {
                    let place = singles.next().unwrap_or_default();
                    self.on_single((&ticket, range), (&sifted, place), now, &sources);
                }
                Work::Command(command) => self.on_command(command, now),
            }
            self.flush_if_long();
        }
        self.sifted = sifted;
        // One that is long has a look for itself.
        let mut rows = 0;
        while rows < LOOK_ROWS
            && let Some((ticket, range)) = self.rest.pop_front()
        {
            rows += range.len();
            self.on_events(ticket, range, now, &sources);
            self.flush_if_long();
        }
        self.work = work;
        // A warehouse that is told to stop hears no more of itself: it finishes what it took.
        if !self.rest.is_empty() && self.myself.cast(Msg::Look).is_err() {
            while let Some((ticket, rows)) = self.rest.pop_front() {
                self.on_events(ticket, rows, now, &sources);
            }
        }
        self.turn_on();
    }

    fn flush_if_long(&mut self) {
        if self.draft.bytes() >= DRAFT_BYTES {
            self.flush();
        }
    }
}

#[cfg(test)]
mod tests {
    use ractor::{Actor, ActorProcessingErr};
    use tokio::runtime::Builder;
    use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

    use super::*;
    use crate::actors::batch::{Batch, Events, Reach, Row};

    /// Tells of each knock.
    struct Listener;

    impl Actor for Listener {
        type Msg = Msg;
        type State = UnboundedSender<()>;
        type Arguments = UnboundedSender<()>;

        async fn pre_start(
            &self,
            _: ActorRef<Msg>,
            tell: UnboundedSender<()>,
        ) -> Result<UnboundedSender<()>, ActorProcessingErr> {
            Ok(tell)
        }

        async fn handle(&self, _: ActorRef<Msg>, _: Msg, tell: &mut UnboundedSender<()>) -> Result<(), ActorProcessingErr> {
            Ok(tell.send(())?)
        }
    }

    fn work() -> Work {
        let (batch, _) = Batch::new(Events::new(), Row::new(), Reach::default());
        Work::Events(Ticket::new(batch, None), 0..0)
    }

    #[tokio::test]
    async fn a_knock_for_all_that_has_come_is_heard_also_when_the_runtime_of_the_door_ends_before_it() {
        let (tell, mut knocks) = unbounded_channel();
        let (warehouse, _) = Actor::spawn(None, Listener, tell).await.expect("an actor");
        let inbox = Arc::new(Inbox::default());
        let door = Builder::new_current_thread().build().expect("a runtime");
        let inside = door.enter();
        for _ in 0..3 {
            inbox.put(work(), &warehouse);
        }
        drop(inside);
        door.shutdown_background();
        assert_eq!(knocks.recv().await, Some(()), "the work would wait for ever");
        let mut taken = Vec::new();
        inbox.take(&mut taken);
        assert_eq!((taken.len(), knocks.try_recv().is_ok()), (3, false));
        warehouse.stop(None);
    }
}
