//! One file per command.

pub mod bench;
pub mod broker;
mod cluster;
pub mod consume;
pub mod fsck;
pub mod group;
pub mod inspect;
mod login;
mod outside;
mod place;
pub mod produce;
mod progress;
pub mod restore;
mod several;
pub mod start;
mod time;
pub mod topic;
pub mod wal;

use crate::config::ConfigError;
use crate::node::StartError;
use std::io::{ErrorKind, Write};

/// One line of a command's answer.
///
/// # Errors
/// It can't be written, or nobody reads it any more.
fn say(line: impl AsRef<str>) -> Result<(), CommandError> {
    writeln!(std::io::stdout(), "{}", line.as_ref()).map_err(|error| CommandError::unwritten(&error))
}

/// Lines of it, until one can't be written.
fn say_all(lines: impl IntoIterator<Item = impl AsRef<str>>) -> Result<(), CommandError> {
    lines.into_iter().try_for_each(say)
}

/// The same for an answer in JSON.
fn say_json(value: &impl serde::Serialize) -> Result<(), CommandError> {
    let line = serde_json::to_string(value).map_err(|error| CommandError::failed(format!("write JSON: {error}")))?;
    say(line)
}

/// A line on standard error. Where that takes nothing the exit code alone must tell.
pub fn complain(line: &str) {
    writeln!(std::io::stderr(), "millstream: {line}").ok();
}

/// `1 partition`, `2 partitions`.
fn counted<N: std::fmt::Display + PartialEq + From<u8>>(count: N, what: &str) -> String {
    let many = if count == N::from(1) { "" } else { "s" };
    format!("{count} {what}{many}")
}

/// `0..12`, the second one not among them.
fn dots(range: base::OffsetRange) -> String {
    format!("{}..{}", range.base, range.next)
}

/// A partition that a topic of `count` does not have, where `option` asks for it.
fn no_such_partition(option: &str, topic: &str, count: usize) -> CommandError {
    CommandError::wrong(format!("{option}: topic {topic} has {}, counted from 0", counted(count, "partition")))
}

/// How a command ended that did not do what it was asked, or did not tell all of it.
#[derive(Debug)]
pub struct CommandError {
    /// The exit code.
    pub code: u8,
    /// One line that says what to do. Empty where there is nothing to do about it.
    pub line: String,
}

impl CommandError {
    /// The world is not as it must be.
    pub fn failed(line: impl Into<String>) -> CommandError {
        CommandError { code: 1, line: line.into() }
    }

    /// Standard output takes no more. A reader that has had enough (`| head`) is no failure, and nothing is said.
    #[must_use]
    pub fn unwritten(error: &std::io::Error) -> CommandError {
        match error.kind() {
            ErrorKind::BrokenPipe => CommandError { code: 0, line: String::new() },
            _ => CommandError::failed(format!("write to standard output: {error}")),
        }
    }

    /// What the operator wrote is wrong.
    pub fn wrong(line: impl Into<String>) -> CommandError {
        CommandError { code: 2, line: line.into() }
    }
}

impl CommandError {
    /// Tells the line, where there is one, on standard error; the exit code.
    #[must_use]
    pub fn report(&self) -> u8 {
        if !self.line.is_empty() {
            complain(&self.line);
        }
        self.code
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
