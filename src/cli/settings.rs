//! Where `run` and `check` take their configuration from, and how a refused one is shown: every mistake at once, with its
//! place in the file and what to do.
//!
//! Rejected: each verb reading the configuration by itself. `check` would then bless a file that `run` refuses.

use std::net::SocketAddr;
use std::path::PathBuf;

use miette::{GraphicalReportHandler, GraphicalTheme};

use super::exit::{Code, Failure};
use super::out::note;
use crate::config::{Config, Invalid, Layers};

/// The flags that set the configuration.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Settings {
    /// The configuration file; embedded defaults without one
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where the store lives; over the file's node.data_dir
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Where the API is served, loopback only; over the file's http.listen
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,
}

impl Settings {
    /// Defaults, file, environment and flags, each over the one before.
    pub fn load(&self) -> Result<Config, Invalid> {
        let data = self.data.as_ref().map(|dir| dir.to_string_lossy().into_owned());
        Layers::defaults()
            .file(self.config.as_deref())
            .env(std::env::vars_os())
            .flag("--data", "node.data_dir", data)
            .flag("--listen", "http.listen", self.listen.clone())
            .load()
    }

    /// The configuration, or its mistakes on stderr and the exit code 78.
    pub fn load_or_tell(&self, colour: bool) -> Result<Config, Failure> {
        self.load().map_err(|invalid| {
            note(tell(&invalid, colour).trim_end());
            Failure::silent(Code::Configuration)
        })
    }
}

/// Every mistake with the lines around it.
pub fn tell(invalid: &Invalid, colour: bool) -> String {
    let theme = if colour {
        GraphicalTheme::unicode()
    } else {
        GraphicalTheme::unicode_nocolor()
    };
    let mut report = String::new();
    if GraphicalReportHandler::new_themed(theme)
        .render_report(&mut report, invalid)
        .is_err()
    {
        report = invalid.lines().collect::<Vec<_>>().join("\n");
    }
    report
}

/// The address as a URL's beginning.
pub fn url_of(listen: SocketAddr) -> String {
    format!("http://{listen}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_stands_over_the_file() {
        let settings = Settings {
            listen: Some("127.0.0.1:7499".into()),
            data: Some("/tmp/x".into()),
            config: None,
        };
        let config = settings.load().expect("valid");
        assert_eq!(
            (config.http.listen.port(), config.node.data_dir),
            (7499, PathBuf::from("/tmp/x"))
        );
    }

    #[test]
    fn a_refused_flag_is_told_with_its_name_and_advice() {
        let settings = Settings {
            listen: Some("0.0.0.0:7480".into()),
            ..Settings::default()
        };
        let told = tell(&settings.load().expect_err("refused"), false);
        assert!(
            told.contains("--listen") && told.contains("loopback") && !told.contains('\x1b'),
            "{told}"
        );
    }
}
