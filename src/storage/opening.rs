//! How far the opening of a store is, for whoever waits for it.

use std::fmt;

use parking_lot::Mutex;

/// What is being done, in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// The file is opened and, after a crash, checked page by page; counted in percent.
    #[default]
    File,
    /// The snapshot is read; counted in SKUs.
    Snapshot,
    /// The facts after it are folded; counted in facts.
    Journal,
    /// The store is open.
    Open,
}

impl Stage {
    /// Its name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::File => "file",
            Stage::Snapshot => "snapshot",
            Stage::Journal => "journal",
            Stage::Open => "actors",
        }
    }
}

/// How far it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// What is being done.
    pub stage: Stage,
    /// How much of it is done.
    pub done: u64,
    /// How much there is; 0 where nobody knows.
    pub of: u64,
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Reached { stage, done, of } = self;
        match stage {
            Stage::File if *of == 0 => f.write_str("the store's file is being opened"),
            Stage::File => write!(f, "the store's file is being checked: {done} of {of} percent"),
            Stage::Snapshot => write!(f, "the snapshot is being read: {done} of {of} SKUs"),
            Stage::Journal => write!(f, "the journal is being read: {done} of {of} facts"),
            Stage::Open => f.write_str("the warehouses are being started"),
        }
    }
}

/// One store's opening: one thread opens it, any may look.
#[derive(Debug, Default)]
pub struct Opening(Mutex<Reached>);

impl Opening {
    /// How far it is now.
    pub fn reached(&self) -> Reached {
        *self.0.lock()
    }

    pub(crate) fn begin(&self, stage: Stage, of: u64) {
        *self.0.lock() = Reached { stage, done: 0, of };
    }

    pub(crate) fn advance(&self, by: u64) {
        self.0.lock().done += by;
    }

    /// So much of the file's pages, from 0 to 1, is checked.
    pub(crate) fn checked(&self, part: f64) {
        let mut reached = self.0.lock();
        // A file that is opened again while the node runs is nobody's start.
        if reached.stage == Stage::File {
            (reached.done, reached.of) = ((part.clamp(0.0, 1.0) * 100.0) as u64, 100);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stage_says_how_far_it_is_in_its_own_unit() {
        let opening = Opening::default();
        let says = || opening.reached().to_string();
        assert_eq!(says(), "the store's file is being opened");
        opening.checked(0.3);
        assert_eq!(says(), "the store's file is being checked: 30 of 100 percent");
        opening.begin(Stage::Snapshot, 2_000);
        opening.advance(1_000);
        assert_eq!(says(), "the snapshot is being read: 1000 of 2000 SKUs");
        opening.begin(Stage::Journal, 5);
        opening.checked(0.9);
        assert_eq!(says(), "the journal is being read: 0 of 5 facts");
        opening.begin(Stage::Open, 0);
        assert_eq!(says(), "the warehouses are being started");
    }
}
