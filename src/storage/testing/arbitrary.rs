//! Facts of every shape, for properties.

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

use crate::domain::event::Origin;
use crate::domain::fact::{Account, After, Change, Changes, Claim, Fact, OnOffer, Outcome, Role, Subject};
use crate::domain::refusal::{Code, Refusal, Shortage};
use crate::domain::reservation::{End, Line, Reservation, State};
use crate::domain::stock::{Belief, StreamMark};
use crate::domain::units::{Day, Id, Time, Unit};
use crate::domain::warehouse::{Channel, Warehouse};
use crate::storage::codec::{Memory, Stored};

pub(crate) fn id() -> impl Strategy<Value = Id> {
    prop_oneof!["[a-e]{1,2}", "[а-я]{1,5}", "[ -~]{1,128}"].prop_map(|text| Id::trusted(&text))
}

fn few() -> impl Strategy<Value = Id> {
    "[a-d]".prop_map(|text| Id::trusted(&text))
}

fn text() -> impl Strategy<Value = Box<str>> {
    ".{0,12}".prop_map(String::into_boxed_str)
}

fn units() -> impl Strategy<Value = i64> {
    prop_oneof![-1_000i64..1_000, any::<i64>()]
}

fn time() -> impl Strategy<Value = Time> {
    prop_oneof![0i64..100_000, any::<i64>()].prop_map(Time)
}

fn day() -> impl Strategy<Value = Day> {
    any::<i32>().prop_map(Day)
}

fn account() -> impl Strategy<Value = Account> {
    (0usize..7).prop_map(|at| Account::ALL[at])
}

fn role() -> impl Strategy<Value = Role> {
    let all = [
        Role::Own,
        Role::Found,
        Role::Repaid,
        Role::Counted,
        Role::Filled,
        Role::Voided,
    ];
    (0usize..all.len()).prop_map(move |at| all[at])
}

fn claim() -> impl Strategy<Value = Claim> {
    (few(), 0i64..1_000, of(day()), of(time()), any::<bool>()).prop_map(
        |(reservation, quantity, good_until, deadline, at_risk)| Claim {
            reservation,
            quantity,
            good_until,
            deadline,
            at_risk,
        },
    )
}

fn movement() -> impl Strategy<Value = Change> {
    (few(), account(), account(), 1i64..1_000, role()).prop_map(|(lot, from, to, quantity, role)| Change::Move {
        lot,
        from,
        to,
        quantity,
        role,
    })
}

pub(crate) fn change() -> impl Strategy<Value = Change> {
    let unit = prop_oneof![Just(Unit::Each), Just(Unit::G), Just(Unit::Ml)];
    let stream = (few(), few(), of(few()), any::<u64>(), any::<u64>(), any::<u64>());
    prop_oneof![
        4 => movement(),
        2 => claim().prop_map(|claim| Change::Claim(claim.into())),
        1 => (few(), of(day())).prop_map(|(lot, expires_on)| Change::Lot { lot, expires_on }),
        1 => unit.prop_map(Change::Unit),
        1 => units().prop_map(Change::Owed),
        1 => (time(), few(), units(), units(), units()).prop_map(|(at, lot, own, found, set)| Change::Book { at, lot, own, found, set }),
        1 => (of(few()), time()).prop_map(|(lot, as_of)| Change::Counted { lot, as_of }),
        1 => any::<bool>().prop_map(Change::CountDue),
        1 => (few(), units()).prop_map(|(reservation, quantity)| Change::Unclaim { reservation, quantity }),
        1 => (few(), of(time())).prop_map(|(reservation, deadline)| Change::Deadline { reservation, deadline }),
        1 => (few(), any::<bool>()).prop_map(|(reservation, at_risk)| Change::AtRisk { reservation, at_risk }),
        1 => (few(), units(), units()).prop_map(|(transfer, sent, arrived)| Change::Transfer { transfer, sent, arrived }),
        1 => stream.prop_map(|(source, stream, lot, newest, newest_absolute, gaps)| Change::Stream(Box::new(StreamMark {
            source, stream, lot, newest, newest_absolute, gaps,
        }))),
        1 => (few(), of(few()), units(), units(), time(), of(time())).prop_map(|(source, lot, believes, book, at, since)| Change::Belief(Box::new(Belief {
            source, lot, believes, book, at, since,
        }))),
        1 => (few(), of(units())).prop_map(|(channel, buffer)| Change::Buffer { channel, buffer }),
        1 => (0i64..50_000).prop_map(|at| Change::BookCut(Time(at))),
        1 => few().prop_map(Change::LotGone),
        1 => few().prop_map(Change::TransferGone),
        1 => Just(Change::Turned),
    ]
}

fn outcome() -> impl Strategy<Value = Outcome> {
    let shortage = (id(), units(), units()).prop_map(|(sku, requested, available)| Shortage {
        sku,
        requested,
        available,
    });
    let refusal =
        (0..Code::ALL.len(), ".{0,20}", of(".{0,9}"), vec(shortage, 0..3)).prop_map(|(code, detail, field, lines)| Refusal {
            code: Code::ALL[code],
            detail,
            field,
            lines,
        });
    prop_oneof![
        6 => Just(Outcome::APPLIED),
        1 => (units(), of(id())).prop_map(|(found, expired_lot)| Outcome::Applied { found, expired_lot }),
        1 => Just(Outcome::IncludedInCount),
        1 => Just(Outcome::Stale),
        1 => Just(Outcome::Recorded),
        1 => refusal.prop_map(|refusal| Outcome::Refused(refusal.into())),
        1 => text().prop_map(|error| Outcome::DeadLetter { error }),
    ]
}

fn reservation() -> impl Strategy<Value = Reservation> {
    let line =
        (id(), vec(units(), 5), of(any::<u32>()), of(day())).prop_map(|(sku, figures, min_shelf_life_days, good_until)| Line {
            sku,
            quantity: figures[0],
            held: figures[1],
            taken: figures[2],
            matched: figures[3],
            confirmed: figures[4],
            min_shelf_life_days,
            good_until,
        });
    let state = prop_oneof![
        Just(State::Held),
        Just(State::Confirmed),
        Just(State::Cancelled),
        Just(State::Expired)
    ];
    let end = (time(), of(any::<u64>())).prop_map(|(at, fingerprint)| End { at, fingerprint });
    let numbers = (any::<u64>(), any::<u64>(), of((any::<u64>(), of(time()))));
    (few(), id(), state, numbers, vec(line, 0..3), (time(), of(time()), of(end))).prop_map(
        |(id, channel, state, (version, request, extended), lines, (created, expires, end))| Reservation {
            id,
            channel,
            state,
            version,
            request,
            extended,
            lines,
            created,
            expires,
            end,
        },
    )
}

fn warehouse() -> impl Strategy<Value = Warehouse> {
    let channel =
        (units(), any::<u32>(), any::<u32>(), any::<bool>()).prop_map(|(buffer, ttl_s, max_ttl_s, allow_no_expiry)| Channel {
            buffer,
            ttl_s,
            max_ttl_s,
            allow_no_expiry,
        });
    let channels = proptest::collection::btree_map(id(), channel, 0..3);
    (few(), ".{0,9}", ".{0,9}", channels).prop_map(|(id, name, time_zone, channels)| Warehouse {
        id,
        name,
        time_zone,
        channels,
    })
}

fn subject() -> impl Strategy<Value = Subject> {
    let on_offer = prop_oneof![
        Just(OnOffer::Unknown),
        Just(OnOffer::Alike([Id::trusted("default")].into())),
        Just(OnOffer::Alike([Id::trusted("default"), Id::trusted("web")].into())),
        vec(id(), 0..4).prop_map(|channels| OnOffer::Alike(channels.into())),
        vec((id(), units()), 0..4).prop_map(|figures| OnOffer::Each(figures.into())),
    ];
    let after =
        (vec(units(), 7), units(), units(), units(), on_offer).prop_map(|(accounts, claimed, owed, available, on_offer)| After {
            accounts: accounts.try_into().unwrap_or_default(),
            claimed,
            owed,
            available,
            on_offer,
        });
    let sku = (few(), any::<u64>(), vec(change(), 0..5), after).prop_map(|(sku, version, changes, after)| Subject::Sku {
        sku,
        version,
        changes: Changes::from_vec(changes),
        after,
    });
    prop_oneof![
        8 => sku,
        2 => reservation().prop_map(|basket| Subject::Reservation(Box::new(basket))),
        1 => warehouse().prop_map(|warehouse| Subject::Warehouse(Box::new(warehouse))),
        1 => (few(), text()).prop_map(|(sku, entry)| Subject::Catalogue { sku, entry }),
        1 => (1u64..200, prop_oneof![Just("replayed"), Just("discarded"), Just("restored")])
            .prop_map(|(letter, action)| Subject::DeadLetter { letter, action: action.into() }),
        1 => (of(few()), any::<u32>()).prop_map(|(sku, rows)| Subject::Row { sku, rows }),
        1 => few().prop_map(|reservation| Subject::Command { reservation }),
    ]
}

/// A `traceparent`, or what somebody took for one.
fn trace() -> impl Strategy<Value = Box<str>> {
    prop_oneof![
        text(),
        "00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}".prop_map(Into::into),
        "0[0-9a-fA-F]-[0-9a-fA-F]{32}.[0-9a-f]{16}.[0-9a-f]{2}".prop_map(Into::into),
    ]
}

fn origin() -> impl Strategy<Value = Origin> {
    (
        id(),
        id(),
        (of(text()), of(text()), of(text()), of(trace()), of(text())),
        any::<u64>(),
    )
        .prop_map(
            |(source, id, (actor, reason, document, trace, extensions), fingerprint)| Origin {
                source,
                id,
                actor,
                reason,
                document,
                trace: trace.as_deref().map(Into::into),
                extensions,
                fingerprint,
            },
        )
}

/// A fact without its sequence, of any shape.
pub(crate) fn stored() -> impl Strategy<Value = Stored> {
    let memory =
        (any::<bool>(), of(any::<u64>()), any::<bool>()).prop_map(|(id, voids, keep_forever)| Memory { id, voids, keep_forever });
    let times = (time(), 0i64..1_000_000);
    ((few(), text(), times, origin()), (outcome(), of(text()), subject()), memory).prop_map(
        |((warehouse, what, (business, recorded), origin), (outcome, payload, subject), memory)| {
            let fact = Fact {
                seq: 0,
                warehouse,
                what,
                business,
                recorded: Time(recorded),
                origin,
                outcome,
                payload,
                subject,
            };
            Stored { fact, memory }
        },
    )
}
