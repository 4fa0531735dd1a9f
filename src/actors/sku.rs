//! One SKU that single events come for steadily, or that an event has panicked in.
//!
//! Owns: the working copy of one SKU, while it has work. Receives: work, and the question for the copy, all from its
//! warehouse, the only sender. Sends: facts to the journal, the copy back to the warehouse. Dies when: deciding an event
//! panics; the warehouse then rebuilds it from the view behind a barrier. Invariant: between two pieces of work the copy
//! lies in its slot, where the warehouse takes it for an operation without asking, once all that it sent has been done.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::batch::Ticket;
use super::desk::{Desk, Prepared};
use super::draft::Draft;
use super::warehouse;
use crate::domain::stock::Stock;
use crate::doom;
use crate::storage::append::SkuIndex;

/// What a SKU is told.
pub enum Msg {
    /// Events, deduplicated and stamped by the warehouse.
    Work {
        /// The batch.
        ticket: Arc<Ticket>,
        /// Its rows for this SKU, in order.
        rows: Vec<Prepared>,
        /// Everything needed to decide, as it is now.
        desk: Arc<Desk>,
    },
    /// Give the working copy back, when all before is done.
    Recall,
}

/// What it is started with.
pub struct Args {
    /// Everything needed to decide.
    pub desk: Arc<Desk>,
    /// Its SKU.
    pub index: SkuIndex,
    /// The epoch it lives in; it never sees another.
    pub epoch: u64,
    /// What it shares with its warehouse.
    pub slot: Arc<Slot>,
    /// Its warehouse.
    pub warehouse: ActorRef<warehouse::Msg>,
}

/// What an awake SKU shares with its warehouse.
#[derive(Debug, Default)]
pub struct Slot {
    /// Its working copy, where its warehouse may take it from while nothing is to be done: whose it is at a time is told by the order
    /// of messages, never by who locks first. Behind a pointer, since it lies with the warehouse for nearly all of the time.
    pub copy: Mutex<Option<Box<Stock>>>,
    /// How many messages of work it has done, and sent on; the warehouse knows how many it was sent.
    pub done: AtomicU64,
    /// The hash of the id of the event that it is deciding, so that the one that kills it is known.
    pub deciding: AtomicU64,
}

impl Slot {
    /// Puts the copy here.
    pub fn put(&self, stock: Option<Stock>) {
        *self.copy.lock() = stock.map(Box::new);
    }

    /// Takes the copy from here.
    pub fn take(&self) -> Option<Stock> {
        self.copy.lock().take().map(|stock| *stock)
    }
}

/// See the module.
pub struct Sku;

impl Actor for Sku {
    type Msg = Msg;
    type State = Args;
    type Arguments = Args;

    async fn pre_start(&self, _: ActorRef<Msg>, args: Args) -> Result<Args, ActorProcessingErr> {
        Ok(args)
    }

    async fn handle(&self, _: ActorRef<Msg>, message: Msg, state: &mut Args) -> Result<(), ActorProcessingErr> {
        match message {
            Msg::Work { ticket, rows, desk } => {
                state.desk = desk;
                state.on_work(&ticket, rows);
            }
            Msg::Recall => state.on_recall(),
        }
        Ok(())
    }
}

impl Args {
    fn on_work(&mut self, ticket: &Arc<Ticket>, rows: Vec<Prepared>) {
        let mut draft = Draft::new(self.desk.warehouse.clone());
        let mut stock = self.slot.take();
        for prepared in rows {
            self.slot.deciding.store(prepared.id, Ordering::Release);
            self.desk.decide(&mut stock, ticket, &prepared, &mut draft);
        }
        self.slot.put(stock);
        doom::may_die("sku");
        draft.send_of_sku(&self.desk.shared, self.epoch, self.index, self.warehouse.clone());
        doom::may_die("sku_sent");
        // Last: whoever sees it may take the copy, and what it decides must reach the journal after this.
        self.slot.done.fetch_add(1, Ordering::Release);
    }

    fn on_recall(&mut self) {
        let returned = warehouse::Msg::Returned {
            sku: self.index,
            epoch: self.epoch,
            stock: self.slot.copy.lock().take(),
        };
        // A warehouse that has died takes its SKUs with it.
        let _ = self.warehouse.cast(returned);
    }
}
