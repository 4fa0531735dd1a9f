//! The supervision tree, and the one handle through which everything else speaks to it.
//!
//! ```text
//! root            rest_for_one; past its limit the process exits, and the service manager starts it again
//! ├ journal       watches the group commit's thread
//! ├ warehouses    one_for_one → warehouse → its awake SKUs (one_for_one), each rebuilt from the view behind a barrier
//! └ followers     one_for_one: sealer, snapshots, retention, auditor, forwarder
//! ```
//!
//! Restart intensity and back-off are data in `supervise`. What may live here: actors, and what travels between them. An actor
//! decides nothing about stock: it carries out what `domain` decides.
//!
//! Deliberately absent: a mailbox in front of the journal's thread, an ask on the stock path (an operation over several SKUs
//! borrows the copies of those awake, and only of those), a lock held across anything.

pub mod answers;
pub mod batch;
pub mod clock;
pub mod desk;
pub mod draft;
pub mod follower;
pub mod forwarder;
pub mod jobs;
mod letters;
pub mod messages;
pub mod node;
mod once;
pub mod refused;
pub mod root;
pub mod router;
mod settings;
pub mod shared;
pub mod sku;
mod status;
pub mod supervise;
pub mod tree;
pub mod warehouse;
pub mod warehouses;
