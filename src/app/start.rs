//! A start as others see it: the service manager's line, and the log.

use std::sync::Arc;
use std::time::Duration;

use crate::storage::opening::{Opening, Reached};
use crate::systemd;

/// How often it is looked at.
const EVERY: Duration = Duration::from_secs(1);
/// How much longer a start may take that went on since the last look. A long journal is no reason to be killed; a disk that answers
/// nothing is.
const GOES_ON: Duration = Duration::from_secs(60);
/// Every so many looks it is logged: a usual start is over before.
const LOGGED_EVERY: u32 = 3;

/// Does `work`, and tells meanwhile how far the opening is.
pub(super) async fn told<T>(opening: &Arc<Opening>, work: impl Future<Output = T>) -> T {
    let telling = tokio::spawn(tell(opening.clone()));
    let done = work.await;
    telling.abort();
    done
}

async fn tell(opening: Arc<Opening>) {
    let mut looks = tokio::time::interval(EVERY);
    let mut last = None;
    for look in 0u32.. {
        looks.tick().await;
        let reached = opening.reached();
        if went_on(&mut last, reached) {
            systemd::status(&reached.to_string());
            systemd::extend_timeout(GOES_ON);
        }
        if look > 0 && look % LOGGED_EVERY == 0 {
            tracing::info!("starting: {reached}");
        }
    }
}

/// Whether it is further than at the last look.
fn went_on(last: &mut Option<Reached>, now: Reached) -> bool {
    last.replace(now) != Some(now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::opening::Stage;

    #[test]
    fn a_start_goes_on_while_something_of_it_does() {
        let (mut last, mut at) = (None, Reached::default());
        assert!(went_on(&mut last, at), "it has begun");
        assert!(!went_on(&mut last, at), "nothing has happened since");
        at.done = 1;
        assert!(went_on(&mut last, at));
        at.stage = Stage::Open;
        assert!(went_on(&mut last, at) && !went_on(&mut last, at));
    }
}
