//! One SKU that has something of its own to mind.
//!
//! Owns: the working copy of one SKU, while it has it. Receives: work, the copy, and the question for it back, all from its
//! warehouse, the only sender. Sends: facts to the journal, the copy back to the warehouse. Dies when: deciding an event
//! panics; the warehouse then rebuilds it from the view behind a barrier. Invariant: decides only while it has the copy.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::batch::Ticket;
use super::desk::{Desk, Prepared};
use super::draft::Draft;
use super::warehouse;
use crate::domain::offer::Offer;
use crate::domain::stock::Stock;
use crate::domain::units::Id;
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
    },
    /// The working copy is yours.
    Give(Option<Stock>),
    /// Give the working copy back.
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
    /// Its working copy.
    pub stock: Option<Stock>,
    /// Its warehouse.
    pub warehouse: ActorRef<warehouse::Msg>,
    /// Where it notes which event it is deciding (the id's hash), so that the one that kills it is known.
    pub deciding: Arc<AtomicU64>,
}

/// What it keeps.
pub struct State {
    args: Args,
    /// Whether the working copy is here.
    here: bool,
}

/// See the module.
pub struct Sku;

impl Actor for Sku {
    type Msg = Msg;
    type State = State;
    type Arguments = Args;

    async fn pre_start(&self, _: ActorRef<Msg>, args: Args) -> Result<State, ActorProcessingErr> {
        Ok(State { args, here: true })
    }

    async fn handle(&self, _: ActorRef<Msg>, message: Msg, state: &mut State) -> Result<(), ActorProcessingErr> {
        match message {
            Msg::Work { ticket, rows, offer } => {
                state.args.desk.offer = offer;
                state.on_work(&ticket, rows);
            }
            Msg::Give(stock) => {
                state.args.stock = stock;
                state.here = true;
            }
            Msg::Recall => state.on_recall(),
        }
        Ok(())
    }
}

impl State {
    fn on_work(&mut self, ticket: &Arc<Ticket>, rows: Vec<Prepared>) {
        debug_assert!(self.here, "the warehouse sends work only to the holder of the copy");
        let mut draft = Draft::new(self.args.desk.warehouse.clone());
        let mut stock = self.args.stock.take();
        for prepared in rows {
            self.args.deciding.store(prepared.id, Ordering::Release);
            self.args.desk.decide(&mut stock, ticket, &prepared, &mut draft);
        }
        self.args.stock = stock;
        draft.send(&self.args.desk.shared, self.args.epoch, Some(self.args.warehouse.clone()));
    }

    fn on_recall(&mut self) {
        self.here = false;
        let returned = warehouse::Msg::Returned {
            sku: self.args.index,
            epoch: self.args.epoch,
            stock: self.args.stock.take(),
        };
        // A warehouse that has died takes its SKUs with it.
        let _ = self.args.warehouse.cast(returned);
    }
}
