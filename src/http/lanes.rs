//! The threads that serve connections. Each has a runtime of its own, and keeps the connections that it was given to their end (ADR 21).
//!
//! On one runtime for all a worker that has nothing to do looks for work of the others, sleeps, and is woken as soon as there is more:
//! where requests are short, that is most of what a second core does. A lane wakes nobody, and nobody takes its work away. What is behind
//! the door, the actors, has the node's own runtime.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::thread;

use tokio::net::TcpStream;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// As many as the cores of the machines that this runs on.
const LANES: usize = 2;

struct Lane {
    runtime: Handle,
    /// Counted by those that hold it: the connections of this lane, and one more.
    open: Arc<()>,
}

/// See the module. Connections that are still open when this is dropped are cut.
pub(super) struct Lanes {
    lanes: Spread,
    /// The threads end when these are gone.
    _ends: Vec<oneshot::Sender<()>>,
}

/// The lanes, for whoever gives them connections.
#[derive(Clone)]
pub(super) struct Spread(Arc<[Lane]>);

impl Lanes {
    /// Lanes without connections. Fails when the system gives no thread, or nothing to wait with.
    pub(super) fn open() -> io::Result<Lanes> {
        let lane = |number| {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let (ends, end) = oneshot::channel::<()>();
            let lane = Lane {
                runtime: runtime.handle().clone(),
                open: Arc::default(),
            };
            let serve = move || {
                // The sender says nothing: it is dropped.
                let _ = runtime.block_on(end);
                // Work off the thread, such as a long body being decoded, is not waited for.
                runtime.shutdown_background();
            };
            thread::Builder::new().name(format!("lane-{number}")).spawn(serve)?;
            Ok((lane, ends))
        };
        let (lanes, ends): (Vec<Lane>, _) = (0..LANES).map(lane).collect::<io::Result<Vec<_>>>()?.into_iter().unzip();
        Ok(Lanes {
            lanes: Spread(lanes.into()),
            _ends: ends,
        })
    }

    /// For whoever gives them connections.
    pub(super) fn spread(&self) -> Spread {
        self.lanes.clone()
    }

    /// Does something on the first lane, to its end: on the node's own runtime a new connection would wait for the actors.
    pub(super) async fn within<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> io::Result<T> {
        match self.lanes.0.first() {
            Some(lane) => lane.runtime.spawn(task).await.map_err(io::Error::other),
            None => Ok(task.await),
        }
    }
}

impl Spread {
    /// Has a connection served by the lane that has the fewest. By turns would not do: of connections that live for days, all that stay
    /// may have come to one lane.
    pub(super) fn serve<F>(&self, stream: TcpStream, serve: impl FnOnce(TcpStream) -> F + Send + 'static) -> io::Result<()>
    where
        F: Future<Output = ()> + Send,
    {
        let stream = stream.into_std()?;
        let Some(lane) = self.0.iter().min_by_key(|lane| Arc::strong_count(&lane.open)) else {
            return Ok(());
        };
        let open = Arc::clone(&lane.open);
        lane.runtime.spawn(async move {
            if let Ok(stream) = TcpStream::from_std(stream) {
                serve(stream).await;
            }
            drop(open);
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn connections_that_stay_are_spread_however_they_came_and_are_cut_with_the_lanes() {
        let lanes = Lanes::open().expect("two threads");
        let spread = lanes.spread();
        let name = lanes.within(async { thread::current().name().map(str::to_owned) }).await;
        assert_eq!(name.expect("it runs").as_deref(), Some("lane-0"));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let (tell, mut told) = mpsc::unbounded_channel();
        let mut callers = Vec::new();
        // Of every two that come one goes at once: by turns, all that stay would be of one lane.
        for stays in [true, false].into_iter().cycle().take(8) {
            let mut caller = TcpStream::connect(address).await.expect("the listener listens");
            let (stream, _) = listener.accept().await.expect("it has come");
            let tell = tell.clone();
            let serve = move |mut stream: TcpStream| async move {
                let name = thread::current().name().unwrap_or_default().to_owned();
                let _ = tell.send(name);
                let mut rest = Vec::new();
                let _ = stream.read_to_end(&mut rest).await;
            };
            spread.serve(stream, serve).expect("an open stream");
            let name = told.recv().await.expect("it is served");
            if stays {
                callers.push((name, caller));
            } else {
                caller.shutdown().await.expect("it is open");
                let mut rest = Vec::new();
                caller.read_to_end(&mut rest).await.expect("it is closed on both sides");
                let left = || spread.0.iter().map(|lane| Arc::strong_count(&lane.open) - 1).sum::<usize>();
                while left() > callers.len() {
                    tokio::task::yield_now().await;
                }
            }
        }
        let of = |lane: &str| callers.iter().filter(|(name, _)| name == lane).count();
        assert_eq!((of("lane-0"), of("lane-1")), (2, 2));
        drop(lanes);
        for (_, mut caller) in callers {
            assert_eq!(caller.read(&mut [0]).await.ok().unwrap_or_default(), 0, "it is cut");
        }
    }
}
