//! A target for the configuration: a file, and variables over it. What is refused says what is wrong and what to do; what is taken is
//! taken again when it is written out.

use std::sync::Arc;

use miette::NamedSource;

use super::{Config, Invalid, Layers, Values};

fn read(text: &str) -> Result<Config, Invalid> {
    let source = Arc::new(NamedSource::new("fuzz.toml", text.to_owned()));
    Layers::defaults().over(Values::read_toml(text, Some(&source)))
}

/// The text of a file.
pub fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match read(text) {
        Ok(config) => {
            let written = config.to_toml();
            match read(&written) {
                Ok(again) => assert_eq!(again, config),
                Err(invalid) => panic!("{written}\nis not taken again: {:?}", invalid.lines().collect::<Vec<_>>()),
            }
        }
        Err(invalid) => assert!(invalid.lines().next().is_some()),
    }
}

#[cfg(test)]
pub(crate) fn is_a_configuration(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| read(text).is_ok())
}
