//! Quantities as tables write them, made into integers of the base unit without a float on the way.
//!
//! Spreadsheets write `6`, `6.0`, `1,250` and `-2`; weights come in kilograms for a SKU that is kept in grams. The digits are
//! shifted by powers of ten as text, so that 0.1 kg is 100 g and nothing else. What does not come out whole is refused, never
//! rounded: a rounded quantity is stock that nobody has.

use super::document::{Problem, Section};
use crate::domain::units::MAX_QUANTITY;

/// How quantities are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AmountFormat {
    /// Base units in one unit of the table: 1000 where the table has kilograms and the SKU is kept in grams.
    pub multiply: i64,
    /// Whether the fraction is set off by a comma.
    pub decimal_comma: bool,
}

impl AmountFormat {
    /// Reads `[quantity]`, which may be absent.
    pub fn read(root: &Section<'_>) -> Result<AmountFormat, Problem> {
        let plain = AmountFormat {
            multiply: 1,
            decimal_comma: false,
        };
        let Some(section) = root.section("quantity", Some(&["multiply", "decimal_comma"]))? else {
            return Ok(plain);
        };
        Ok(AmountFormat {
            multiply: section.count("multiply")?.unwrap_or(plain.multiply),
            decimal_comma: section.flag("decimal_comma")?.unwrap_or(plain.decimal_comma),
        })
    }

    /// The quantity in base units, with its sign. Refuses what is no number, does not come out whole, or is beyond 10^12.
    pub fn parse(&self, cell: &str) -> Result<i64, String> {
        let text = cell.trim();
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let point = if self.decimal_comma { ',' } else { '.' };
        let (whole, fraction) = digits.split_once(point).unwrap_or((digits, ""));
        let is_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        if !is_digits(whole) || !is_digits(fraction) || whole.len() + fraction.len() == 0 {
            return Err(format!("quantity `{cell}` is no number"));
        }
        let fraction = fraction.trim_end_matches('0');
        let too_much = || format!("quantity `{cell}` is beyond 10^12 base units");
        // 18 digits of fraction and 10^12 whole units times the factor stay within an i128.
        if fraction.len() > 18 {
            return Err(format!("quantity `{cell}` is not a whole number of base units"));
        }
        let scale = 10_i128.pow(fraction.len() as u32);
        let unscaled = format!("0{whole}{fraction}").parse::<i128>().map_err(|_| too_much())?;
        let scaled = unscaled.checked_mul(i128::from(self.multiply)).ok_or_else(too_much)?;
        if scaled % scale != 0 {
            return Err(format!("quantity `{cell}` is not a whole number of base units"));
        }
        let units = i64::try_from(scaled / scale)
            .ok()
            .filter(|units| *units <= MAX_QUANTITY)
            .ok_or_else(too_much)?;
        Ok(if negative { -units } else { units })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: AmountFormat = AmountFormat {
        multiply: 1,
        decimal_comma: false,
    };
    const KILOGRAMS: AmountFormat = AmountFormat {
        multiply: 1000,
        decimal_comma: true,
    };

    #[test]
    fn numbers_come_out_whole_or_not_at_all() {
        for (format, cell, expected) in [
            (PLAIN, "6", Some(6)),
            (PLAIN, " -12 ", Some(-12)),
            (PLAIN, "+3", Some(3)),
            (PLAIN, "6.000", Some(6)),
            (PLAIN, "1000000000000", Some(MAX_QUANTITY)),
            (PLAIN, "6.5", None),
            (PLAIN, "1000000000001", None),
            (PLAIN, "99999999999999999999999999999999999999999999", None),
            (PLAIN, "1e3", None),
            (PLAIN, "1,000", None),
            (PLAIN, "", None),
            (PLAIN, ".", None),
            (PLAIN, "--1", None),
            (PLAIN, "NaN", None),
            (KILOGRAMS, "0,1", Some(100)),
            (KILOGRAMS, "1,2345", None),
            (KILOGRAMS, "-0,250", Some(-250)),
            (KILOGRAMS, ",5", Some(500)),
            (KILOGRAMS, "0,0000000000000000001", None),
        ] {
            assert_eq!(format.parse(cell).ok(), expected, "{cell}");
        }
    }
}
