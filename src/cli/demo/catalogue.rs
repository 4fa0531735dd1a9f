//! The goods of the demo's darkstore, read from `catalogue.tsv`.
//!
//! The table is a data file so that a person can read and change it without reading Rust; it is embedded so that `shelfd demo`
//! needs nothing beside the binary. Rejected: names and prices made up at random, which look like nothing anybody sells.

use serde::Deserialize;
use serde_json::{Value, json};

const TABLE: &str = include_str!("catalogue.tsv");

/// One item that the darkstore sells.
#[derive(Clone, Debug, Deserialize)]
pub struct Good {
    /// EAN-13; the SKU id, and its barcode.
    pub gtin: String,
    /// What it is: `dairy`, `bread`, …
    pub category: String,
    /// Who delivers it.
    pub supplier: String,
    /// `each`, `g` or `ml`.
    pub unit: String,
    /// Base units in one delivery case.
    pub case: i64,
    /// Days from delivery to expiry.
    #[serde(rename = "life")]
    pub shelf_life_days: i64,
    /// Roubles for one base unit, as a decimal text: money is no float either.
    pub price: String,
    /// How often it is in a basket: 1 (rare) to 10.
    pub demand: u32,
    /// What it is called on the shelf.
    pub name_ru: String,
    /// The same in English.
    pub name_en: String,
}

impl Good {
    /// The body of `PUT /v1/skus/{gtin}`.
    pub fn entry(&self) -> Value {
        json!({
            "name": format!("{} / {}", self.name_ru, self.name_en),
            "unit": self.unit,
            "barcodes": [self.gtin],
            "category": self.category,
            "shelf_life_days": self.shelf_life_days,
            "price": self.price,
        })
    }

    /// Whether it is sold by weight or volume.
    pub fn is_loose(&self) -> bool {
        self.unit != "each"
    }
}

/// Why the embedded table cannot be read: it was edited and is wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A row is not as the header says.
    #[error("the demo's catalogue")]
    Row(#[from] csv::Error),
    /// A GTIN is not an EAN-13.
    #[error("the demo's catalogue has {0}, which is no EAN-13: its check digit does not fit")]
    Gtin(String),
}

/// All goods, in the order of the table.
pub fn load() -> Result<Vec<Good>, Error> {
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(b'\t')
        .comment(Some(b'#'))
        .quoting(false)
        .from_reader(TABLE.as_bytes());
    let goods: Vec<Good> = reader.deserialize().collect::<Result<_, _>>()?;
    match goods.iter().find(|good| !is_ean13(&good.gtin)) {
        Some(good) => Err(Error::Gtin(good.gtin.clone())),
        None => Ok(goods),
    }
}

/// Whether a text is an EAN-13: 13 digits, the last of which makes the weighted sum (1, 3, 1, 3, …) a multiple of ten.
/// Source: GS1 General Specifications, section 7.9.1 (standard check digit calculations).
pub fn is_ean13(text: &str) -> bool {
    let digits: Option<Vec<u32>> = text.chars().map(|c| c.to_digit(10)).collect();
    digits.is_some_and(|digits| {
        let sum: u32 = digits
            .iter()
            .zip([1, 3].iter().cycle())
            .map(|(digit, weight)| digit * weight)
            .sum();
        digits.len() == 13 && sum.is_multiple_of(10)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_good_has_a_russian_ean13_of_its_own_and_both_names() {
        let goods = load().expect("the table is sound");
        assert!(goods.len() >= 300, "{}", goods.len());
        let mut seen = HashSet::new();
        for good in &goods {
            assert!(
                (460..=469).contains(&good.gtin[..3].parse::<u32>().expect("digits")),
                "{}",
                good.gtin
            );
            assert!(seen.insert(good.gtin.as_str()), "{} stands twice", good.gtin);
            assert!(
                ["each", "g", "ml"].contains(&good.unit.as_str()),
                "{} {}",
                good.gtin,
                good.unit
            );
            assert!(
                good.case > 0 && good.shelf_life_days > 0 && (1..=10).contains(&good.demand),
                "{}",
                good.gtin
            );
            assert!(good.name_ru.chars().any(|c| ('А'..='я').contains(&c)), "{}", good.name_ru);
            assert!(
                good.name_en.is_ascii() || good.name_en.contains(['é', 'ó', 'â']),
                "{}",
                good.name_en
            );
        }
    }

    #[test]
    fn a_wrong_check_digit_is_seen() {
        assert!(is_ean13("4006381333931"), "the example of many barcode pages");
        assert!(!is_ean13("4006381333932"));
        assert!(!is_ean13("400638133393"));
    }
}
