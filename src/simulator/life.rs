//! One life of the node: from a start on the disk as it lay to its end, foreseen or not.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use super::disk::{Disk, Image};
use super::rules;
use crate::actors::node::{Node, Setting};
use crate::app::House;
use crate::config::{Config, Layers};
use crate::domain::units::{Id, Time};
use crate::domain::warehouse::{Channel, Warehouse};
use crate::host::world;
use crate::ingress::admission::Valve;
use crate::storage::journal::Limits;
use crate::storage::store::{Options, Store};

/// The warehouses, each with its zone: one east of all, so that its midnight is soon another's noon.
pub(super) const SITES: [(&str, &str); 2] = [("main", "UTC"), ("back", "Pacific/Kiritimati")];
/// Events that may be inside at once.
pub(super) const VALVE_EVENTS: usize = 24;

/// What differs between the nodes of two seeds.
#[derive(Clone)]
pub(super) struct Setup {
    pub(super) config: Config,
    pub(super) limits: Limits,
}

impl Setup {
    pub(super) fn new(seed: u64) -> Setup {
        let appends = [1, 2, 8_192][(seed % 3) as usize];
        let awake = [1, 4, 20_000][(seed / 3 % 3) as usize];
        let hand_over = [1, 1, 8][(seed / 27 % 3) as usize];
        let copies = [32_768, 1, 4][(seed / 81 % 3) as usize];
        let of = |key: &'static str, value: u64| (key, Some(value.to_string()));
        let flags = [
            of("actors.idle_sleep_s", 1),
            of("actors.wake_rate_per_s", 1),
            of("actors.hand_over_rows", hand_over),
            of("actors.awake_max", awake),
            of("actors.copies_max", copies),
            of("storage.snapshot_interval_s", 1 + seed % 3),
            of("audit.facts_per_s", [0, 0, 1_000][(seed / 9 % 3) as usize]),
        ];
        let layers = flags.into_iter().fold(Layers::defaults(), |layers, (key, value)| {
            layers.flag("simulator", key, value)
        });
        Setup {
            config: layers.load().expect("the simulator's configuration is valid"),
            limits: Limits {
                commit_appends: appends,
                ..Limits::default()
            },
        }
    }

    pub(super) fn options(&self) -> Options {
        Options {
            cache_bytes: 1 << 20,
            generation_bits: 6,
            limits: self.limits,
            ..Options::default()
        }
    }
}

/// See the module.
pub(super) struct Life {
    pub(super) disk: Arc<Disk>,
    pub(super) valve: Valve,
    runtime: Runtime,
    house: Option<House>,
}

impl Life {
    /// Starts the node at a time of the wall clock, on that disk. The error: it did not come up, and why.
    pub(super) fn start(setup: &Setup, disk: Arc<Disk>, wall_ms: i64, seed: u64) -> Result<Life, String> {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let mut life = Life {
            valve: Valve::new(VALVE_EVENTS, 1 << 20),
            runtime,
            house: None,
            disk: disk.clone(),
        };
        let started = life.runtime.block_on(async {
            world::begin(wall_ms, seed);
            let store = Store::open_with(disk.backends(), setup.options()).map_err(|error| error.to_string())?;
            let house = House::start_judging(&setup.config, store, rules::decide, rules::judge).await;
            house.map_err(|error| error.to_string())
        });
        life.house = Some(started?);
        life.declare();
        Ok(life)
    }

    /// Declares what is not there yet; a disk that refuses it now is asked again at the next start.
    fn declare(&self) {
        let node = self.node().clone();
        self.run(async {
            for (id, zone) in SITES {
                let known = node.view().warehouse(id);
                if known.is_some_and(|site| site.channels.len() > 1) {
                    continue;
                }
                let channel = |buffer| Channel {
                    buffer,
                    allow_no_expiry: true,
                    ..Channel::default()
                };
                let site = Warehouse {
                    id: Id::trusted(id),
                    name: id.to_owned(),
                    time_zone: zone.to_owned(),
                    channels: [(Id::trusted("default"), channel(0)), (Id::trusted("web"), channel(2))].into(),
                };
                let _ = node.set(Setting::Warehouse(site), None, None).await;
            }
        });
    }

    pub(super) fn node(&self) -> &Node {
        &self.house.as_ref().expect("a life has a house until it ends").node
    }

    /// The node's clock.
    pub(super) fn now(&self) -> Time {
        self.run(async { self.node().now() })
    }

    /// Why the node said that it cannot go on; `None`: it goes on.
    pub(super) fn gave_up(&self) -> Option<String> {
        self.house.as_ref().and_then(|house| house.fatal.borrow().clone())
    }

    pub(super) fn run<R>(&self, what: impl Future<Output = R>) -> R {
        self.runtime.block_on(what)
    }

    /// Lets time pass.
    pub(super) fn pass(&self, ms: u64) {
        self.run(async { tokio::time::sleep(Duration::from_millis(ms)).await });
    }

    /// Begins something that goes on beside.
    pub(super) fn spawn(&self, what: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(what);
    }

    /// The process is killed, or the power goes; what is left of the disk, and the time.
    pub(super) fn kill(self, power: bool) -> (Image, i64) {
        let wall_ms = self.wall_ms();
        (self.disk.stop(power), wall_ms)
    }

    /// The node stops in an orderly manner, and then the power goes.
    pub(super) fn close(mut self) -> (Image, i64) {
        if let Some(house) = self.house.take() {
            self.runtime.block_on(house.close());
        }
        let wall_ms = self.wall_ms();
        (self.disk.stop(true), wall_ms)
    }

    fn wall_ms(&self) -> i64 {
        self.run(async { world::wall_ms() }).unwrap_or_default()
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        // Whatever its tasks still do on their way out, nothing of it reaches the disk.
        self.disk.stop(false);
        self.house = None;
        let empty = Builder::new_current_thread().build();
        if let Ok(empty) = empty {
            drop(std::mem::replace(&mut self.runtime, empty));
        }
        world::end();
    }
}
