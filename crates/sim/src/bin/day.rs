//! `day even|trickle`: a day of very many partitions in one broker's storage library, over the simulated world, in minutes.
//!
//! What the cluster takes is sampled each hour and held against its budgets: objects and bytes in the bucket, requests, the ledger's
//! size. In the end the bucket is checked, all topics are deleted, and the bucket has to return to its empty size. Exits 1 where a
//! budget is broken. `cargo xtask measure day`.

use clap::Parser;
use sim::day::{Day, DayPlan, Load, plot};
use std::io::Write;
use std::process::ExitCode;

#[derive(Parser)]
#[command(about = "A day of very many partitions in the simulated world, in minutes")]
struct Args {
    /// How they are written.
    load: Load,
    /// How many [default: 10000 even, 100000 that trickle]
    #[arg(long)]
    partitions: Option<usize>,
    /// Simulated hours.
    #[arg(long, default_value_t = 24)]
    hours: u64,
    /// Writes a plot of the day there, as SVG.
    #[arg(long, value_name = "FILE")]
    plot: Option<std::path::PathBuf>,
    /// Shows what the broker logs, on stderr.
    #[arg(long)]
    log: bool,
}

fn main() -> ExitCode {
    let mut out = std::io::stdout();
    match work(&Args::parse(), &mut out) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // Where even stderr is closed, the exit code has to do.
            drop(writeln!(std::io::stderr(), "{error}"));
            ExitCode::from(2)
        }
    }
}

/// Whether every budget was kept.
fn work(args: &Args, out: &mut impl Write) -> std::io::Result<bool> {
    if args.log {
        sim::run::show_logs();
    }
    let mut plan = DayPlan::of(args.load);
    plan.partitions = args.partitions.unwrap_or(plan.partitions);
    plan.hours = args.hours;
    let mut told = Ok(());
    let day = Day::live(&plan, |line| {
        if told.is_ok() {
            told = writeln!(out, "{line}");
        }
    });
    told?;
    if let Some(path) = &args.plot {
        std::fs::write(path, plot(&day))?;
    }
    for problem in &day.broken {
        writeln!(out, "BROKEN: {problem}")?;
    }
    Ok(day.broken.is_empty())
}
