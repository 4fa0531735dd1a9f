//! A thread of its own for each topic: named, told to stop, and started again when it dies.
//!
//! The actors' supervision tree was rejected for these: a blocking call of librdkafka would hold an actor's worker, and a broker's
//! trouble must not count against the tree's intensity, at whose end the process goes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;

/// The first and the longest wait before a dead thread's work begins again.
const AGAIN: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(10)];

/// Told to a thread that it should end; wakes whatever it waits for.
#[derive(Clone)]
pub(super) struct Stop {
    stopping: Arc<AtomicBool>,
    told: watch::Receiver<bool>,
    runtime: Handle,
}

impl Stop {
    /// Whether it should end.
    pub(super) fn now(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Waits for a future, but no longer than `most`, nor after it should end. `None`: it did not come.
    pub(super) async fn wait<T>(&self, most: Duration, until: impl Future<Output = T>) -> Option<T> {
        let mut told = self.told.clone();
        tokio::select! {
            // In this order, so that a simulated run is the same each time.
            biased;
            done = until => Some(done),
            () = tokio::time::sleep(most) => None,
            _ = told.wait_for(|stop| *stop) => None,
        }
    }

    /// Lets time pass.
    pub(super) async fn rest(&self, how_long: Duration) {
        self.wait(how_long, std::future::pending::<()>()).await;
    }

    /// A pause of this thread.
    pub(super) fn pause(&self, how_long: Duration) {
        self.runtime.block_on(self.rest(how_long));
    }

    /// Runs a future to its end, also when it should end: what is underway in the journal is answered within seconds.
    pub(super) fn finish<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }
}

/// All threads.
pub(super) struct Parts {
    stop: Stop,
    tell: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
}

impl Parts {
    pub(super) fn new(runtime: Handle) -> Parts {
        let (tell, told) = watch::channel(false);
        let stop = Stop {
            stopping: Arc::default(),
            told,
            runtime,
        };
        Parts {
            stop,
            tell,
            threads: Vec::new(),
        }
    }

    /// What its threads are told.
    #[cfg(test)]
    pub(super) fn told(&self) -> Stop {
        self.stop.clone()
    }

    /// Starts one; `run` is called again when it panics.
    pub(super) fn start(&mut self, name: String, mut run: impl FnMut(&Stop) + Send + 'static) {
        let stop = self.stop.clone();
        // The kernel shows 15 bytes of it.
        let builder = std::thread::Builder::new().name(name.clone());
        let work = move || {
            let mut wait = AGAIN[0];
            while !stop.now() {
                if catch_unwind(AssertUnwindSafe(|| run(&stop))).is_ok() && stop.now() {
                    return;
                }
                metrics::counter!("shelfd_kafka_restarts_total").increment(1);
                tracing::error!(part = %name, "it died; it begins again where the journal says");
                stop.pause(wait);
                wait = (wait * 2).min(AGAIN[1]);
            }
        };
        match builder.spawn(work) {
            Ok(thread) => self.threads.push(thread),
            Err(error) => tracing::error!(%error, "a thread for Kafka could not be started"),
        }
    }

    /// Tells all to end, and waits until they have.
    pub(super) async fn stop(self) {
        self.stop.stopping.store(true, Ordering::Release);
        self.tell.send_replace(true);
        let joined = tokio::task::spawn_blocking(move || {
            for thread in self.threads {
                // Its panic, if it was one, has been reported.
                let _ = thread.join();
            }
        });
        // A thread that is stuck in librdkafka must not keep the process: nothing of it is lost.
        if tokio::time::timeout(Duration::from_secs(4), joined).await.is_err() {
            tracing::warn!("some of Kafka's threads did not end in time and are left");
        }
    }
}
