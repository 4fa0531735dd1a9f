//! Deaths that are planted on purpose, to show who pays for one and who notices nothing.
//!
//! `doom::may_die(who)` stands where a death would hurt most: between deciding and sending, between sending and remembering that it
//! was sent, between the disk and the answer. In a release build it is nothing. In a build with debug assertions a black-box test
//! names a file in `SHELFD_DOOM`; each of its lines is a name and a number of deaths, and the file may be written while the node runs,
//! so that a test chooses the moment and can see that it came. The simulator names its next one in its world (`host`). A signal or a route was rejected: they would be shipped.

/// Panics when it is this one's turn.
#[cfg(debug_assertions)]
pub(crate) fn may_die(who: &str) {
    #[cfg(test)]
    let doomed = crate::host::world::dooms(who);
    #[cfg(not(test))]
    let doomed = false;
    assert!(!doomed && !list::takes(who), "planted: {who} dies");
}

/// Nothing.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub(crate) fn may_die(_who: &str) {}

#[cfg(debug_assertions)]
mod list {
    use std::path::{Path, PathBuf};
    use std::sync::LazyLock;

    use parking_lot::Mutex;

    static LIST: LazyLock<Option<Mutex<PathBuf>>> = LazyLock::new(|| {
        let named = std::env::var_os("SHELFD_DOOM")?;
        Some(Mutex::new(PathBuf::from(named)))
    });

    pub(super) fn takes(who: &str) -> bool {
        LIST.as_ref().is_some_and(|list| struck(&list.lock(), who))
    }

    /// Whether the list has a death left for this one, which is then struck off.
    fn struck(list: &Path, who: &str) -> bool {
        let Ok(text) = std::fs::read_to_string(list) else {
            return false;
        };
        let mut taken = false;
        let lines = text.lines().filter_map(|line| {
            let (name, left) = line.split_once(' ')?;
            let left: u64 = left.trim().parse().ok()?;
            let mine = name == who && left > 0 && !taken;
            taken |= mine;
            Some(format!("{name} {}\n", if mine { left - 1 } else { left }))
        });
        let rest: String = lines.collect();
        // Whole at every moment: a test reads it meanwhile.
        let new = list.with_extension("new");
        taken && std::fs::write(&new, rest).is_ok() && std::fs::rename(&new, list).is_ok()
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn each_death_is_struck_off_the_list() {
            let directory = tempfile::tempdir().unwrap();
            let list = directory.path().join("doom");
            assert!(!struck(&list, "sku"), "there is no list yet");
            std::fs::write(&list, "sku 2\nforwarder 1\n").unwrap();
            assert!(!struck(&list, "warehouse"));
            assert!(struck(&list, "sku") && struck(&list, "sku"));
            assert!(!struck(&list, "sku"));
            assert!(struck(&list, "forwarder"));
            assert_eq!(std::fs::read_to_string(&list).unwrap(), "sku 0\nforwarder 0\n");
        }
    }
}
