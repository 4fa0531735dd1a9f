//! libFuzzer's way in: runs the target that `SHELFD_FUZZ` names. One program for all of them, since linking takes longer than
//! compiling.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
mod fuzzer {
    use std::sync::OnceLock;

    use libfuzzer_sys::fuzz_target;

    static TARGET: OnceLock<fn(&[u8])> = OnceLock::new();

    fn chosen() -> fn(&[u8]) {
        let wanted = std::env::var("SHELFD_FUZZ").unwrap_or_default();
        let found = shelfd::fuzz::TARGETS.iter().find(|(name, _)| *name == wanted);
        let Some((_, target)) = found else {
            let names: Vec<&str> = shelfd::fuzz::TARGETS.iter().map(|(name, _)| *name).collect();
            eprintln!("SHELFD_FUZZ names the target, one of: {}", names.join(" "));
            std::process::exit(64);
        };
        *target
    }

    fuzz_target!(|data: &[u8]| TARGET.get_or_init(chosen)(data));
}

#[cfg(not(fuzzing))]
fn main() {
    eprintln!("scripts/fuzz.sh builds this with its instrumentation; without it nothing would be found");
    std::process::exit(64);
}
