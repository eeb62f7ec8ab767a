//! The `millstream` program: reads the command line, runs a command, ends with its code.
//!
//! Exit codes: 0 done or stopped as asked; 1 the world is not as it must be (port, disk, bucket); 2 what the operator wrote is
//! wrong. An error is one line on standard error that says what to do.

use clap::Parser;
use server::args::{Cli, Command};
use server::commands::{self, CommandError};
use std::process::ExitCode;

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
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(CommandError { code, line }) => {
            eprintln!("millstream: {line}");
            ExitCode::from(code)
        }
    }
}

/// Help and version as clap prints them; a mistake as one line.
fn explain(error: &clap::Error) -> ExitCode {
    use clap::error::ErrorKind;
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            error.print().map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            error.print().ok();
            ExitCode::from(2)
        }
        _ => {
            let text = error.to_string();
            let said = text.lines().take_while(|line| !line.starts_with("Usage:"));
            let said: Vec<&str> = said.map(str::trim).filter(|line| !line.is_empty()).collect();
            let line = said.join("; ");
            eprintln!("millstream: {}; see millstream --help", line.strip_prefix("error: ").unwrap_or(&line));
            ExitCode::from(2)
        }
    }
}
