//! Every chore of the repository, in Rust: `cargo xtask NAME`.
//!
//! CI is `cargo xtask ci`, so a developer runs what CI runs. Nothing here is linked into the broker, and this program links
//! nothing of the broker's: it drives cargo, git and the built binaries from outside.

#![expect(clippy::print_stdout, reason = "what a chore says is for the terminal and for CI")]

use clap::{Parser, Subcommand};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

mod ci;
mod codegen;
mod deny;
mod mutants;
mod release;
mod steps;
mod tidy;
mod verify;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The repository's chores")]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Everything that must hold before a change lands; ends with `N passed, N failed`.
    Ci,
    /// Searches for planted bugs with the simulator and prints how many seeds each took.
    Mutants {
        /// Which; all where none is named.
        names: Vec<String>,
    },
    /// Builds the release binary, statically linked: `target/release/millstream`.
    Release,
    /// Shows a promise that takes long to show, on the release binary.
    Verify {
        promise: verify::Promise,
        /// How often to kill the broker.
        #[arg(long, default_value_t = 50)]
        times: u64,
        #[command(flatten)]
        trouble: verify::Trouble,
    },
    /// Measures what is promised in milliseconds or mebibytes, on the release binary; not in CI.
    Measure {
        what: verify::Measurement,
        /// How often.
        #[arg(long, default_value_t = 20)]
        runs: u64,
    },
    /// What no compiler checks: paths named in documents, ADR numbers, the cores' dependencies and bans.
    Tidy,
    /// Generates `crates/protocol/src/messages` from Kafka's definitions.
    Codegen(codegen::Arguments),
}

fn main() -> ExitCode {
    let root = repository_root();
    let outcome = match Cli::parse().chore {
        Chore::Ci => ci::run_all(&root),
        Chore::Mutants { names } => mutants::run_all(&root, &names),
        Chore::Release => release::build(&root).map(drop),
        Chore::Tidy => tidy::run(&root),
        Chore::Verify { promise, times, trouble } => verify::verify(&root, promise, times, &trouble),
        Chore::Measure { what, runs } => verify::measure(&root, what, runs),
        Chore::Codegen(arguments) => codegen::run(&root, &arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The folder that holds the workspace's Cargo.toml.
fn repository_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the repository").to_path_buf()
}
