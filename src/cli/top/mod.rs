//! `shelfd top`: a live view of a node in a terminal.
//!
//! One task looks at the node each second, another follows the changes, a thread waits for keys; the loop here draws what
//! they bring. The terminal is given back whatever happens, a panic included. Rejected: asking and drawing in one loop,
//! which does not hear `q` while a node is slow.

use std::io::{self, IsTerminal};
use std::thread;
use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{self, Event as Input, KeyCode, KeyEventKind, KeyModifiers};
use serde_json::Value;
use tokio::sync::mpsc;

use self::model::{Look, Model, look};
use super::Context;
use super::client::sse::Stream;
use super::client::{Client, Patience, Query, path};
use super::exit::{Code, Failure};
use super::field::Field;

mod metrics;
mod model;
mod view;

/// How often the lists (to count, at risk) are asked for, in looks.
const LISTS_EVERY: u32 = 5;
/// How long the thread of the keys sleeps at most before it sees that the view is gone.
const KEYS: Duration = Duration::from_millis(100);

/// Where the view of the newest facts begins: a screen of them is there before the next one happens.
const BEGINNING: &str = "now-50";

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  shelfd top
  shelfd top --interval-ms 250
  shelfd top --once                 one frame as plain text, for a pipe or a script
  shelfd top --once --json          the same as a document, for a program

Quit with q, Esc or Ctrl-C.")]
pub struct Args {
    /// Milliseconds between two looks at the node
    #[arg(long, value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(50..=60_000))]
    pub interval_ms: u64,
    /// Print one frame as plain text, or as JSON, and end
    #[arg(long)]
    pub once: bool,
}

/// What the loop hears of.
enum Heard {
    Looked(Box<Look>),
    Changed(Value),
    Resized,
    Quit,
}

/// Shows the view until the person has seen enough.
pub async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let api = context.api.clone().with_patience(Patience::NONE);
    let interval = Duration::from_millis(args.interval_ms);
    if args.once {
        return once(&api, interval, context).await;
    }
    if context.out.json {
        return Err(Failure::usage("`shelfd top` draws").with_help("--once --json prints one look as a JSON document"));
    }
    if !io::stdout().is_terminal() {
        return Err(Failure::usage("`shelfd top` draws on a terminal").with_help("--once prints one frame as plain text"));
    }
    let (heard, mut hears) = mpsc::channel(256);
    let watch = tokio::spawn(watch(api.clone(), interval, heard.clone()));
    let follow = tokio::spawn(follow(api.clone(), interval, heard.clone()));
    let mut terminal = ratatui::try_init()?;
    let keys = thread::spawn(move || keys(&heard));
    let shown = show(&mut terminal, Model::new(api.url()), &mut hears).await;
    ratatui::restore();
    watch.abort();
    follow.abort();
    drop(hears);
    // The thread ends by itself once nobody hears it; a panic in it would have been printed by the hook.
    let _ = keys.join();
    Ok(shown?)
}

async fn show(terminal: &mut ratatui::DefaultTerminal, mut model: Model, hears: &mut mpsc::Receiver<Heard>) -> io::Result<()> {
    let mut stopped = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    loop {
        terminal.draw(|frame| view::draw(frame, &model))?;
        let first = tokio::select! {
            heard = hears.recv() => heard,
            _ = stopped.recv() => None,
        };
        let Some(first) = first else { return Ok(()) };
        // A burst of changes is one frame.
        let mut next = Some(first);
        while let Some(heard) = next {
            match heard {
                Heard::Looked(look) => model.looked(*look),
                Heard::Changed(change) => model.changed(change),
                Heard::Resized => {}
                Heard::Quit => return Ok(()),
            }
            next = hears.try_recv().ok();
        }
    }
}

/// Looks at the node again and again.
async fn watch(api: Client, interval: Duration, heard: mpsc::Sender<Heard>) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut looks: u32 = 0;
    let mut warehouses = Vec::new();
    loop {
        ticks.tick().await;
        let lists = (looks % LISTS_EVERY == 1).then(|| warehouses.clone());
        let look = look(&api, lists).await;
        warehouses = look.warehouse_ids();
        if heard.send(Heard::Looked(Box::new(look))).await.is_err() {
            return;
        }
        looks = looks.wrapping_add(1);
    }
}

/// Follows the changes; a stream that breaks is opened again with the next look.
async fn follow(api: Client, pause: Duration, heard: mpsc::Sender<Heard>) {
    let mut cursor = BEGINNING.to_owned();
    loop {
        let query: Query = vec![("since", cursor.clone())];
        if let Ok(response) = api.stream(&path(["v1", "changes"]), &query).await {
            let mut stream = Stream::new(response);
            while let Ok(Some(event)) = stream.next().await {
                if !event.id.is_empty() {
                    cursor = event.id;
                }
                if let Ok(change) = serde_json::from_str(&event.data)
                    && heard.send(Heard::Changed(change)).await.is_err()
                {
                    return;
                }
            }
        } else if cursor != BEGINNING {
            // A cursor that the node no longer knows must not be asked for again.
            "now".clone_into(&mut cursor);
        }
        tokio::time::sleep(pause).await;
    }
}

/// Waits for keys until nobody hears them.
fn keys(heard: &mpsc::Sender<Heard>) {
    while !heard.is_closed() {
        let said = match event::poll(KEYS) {
            Ok(false) => continue,
            Ok(true) => event::read().ok().and_then(|input| meaning(&input)),
            // Without a keyboard nobody could quit.
            Err(_) => Some(Heard::Quit),
        };
        if let Some(said) = said
            && heard.blocking_send(said).is_err()
        {
            return;
        }
    }
}

fn meaning(input: &Input) -> Option<Heard> {
    match input {
        Input::Resize(..) => Some(Heard::Resized),
        Input::Key(key) if key.kind == KeyEventKind::Press => match key.code {
            KeyCode::Char('q' | 'Q') | KeyCode::Esc => Some(Heard::Quit),
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Some(Heard::Quit),
            _ => None,
        },
        _ => None,
    }
}

/// One frame as text, after two looks. What cannot be reached is a failure here: a script wants to know.
async fn once(api: &Client, interval: Duration, context: &Context) -> Result<(), Failure> {
    let mut model = Model::new(api.url());
    model.looked(look(api, None).await);
    tokio::time::sleep(interval).await;
    let lists = Some(model.warehouse_ids());
    model.looked(look(api, lists).await);
    if let Some(trouble) = &model.trouble {
        return Err(Failure::new(Code::Unavailable, trouble.clone()));
    }
    let newest: Value = api
        .get(&path(["v1", "changes"]), &vec![("since", BEGINNING.to_owned())])
        .await?;
    for change in newest.list("/items") {
        model.changed(change.clone());
    }
    if context.out.json {
        return Ok(context.out.value(&model.document())?);
    }
    let (width, height) = ratatui::crossterm::terminal::size()
        .ok()
        .filter(|_| context.out.is_terminal())
        .unwrap_or((80, 24));
    Ok(context.out.line(frame_text(&model, width, height))?)
}

/// One frame as plain text, blanks at the ends of lines left out.
fn frame_text(model: &Model, width: u16, height: u16) -> String {
    let mut terminal = match Terminal::new(TestBackend::new(width, height)) {
        Ok(terminal) => terminal,
        Err(never) => match never {},
    };
    match terminal.draw(|frame| view::draw(frame, model)) {
        Ok(_) => {}
        Err(never) => match never {},
    }
    let buffer = terminal.backend().buffer();
    let lines = (0..height).map(|row| {
        let line: String = (0..width)
            .filter_map(|column| buffer.cell((column, row)))
            .map(|cell| cell.symbol())
            .collect();
        line.trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::crossterm::event::KeyEvent;

    #[test]
    fn q_escape_and_control_c_quit_and_nothing_else_does() {
        let key = |code, modifiers| meaning(&Input::Key(KeyEvent::new(code, modifiers)));
        assert!(matches!(key(KeyCode::Char('q'), KeyModifiers::NONE), Some(Heard::Quit)));
        assert!(matches!(key(KeyCode::Esc, KeyModifiers::NONE), Some(Heard::Quit)));
        assert!(matches!(key(KeyCode::Char('c'), KeyModifiers::CONTROL), Some(Heard::Quit)));
        assert!(key(KeyCode::Char('c'), KeyModifiers::NONE).is_none());
    }
}
