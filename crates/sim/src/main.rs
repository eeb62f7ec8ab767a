//! `sim SEED`, `sim --seeds A..B`: runs seeds and says what was violated; exits 1 where anything was.

use clap::Parser;
use sim::mutants;
use sim::run::{Report, run};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

#[derive(Parser)]
#[command(about = "Runs whole clusters in one deterministic process, with faults and checkers")]
struct Args {
    /// One seed.
    #[arg(required_unless_present_any = ["seeds", "mutants_report"])]
    seed: Option<u64>,
    /// Seeds from A up to, and without, B.
    #[arg(long, value_name = "A..B", value_parser = parse_range, conflicts_with = "seed")]
    seeds: Option<Range<u64>>,
    /// Wakes this planted bug, in a build with --cfg mutants, and stops at the first seed that finds it; exits 1 where none does.
    #[arg(long, value_name = "NAME")]
    mutant: Option<String>,
    /// Searches for every planted bug (or those named) and prints how many seeds that takes.
    #[arg(long, value_name = "NAME", num_args = 0.., conflicts_with_all = ["seed", "seeds", "mutant"])]
    mutants_report: Option<Vec<String>>,
    /// Runs each seed twice and compares the traces.
    #[arg(long)]
    check_determinism: bool,
    /// Writes the trace there.
    #[arg(long, value_name = "FILE", requires = "seed")]
    trace: Option<PathBuf>,
    /// Shows what the brokers log, on stderr.
    #[arg(long)]
    log: bool,
    /// Shows what was counted.
    #[arg(long)]
    counts: bool,
    /// Runs so many seeds side by side.
    #[arg(long, default_value_t = 2)]
    jobs: u64,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let mut out = std::io::stdout();
    match work(&args, &mut out) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            // Where even stderr is closed, the exit code has to do.
            drop(writeln!(std::io::stderr(), "{message}"));
            ExitCode::from(2)
        }
    }
}

fn work(args: &Args, out: &mut impl Write) -> Result<bool, String> {
    if args.log {
        sim::run::show_logs();
    }
    if let Some(name) = &args.mutant {
        mutants::wake(name)?;
    }
    let say = |out: &mut dyn Write, line: String| writeln!(out, "{line}").map_err(|error| error.to_string());
    if let Some(names) = &args.mutants_report {
        let names: Vec<_> =
            if names.is_empty() { mutants::NAMES.to_vec() } else { names.iter().map(String::as_str).collect() };
        let mut failed = None;
        let all = mutants::report(&names, |line| failed = say(out, line).err())?;
        return failed.map_or(Ok(all), Err);
    }
    let seeds = args.seeds.clone().or(args.seed.map(|seed| seed..seed + 1)).unwrap_or(0..0);
    let reports = run_all(args, seeds.clone())?;
    let failed: Vec<_> = reports.iter().filter(|report| !report.is_green()).collect();
    if let Some(name) = &args.mutant {
        return match failed.iter().find(|report| !report.violations.is_empty()) {
            Some(report) => say(out, format!("found at seed {}: {}", report.seed, report.violations[0])).map(|()| true),
            None => say(
                out,
                format!(
                    "{name} not found in {} seeds; its place was passed {} times",
                    reports.len(),
                    mutants::reached()
                ),
            )
            .map(|()| false),
        };
    }
    let simulated: Duration = reports.iter().map(|report| report.simulated).sum();
    let acknowledged: u64 = reports.iter().filter_map(|report| report.counts.get("records.acknowledged")).sum();
    say(
        out,
        format!(
            "{} of {} seeds green, {} s simulated, {acknowledged} records acknowledged",
            reports.len() - failed.len(),
            reports.len(),
            simulated.as_secs()
        ),
    )?;
    Ok(failed.is_empty())
}

/// Runs the seeds, some side by side, and tells each failure as it happens.
fn run_all(args: &Args, seeds: Range<u64>) -> Result<Vec<Report>, String> {
    let next = AtomicU64::new(seeds.start);
    let enough = AtomicBool::new(false);
    let reports = Mutex::new(Vec::new());
    let first_error = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..args.jobs.clamp(1, seeds.end.saturating_sub(seeds.start).max(1)) {
            scope.spawn(|| {
                while !enough.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    match run_one(args, seed) {
                        Ok(report) => {
                            if args.mutant.is_some() && !report.violations.is_empty() {
                                enough.store(true, Ordering::Relaxed);
                            }
                            reports.lock().unwrap_or_else(PoisonError::into_inner).push(report);
                        }
                        Err(error) => {
                            *first_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                            return;
                        }
                    }
                }
            });
        }
    });
    if let Some(error) = first_error.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    let mut reports = reports.into_inner().unwrap_or_else(PoisonError::into_inner);
    reports.sort_by_key(|report: &Report| report.seed);
    Ok(reports)
}

fn run_one(args: &Args, seed: u64) -> Result<Report, String> {
    let sink: Option<Box<dyn Write + Send>> = match &args.trace {
        Some(path) => {
            let file = File::create(path).map_err(|error| format!("{}: {error}", path.display()))?;
            Some(Box::new(BufWriter::new(file)))
        }
        None => None,
    };
    let mut report = run(seed, sink);
    if args.check_determinism {
        let again = run(seed, None);
        if again.trace != report.trace {
            report
                .violations
                .push(format!("trace {:?}, then {:?}: the seed does not tell one story", report.trace, again.trace));
        }
    }
    if args.mutant.is_none() {
        tell(args, &report).map_err(|error| error.to_string())?;
    }
    Ok(report)
}

fn tell(args: &Args, report: &Report) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let verdict = if report.is_green() { "green" } else { "FAILED" };
    let (hash, events) = report.trace;
    let plan = &report.plan;
    if !report.is_green() || args.seed.is_some() || args.counts {
        writeln!(
            out,
            "seed {} {verdict}: {:?}, {} brokers, {:?}; trace {hash:016x} of {events} events",
            report.seed, plan.storage, plan.brokers, plan.faults
        )?;
    }
    for violation in report.violations.iter().take(10) {
        writeln!(out, "    {violation}")?;
    }
    for uncovered in &report.uncovered {
        writeln!(out, "    not exercised: {uncovered}")?;
    }
    if args.counts {
        for (what, count) in &report.counts {
            writeln!(out, "    {count:>8} {what}")?;
        }
    }
    Ok(())
}

fn parse_range(text: &str) -> Result<Range<u64>, String> {
    let (start, end) = text.split_once("..").ok_or("write A..B")?;
    let number = |text: &str| text.parse::<u64>().map_err(|error| format!("{text}: {error}"));
    Ok(number(start)?..number(end)?)
}
