//! JSON that is written by hand into one buffer: verdicts and the page of a SKU, which nearly all answers are.
//!
//! serde's writer asks for room for every bracket, comma and quote, and its numbers go through the formatter: to shape and write a SKU's
//! page took nearly twice as long. Everything else is serde's; what is written here is compared with serde's by a test.

pub(super) use crate::plain::put_text as text;

use super::shape::{Accounts, LotView, SkuView};

/// A number after its name, which is given with all that stands around it (`,"seq":`).
pub(super) fn number(out: &mut Vec<u8>, name: &[u8], mut n: u64) {
    out.extend_from_slice(name);
    // Digit by digit: the formatter's machinery costs more than the rest of a verdict.
    let (mut digits, mut from) = ([0; 20], 20);
    loop {
        from -= 1;
        digits[from] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[from..]);
}

/// As [`number`], of units, which may be below zero.
fn units(out: &mut Vec<u8>, name: &[u8], n: i64) {
    if n < 0 {
        out.extend_from_slice(name);
        number(out, b"-", n.unsigned_abs());
    } else {
        number(out, name, n.unsigned_abs());
    }
}

/// As [`number`], of a text that may be missing.
fn optional(out: &mut Vec<u8>, name: &[u8], value: Option<&str>) {
    out.extend_from_slice(name);
    match value {
        Some(value) => text(out, value),
        None => out.extend_from_slice(b"null"),
    }
}

/// Texts or objects with commas between them.
fn list<T>(out: &mut Vec<u8>, items: &[T], mut item: impl FnMut(&mut Vec<u8>, &T)) {
    for (at, of) in items.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        item(out, of);
    }
}

fn accounts(out: &mut Vec<u8>, of: &Accounts) {
    units(out, b",\"accounts\":{\"sellable\":", of.sellable);
    units(out, b",\"quarantine\":", of.quarantine);
    units(out, b",\"in_transit\":", of.in_transit);
    units(out, b",\"supply\":", of.supply);
    units(out, b",\"demand\":", of.demand);
    units(out, b",\"waste\":", of.waste);
    units(out, b",\"discrepancy\":", of.discrepancy);
    out.push(b'}');
}

fn lot(out: &mut Vec<u8>, of: &LotView) {
    optional(out, b"{\"lot\":", Some(&of.lot));
    optional(out, b",\"expires_on\":", of.expires_on.as_deref());
    units(out, b",\"sellable\":", of.sellable);
    units(out, b",\"quarantine\":", of.quarantine);
    units(out, b",\"in_transit\":", of.in_transit);
    optional(out, b",\"last_count\":", of.last_count.as_deref());
    out.push(b'}');
}

/// The page of a SKU, as serde would write it.
pub(super) fn sku(out: &mut Vec<u8>, of: &SkuView<'_>) {
    optional(out, b"{\"warehouse\":", Some(of.warehouse));
    optional(out, b",\"sku\":", Some(of.sku));
    optional(out, b",\"unit\":", Some(of.unit));
    number(out, b",\"version\":", of.version);
    number(out, b",\"seq\":", of.seq);
    accounts(out, &of.accounts);
    out.extend_from_slice(b",\"lots\":[");
    list(out, &of.lots, lot);
    units(out, b"],\"claimed\":", of.claimed);
    units(out, b",\"owed\":", of.owed);
    out.extend_from_slice(b",\"available\":{");
    list(out, of.available.each(), |out, (channel, n)| {
        text(out, channel);
        units(out, b":", *n);
    });
    optional(out, b"},\"last_count\":", of.last_count.as_deref());
    out.extend_from_slice(b",\"flags\":[");
    list(out, &of.flags, |out, flag| text(out, flag));
    out.extend_from_slice(b"]}");
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    use super::super::shape::Channels;
    use super::*;

    fn lots() -> impl Strategy<Value = LotView> {
        let texts = (".{0,6}", option::of(".{0,6}"), option::of(".{0,6}"));
        (texts, any::<[i64; 3]>()).prop_map(
            |((lot, expires_on, last_count), [sellable, quarantine, in_transit])| LotView {
                lot,
                expires_on,
                sellable,
                quarantine,
                in_transit,
                last_count,
            },
        )
    }

    proptest! {
        #[test]
        fn a_skus_page_is_written_as_serde_writes_it(
            (warehouse, sku, last_count) in (".{0,9}", ".{0,9}", option::of(".{0,9}")), lots in vec(lots(), 0..3),
            accounts in any::<[i64; 7]>(), numbers in any::<[u64; 4]>(), channels in vec((".{0,5}", any::<i64>()), 0..6), flags in 0usize..4,
        ) {
            let [version, seq, claimed, owed] = numbers;
            let view = SkuView {
                warehouse: &warehouse,
                sku: &sku,
                unit: "pcs",
                version,
                seq,
                accounts: accounts.into(),
                lots,
                claimed: claimed as i64,
                owed: owed as i64,
                available: channels.iter().map(|(channel, n)| (channel.as_str(), *n)).collect::<Channels<'_>>(),
                last_count,
                flags: ["count_due", "at_risk", "expired_stock"][..flags].to_vec(),
            };
            let mut out = Vec::new();
            super::sku(&mut out, &view);
            prop_assert_eq!(String::from_utf8(out), serde_json::to_string(&view).map(Ok).expect("numbers and texts"));
        }
    }
}
