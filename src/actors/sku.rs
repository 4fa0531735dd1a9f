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
use crate::domain::offer::Offer;
use crate::domain::stock::Stock;
use crate::domain::units::Id;
use crate::domain::warehouse::Calendar;
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
        /// The warehouse's channels now.
        offer: Arc<Offer>,
        /// Its calendar now.
        calendar: Arc<Calendar>,
    },
    /// Give the working copy back, when all before is done.
    Recall,
}

/// What it is started with.
pub struct Args {
    /// Everything needed to decide.
    pub desk: Desk,
    /// Its SKU's id.
    pub sku: Id,
    /// Its SKU.
    pub index: SkuIndex,
    /// The epoch it lives in; it never sees another.
    pub epoch: u64,
    /// Its working copy, where its warehouse may take it from while nothing is to be done.
    pub copy: Slot,
    /// How many messages of work it has done, and sent on; the warehouse knows how many it was sent.
    pub done: Arc<AtomicU64>,
    /// Its warehouse.
    pub warehouse: ActorRef<warehouse::Msg>,
    /// Where it notes which event it is deciding (the id's hash), so that the one that kills it is known.
    pub deciding: Arc<AtomicU64>,
}

/// Where the copy of an awake SKU lies: whose it is at a time is told by the order of messages, never by who locks first.
/// Behind a pointer, since it lies with the warehouse for nearly all of the time.
pub type Slot = Arc<Mutex<Option<Box<Stock>>>>;

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
            Msg::Work {
                ticket,
                rows,
                offer,
                calendar,
            } => {
                state.desk.offer = offer;
                state.desk.calendar = calendar;
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
        let mut stock = self.copy.lock().take().map(|stock| *stock);
        for prepared in rows {
            self.deciding.store(prepared.id, Ordering::Release);
            self.desk.decide(&mut stock, ticket, &prepared, &mut draft);
        }
        *self.copy.lock() = stock.map(Box::new);
        doom::may_die("sku");
        draft.send_of_sku(&self.desk.shared, self.epoch, self.index, self.warehouse.clone());
        doom::may_die("sku_sent");
        // Last: whoever sees it may take the copy, and what it decides must reach the journal after this.
        self.done.fetch_add(1, Ordering::Release);
    }

    fn on_recall(&mut self) {
        let returned = warehouse::Msg::Returned {
            sku: self.index,
            epoch: self.epoch,
            stock: self.copy.lock().take(),
        };
        // A warehouse that has died takes its SKUs with it.
        let _ = self.warehouse.cast(returned);
    }
}
