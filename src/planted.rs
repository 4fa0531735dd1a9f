//! Bugs that are planted on purpose, to show that the checks which should find them can fail.
//!
//! `planted::is(Bug::X)` stands where the bug would be. It is false for ever in a release build, which has not a byte of it: the
//! switch exists in builds with debug assertions only. Tests within the crate switch a bug on for their own thread ([`with`]) and
//! for the threads that it starts through [`inherited`]; a black-box test starts the debug binary with `SHELFD_PLANTED` naming it.
//! A cargo feature was rejected: the crate would be compiled twice, and somebody could ship it.

/// A bug, and where it sits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// Journal: whoever waits is answered before the transaction is committed.
    AnswerBeforeSync,
    /// Journal: the transaction is committed without waiting for the disk.
    CommitWithoutSync,
    /// Journal: a commit that failed is answered as done.
    FailureAnsweredDone,
    /// Disk: what a failed sync left in doubt is taken for durable, since it can be read.
    UnsyncedTrusted,
    /// Opening: redb's pages are not checked, however small the file is.
    PagesUnchecked,
    /// Creation: the file has its name before it is a store.
    NamedEarly,
    /// Creation: the directory is not synced after the renaming.
    DirectoryNotSynced,
    /// Snapshots: the floor is said to be as high as the newest fact when the pass ends, not when it began.
    FloorAhead,
    /// Sealing: a generation is called whole before its runs are written.
    SealedEarly,
    /// Retention: facts go that no snapshot has.
    CutAboveFloor,
    /// Journal: what was decided on a state that has been rolled back is taken.
    EpochIgnored,
    /// View: a fact of a SKU is folded again after a start, though the snapshot row has it.
    FoldedTwice,
    /// View: ids are not remembered when the journal is read again at a start.
    IdsForgotten,
    /// Snapshots: a row says that it has one fact more than it has.
    SnapshotTooNew,
    /// Snapshots: a pass says that it has saved all, and leaves the reservations out.
    SnapshotHalf,
    /// View: an ended reservation whose row is written is dropped, and nothing says that there is a row.
    EndedDropped,
    /// Warehouse: a lost copy is read from the view at once, ahead of what its predecessor sent.
    BarrierSkipped,
    /// Warehouse: a copy is let go though the view does not have all that it says yet.
    LetGoAhead,
    /// Warehouse: the copy of an awake SKU is taken from its actor though that has work.
    LentWhileBusy,
    /// Warehouse: a copy of an id in flight is judged as if it were new.
    InFlightForgotten,
    /// Memory of ids: those of a batch are called new without a look.
    SiftedBlind,
    /// Warehouse: a refused command is answered before what it was judged against is durable.
    RefusalAtOnce,
    /// Warehouse: a fact now and then has the version of the one before it.
    VersionRepeats,
    /// Warehouse: what is due is expired two seconds late, before a decision, too.
    ExpiryLate,
    /// Forwarder: its cursor passes a transfer that was not told.
    CursorSkips,
    /// Forwarder: a start begins at the end of the journal.
    TransfersForgotten,
    /// Kafka, in: the place is written before what it stands for.
    PlaceAhead,
    /// Kafka, in: a message that is no event is passed without a letter.
    LetterSkipped,
    /// Kafka, out: the cursor passes what was sent, confirmed or not.
    CursorAhead,
    /// Draft: the facts of a basket go to the journal in two messages.
    BasketInTwo,
    /// Domain: one unit more is promised than there is.
    #[cfg(test)]
    OversellByOne,
    /// Domain: a confirmation does not give all of the claim back.
    #[cfg(test)]
    ReleaseLost,
    /// Domain: a confirmation may take more than was held.
    #[cfg(test)]
    ConfirmTooMuch,
    /// Domain: a basket's last line is not claimed.
    #[cfg(test)]
    HalfBasket,
    /// Domain: an extension moves the basket's deadline, and not those of its claims.
    #[cfg(test)]
    ExtendHalf,
    /// Domain: a confirmed basket can be cancelled.
    #[cfg(test)]
    EndNotFinal,
    /// Domain: a figure older than the newest is applied.
    #[cfg(test)]
    StaleApplied,
    /// Domain: what a sale is short of is not found first.
    #[cfg(test)]
    BelowZero,
}

#[cfg(test)]
impl Bug {
    /// Every bug that the simulator looks for.
    pub(crate) const SIMULATED: &'static [Bug] = &[
        Bug::AnswerBeforeSync,
        Bug::CommitWithoutSync,
        Bug::EpochIgnored,
        Bug::FoldedTwice,
        Bug::IdsForgotten,
        Bug::SnapshotTooNew,
        Bug::SnapshotHalf,
        Bug::EndedDropped,
        Bug::BarrierSkipped,
        Bug::LentWhileBusy,
        Bug::LetGoAhead,
        Bug::InFlightForgotten,
        Bug::SiftedBlind,
        Bug::RefusalAtOnce,
        Bug::VersionRepeats,
        Bug::ExpiryLate,
        Bug::CursorSkips,
        Bug::TransfersForgotten,
        Bug::PlaceAhead,
        Bug::LetterSkipped,
        Bug::CursorAhead,
        Bug::BasketInTwo,
        Bug::OversellByOne,
        Bug::ReleaseLost,
        Bug::ConfirmTooMuch,
        Bug::HalfBasket,
        Bug::ExtendHalf,
        Bug::EndNotFinal,
        Bug::StaleApplied,
        Bug::BelowZero,
    ];
}

#[cfg(any(test, debug_assertions))]
mod switch {
    use std::cell::Cell;
    use std::sync::OnceLock;

    use crate::planted::Bug;

    thread_local! {
        static HERE: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// What the environment of the process names, as text.
    static EVERYWHERE: OnceLock<Option<String>> = OnceLock::new();

    pub(super) fn here() -> Option<Bug> {
        HERE.get()
    }

    pub(super) fn set(bug: Option<Bug>) {
        HERE.set(bug);
    }

    pub(super) fn is(bug: Bug) -> bool {
        let named = EVERYWHERE.get_or_init(|| std::env::var("SHELFD_PLANTED").ok());
        HERE.get() == Some(bug) || named.as_deref().is_some_and(|named| named == format!("{bug:?}"))
    }
}

/// Whether a bug is planted here. A constant in a release build.
#[cfg(any(test, debug_assertions))]
pub(crate) fn is(bug: Bug) -> bool {
    switch::is(bug)
}

/// Whether a bug is planted here. A constant in a release build.
#[cfg(not(any(test, debug_assertions)))]
#[inline(always)]
pub(crate) const fn is(_: Bug) -> bool {
    false
}

/// What a new thread runs, with the bug of the thread that starts it.
#[cfg(any(test, debug_assertions))]
pub(crate) fn inherited<R>(run: impl FnOnce() -> R) -> impl FnOnce() -> R {
    let bug = switch::here();
    move || {
        switch::set(bug);
        run()
    }
}

/// What a new thread runs.
#[cfg(not(any(test, debug_assertions)))]
#[inline(always)]
pub(crate) fn inherited<R>(run: impl FnOnce() -> R) -> impl FnOnce() -> R {
    run
}

/// Runs something with a bug planted in this thread, or with none.
#[cfg(test)]
pub(crate) fn with<R>(bug: Option<Bug>, run: impl FnOnce() -> R) -> R {
    /// Taken out again also when a test fails inside.
    struct Out(Option<Bug>);
    impl Drop for Out {
        fn drop(&mut self) {
            switch::set(self.0);
        }
    }
    let _out = Out(switch::here());
    switch::set(bug);
    run()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bug_is_planted_in_its_own_thread_and_in_those_that_inherit_it() {
        with(Some(Bug::AnswerBeforeSync), || {
            assert!(is(Bug::AnswerBeforeSync) && !is(Bug::CommitWithoutSync));
            let here = std::thread::spawn(inherited(|| is(Bug::AnswerBeforeSync)));
            let elsewhere = std::thread::spawn(|| is(Bug::AnswerBeforeSync));
            assert!(here.join().unwrap() && !elsewhere.join().unwrap());
        });
        assert!(!is(Bug::AnswerBeforeSync), "it is taken out again");
    }
}
