//! Reading a file of events into rows: NDJSON line by line, a JSON array item by item, or one event over several lines.
//!
//! A row that is not JSON is still a row: the node refuses it by itself and its neighbours go on. NDJSON is read as it is
//! sent, so a file may be larger than memory, and a pipe may never end. Rejected: asking the person for the format.

use std::io::{self, BufRead};

use serde_json::value::RawValue;

/// A row, and where it stands in the file: its line in NDJSON, its number in an array; from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Line or number, from 1.
    pub at: u64,
    /// The row on one line.
    pub text: String,
}

/// The rows of a file.
pub struct Rows<R> {
    input: R,
    line: u64,
    whole: Option<std::vec::IntoIter<Row>>,
    first: Option<Row>,
}

impl<R: BufRead> Rows<R> {
    /// Looks at the beginning of a file to see how its rows are written.
    pub fn new(mut input: R) -> io::Result<Rows<R>> {
        let mut line = 0;
        let Some(first) = read_line(&mut input, &mut line)? else {
            return Ok(Rows {
                input,
                line,
                whole: None,
                first: None,
            });
        };
        let is_event = first.text.starts_with('{') && serde_json::from_str::<&RawValue>(&first.text).is_ok();
        if is_event {
            return Ok(Rows {
                input,
                line,
                whole: None,
                first: Some(first),
            });
        }
        // An array, one event over several lines, or NDJSON that begins with a rotten row: only the whole can tell.
        let start = first.at;
        let mut rest = vec![];
        input.read_to_end(&mut rest)?;
        let text = format!("{}\n{}", first.text, String::from_utf8_lossy(&rest));
        let rows = if let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(&text) {
            (1..)
                .zip(items)
                .map(|(at, item)| Row {
                    at,
                    text: one_line(item.get()),
                })
                .collect()
        } else if let Ok(event) = serde_json::from_str::<&RawValue>(&text) {
            vec![Row {
                at: start,
                text: one_line(event.get()),
            }]
        } else {
            let lines = (start..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
            lines
                .map(|(at, line)| Row {
                    at,
                    text: line.trim().to_owned(),
                })
                .collect::<Vec<_>>()
        };
        Ok(Rows {
            input,
            line,
            whole: Some(rows.into_iter()),
            first: None,
        })
    }

    /// The next row.
    pub fn next(&mut self) -> io::Result<Option<Row>> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        match &mut self.whole {
            Some(rows) => Ok(rows.next()),
            None => read_line(&mut self.input, &mut self.line),
        }
    }

    /// The next rows that belong into one batch: at most `rows`, and about `bytes` together.
    pub fn batch(&mut self, rows: usize, bytes: usize) -> io::Result<Vec<Row>> {
        let mut batch = Vec::new();
        let mut size = 0;
        while batch.len() < rows && size < bytes {
            let Some(row) = self.next()? else { break };
            size += row.text.len() + 1;
            batch.push(row);
        }
        Ok(batch)
    }
}

/// The next line that is not blank. Bytes that are no UTF-8 become U+FFFD, which the node refuses where it matters.
fn read_line(input: &mut impl BufRead, line: &mut u64) -> io::Result<Option<Row>> {
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        if input.read_until(b'\n', &mut bytes)? == 0 {
            return Ok(None);
        }
        *line += 1;
        let text = String::from_utf8_lossy(&bytes);
        let text = text.trim_start_matches('\u{feff}').trim();
        if !text.is_empty() {
            return Ok(Some(Row {
                at: *line,
                text: text.to_owned(),
            }));
        }
    }
}

/// JSON has line breaks only between its tokens, so a blank in their place changes nothing.
fn one_line(json: &str) -> String {
    json.replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str) -> Vec<(u64, String)> {
        let mut rows = Rows::new(text.as_bytes()).expect("readable");
        rows.batch(100, 1 << 20)
            .expect("readable")
            .into_iter()
            .map(|row| (row.at, row.text))
            .collect()
    }

    fn expect(text: &str, expected: &[(u64, &str)]) {
        let expected: Vec<_> = expected.iter().map(|(at, text)| (*at, (*text).to_owned())).collect();
        assert_eq!(rows(text), expected, "{text:?}");
    }

    #[test]
    fn each_way_of_writing_events_gives_the_same_rows() {
        expect("{\"a\":1}\n\n{\"a\":2}\r\n", &[(1, "{\"a\":1}"), (3, "{\"a\":2}")]);
        expect("[{\"a\":1},\n {\"a\":2}]", &[(1, "{\"a\":1}"), (2, "{\"a\":2}")]);
        expect("\n{\n\"a\":1\n}\n", &[(2, "{ \"a\":1 }")]);
        expect("\u{feff}{\"a\":1}", &[(1, "{\"a\":1}")]);
        expect("", &[]);
        expect("[]", &[]);
    }

    #[test]
    fn a_rotten_row_stays_a_row_wherever_it_stands() {
        expect("rotten\n{\"a\":2}\n", &[(1, "rotten"), (2, "{\"a\":2}")]);
        expect(
            "{\"a\":1}\nrotten\n{\"a\":3}",
            &[(1, "{\"a\":1}"), (2, "rotten"), (3, "{\"a\":3}")],
        );
        expect("[{\"a\":1},\n{\"a\":2}", &[(1, "[{\"a\":1},"), (2, "{\"a\":2}")]);
    }

    #[test]
    fn a_batch_ends_at_its_rows_or_its_bytes() {
        let mut rows = Rows::new("{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n".as_bytes()).expect("readable");
        assert_eq!(rows.batch(2, 1 << 20).expect("readable").len(), 2);
        assert_eq!(rows.batch(2, 1 << 20).expect("readable").len(), 1);
        let mut rows = Rows::new("{\"a\":1}\n{\"a\":2}\n".as_bytes()).expect("readable");
        assert_eq!(rows.batch(9, 3).expect("readable").len(), 1);
    }
}
