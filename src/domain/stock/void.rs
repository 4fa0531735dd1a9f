//! `void`: takes back the movements of an earlier event of the same source, as opposite movements now; once.
//!
//! It is late or not by the time of the event that it takes back. The changes of that event's fact are taken back in
//! reverse, so a delivery first owes again what it had repaid and then leaves, and a sale first comes back and then
//! un-finds what is still owed. Nobody's claim is revived: it may have been promised to others since.
//!
//! The alternative, to edit the earlier fact, was rejected: facts are the truth, and somebody has acted on it.

use crate::domain::event::{Event, Inside};
use crate::domain::fact::{Account, Change, Changes, Fact, Outcome, Role, Subject};
use crate::domain::refusal::{Code, Refusal};
use crate::domain::units::{Id, Time};

use super::decide::{Context, Voided};
use super::evolve::evolve;
use super::late::{self, Leg};
use super::leave::{Leave, Pick, Short, leave};
use super::{Stock, transfer};

/// The words of facts that a void may take back.
const VOIDABLE: [&str; 9] = [
    "receipt",
    "sale",
    "return",
    "quarantine",
    "release",
    "write_off",
    "transfer_out",
    "transfer_in",
    "adjustment",
];

/// What follows from a void, given what its caller found under the id that it names.
pub(super) fn void(stock: &Stock, event: &Event, voided: Voided<'_>, ctx: &Context<'_>) -> Result<(Outcome, Changes), Refusal> {
    let refusal = |code, detail: &str| Err(Refusal::field(code, "/data/event", detail));
    let fact = match voided {
        Voided::Fact(fact) if fact.outcome.binds() => fact,
        Voided::Already => {
            return refusal(
                Code::AlreadyVoided,
                "that event was taken back before; nothing is left to void",
            );
        }
        _ => {
            return refusal(
                Code::UnknownEvent,
                "this source has sent no event of that id that took effect here and is still remembered",
            );
        }
    };
    if !VOIDABLE.contains(&&*fact.what) {
        return refusal(
            Code::NotVoidable,
            "counts, snapshots and voids cannot be taken back; send a new count, or the event again",
        );
    }
    let Subject::Sku { sku, changes, .. } = &fact.subject else {
        return refusal(Code::NotVoidable, "that event moved no SKU");
    };
    if *sku != event.sku {
        let detail = format!("that event is about SKU {:?}; name the same SKU", sku.as_str());
        return Err(Refusal::field(Code::InvalidValue, "/data/sku", detail));
    }
    let mut desk = Desk {
        stock: stock.clone(),
        event,
        ctx,
        at: fact.business,
        changes: Changes::new(),
        found: 0,
        counted: 0,
        late: 0,
    };
    desk.take_back(fact, changes)?;
    let late = fact.outcome == Outcome::IncludedInCount || (desk.counted > 0 && desk.late == desk.counted);
    let outcome = if late {
        Outcome::IncludedInCount
    } else {
        Outcome::Applied {
            found: desk.found,
            expired_lot: None,
        }
    };
    Ok((outcome, desk.changes))
}

/// A working copy of the SKU, on which one change after the other is taken back.
struct Desk<'a> {
    stock: Stock,
    event: &'a Event,
    ctx: &'a Context<'a>,
    /// The time of the event that is taken back.
    at: Time,
    changes: Changes,
    found: i64,
    /// Units of legs on sellable, and how many of them were late.
    counted: i64,
    late: i64,
}

impl Desk<'_> {
    fn take_back(&mut self, fact: &Fact, changes: &[Change]) -> Result<(), Refusal> {
        let arrival = changes.iter().find_map(|change| match change {
            Change::Transfer { transfer, arrived, .. } if &*fact.what == "transfer_in" => Some((transfer, *arrived)),
            _ => None,
        });
        let arrival = arrival.filter(|(transfer, _)| self.stock.transfer(transfer).is_some());
        let mut places = arrival.map(|(transfer, arrived)| self.sent_back(transfer, arrived));
        for change in changes.iter().rev() {
            match (change, &mut places) {
                (
                    Change::Move {
                        lot,
                        to,
                        quantity,
                        role: Role::Own,
                        ..
                    },
                    Some(places),
                ) => self.spread(lot, *to, *quantity, places)?,
                (
                    Change::Move {
                        lot,
                        from,
                        to,
                        quantity,
                        role,
                    },
                    _,
                ) => self.back(lot, *from, *to, *quantity, *role)?,
                (Change::Transfer { transfer, sent, arrived }, None) => self.put(Change::Transfer {
                    transfer: transfer.clone(),
                    sent: -sent,
                    arrived: -arrived,
                }),
                (other, _) => self.unbook(other),
            }
        }
        // A surplus that came late moved nothing then, so its units have no movement to be taken back by.
        if let Some(mut places) = places {
            let rest = places.iter().map(|(_, units)| units).sum();
            self.spread(&Id::no_lot(), Account::Discrepancy, rest, &mut places)?;
        }
        Ok(())
    }

    /// The legs that were late already: out of the book again. Any other change is not this one's matter.
    fn unbook(&mut self, change: &Change) {
        if let Change::Book {
            at,
            lot,
            own,
            found,
            set,
        } = change
        {
            self.put(Change::Book {
                at: *at,
                lot: lot.clone(),
                own: -own,
                found: -found,
                set: -set,
            });
        }
    }

    fn back(&mut self, lot: &Id, from: Account, to: Account, quantity: i64, role: Role) -> Result<(), Refusal> {
        match role {
            Role::Own => self.opposite(lot, to, from, quantity),
            Role::Filled => {
                let held = inside(to).map_or(quantity, |account| self.held(lot, account));
                self.leg(lot, to, from, quantity.min(held));
                Ok(())
            }
            Role::Found if to == Account::Sellable => {
                let owed = quantity.min(self.stock.owed).min(self.held(lot, Inside::Sellable));
                self.amend_debt(lot, to, from, owed);
                Ok(())
            }
            Role::Repaid => {
                self.amend_debt(lot, to, from, quantity);
                Ok(())
            }
            // What was found elsewhere lies there; what a count set stays.
            Role::Found | Role::Counted | Role::Voided => Ok(()),
        }
    }

    /// Un-finds (sellable → discrepancy, less is owed) or owes again; not what a count has settled since.
    fn amend_debt(&mut self, lot: &Id, from: Account, to: Account, quantity: i64) {
        if quantity <= 0 || late::late(&self.stock, lot, self.at) {
            return;
        }
        let unfinds = from == Account::Sellable;
        let units = if unfinds { -quantity } else { quantity };
        self.put(Change::Move {
            lot: lot.clone(),
            from,
            to,
            quantity,
            role: Role::Voided,
        });
        self.put(Change::Owed(units));
        self.put(Change::Book {
            at: self.at,
            lot: lot.clone(),
            own: 0,
            found: if unfinds { units } else { 0 },
            set: if unfinds { 0 } else { units },
        });
    }

    /// An event's own movement, the other way; what is missing for it is found.
    fn opposite(&mut self, lot: &Id, from: Account, to: Account, quantity: i64) -> Result<(), Refusal> {
        let late = late::late(&self.stock, lot, self.at);
        if from == Account::Sellable || to == Account::Sellable {
            self.counted += quantity;
            self.late += if late { quantity } else { 0 };
        }
        let Some(account) = inside(from) else {
            self.leg(lot, from, to, quantity);
            return Ok(());
        };
        let named = [(lot.clone(), quantity)];
        let left = leave(
            &self.stock,
            &Leave {
                sku: &self.event.sku,
                from: account,
                quantity,
                to,
                pick: Pick {
                    named: &named,
                    ..Pick::default()
                },
                at: self.at,
                role: Role::Voided,
                short: Short::Find,
            },
            self.ctx,
        )?;
        self.found += left.found;
        for change in left.changes {
            self.put(change);
        }
        Ok(())
    }

    /// Where the units of a `transfer_in` go that is taken back: by the balance as it is now, since its out may have come in between.
    /// Surplus goes back to discrepancy, what was sent is underway again, and the rest returns to supply.
    fn sent_back(&mut self, id: &Id, arrived: i64) -> [(Account, i64); 3] {
        let (sent, before) = transfer::balance(&self.stock, id);
        let after = before - arrived;
        let surplus = transfer::surplus(sent, before) - transfer::surplus(sent, after);
        let underway = transfer::open(sent, after) - transfer::open(sent, before);
        self.put(Change::Transfer {
            transfer: id.clone(),
            sent: 0,
            arrived: -arrived,
        });
        [
            (Account::Discrepancy, surplus.max(0)),
            (Account::InTransit, underway.max(0)),
            (Account::Supply, (arrived - surplus - underway).max(0)),
        ]
    }

    fn spread(&mut self, lot: &Id, from: Account, quantity: i64, places: &mut [(Account, i64); 3]) -> Result<(), Refusal> {
        let mut rest = quantity;
        for (to, units) in places {
            let part = rest.min(*units);
            rest -= part;
            *units -= part;
            if part > 0 && from == Account::Discrepancy {
                self.leg(lot, from, *to, part);
            } else if part > 0 {
                self.opposite(lot, from, *to, part)?;
            }
        }
        Ok(())
    }

    fn leg(&mut self, lot: &Id, from: Account, to: Account, quantity: i64) {
        let mut changes = Changes::new();
        let leg = Leg {
            lot,
            from,
            to,
            quantity,
            role: Role::Voided,
            at: self.at,
        };
        late::leg(&self.stock, leg, &mut changes);
        for change in changes {
            self.put(change);
        }
    }

    fn held(&self, lot: &Id, account: Inside) -> i64 {
        self.stock.lot(lot).map_or(0, |lot| lot.units(account))
    }

    fn put(&mut self, change: Change) {
        evolve(&mut self.stock, std::slice::from_ref(&change), self.ctx.now, self.ctx.now);
        self.changes.push(change);
    }
}

fn inside(account: Account) -> Option<Inside> {
    match account {
        Account::Sellable => Some(Inside::Sellable),
        Account::Quarantine => Some(Inside::Quarantine),
        Account::InTransit => Some(Inside::InTransit),
        _ => None,
    }
}
