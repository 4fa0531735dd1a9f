//! Tables for people: comfy-table in one house style, so that every verb looks alike.
//!
//! Numbers stand right and carry their sign where they are movements; on a terminal a table is at most as wide as that; into a pipe a table is as wide as it needs to be, so
//! that `grep` and `awk` see whole cells. Rejected: padding by hand, which breaks on the first Cyrillic or CJK name.

use std::io;

use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, Row, Table, presets};

use super::out::{Out, Tone};

/// How a column stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// A table in the making.
#[derive(Debug)]
pub struct Sheet {
    table: Table,
}

impl Sheet {
    /// An empty table with these columns.
    pub fn new(out: &Out, columns: &[(&str, Align)]) -> Sheet {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_content_arrangement(ContentArrangement::Disabled);
        if let Some(width) = out.width() {
            table.set_content_arrangement(ContentArrangement::Dynamic);
            table.set_width(width);
        }
        if out.colour() {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        table.set_header(
            columns
                .iter()
                .map(|(name, _)| Cell::new(name).add_attribute(Attribute::Bold))
                .collect::<Vec<_>>(),
        );
        for (index, (_, align)) in columns.iter().enumerate() {
            if let Some(column) = table.column_mut(index) {
                column.set_padding((0, 2));
                if *align == Align::Right {
                    column.set_cell_alignment(CellAlignment::Right);
                }
            }
        }
        Sheet { table }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.table.add_row(Row::from(cells));
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// The table as text, without trailing blanks.
    pub fn render(&self) -> String {
        self.table.trim_fmt()
    }

    /// Prints the table.
    pub fn print(&self, out: &Out) -> io::Result<()> {
        out.line(self.render())
    }
}

/// A cell of text.
pub fn text(content: impl ToString) -> Cell {
    Cell::new(content)
}

/// A cell of text in a tone.
pub fn toned(content: impl ToString, tone: Tone) -> Cell {
    let cell = Cell::new(content);
    match tone {
        Tone::Good => cell.fg(Color::Green),
        Tone::Warn => cell.fg(Color::Yellow),
        Tone::Bad => cell.fg(Color::Red),
        Tone::Dim => cell.fg(Color::DarkGrey),
        Tone::Strong => cell.add_attribute(Attribute::Bold),
    }
}

/// A quantity; 0 is dim, so that what is there stands out.
pub fn quantity(units: i64) -> Cell {
    match units {
        0 => toned(0, Tone::Dim),
        below if below < 0 => toned(below, Tone::Bad),
        _ => text(units),
    }
}

/// A change of a quantity, with its sign: `+24`, `-3`, `0`.
pub fn signed(change: i64) -> Cell {
    match change {
        0 => toned(0, Tone::Dim),
        up if up > 0 => toned(with_sign(up), Tone::Good),
        down => toned(with_sign(down), Tone::Bad),
    }
}

/// A change as text with its sign.
pub fn with_sign(change: i64) -> String {
    if change > 0 {
        format!("+{change}")
    } else {
        change.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_shows_its_sign() {
        assert_eq!(with_sign(24), "+24");
        assert_eq!(with_sign(-3), "-3");
        assert_eq!(with_sign(0), "0");
    }

    #[test]
    fn numbers_stand_right_and_names_of_any_script_stay_in_line() {
        let mut sheet = Sheet::new(&Out::plain(), &[("name", Align::Left), ("units", Align::Right)]);
        sheet.row([text("молоко"), quantity(5)]);
        sheet.row([text("milk"), quantity(-12)]);
        assert_eq!(sheet.render(), "name    units\nмолоко      5\nmilk      -12");
    }
}
