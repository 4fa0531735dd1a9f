//! How a broker is reached: addresses, TLS, passwords; and what librdkafka says while it tries.
//!
//! Secrets are read from files when a client is made, so that a new password needs no new configuration, and they are in no
//! `Debug`, no log and no status.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::damage::is_damage;
use super::gauge::Line;

/// Who the node is to the broker.
#[derive(Clone, Debug)]
pub struct Login {
    /// `SCRAM-SHA-512`, `SCRAM-SHA-256` or `PLAIN`.
    pub mechanism: String,
    /// The name.
    pub username: String,
    /// The file with the password.
    pub password_file: String,
}

/// Where a broker is and how it is spoken to.
#[derive(Clone, Debug)]
pub struct Broker {
    /// `host:port`, separated by commas.
    pub addresses: String,
    /// Whether over TLS.
    pub tls: bool,
    /// With a password, where it asks for one.
    pub login: Option<Login>,
    /// Authorities (PEM); empty: the system's.
    pub ca_file: String,
    /// The node's certificate (PEM); empty: none.
    pub certificate_file: String,
    /// Its key (PEM).
    pub key_file: String,
}

/// Why a client cannot be made, or what it cannot do. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// A file that the configuration names cannot be used.
    #[error("{key} names {path}, which cannot be read: {source}")]
    File {
        /// The configuration key.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The password file holds nothing.
    #[error("kafka.password_file names {0}, which is empty")]
    NoPassword(PathBuf),
    /// librdkafka refuses the settings, or the broker the request.
    #[error("{0}")]
    Client(#[from] KafkaError),
}

/// A plain name is one of systemd's credentials, when there is one of that name.
fn place(name: &str) -> PathBuf {
    let plain = Path::new(name).components().count() == 1 && !name.starts_with('/');
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").filter(|_| plain);
    let credential = credentials
        .map(|dir| PathBuf::from(dir).join(name))
        .filter(|path| path.exists());
    credential.unwrap_or_else(|| PathBuf::from(name))
}

fn readable(key: &'static str, name: &str) -> Result<String, Trouble> {
    let path = place(name);
    let opened = std::fs::File::open(&path);
    opened.map_err(|source| Trouble::File {
        key,
        path: path.clone(),
        source,
    })?;
    Ok(path.display().to_string())
}

impl Broker {
    /// librdkafka's settings for it; reads the password.
    pub(super) fn settings(&self) -> Result<ClientConfig, Trouble> {
        let mut settings = ClientConfig::new();
        settings.set("bootstrap.servers", &self.addresses);
        settings.set("client.id", "shelfd");
        // A broker that comes back is found within seconds, and a node without one does not spin.
        settings
            .set("reconnect.backoff.ms", "100")
            .set("reconnect.backoff.max.ms", "5000");
        settings
            .set("socket.keepalive.enable", "true")
            .set("socket.nagle.disable", "true");
        // What a dead connection would say again and again is told once by the gauge.
        settings.set("log.connection.close", "false");
        let protocol = match (self.tls, &self.login) {
            (false, None) => "plaintext",
            (true, None) => "ssl",
            (false, Some(_)) => "sasl_plaintext",
            (true, Some(_)) => "sasl_ssl",
        };
        settings.set("security.protocol", protocol);
        if let Some(login) = &self.login {
            let path = readable("kafka.password_file", &login.password_file)?;
            let text = std::fs::read_to_string(&path).map_err(|source| Trouble::File {
                key: "kafka.password_file",
                path: path.clone().into(),
                source,
            })?;
            let password = text.trim_end_matches(['\r', '\n']);
            if password.is_empty() {
                return Err(Trouble::NoPassword(path.into()));
            }
            settings.set("sasl.mechanism", &login.mechanism);
            settings.set("sasl.username", &login.username).set("sasl.password", password);
        }
        if self.tls {
            for (setting, key, name) in [
                ("ssl.ca.location", "kafka.ca_file", &self.ca_file),
                ("ssl.certificate.location", "kafka.certificate_file", &self.certificate_file),
                ("ssl.key.location", "kafka.key_file", &self.key_file),
            ] {
                if !name.is_empty() {
                    settings.set(setting, readable(key, name)?);
                }
            }
        }
        settings.set_log_level(RDKafkaLogLevel::Warning);
        Ok(settings)
    }
}

/// What every client's callbacks do: trouble goes to the gauge, once.
#[derive(Clone)]
pub(super) struct Heard {
    pub(super) line: Arc<Line>,
    last: Arc<Mutex<String>>,
}

impl Heard {
    pub(super) fn new(line: Arc<Line>) -> Heard {
        Heard {
            line,
            last: Arc::default(),
        }
    }
}

impl ClientContext for Heard {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, message: &str) {
        // The same words for each retry are one line in the log.
        let text = once(message).to_owned();
        let mut last = self.last.lock();
        if *last == text {
            return;
        }
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
                tracing::warn!(part = %self.line.name, fac, "{message}");
            }
            _ => tracing::info!(part = %self.line.name, fac, "{message}"),
        }
        *last = text;
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // That no broker is left says less than what each of them had said before.
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) && self.line.is_waiting() {
            return;
        }
        // Repeated until the consumer goes on behind them, by whom it is told once.
        if is_damage(&error) {
            return;
        }
        self.line.waits(&format!("{}: {}", code(&error), once(reason)));
    }
}

/// The words without how long it took and how often it has been said.
fn once(words: &str) -> &str {
    words.split(" (after ").next().unwrap_or(words)
}

/// librdkafka's name of an error.
pub(super) fn code(error: &KafkaError) -> String {
    error
        .rdkafka_error_code()
        .map_or_else(|| error.to_string(), |code| code.to_string())
}
