//! The bytes of what each channel could promise after a fact. Three bits of the fact's flags say how it is written:
//!
//! | bits | meaning | bytes |
//! |---|---|---|
//! | 0 | nobody wrote it down (stores of format 1) | none |
//! | 1 | the one channel `default`, which keeps nothing back | none |
//! | 2 | `default` and `web`, which keep nothing back | none |
//! | 3 | the channels named, which keep nothing back | count, names |
//! | 4 | each channel with its figure | count, names and figures |
//!
//! The lists of 1 and 2 are those of nearly every warehouse, and of the embedded configuration: their facts pay nothing.

use std::sync::{Arc, LazyLock};

use crate::domain::fact::OnOffer;
use crate::domain::units::Id;

use super::{Corrupt, Reader, put_signed, put_str, put_varint};

/// The bits of the flags.
pub(super) const MASK: u8 = 7 << SHIFT;
const SHIFT: u8 = 4;

const UNKNOWN: u8 = 0;
const SOLE: u8 = 1;
const USUAL: u8 = 2;
const ALIKE: u8 = 3;
const EACH: u8 = 4;

static CHANNELS: LazyLock<[Arc<[Id]>; 2]> = LazyLock::new(|| {
    let named = |names: &[&str]| names.iter().map(|name| Id::trusted(name)).collect();
    [named(&["default"]), named(&["default", "web"])]
});

/// The flags that go with it.
pub(super) fn flags(on_offer: &OnOffer) -> u8 {
    let form = match on_offer {
        OnOffer::Unknown => UNKNOWN,
        OnOffer::Alike(channels) => match &**channels {
            [one] if one.as_str() == "default" => SOLE,
            [one, other] if one.as_str() == "default" && other.as_str() == "web" => USUAL,
            _ => ALIKE,
        },
        OnOffer::Each(_) => EACH,
    };
    form << SHIFT
}

/// Appends what its flags do not say already.
pub(super) fn put(out: &mut Vec<u8>, on_offer: &OnOffer) {
    match on_offer {
        OnOffer::Alike(channels) if flags(on_offer) >> SHIFT == ALIKE => {
            put_varint(out, channels.len() as u64);
            for channel in channels.iter() {
                put_str(out, channel.as_str());
            }
        }
        OnOffer::Unknown | OnOffer::Alike(_) => {}
        OnOffer::Each(figures) => {
            put_varint(out, figures.len() as u64);
            for (channel, units) in figures {
                put_str(out, channel.as_str());
                put_signed(out, *units);
            }
        }
    }
}

/// Reads it back.
pub(super) fn read(reader: &mut Reader<'_>, flags: u8) -> Result<OnOffer, Corrupt> {
    Ok(match (flags & MASK) >> SHIFT {
        UNKNOWN => OnOffer::Unknown,
        form @ (SOLE | USUAL) => OnOffer::Alike(Arc::clone(&CHANNELS[usize::from(form - SOLE)])),
        ALIKE => {
            let count = reader.count("channels")?;
            let channels: Result<Arc<[Id]>, _> = (0..count).map(|_| reader.id("channel")).collect();
            OnOffer::Alike(channels?)
        }
        EACH => {
            let count = reader.count("channels")?;
            let figure = |_| Ok((reader.id("channel")?, reader.signed("figure of a channel")?));
            let figures: Result<Box<[(Id, i64)]>, _> = (0..count).map(figure).collect();
            OnOffer::Each(figures?)
        }
        _ => return Err(reader.corrupt("form of the channels' figures")),
    })
}

/// Reads it and checks it, and keeps nothing: the usual ones are no bytes.
pub(super) fn pass(reader: &mut Reader<'_>, flags: u8) -> Result<(), Corrupt> {
    match (flags & MASK) >> SHIFT {
        UNKNOWN | SOLE | USUAL => Ok(()),
        _ => read(reader, flags).map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_that_keep_nothing_back_cost_no_byte_where_they_are_the_usual_ones() {
        let alike = |names: &[&str]| OnOffer::Alike(names.iter().map(|name| Id::trusted(name)).collect());
        for (on_offer, bytes) in [
            (alike(&["default"]), 0),
            (alike(&["default", "web"]), 0),
            (alike(&["app", "default"]), 13),
            (OnOffer::Each([(Id::trusted("default"), 3)].into()), 10),
        ] {
            let mut out = Vec::new();
            put(&mut out, &on_offer);
            assert_eq!(out.len(), bytes, "{on_offer:?}");
            assert_eq!(read(&mut Reader::new(&out), flags(&on_offer)), Ok(on_offer));
        }
    }
}
