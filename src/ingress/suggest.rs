//! "Did you mean …": the nearest known word to an unknown one.
//!
//! Only a word within a third of its length is offered: a far-fetched guess sends people the wrong way, which is worse than
//! none.

/// The nearest of the known words, when it is near enough to be meant.
pub fn nearest<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // What nobody could have mistyped is not worth comparing: the cost is the product of the lengths.
    if unknown.is_empty() || unknown.len() > 128 {
        return None;
    }
    let limit = (unknown.chars().count() / 3).max(1);
    known
        .into_iter()
        .take(5_000)
        .map(|word| (strsim::osa_distance(unknown, word), word))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// `; did you mean 'word'?`, or nothing.
pub fn hint<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(unknown, known).map_or_else(String::new, |word| format!("; did you mean '{word}'?"))
}

/// A text as it may stand in an error: cut at 64 characters, without control characters.
pub fn quoted(text: &str) -> String {
    let mut out: String = text.chars().take(64).map(|c| if c.is_control() { '·' } else { c }).collect();
    if text.chars().nth(64).is_some() {
        out.push('…');
    }
    format!("'{out}'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_a_stranger_is_not() {
        assert_eq!(nearest("quantty", ["quantity", "unit"]), Some("quantity"));
        assert_eq!(nearest("msk-7", ["msk-07", "spb-01"]), Some("msk-07"));
        assert_eq!(nearest("zzz", ["quantity", "unit"]), None);
    }
}
