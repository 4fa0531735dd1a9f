//! What an answer was worth: how many operations were accepted, and why the others were not.
//!
//! A refusal is answered faster than a sale is made durable, so a generator that counts answers flatters a node that refuses.
//! Here an operation counts only when the answer says that it took effect. Rejected: parsing the JSON whole, which costs more
//! than the node's own work on it; the two members that matter are found by search.

use std::collections::BTreeMap;

use memchr::memmem;

use super::wire::Reply;
use super::work::Kind;

/// What became of the operations of one request, or of many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Operations that took effect (or reads that were answered).
    pub accepted: u64,
    /// Of these, sales that had to find units: the book was short, so less was proved.
    pub found: u64,
    /// Operations that did not, by verdict, problem code, or `no_verdict`.
    pub not_accepted: BTreeMap<String, u64>,
}

impl Outcome {
    /// Counts something that did not take effect.
    pub fn miss(&mut self, code: &str, count: u64) {
        if count > 0 {
            *self.not_accepted.entry(code.to_owned()).or_default() += count;
        }
    }

    /// How many did not take effect.
    pub fn missed(&self) -> u64 {
        self.not_accepted.values().sum()
    }

    /// Adds another.
    pub fn add(&mut self, other: &Outcome) {
        self.accepted += other.accepted;
        self.found += other.found;
        for (code, count) in &other.not_accepted {
            self.miss(code, *count);
        }
    }
}

/// Reads answers; the searches are prepared once.
#[derive(Debug)]
pub struct Judge {
    verdict: memmem::Finder<'static>,
    code: memmem::Finder<'static>,
    found: memmem::Finder<'static>,
}

impl Default for Judge {
    fn default() -> Judge {
        Judge {
            verdict: memmem::Finder::new(br#""verdict":"#),
            code: memmem::Finder::new(br#""code":"#),
            found: memmem::Finder::new(br#""found":"#),
        }
    }
}

impl Judge {
    /// Adds to `outcome` what the answer to a request with `rows` operations was worth.
    pub fn judge(&self, kind: Kind, rows: u64, reply: &Reply<'_>, outcome: &mut Outcome) {
        if reply.status >= 400 {
            return outcome.miss(self.problem(reply), rows);
        }
        match kind {
            Kind::Read | Kind::Hold | Kind::Confirm | Kind::Basket => outcome.accepted += rows,
            Kind::Sale | Kind::Receipt | Kind::Batch => self.verdicts(rows, reply.body, outcome),
        }
    }

    fn verdicts(&self, rows: u64, body: &[u8], outcome: &mut Outcome) {
        let mut judged = 0;
        for at in self.verdict.find_iter(body) {
            judged += 1;
            match text_at(body, at + br#""verdict":"#.len()) {
                "applied" | "included_in_count" | "recorded" => outcome.accepted += 1,
                "refused" => {
                    let code = self
                        .code
                        .find(&body[at..])
                        .map_or("refused", |code| text_at(body, at + code + br#""code":"#.len()));
                    outcome.miss(code, 1);
                }
                other => outcome.miss(other, 1),
            }
        }
        outcome.found += self.found.find_iter(body).count() as u64;
        outcome.miss("no_verdict", rows.saturating_sub(judged));
    }

    fn problem<'a>(&self, reply: &Reply<'a>) -> &'a str {
        let code = self
            .code
            .find(reply.body)
            .map(|at| text_at(reply.body, at + br#""code":"#.len()));
        code.filter(|code| !code.is_empty()).unwrap_or("http_error")
    }
}

/// The JSON text that begins at `at`, blanks skipped; empty when there is none.
fn text_at(body: &[u8], at: usize) -> &str {
    let rest = body[at..].trim_ascii_start();
    let Some(rest) = rest.strip_prefix(b"\"") else { return "" };
    let end = memchr::memchr(b'"', rest).unwrap_or(0);
    std::str::from_utf8(&rest[..end]).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(kind: Kind, rows: u64, status: u16, body: &str) -> Outcome {
        let mut outcome = Outcome::default();
        Judge::default().judge(
            kind,
            rows,
            &Reply {
                status,
                body: body.as_bytes(),
            },
            &mut outcome,
        );
        outcome
    }

    #[test]
    fn a_refused_row_is_no_throughput() {
        let outcome = judge(
            Kind::Batch,
            4,
            207,
            r#"{"verdicts":[{"id":"1","verdict":"applied","found":2},{"id":"2","verdict": "duplicate","first":"applied"},
               {"id":"3","verdict":"refused","problem":{"status":422,"code":"unit_mismatch"}}]}"#,
        );
        assert_eq!((outcome.accepted, outcome.found), (1, 1));
        let expected = [("duplicate", 1), ("no_verdict", 1), ("unit_mismatch", 1)];
        assert_eq!(
            outcome.not_accepted,
            expected.map(|(code, count)| (code.to_owned(), count)).into()
        );
    }

    #[test]
    fn a_problem_refuses_all_rows_of_its_request() {
        let outcome = judge(Kind::Batch, 1_000, 503, r#"{"status":503,"code":"overloaded"}"#);
        assert_eq!((outcome.accepted, outcome.not_accepted["overloaded"]), (0, 1_000));
        assert_eq!(judge(Kind::Basket, 1, 502, "<html>").not_accepted["http_error"], 1);
        assert_eq!(judge(Kind::Basket, 1, 201, "{}").accepted, 1);
    }
}
