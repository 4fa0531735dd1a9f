//! A start on every core: pages are read by one thread and worked on by others.
//!
//! Reading every row by the thread that decodes it was rejected: of a million SKUs most of the time is decoding, and redb's pages
//! are read in order anyway.

use std::num::NonZero;
use std::sync::mpsc::{Receiver, TrySendError, sync_channel};
use std::thread;

use parking_lot::Mutex;

use crate::host;
use crate::storage::database::ReadError;

/// Pages read ahead.
const AHEAD: usize = 8;

/// The most threads that work beside the one that reads: past it they wait for each other's locks.
const MOST: usize = 8;

/// Gives what `read` sends to as many threads as there are cores, in no order. The first error of anyone is the answer; nothing is
/// read after it.
pub(super) fn spread<P: Send>(
    read: impl FnOnce(&mut dyn FnMut(P) -> Result<(), ReadError>) -> Result<(), ReadError>,
    work: impl Fn(P) -> Result<(), ReadError> + Sync,
) -> Result<(), ReadError> {
    if host::one_thread() {
        return read(&mut |page| work(page));
    }
    let (sender, receiver) = sync_channel(AHEAD);
    let (receiver, failed) = (Mutex::new(receiver), Mutex::new(None));
    let (receiver, failed, work) = (&receiver, &failed, &work);
    let next = move || receiver.lock().recv().ok();
    thread::scope(|scope| {
        for _ in 0..threads() {
            scope.spawn(move || {
                while let Some(page) = next() {
                    // After a failure what is on its way is only taken, so that the reader never waits for nobody.
                    if failed.lock().is_none()
                        && let Err(error) = work(page)
                    {
                        failed.lock().get_or_insert(error);
                    }
                }
            });
        }
        let read = read(&mut |page| {
            if let Some(error) = failed.lock().clone() {
                return Err(error);
            }
            sender.send(page).map_err(|_| ReadError::Unavailable)
        });
        drop(sender);
        read
    })?;
    failed.lock().take().map_or(Ok(()), Err)
}

/// Has `read` run on a thread of its own, as far ahead as a few pages, and hands its pages out in order. `take` is given the
/// pages; its error ends the reading. When `take` has fallen behind by all those pages, the reader does `help`'s part of its work
/// on the next one, in place of waiting: which of the two has more to do is not the same for all journals.
pub(super) fn ahead<P: Send>(
    read: impl FnOnce(&mut dyn FnMut(P) -> bool) -> Result<(), ReadError> + Send,
    help: impl Fn(P) -> P + Send,
    mut take: impl FnMut(P) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    if host::one_thread() {
        let mut taken = Ok(());
        let read = read(&mut |page| {
            taken = take(page);
            taken.is_ok()
        });
        return taken.and(read);
    }
    thread::scope(|scope| {
        let (sender, receiver) = sync_channel(AHEAD);
        let send = move |page| match sender.try_send(page) {
            Err(TrySendError::Full(page)) => sender.send(help(page)).is_ok(),
            sent => sent.is_ok(),
        };
        let reader = scope.spawn(move || read(&mut |page| send(page)));
        let taken = drain(receiver, &mut take);
        let read = match reader.join() {
            Ok(read) => read,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        taken.and(read)
    })
}

fn drain<P>(receiver: Receiver<P>, take: &mut impl FnMut(P) -> Result<(), ReadError>) -> Result<(), ReadError> {
    receiver.into_iter().try_for_each(take)
}

fn threads() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get).min(MOST)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    fn bad() -> ReadError {
        ReadError::Disk("bad".into())
    }

    #[test]
    fn every_page_is_worked_on_once_and_the_first_error_is_the_answer() {
        let sum = AtomicU64::new(0);
        let add = |page: u64| {
            sum.fetch_add(page, Ordering::Relaxed);
            if page == 1_000 { Err(bad()) } else { Ok(()) }
        };
        assert_eq!(spread(|send| (1..=100).try_for_each(send), add), Ok(()));
        assert_eq!(sum.load(Ordering::Relaxed), 5_050);
        assert_eq!(spread(|send| (990..1_000_000).try_for_each(send), add), Err(bad()));
        assert!(sum.load(Ordering::Relaxed) < 100_000);
        assert_eq!(spread(|_| Err(bad()), add), Err(bad()));
    }

    #[test]
    fn a_reader_that_is_far_ahead_helps() {
        let helped = AtomicU64::new(0);
        let read = |send: &mut dyn FnMut(u64) -> bool| {
            (0..100).take_while(|page| send(*page)).count();
            Ok(())
        };
        let help = |page| {
            helped.fetch_add(1, Ordering::Relaxed);
            page
        };
        let mut first = true;
        let taken = ahead(read, help, |_| {
            // The first page is kept until nothing more fits: from then on the reader has time.
            while first && helped.load(Ordering::Relaxed) == 0 {
                thread::yield_now();
            }
            first = false;
            Ok(())
        });
        assert_eq!(taken, Ok(()));
        assert!(helped.load(Ordering::Relaxed) > 0);
    }

    #[test]
    fn pages_read_ahead_come_in_order_and_an_error_ends_the_reading() {
        let mut taken = Vec::new();
        let read = |send: &mut dyn FnMut(u64) -> bool| {
            let sent = (0..100).take_while(|page| send(*page)).count();
            if sent == 100 { Err(bad()) } else { Ok(()) }
        };
        let all = ahead(
            read,
            |page| page,
            |page| {
                taken.push(page);
                Ok(())
            },
        );
        assert_eq!((all, taken), (Err(bad()), (0..100).collect()));
        let third = |page| if page == 3 { Err(ReadError::Unavailable) } else { Ok(()) };
        let stopped = ahead(read, |page| page, third);
        assert_eq!(stopped, Err(ReadError::Unavailable));
    }
}
