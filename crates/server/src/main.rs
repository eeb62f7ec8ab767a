//! The `millstream` program: reads the command line, runs a command, ends with its code.
//!
//! Exit codes: 0 done or stopped as asked; 1 the world is not as it must be (port, disk, bucket); 2 what the operator wrote is
//! wrong. An error is one line on standard error that says what to do.

use clap::{CommandFactory, Parser};
use server::args::{Cli, Command};
use server::commands::{self, CommandError};
use std::process::ExitCode;

/// Requests are taken and answered on any thread: the allocator of the C library, and the page faults of memory that it gives back, were
/// 15 % of a broker's time (docs/adr/0167-an-allocator-of-our-own.md).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return explain(&error),
    };
    let outcome = match cli.command {
        Command::Start(args) => commands::start::run(*args),
        Command::Topic(what) => commands::topic::run(what),
        Command::Produce(args) => commands::produce::run(&args),
        Command::Consume(args) => commands::consume::run(&args),
        Command::Group(what) => commands::group::run(what),
        Command::Bench(what) => commands::bench::run(what),
        Command::Inspect(what) => commands::inspect::run(what),
        Command::Fsck(storage) => commands::fsck::run(&storage),
        Command::Broker(what) => commands::broker::run(&what),
        Command::Wal(what) => commands::wal::run(&what),
        Command::Restore(args) => commands::restore::run(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => ExitCode::from(error.report()),
    }
}

/// Help and version as clap prints them; a mistake as one line.
fn explain(error: &clap::Error) -> ExitCode {
    use clap::error::ErrorKind;
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let unwritten = |error| ExitCode::from(CommandError::unwritten(&error).report());
            error.print().map_or_else(unwritten, |()| ExitCode::SUCCESS)
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            error.print().ok();
            ExitCode::from(2)
        }
        _ => {
            let said = in_one_line(&error.to_string());
            commands::complain(&format!("{said}; see {} --help", meant(std::env::args().skip(1))));
            ExitCode::from(2)
        }
    }
}

/// What clap says in several lines, without its pointers to elsewhere.
fn in_one_line(text: &str) -> String {
    let said = text.strip_prefix("error: ").unwrap_or(text).lines().map(str::trim);
    let said = said.take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"));
    // That an unknown option may be a value helps nobody: the option was meant.
    let said: Vec<&str> = said.filter(|line| !line.is_empty() && !line.starts_with("tip: to pass")).collect();
    plainly(said.join("; ").replace(":; ", ": "))
}

/// What Rust's library says of a number that is none.
fn plainly(said: String) -> String {
    let number = ["invalid digit found in string", "cannot parse integer from empty string"];
    number.iter().fold(said, |said, jargon| said.replace(jargon, "write a whole number"))
}

/// The command that the words name, as far as they do.
fn meant(words: impl Iterator<Item = String>) -> String {
    let mut command = Cli::command();
    let mut path = command.get_name().to_owned();
    for word in words {
        let Some(next) = command.find_subcommand(&word).cloned() else { break };
        path.push(' ');
        path.push_str(&word);
        command = next;
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told of a command line that clap refuses.
    fn line_of(line: &str) -> String {
        let words = || line.split(' ').map(str::to_owned);
        let error = Cli::try_parse_from(words()).unwrap_err();
        format!("{}; see {} --help", in_one_line(&error.to_string()), meant(words().skip(1)))
    }

    #[test]
    fn a_number_that_is_none_is_told_in_plain_words() {
        for word in ["abc", "1.5"] {
            let line = line_of(&format!("millstream topic create t --partitions={word}"));
            assert!(line.contains("write a whole number; see millstream topic create --help"), "{line}");
        }
    }

    #[test]
    fn a_mistake_is_one_line_that_leads_to_the_help_of_its_command() {
        assert_eq!(line_of("millstream strat").split(';').next(), Some("unrecognized subcommand 'strat'"));
        let missing = "the following required arguments were not provided: <TOPIC>; see millstream produce --help";
        assert_eq!(line_of("millstream produce"), missing);
        let unknown = "unexpected argument '--topic' found; see millstream topic create --help";
        assert_eq!(line_of("millstream topic create --topic t"), unknown);
        let near = "unexpected argument '--bootstrap-server' found; tip: a similar argument exists: '--bootstrap'";
        assert!(line_of("millstream topic list --bootstrap-server h:1").starts_with(near));
        let both = "the argument '--to-earliest' cannot be used with '--to-latest'";
        let line = line_of("millstream group reset g --to-earliest --to-latest");
        assert!(line.starts_with(both), "{line}");
        let value = "invalid value '0' for '--rate <N>': 0 is not in 1..=10000000; see millstream bench e2e --help";
        assert_eq!(line_of("millstream bench e2e load --rate 0"), value);
    }
}
