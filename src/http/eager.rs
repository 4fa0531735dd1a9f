//! Polls a connection for as long as it has something to do, and not once in each round of the runtime.
//!
//! hyper hands a body over in pieces, through a channel between two halves of the same task: each piece taken wakes the task for the
//! next, and a task that wakes itself goes to the end of the queue. A body of a few pieces then waits behind all other work of the
//! runtime for each of them, though all of it has come: on a busy node that was most of the time that a batch, or its refusal, took.
//! Rejected: a larger buffer for each connection, which ten thousand of them would have for one that needs it.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use tokio::task::coop;

/// Polls in one turn: about four MiB of a body, after which others may go on.
const MOST_POLLS: u32 = 64;

/// Nobody polls, and nobody has rung.
const IDLE: u8 = 0;
/// It is being polled.
const POLLED: u8 = 1;
/// There is something to do.
const RUNG: u8 = 2;

/// Rings for one connection: within its turn that is another poll, and otherwise the task is woken.
pub(super) struct Bell {
    state: AtomicU8,
    /// Of the one task that polls it: to note it anew with each poll is to take and give back a count of the task.
    task: Waker,
}

impl Wake for Bell {
    fn wake(self: Arc<Bell>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Bell>) {
        if self.state.swap(RUNG, Ordering::AcqRel) == IDLE {
            self.task.wake_by_ref();
        }
    }
}

/// See the module.
pub(super) struct Eager {
    bell: Arc<Bell>,
    waker: Waker,
}

impl Eager {
    /// Of a connection that begins now, in the task that asks: it must be polled there alone.
    pub(super) async fn here() -> Eager {
        let task = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
        Eager::of(task)
    }

    fn of(task: Waker) -> Eager {
        let bell = Arc::new(Bell {
            state: AtomicU8::new(IDLE),
            task,
        });
        Eager {
            waker: bell.clone().into(),
            bell,
        }
    }

    /// What to ring when there is something to do.
    pub(super) fn bell(&self) -> Arc<Bell> {
        self.bell.clone()
    }

    /// Polls until it is done, or has nothing to do.
    pub(super) fn poll<T>(&self, cx: &mut Context<'_>, mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
        for _ in 0..MOST_POLLS {
            self.bell.state.store(POLLED, Ordering::Release);
            if let Poll::Ready(done) = poll(&mut Context::from_waker(&self.waker)) {
                return Poll::Ready(done);
            }
            let quiet = self
                .bell
                .state
                .compare_exchange(POLLED, IDLE, Ordering::AcqRel, Ordering::Acquire);
            if quiet.is_ok() {
                return Poll::Pending;
            }
            if !coop::has_budget_remaining() {
                break;
            }
        }
        // It has rung, and whoever rings again now is heard with that.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use futures_util::task::noop_waker;
    use tokio::sync::mpsc;

    use super::*;

    #[test]
    fn what_wakes_itself_goes_on_at_once_and_for_so_long() {
        let (eager, mut polls) = (Eager::of(noop_waker()), 0);
        let mut once = poll_fn(|cx| {
            eager.poll(cx, |cx| {
                polls += 1;
                if polls < 10 {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Poll::Ready(polls)
            })
        });
        assert_eq!((&mut once).now_or_never(), Some(10));
        let mut without_end = 0;
        let mut restless = poll_fn(|cx| {
            eager.poll(cx, |cx| {
                without_end += 1;
                cx.waker().wake_by_ref();
                Poll::<()>::Pending
            })
        });
        assert!((&mut restless).now_or_never().is_none());
        assert_eq!(without_end, MOST_POLLS);
    }

    #[tokio::test]
    async fn who_rings_between_two_turns_wakes_the_task() {
        let (send, mut receive) = mpsc::channel(1);
        let eager = Eager::here().await;
        let heard = poll_fn(|cx| eager.poll(cx, |cx| receive.poll_recv(cx)));
        let told = tokio::spawn(async move { send.send(7).await });
        assert_eq!(heard.await, Some(7));
        assert!(told.await.is_ok_and(|sent| sent.is_ok()));
    }
}
