//! One file per command.

pub mod bench;
mod cluster;
pub mod consume;
pub mod fsck;
pub mod group;
pub mod inspect;
mod outside;
pub mod produce;
mod progress;
pub mod start;
mod time;
pub mod topic;

use crate::config::ConfigError;
use crate::node::StartError;
use std::io::Write;

/// One line of a command's answer. Whoever reads it may have had enough (`| head`): then the command ends.
fn say(line: impl AsRef<str>) {
    if writeln!(std::io::stdout(), "{}", line.as_ref()).is_err() {
        std::process::exit(0);
    }
}

/// The same for an answer in JSON.
fn say_json(value: &impl serde::Serialize) -> Result<(), CommandError> {
    let line = serde_json::to_string(value).map_err(|error| CommandError::failed(format!("write JSON: {error}")))?;
    say(line);
    Ok(())
}

/// `1 partition`, `2 partitions`.
fn counted<N: std::fmt::Display + PartialEq + From<u8>>(count: N, what: &str) -> String {
    let many = if count == N::from(1) { "" } else { "s" };
    format!("{count} {what}{many}")
}

/// How a command ended that did not do what it was asked.
#[derive(Debug)]
pub struct CommandError {
    /// The exit code.
    pub code: u8,
    /// One line that says what to do.
    pub line: String,
}

impl CommandError {
    /// The world is not as it must be.
    pub fn failed(line: impl Into<String>) -> CommandError {
        CommandError { code: 1, line: line.into() }
    }

    /// What the operator wrote is wrong.
    pub fn wrong(line: impl Into<String>) -> CommandError {
        CommandError { code: 2, line: line.into() }
    }
}

impl From<ConfigError> for CommandError {
    fn from(error: ConfigError) -> CommandError {
        CommandError { code: 2, line: error.0 }
    }
}

impl From<StartError> for CommandError {
    fn from(error: StartError) -> CommandError {
        CommandError::failed(error.0)
    }
}
