//! Two kinds of pictures, written as SVG by hand: bars side by side, and lines over time or over a size.
//!
//! Rejected: a plotting library. What is needed is rectangles, lines and text, and a library brings fonts and a renderer along.

use std::fmt::Write;

use super::readable;

const WIDTH: f64 = 860.0;
const LEFT: f64 = 250.0;
const RIGHT: f64 = 150.0;
const BAR: f64 = 26.0;
const TOP: f64 = 54.0;
const PANEL: f64 = 190.0;
const COLOURS: [&str; 8] = [
    "#2b6cb0", "#a0aec0", "#dd6b20", "#38a169", "#805ad5", "#d53f8c", "#319795", "#b7791f",
];

/// One bar: the median, between the least and the most of the rounds.
#[derive(Clone, Debug)]
pub struct Bar {
    /// What it is.
    pub name: String,
    /// How long it is.
    pub value: f64,
    /// The least and the most.
    pub range: (f64, f64),
    /// Words at its end.
    pub told: String,
    /// Bars of one group share a scale.
    pub group: String,
}

/// One line of a panel.
#[derive(Clone, Debug)]
pub struct Series {
    /// What it is.
    pub name: String,
    /// Its points.
    pub points: Vec<(f64, f64)>,
}

/// Lines over one axis.
#[derive(Clone, Debug)]
pub struct Panel {
    /// What stands up the side.
    pub title: String,
    /// The lines.
    pub series: Vec<Series>,
}

/// A picture of bars.
pub fn bars(title: &str, bars: &[Bar]) -> String {
    let height = TOP + BAR * bars.len() as f64 + 16.0;
    let mut picture = open(title, height);
    let room = WIDTH - LEFT - RIGHT;
    for (index, bar) in bars.iter().enumerate() {
        let most = bars
            .iter()
            .filter(|other| other.group == bar.group)
            .map(|other| other.range.1.max(other.value))
            .fold(f64::MIN_POSITIVE, f64::max);
        let at = |value: f64| LEFT + (value / most).clamp(0.0, 1.0) * room;
        let (top, end) = (TOP + BAR * index as f64, at(bar.value));
        let middle = top + BAR / 2.0 - 2.0;
        text(&mut picture, (LEFT - 8.0, middle + 4.0), "end", &bar.name);
        let colour = COLOURS[index % COLOURS.len()];
        // Writing to a text cannot fail.
        let _ = writeln!(
            picture,
            r#"<rect x="{LEFT}" y="{top:.1}" width="{:.1}" height="{:.1}" fill="{colour}"/>"#,
            end - LEFT,
            BAR - 6.0
        );
        line(&mut picture, (at(bar.range.0), middle), (at(bar.range.1), middle), "#1a202c");
        text(
            &mut picture,
            (at(bar.range.1).max(end) + 6.0, middle + 4.0),
            "start",
            &bar.told,
        );
    }
    close(picture)
}

/// A picture of panels, one above the other, over the same axis.
pub fn lines(title: &str, axis: &str, logarithmic: bool, panels: &[Panel]) -> String {
    let height = TOP + PANEL * panels.len() as f64 + 28.0;
    let mut picture = open(title, height);
    for (index, panel) in panels.iter().enumerate() {
        draw(&mut picture, panel, TOP + PANEL * index as f64, logarithmic);
    }
    text(&mut picture, (WIDTH / 2.0, height - 8.0), "middle", axis);
    close(picture)
}

fn draw(picture: &mut String, panel: &Panel, top: f64, logarithmic: bool) {
    let points = || panel.series.iter().flat_map(|series| series.points.iter());
    let scaled = |x: f64| if logarithmic { x.max(1.0).log10() } else { x };
    let (least, most) = points().fold((f64::MAX, f64::MIN), |(least, most), (x, _)| {
        (least.min(scaled(*x)), most.max(scaled(*x)))
    });
    let highest = points().map(|(_, y)| *y).fold(f64::MIN_POSITIVE, f64::max);
    let (left, right, bottom) = (90.0, WIDTH - 30.0, top + PANEL - 42.0);
    let across = |x: f64| left + (scaled(x) - least) / (most - least).max(f64::MIN_POSITIVE) * (right - left);
    let up = |y: f64| bottom - y / highest * (bottom - top - 18.0);
    text(picture, (left, top + 8.0), "start", &panel.title);
    for share in [0.0, 0.5, 1.0] {
        let y = highest * share;
        line(picture, (left, up(y)), (right, up(y)), "#e2e8f0");
        text(picture, (left - 6.0, up(y) + 4.0), "end", &readable(y));
    }
    let mut marks: Vec<f64> = points().map(|(x, _)| *x).collect();
    marks.sort_by(f64::total_cmp);
    marks.dedup();
    // A size has few points, each worth its number; of a time the ends and the middle are enough.
    if marks.len() > 8 {
        marks = vec![marks[0], marks[marks.len() / 2], marks[marks.len() - 1]];
    }
    for x in marks {
        text(picture, (across(x), bottom + 15.0), "middle", &readable(x));
    }
    for (index, series) in panel.series.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let mut path = String::new();
        for (x, y) in &series.points {
            let _ = write!(path, "{:.1},{:.1} ", across(*x), up(*y));
        }
        let _ = writeln!(
            picture,
            r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="1.5"/>"#,
            path.trim_end()
        );
        let at = (right - 180.0 * index as f64, top + 8.0);
        let _ = writeln!(
            picture,
            r#"<text x="{:.1}" y="{:.1}" text-anchor="end" fill="{colour}">{}</text>"#,
            at.0,
            at.1,
            escaped(&series.name)
        );
    }
}

fn open(title: &str, height: f64) -> String {
    let mut picture = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height:.0}\" viewBox=\"0 0 {WIDTH} {height:.0}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    let _ = writeln!(
        picture,
        r#"<text x="16" y="28" font-size="16" font-weight="bold">{}</text>"#,
        escaped(title)
    );
    picture
}

fn close(mut picture: String) -> String {
    picture.push_str("</svg>\n");
    picture
}

fn text(picture: &mut String, (x, y): (f64, f64), anchor: &str, content: &str) {
    let _ = writeln!(
        picture,
        r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{}</text>"#,
        escaped(content)
    );
}

fn line(picture: &mut String, from: (f64, f64), to: (f64, f64), colour: &str) {
    let _ = writeln!(
        picture,
        r#"<line x1="{:.1}" y1="{:.1}" x2="{:.1}" y2="{:.1}" stroke="{colour}"/>"#,
        from.0, from.1, to.0, to.1
    );
}

fn escaped(content: &str) -> String {
    content.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(name: &str, value: f64) -> Bar {
        Bar {
            name: name.to_owned(),
            value,
            range: (value * 0.9, value * 1.1),
            told: readable(value),
            group: String::new(),
        }
    }

    #[test]
    fn the_longest_bar_fills_the_room_and_names_are_escaped() {
        let picture = bars("a < b", &[bar("R&D", 110.0), bar("half", 55.0)]);
        assert!(picture.starts_with("<svg ") && picture.ends_with("</svg>\n"));
        assert!(picture.contains("a &lt; b") && picture.contains("R&amp;D"));
        // The most of the rounds is the scale: 110 of 121, and half of that.
        assert!(
            picture.contains(r#"width="418.2""#) && picture.contains(r#"width="209.1""#),
            "{picture}"
        );
    }

    #[test]
    fn a_logarithmic_axis_spaces_powers_evenly() {
        let series = |name: &str| Series {
            name: name.to_owned(),
            points: vec![(1_000.0, 4.0), (10_000.0, 2.0), (100_000.0, 0.0)],
        };
        let panel = Panel {
            title: "accepted/s".to_owned(),
            series: vec![series("shelfd"), series("bare loop")],
        };
        let picture = lines("growth", "SKUs", true, &[panel]);
        assert_eq!(picture.matches("<polyline").count(), 2);
        assert!(picture.contains(r#"points="90.0,72.0 460.0,137.0 830.0,202.0""#), "{picture}");
    }
}
