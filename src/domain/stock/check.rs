//! What must hold of one SKU's state at every moment, by name: for tests, the simulator and the running auditor.
//!
//! The alternative, assertions inside `evolve`, was rejected: the fold must go on over a store that is wrong, so that
//! somebody can look at it.

use std::fmt;

use crate::domain::available::set_fits;
use crate::domain::fact::Account;
use crate::domain::units::{Day, Id, MAX_QUANTITY};

use super::{Claims, Stock};

/// An invariant that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// The seven accounts do not sum to zero.
    Conservation {
        /// What they sum to.
        sum: i128,
    },
    /// An inside account of a lot is below zero.
    NoNegative {
        /// The lot.
        lot: Id,
        /// The account.
        account: Account,
        /// Its units.
        units: i64,
    },
    /// What is owed is below zero.
    NegativeDebt {
        /// What is owed.
        owed: i64,
    },
    /// An account is past ±10^12.
    Bounds {
        /// The account.
        account: Account,
        /// Its units.
        units: i64,
    },
    /// What is promised firmly is more than the shelf can serve.
    NoOversell {
        /// Units that are promised, those at risk left out.
        promised: i64,
    },
    /// Lots or the recent book are not in their order, so that look-ups would miss.
    Order,
}

impl Violation {
    /// The invariant's name.
    pub fn name(&self) -> &'static str {
        match self {
            Violation::Conservation { .. } => "conservation",
            Violation::NoNegative { .. } | Violation::NegativeDebt { .. } => "no_negative",
            Violation::Bounds { .. } => "bounds",
            Violation::NoOversell { .. } => "no_oversell",
            Violation::Order => "order",
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Violation::Conservation { sum } => write!(f, "the seven accounts sum to {sum}, not to 0"),
            Violation::NoNegative { lot, account, units } => {
                write!(f, "{} of lot {lot:?} is {units}, below 0", account.as_str())
            }
            Violation::NegativeDebt { owed } => write!(f, "owed is {owed}, below 0"),
            Violation::Bounds { account, units } => write!(f, "{} is {units}, past ±10^12", account.as_str()),
            Violation::NoOversell { promised } => {
                write!(
                    f,
                    "{promised} are promised, none of them at risk, and the lots that serve them do not cover them"
                )
            }
            Violation::Order => f.write_str("the lots or the recent book are out of order"),
        }
    }
}

/// Checks conservation, no_negative, the bounds of every account and the order of what is searched.
pub fn check(stock: &Stock) -> Result<(), Violation> {
    for lot in &stock.lots {
        for (account, units) in Account::ALL.into_iter().zip(lot.inside) {
            if units < 0 {
                let lot = lot.id.clone();
                return Err(Violation::NoNegative { lot, account, units });
            }
        }
    }
    if stock.owed < 0 {
        return Err(Violation::NegativeDebt { owed: stock.owed });
    }
    let accounts = stock.accounts();
    let sum: i128 = accounts.iter().map(|&units| i128::from(units)).sum();
    if sum != 0 {
        return Err(Violation::Conservation { sum });
    }
    for (account, units) in Account::ALL.into_iter().zip(accounts) {
        if units.unsigned_abs() > MAX_QUANTITY.unsigned_abs() {
            return Err(Violation::Bounds { account, units });
        }
    }
    let lots = stock.lots.windows(2).all(|pair| pair[0].id < pair[1].id);
    let mut book = stock.book.iter().zip(stock.book.iter().skip(1));
    if !lots || !book.all(|(a, b)| (a.at, a.lot) < (b.at, b.lot)) {
        return Err(Violation::Order);
    }
    Ok(())
}

/// Checks no_oversell: that the lots cover, at every threshold, all that is promised and not marked as at risk, on the day of the
/// SKU's last fact. A claim whose deadline has passed counts until its end is a fact.
pub fn check_promises(stock: &Stock, today: Day) -> Result<(), Violation> {
    if !stock.claims.any_at_risk() && set_fits(stock, today) {
        return Ok(());
    }
    let firm: Claims = stock.claims.iter().filter(|claim| !claim.at_risk).cloned().collect();
    let shelf = Stock {
        lots: stock.lots.clone(),
        dated: stock.dated,
        claims: firm,
        ..Stock::default()
    };
    match set_fits(&shelf, today) {
        true => Ok(()),
        false => Err(Violation::NoOversell {
            promised: shelf.claimed(),
        }),
    }
}
