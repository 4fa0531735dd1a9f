//! How a verb ends: sysexits codes, and the one error type that carries a code, a message and what to do about it.
//!
//! Scripts branch on the code (75: try again, 65: the data will not get better by itself), so it is decided here, in one
//! map, and not verb by verb. Rejected: `anyhow` with 1 for everything, which tells a script nothing.

use std::fmt;
use std::io;
use std::process::ExitCode;

use super::client;

/// An exit code of `sysexits.h`, as far as the command line uses them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// 0: done.
    Done = 0,
    /// 64: the command line itself is wrong.
    Usage = 64,
    /// 65: what was given is wrong, or the node refused it; the same again will fail again.
    Data = 65,
    /// 69: nobody answers, or the node has failed.
    Unavailable = 69,
    /// 74: reading or writing on this side failed.
    Io = 74,
    /// 75: not now; the same again may succeed.
    TryAgain = 75,
    /// 78: the configuration, the environment or the access rights are wrong.
    Configuration = 78,
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> ExitCode {
        ExitCode::from(code as u8)
    }
}

/// The code for what clap says: 0 for help and version, which were asked for, and 64 for everything else.
pub fn of_clap(error: &clap::Error) -> Code {
    if error.use_stderr() { Code::Usage } else { Code::Done }
}

/// Why a verb ended badly.
#[derive(Debug)]
pub struct Failure {
    /// What the process exits with.
    pub code: Code,
    /// What went wrong, and where, in one sentence. Empty when everything has been said already.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// The problem document of the node, for `--json`.
    pub problem: Option<Box<str>>,
}

impl Failure {
    /// A failure with a code and a message.
    pub fn new(code: Code, message: impl Into<String>) -> Failure {
        Failure {
            code,
            message: message.into(),
            help: None,
            problem: None,
        }
    }

    /// The command line is wrong in a way that clap cannot see.
    pub fn usage(message: impl Into<String>) -> Failure {
        Failure::new(Code::Usage, message)
    }

    /// What was given is wrong.
    pub fn data(message: impl Into<String>) -> Failure {
        Failure::new(Code::Data, message)
    }

    /// Ends with a code after everything has been printed.
    pub fn silent(code: Code) -> Failure {
        Failure::new(code, "")
    }

    /// The same with advice.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Failure {
        self.help = Some(help.into());
        self
    }

    /// Prints the failure on stderr (as JSON when asked for) and gives the exit code.
    pub fn report(&self, json: bool) -> ExitCode {
        if !self.message.is_empty() {
            match (&self.problem, json) {
                (Some(problem), true) => eprintln!("{problem}"),
                (None, true) => {
                    eprintln!(
                        "{}",
                        serde_json::json!({"detail": self.message, "help": self.help, "exit": self.code as u8})
                    );
                }
                _ => eprint!("{self}"),
            }
        }
        self.code.into()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "shelfd: {}", self.message)?;
        match &self.help {
            Some(help) => writeln!(f, "  help: {help}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        // `shelfd stock | head` is a reader who has seen enough, not an error.
        if error.kind() == io::ErrorKind::BrokenPipe {
            Failure::silent(Code::Done)
        } else {
            Failure::new(Code::Io, error.to_string())
        }
    }
}

/// The code for an HTTP status with which the node refused.
pub fn of_status(status: u16) -> Code {
    match status {
        401 | 403 => Code::Configuration,
        408 | 425 | 429 | 503 | 507 => Code::TryAgain,
        400..=499 => Code::Data,
        _ => Code::Unavailable,
    }
}

impl From<client::Error> for Failure {
    fn from(error: client::Error) -> Failure {
        let message = error.to_string();
        match error {
            client::Error::Unreachable { url, .. } => Failure::new(Code::Unavailable, message).with_help(format!(
                "start a node with `shelfd run` or `shelfd demo`, or name another with --url or SHELFD_URL (now {url})"
            )),
            client::Error::TooSlow { .. } => Failure::new(Code::TryAgain, message),
            client::Error::Broken { .. } | client::Error::Unexpected { .. } | client::Error::Unreadable { .. } => {
                Failure::new(Code::Unavailable, message).with_help("is this the address of a shelfd node?")
            }
            client::Error::Problem(problem) => Failure {
                code: of_status(problem.status),
                message,
                help: problem.help().map(str::to_owned),
                problem: Some(problem.body),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_becomes_the_code_a_script_can_act_on() {
        for (status, code) in [
            (400, Code::Data),
            (401, Code::Configuration),
            (404, Code::Data),
            (409, Code::Data),
            (422, Code::Data),
            (429, Code::TryAgain),
            (500, Code::Unavailable),
            (503, Code::TryAgain),
            (507, Code::TryAgain),
        ] {
            assert_eq!(of_status(status), code, "{status}");
        }
    }

    #[test]
    fn a_reader_who_went_away_is_no_error() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(failure.code, Code::Done);
        assert!(failure.message.is_empty());
    }

    #[test]
    fn a_failure_says_what_and_what_to_do() {
        let failure = Failure::data("row 3 is no JSON").with_help("mend the row");
        assert_eq!(failure.to_string(), "shelfd: row 3 is no JSON\n  help: mend the row\n");
    }
}
