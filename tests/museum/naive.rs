//! The code that fails: twelve shops as they are built, each small enough to be read, none of them a caricature. They are run by the
//! exhibits in `tests/museum.rs`, which assert that they fail.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex};

/// 1. Reads the stock, checks it in the program, and writes it back.
pub struct CheckThenAct {
    pub stock: AtomicI64,
    pub sold: AtomicUsize,
}

impl CheckThenAct {
    /// A sale of one. `both`: where the customers stand at the same moment, between the look and the write.
    pub fn sell(&self, both: &Barrier) {
        let seen = self.stock.load(Ordering::SeqCst);
        both.wait();
        if seen >= 1 {
            self.stock.fetch_sub(1, Ordering::SeqCst);
            self.sold.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// 2. A shop window that believes its cache until it runs out.
pub struct Window {
    pub cached: i64,
    pub cached_until: u64,
}

impl Window {
    pub fn available(&mut self, stock: i64, now: u64) -> i64 {
        if now >= self.cached_until {
            (self.cached, self.cached_until) = (stock, now + 900);
        }
        self.cached
    }
}

/// 3. A till's endpoint that does what it is told, each time that it is told.
#[derive(Default)]
pub struct Endpoint {
    pub stock: i64,
}

impl Endpoint {
    /// A sale; the answer may be lost on its way.
    pub fn sell(&mut self, quantity: i64, answer_arrives: bool) -> Option<&'static str> {
        self.stock -= quantity;
        answer_arrives.then_some("ok")
    }
}

/// 4. A queue that shows a message again when nobody has deleted it within its time-out.
pub struct Queue {
    messages: VecDeque<(i64, u64)>,
}

impl Queue {
    const TIME_OUT: u64 = 30;

    pub fn with(quantity: i64) -> Queue {
        Queue {
            messages: [(quantity, 0)].into(),
        }
    }

    pub fn receive(&mut self, now: u64) -> Option<i64> {
        let (quantity, hidden_until) = self.messages.front_mut()?;
        if *hidden_until > now {
            return None;
        }
        *hidden_until = now + Queue::TIME_OUT;
        Some(*quantity)
    }

    pub fn delete(&mut self) {
        self.messages.pop_front();
    }
}

/// 5. Holds that end when somebody sweeps, and a payment that looks for its row only.
#[derive(Default)]
pub struct Holds {
    pub stock: i64,
    rows: BTreeMap<&'static str, (i64, u64)>,
    pub paid: Vec<&'static str>,
}

impl Holds {
    pub fn of(stock: i64) -> Holds {
        Holds {
            stock,
            ..Holds::default()
        }
    }

    pub fn available(&self) -> i64 {
        self.stock - self.rows.values().map(|(quantity, _)| quantity).sum::<i64>()
    }

    pub fn hold(&mut self, order: &'static str, quantity: i64, until: u64) -> bool {
        let fits = self.available() >= quantity;
        if fits {
            self.rows.insert(order, (quantity, until));
        }
        fits
    }

    pub fn sweep(&mut self, now: u64) {
        self.rows.retain(|_, (_, until)| *until > now);
    }

    pub fn pay(&mut self, order: &'static str) {
        self.rows.remove(order);
        self.paid.push(order);
    }
}

/// 6. Takes a basket line by line, and gives up at the first that is short.
pub fn hold_line_by_line(stock: &mut BTreeMap<&'static str, i64>, lines: &[(&'static str, i64)]) -> Result<(), String> {
    for (sku, quantity) in lines {
        let there = stock.entry(sku).or_default();
        if *there < *quantity {
            return Err(format!("not enough {sku}"));
        }
        *there -= quantity;
    }
    Ok(())
}

/// 7. Adds what the rows of a file say, and begins at the first row whenever it is started.
pub fn import(stock: &mut i64, rows: &[i64], dies_after: usize) -> bool {
    rows.iter().take(dies_after).for_each(|row| *stock += row);
    dies_after >= rows.len()
}

/// 8. A shop that takes the ERP's figure for its own.
#[derive(Default)]
pub struct Overwritten {
    pub stock: i64,
    pub sold: i64,
}

impl Overwritten {
    pub fn sell(&mut self, quantity: i64) -> bool {
        let fits = self.stock >= quantity;
        if fits {
            self.stock -= quantity;
            self.sold += quantity;
        }
        fits
    }

    pub fn nightly_sync(&mut self, erp: i64) {
        self.stock = erp;
    }
}

/// 9. Asks the server's clock, which is in UTC, whether a date has passed.
pub fn is_sellable_today(expires_on: jiff::civil::Date, now: jiff::Timestamp) -> bool {
    expires_on >= jiff::tz::TimeZone::UTC.to_datetime(now).date()
}

/// 10. Writes its database, then tells the broker.
#[derive(Default)]
pub struct DualWrite {
    pub database: i64,
    pub broker: Vec<i64>,
}

impl DualWrite {
    pub fn sell(&mut self, quantity: i64, dies_between: bool) {
        self.database -= quantity;
        if !dies_between {
            self.broker.push(self.database);
        }
    }
}

/// 11. The newest figure wins, by the clock of whoever sent it.
#[derive(Default)]
pub struct LastWriteWins {
    pub stock: i64,
    written_at: u64,
}

impl LastWriteWins {
    pub fn count(&mut self, figure: i64, senders_clock: u64) {
        if senders_clock > self.written_at {
            (self.stock, self.written_at) = (figure, senders_clock);
        }
    }
}

/// 12. A consumer that stops at the message that it cannot read; the process starts it again, and it stops again.
pub fn consume(stock: &Mutex<i64>, messages: &[Result<i64, ()>], restarts: usize) -> BTreeSet<usize> {
    let mut done = BTreeSet::new();
    for _ in 0..=restarts {
        for (at, message) in messages.iter().enumerate() {
            if done.contains(&at) {
                continue;
            }
            let Ok(quantity) = message else { break };
            *stock.lock().expect("nobody panics with it") -= quantity;
            done.insert(at);
        }
    }
    done
}
