//! One frame of `top`: how the node is, its rates and latencies, warehouses, newest facts, what to count, what is at risk.
//! Made for 80 × 24 and better with more.
//!
//! Rejected: several screens to switch between. What a person looks for in a hurry must not be on the other screen.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Paragraph, Row, Sparkline, Table};
use serde_json::Value;

use super::model::Model;
use crate::cli::check::bytes;
use crate::cli::field::Field;
use crate::cli::status::duration;

/// Draws one frame.
pub fn draw(frame: &mut Frame<'_>, model: &Model) {
    let [title, figures, middle, bottom] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(7),
        Constraint::Fill(3),
        Constraint::Fill(2),
    ])
    .areas(frame.area());
    draw_title(frame, title, model);
    let [rates, latencies] = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)])
        .spacing(1)
        .areas(figures);
    draw_rates(frame, rates, model);
    draw_latencies(frame, latencies, model);
    let [warehouses, changes] = Layout::horizontal([Constraint::Length(28), Constraint::Fill(1)])
        .spacing(1)
        .areas(middle);
    draw_warehouses(frame, warehouses, model);
    draw_changes(frame, changes, model);
    let [to_count, at_risk] = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)])
        .spacing(1)
        .areas(bottom);
    draw_to_count(frame, to_count, model);
    draw_at_risk(frame, at_risk, model);
}

fn block(title: String) -> Block<'static> {
    Block::default()
        .borders(Borders::TOP)
        .border_style(dim())
        .title(Span::styled(format!(" {title} "), Style::new().add_modifier(Modifier::BOLD)))
}

fn dim() -> Style {
    Style::new().fg(Color::DarkGray)
}

fn draw_title(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let status = &model.status;
    let mut spans = vec![
        Span::styled("shelfd top", Style::new().add_modifier(Modifier::BOLD)),
        Span::raw("  "),
    ];
    match &model.trouble {
        Some(trouble) => spans.push(Span::styled(trouble.clone(), Style::new().fg(Color::Red))),
        None => {
            let state = status.word("/state");
            let colour = if state == "ready" || state == "running" {
                Color::Green
            } else {
                Color::Yellow
            };
            spans.push(Span::raw(format!("{} ", status.word("/node"))));
            spans.push(Span::styled(state, Style::new().fg(colour)));
            if status.has("/uptime_s") {
                spans.push(Span::raw(format!("  up {}", duration(status.units("/uptime_s")))));
            }
            spans.push(Span::styled(format!("  {}", model.url), dim()));
        }
    }
    spans.push(Span::styled("  q quits", dim()));
    frame.render_widget(Paragraph::new(Line::from(spans)), area);
}

/// `1,234` below ten thousand, `12.3k` and `1.2M` above.
fn rate(per_second: f64) -> String {
    match per_second {
        small if small < 10.0 => format!("{small:.1}"),
        some if some < 10_000.0 => format!("{some:.0}"),
        many if many < 1_000_000.0 => format!("{:.1}k", many / 1e3),
        most => format!("{:.1}M", most / 1e6),
    }
}

/// Seconds as `0.24 ms`, `3.1 ms`, `1.20 s`.
fn latency(seconds: Option<f64>) -> String {
    match seconds {
        None => "–".to_owned(),
        Some(short) if short < 0.001 => format!("{:.2} ms", short * 1e3),
        Some(some) if some < 1.0 => format!("{:.1} ms", some * 1e3),
        Some(long) => format!("{long:.2} s"),
    }
}

fn pair(name: &str, value: String) -> Line<'static> {
    Line::from(vec![Span::styled(format!("{name:<14}"), dim()), Span::raw(value)])
}

fn draw_rates(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let between = model.between();
    let refused = between.rate_where("shelfd_events_total", "verdict", "refused");
    let facts = between
        .mean("shelfd_commit_facts")
        .map_or_else(|| "–".to_owned(), |mean| format!("{mean:.1}"));
    let lines = vec![
        pair(
            "events/s",
            format!("{}   refused {}", rate(between.rate("shelfd_events_total")), rate(refused)),
        ),
        pair(
            "requests/s",
            format!(
                "{}   turned away {}",
                rate(between.rate("shelfd_http_requests_total")),
                rate(between.rate("shelfd_overloaded_total"))
            ),
        ),
        pair(
            "commits/s",
            format!("{}   facts each {facts}", rate(between.rate("shelfd_commits_total"))),
        ),
        pair(
            "in flight",
            format!("{:.0} events", model.now().sum("shelfd_inflight_events")),
        ),
    ];
    let block = block("rates".to_owned());
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let [figures, curve] = Layout::vertical([Constraint::Length(4), Constraint::Fill(1)]).areas(inner);
    frame.render_widget(Paragraph::new(lines), figures);
    let width = usize::from(curve.width.saturating_sub(2));
    let newest: Vec<u64> = model
        .history
        .iter()
        .skip(model.history.len().saturating_sub(width))
        .copied()
        .collect();
    frame.render_widget(Sparkline::default().data(newest).style(Style::new().fg(Color::Cyan)), curve);
}

fn draw_latencies(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let between = model.between();
    let of = |name: &str| {
        let at = |quantile| latency(between.quantile(name, quantile));
        format!("{:<8} {:<8} {}", at(0.5), at(0.99), at(0.999))
    };
    let now = model.now();
    let lines = vec![
        Line::from(Span::styled(
            format!("{:<14}{:<8} {:<8} {}", "", "p50", "p99", "p99.9"),
            dim(),
        )),
        pair("answer", of("shelfd_http_request_seconds")),
        pair("commit", of("shelfd_commit_seconds")),
        pair("store", bytes(now.sum("shelfd_store_bytes") as u64)),
        pair("disk free", bytes(now.sum("shelfd_disk_free_bytes") as u64)),
        pair(
            "actors awake",
            format!(
                "{:.0}   dead letters {:.0}",
                now.sum("shelfd_skus_awake"),
                now.sum("shelfd_dead_letters")
            ),
        ),
    ];
    frame.render_widget(Paragraph::new(lines).block(block("latencies".to_owned())), area);
}

fn draw_warehouses(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let warehouses = model.warehouses();
    let title = format!("warehouses ({})", warehouses.len());
    let rows = warehouses.into_iter().map(|[name, skus, held, risk]| {
        let style = if risk == "0" {
            Style::new()
        } else {
            Style::new().fg(Color::Yellow)
        };
        Row::new([name, skus, held, risk]).style(style)
    });
    let widths = [
        Constraint::Fill(1),
        Constraint::Length(7),
        Constraint::Length(5),
        Constraint::Length(7),
    ];
    let table = Table::new(rows, widths)
        .header(Row::new(["", "SKUs", "held", "at risk"]).style(dim()))
        .block(block(title));
    frame.render_widget(table, area);
}

fn lines_of(items: impl Iterator<Item = String>, area: Rect, empty: &str) -> Vec<Line<'static>> {
    let lines: Vec<Line<'static>> = items.take(usize::from(area.height)).map(Line::from).collect();
    if lines.is_empty() {
        vec![Line::from(Span::styled(empty.to_owned(), dim()))]
    } else {
        lines
    }
}

fn draw_changes(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let block = block("newest facts".to_owned());
    if model.changes.is_empty() {
        let empty = Paragraph::new("nothing has changed since this view was opened").style(dim());
        return frame.render_widget(empty.block(block), area);
    }
    let rows = model
        .changes
        .iter()
        .take(usize::from(area.height))
        .map(|change| Row::new(fact(change)));
    let widths = [
        Constraint::Length(8),
        Constraint::Length(9),
        Constraint::Fill(1),
        Constraint::Length(6),
        Constraint::Length(8),
    ];
    frame.render_widget(Table::new(rows, widths).block(block), area);
}

/// Time of day, what, of what, the book after it, where.
fn fact(change: &Value) -> [String; 5] {
    let time = change.when("/recorded_at").rsplit(' ').next().unwrap_or_default().to_owned();
    let of = ["/sku", "/reservation/id", "/dead_letter"]
        .iter()
        .map(|pointer| change.word(pointer))
        .find(|of| !of.is_empty());
    [
        time,
        change.word("/what"),
        of.unwrap_or_default(),
        format!("{:>6}", change.word("/accounts/sellable")),
        change.word("/warehouse"),
    ]
}

fn many(count: usize) -> String {
    if count >= 100 { "100+".to_owned() } else { count.to_string() }
}

fn draw_to_count(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let line = |item: &Value| {
        format!(
            "{}  {}  book {}  owed {}",
            item.word("/warehouse"),
            item.word("/sku"),
            item.word("/accounts/sellable"),
            item.units("/owed")
        )
    };
    let lines = lines_of(model.to_count.iter().map(line), area, "nothing asks for a count");
    frame.render_widget(
        Paragraph::new(lines).block(block(format!("to count ({})", many(model.to_count.len())))),
        area,
    );
}

fn draw_at_risk(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let line = |item: &Value| {
        let basket = ["/reservation", "/id"]
            .iter()
            .map(|pointer| item.word(pointer))
            .find(|id| !id.is_empty())
            .unwrap_or_default();
        let units = ["/held", "/quantity"]
            .iter()
            .map(|pointer| item.word(pointer))
            .find(|units| !units.is_empty())
            .unwrap_or_default();
        format!("{}  {}  basket {basket}  {units}", item.word("/warehouse"), item.word("/sku"))
    };
    let lines = lines_of(model.at_risk.iter().map(line), area, "every promise fits");
    frame.render_widget(
        Paragraph::new(lines).block(block(format!("at risk ({})", many(model.at_risk.len())))),
        area,
    );
}

#[cfg(test)]
mod tests {
    use super::super::frame_text;
    use super::super::metrics::Samples;
    use super::*;
    use serde_json::json;
    use std::time::{Duration, Instant};

    fn model() -> Model {
        let mut model = Model::new("http://127.0.0.1:7480");
        model.status = json!({"node": "n1", "state": "ready", "uptime_s": 7500});
        let start = Instant::now();
        model.sampled(Samples::read("shelfd_events_total{verdict=\"applied\"} 0\n"), start);
        let text = "shelfd_events_total{verdict=\"applied\"} 24000\nshelfd_skus{warehouse=\"msk-07\"} 312\n\
            shelfd_reservations_held{warehouse=\"msk-07\"} 41\nshelfd_claims_at_risk{warehouse=\"msk-07\"} 2\nshelfd_store_bytes 1048576\n";
        model.sampled(Samples::read(text), start + Duration::from_secs(2));
        model.changed(json!({"warehouse": "msk-07", "sku": "milk", "what": "sale", "accounts": {"sellable": 21}}));
        model.to_count = vec![json!({"warehouse": "msk-07", "sku": "bread", "accounts": {"sellable": 3}, "owed": 2})];
        model.at_risk = vec![json!({"warehouse": "msk-07", "sku": "cheese", "reservation": "o-7", "held": 4})];
        model
    }

    #[test]
    fn everything_that_matters_fits_into_80_by_24() {
        let frame = frame_text(&model(), 80, 24);
        assert_eq!(frame.split('\n').count(), 24, "{frame}");
        for expected in [
            "n1 ready",
            "12.0k",
            "msk-07",
            "312",
            "41",
            "sale",
            "milk",
            "    21",
            "bread",
            "owed 2",
            "cheese",
            "basket o-7",
            "1.0 MiB",
            "q quits",
        ] {
            assert!(frame.contains(expected), "no {expected:?} in\n{frame}");
        }
    }

    #[test]
    fn a_tiny_or_a_huge_terminal_is_drawn_without_a_panic() {
        for (width, height) in [(1, 1), (10, 3), (40, 10), (300, 100)] {
            frame_text(&model(), width, height);
        }
        frame_text(&Model::new("http://x"), 80, 24);
    }

    #[test]
    fn trouble_is_told_in_the_first_line() {
        let mut model = model();
        model.trouble = Some("no node answers".to_owned());
        assert!(
            frame_text(&model, 80, 24)
                .lines()
                .next()
                .is_some_and(|line| line.contains("no node answers"))
        );
    }
}
