//! `shelfd run`: the daemon. Everything it does is `app`'s; this file turns its configuration's and its store's troubles into
//! messages and exit codes.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{fs, io};

use super::Context;
use super::exit::{Code, Failure};
use super::settings::Settings;
use crate::app;
use crate::storage::store::OpenError;

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  shelfd run --data ./data                        embedded defaults, a store in this directory
  shelfd run --config /etc/shelfd/config.toml     as the service manager starts it
  shelfd run --data ./data --listen 127.0.0.1:0   on a free port, which it prints

SIGTERM and Ctrl-C finish what was taken and stop; SIGHUP reads the configuration again.
Exit codes: 0 stopped when told to, 64 usage, 65 the store is damaged, 69 the node failed, 75 in use, 78 configuration or environment.")]
pub struct Args {
    #[command(flatten)]
    settings: Settings,
    /// Stop in good order when standard input ends: whoever started the node holds its other end, and is gone then
    #[arg(long, hide = true)]
    until_stdin_ends: bool,
    /// With it: a directory that nobody needs any more then, the store's among others
    #[arg(long, hide = true, value_name = "DIR", requires = "until_stdin_ends")]
    then_remove: Option<PathBuf>,
}

/// Runs the node until it is told to stop.
pub async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let settings = args.settings;
    let config = settings.load_or_tell(context.out.colour())?;
    let again = settings.clone();
    let reload: app::Reload = Box::new(move || again.load().map_err(Box::new));
    let watched = args.until_stdin_ends;
    let left_alone = Arc::new(AtomicBool::new(false));
    let alone = left_alone.clone();
    let leave = async move {
        if watched {
            stdin_ended().await;
            alone.store(true, Ordering::Relaxed);
        } else {
            std::future::pending().await
        }
    };
    let ended = app::run(config, reload, leave).await;
    if let Some(directory) = args.then_remove.filter(|_| left_alone.load(Ordering::Relaxed)) {
        // Its owner was killed and cannot do it. What cannot be removed lies where temporary files are cleaned up.
        let _ = fs::remove_dir_all(directory);
    }
    ended.map_err(of_app)
}

/// Resolves at the end of standard input. The thread is left to the process's end: tokio's own reader would be waited for when the
/// node stops for another reason.
async fn stdin_ended() {
    let (send, ended) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        // An input that cannot be read has ended, too.
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        let _ = send.send(());
    });
    // The thread sends before it ends.
    let _ = ended.await;
}

fn of_app(failure: app::Failure) -> Failure {
    let mut message = failure.to_string();
    let mut source = std::error::Error::source(&failure);
    while let Some(cause) = source {
        message = format!("{message}: {cause}");
        source = cause.source();
    }
    let (code, help) = match &failure {
        app::Failure::Store(OpenError::Locked { .. }) => (Code::TryAgain, None),
        app::Failure::Store(OpenError::Damaged { .. }) => {
            (Code::Data, Some("shelfd verify DIR says what is wrong, and what is safe"))
        }
        app::Failure::Store(_) => (
            Code::Configuration,
            Some("shelfd check looks at everything that a start needs"),
        ),
        app::Failure::Listen { source, .. } if source.kind() == std::io::ErrorKind::AddrInUse => (
            Code::TryAgain,
            Some("another process listens there: stop it, or choose another address with --listen"),
        ),
        app::Failure::Listen { .. } => (
            Code::Configuration,
            Some("choose another address with --listen, or http.listen in the configuration"),
        ),
        app::Failure::Kafka(_) => (
            Code::Configuration,
            Some("shelfd check --kafka looks at everything about the broker"),
        ),
        app::Failure::Telemetry(_) => (Code::Configuration, None),
        app::Failure::Clock(_) => (
            Code::TryAgain,
            Some("set the clock (timedatectl set-ntp true, or date --set), then start the node again"),
        ),
        app::Failure::Broken(_) => (
            Code::Unavailable,
            Some("the log says what failed; the service manager starts the node again"),
        ),
    };
    let failure = Failure::new(code, message);
    match help {
        Some(help) => failure.with_help(help),
        None => failure,
    }
}
