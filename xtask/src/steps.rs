//! Named steps: run one after the other whatever the earlier ones gave, timed, and summed up at the end.
//!
//! A step that runs tests counts each of them; any other step counts as one. The last line is `N passed, N failed`, which is
//! what the machine that runs `.ci/run` reads.

use anyhow::{Context, Result, anyhow, bail};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What the steps gave so far.
#[derive(Default)]
pub(crate) struct Steps {
    done: Vec<Step>,
}

struct Step {
    name: &'static str,
    took: Duration,
    count: Count,
    error: Option<String>,
}

/// Checks or tests that passed and failed in one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Count {
    /// Green ones.
    pub(crate) passed: u64,
    /// Red ones.
    pub(crate) failed: u64,
}

impl Steps {
    /// Runs a step that is one check.
    pub(crate) fn check(&mut self, name: &'static str, work: impl FnOnce() -> Result<()>) {
        self.tests(name, || work().map(|()| Count { passed: 1, failed: 0 }));
    }

    /// Runs a step that counts its own tests. An error counts as one more failure, whatever had passed.
    pub(crate) fn tests(&mut self, name: &'static str, work: impl FnOnce() -> Result<Count>) {
        println!("\n=== {name}");
        let began = now();
        let outcome = work();
        let took = began.elapsed();
        let (count, error) = match outcome {
            Ok(count) if count.failed == 0 => (count, None),
            Ok(count) => (count, Some(format!("{} failed", count.failed))),
            Err(error) => (Count { passed: 0, failed: 1 }, Some(format!("{error:#}"))),
        };
        if let Some(error) = &error {
            println!("=== {name} FAILED: {error}");
        }
        self.done.push(Step { name, took, count, error });
    }

    /// Prints the table and the line that CI reads. `Err` when anything failed.
    pub(crate) fn finish(self) -> Result<()> {
        println!("\n{:<28} {:>8} {:>7} {:>7}", "step", "seconds", "passed", "failed");
        let mut sum = Count::default();
        for step in &self.done {
            let seconds = step.took.as_secs_f64();
            println!("{:<28} {seconds:>8.1} {:>7} {:>7}", step.name, step.count.passed, step.count.failed);
            sum.passed += step.count.passed;
            sum.failed += step.count.failed;
        }
        for step in &self.done {
            if let Some(error) = &step.error {
                println!("failed: {}: {error}", step.name);
            }
        }
        println!("{} passed, {} failed", sum.passed, sum.failed);
        if sum.failed > 0 { bail!("{} failed", sum.failed) } else { Ok(()) }
    }
}

/// The clock of the chores; what a chore does never depends on it.
#[expect(clippy::disallowed_methods, reason = "a chore times real processes and is never simulated")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Runs a command, its output going where ours goes.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = shown(command);
    println!("$ {shown}");
    let status = command.status().with_context(|| format!("start {shown}"))?;
    if status.success() { Ok(()) } else { bail!("{shown}: {status}") }
}

/// Commands that run beside the steps, one after the other, at the lowest priority, what they say in a file.
pub(crate) struct Beside {
    worker: JoinHandle<Result<()>>,
}

impl Beside {
    /// Starts the first. Each has its turn whatever became of the one before.
    #[expect(clippy::disallowed_methods, reason = "a chore waits for real processes and is never simulated")]
    pub(crate) fn start(commands: Vec<Command>, said: &Path) -> Result<Beside> {
        if let Some(folder) = said.parent() {
            std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        }
        let file = File::create(said).with_context(|| format!("write {}", said.display()))?;
        for command in &commands {
            println!("$ {} >{} &", shown(command), said.display());
        }
        let all = move || commands.into_iter().map(|command| run_nice(&command, &file)).fold(Ok(()), Result::and);
        Ok(Beside { worker: std::thread::spawn(all) })
    }

    /// Waits until all have ended. `Err` with the first that failed.
    pub(crate) fn join(self) -> Result<()> {
        self.worker.join().map_err(|_| anyhow!("what ran beside the steps panicked"))?
    }
}

/// Runs it by `nice`.
fn run_nice(command: &Command, said: &File) -> Result<()> {
    let shown = shown(command);
    let mut nice = Command::new("nice");
    nice.args(["-n", "19"]).arg(command.get_program()).args(command.get_args());
    nice.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if let Some(folder) = command.get_current_dir() {
        nice.current_dir(folder);
    }
    let file = || said.try_clone().with_context(|| format!("keep what {shown} says"));
    let status = nice.stdout(file()?).stderr(file()?).status().with_context(|| format!("start nice {shown}"))?;
    if status.success() { Ok(()) } else { bail!("{shown}: {status}") }
}

/// Runs several commands side by side, their output going where ours goes; all of them end before it is told whether one failed.
pub(crate) fn run_together(commands: &mut [Command]) -> Result<()> {
    let mut children = Vec::new();
    for command in commands {
        let shown = shown(command);
        println!("$ {shown}");
        let child = command.spawn().with_context(|| format!("start {shown}"))?;
        children.push((shown, child));
    }
    let mut failed = Vec::new();
    for (shown, mut child) in children {
        let status = child.wait().with_context(|| format!("wait for {shown}"))?;
        if !status.success() {
            failed.push(format!("{shown}: {status}"));
        }
    }
    if failed.is_empty() { Ok(()) } else { bail!("{}", failed.join("; ")) }
}

/// Runs `cargo test` or the like, echoing its output, and adds up the `test result:` lines.
pub(crate) fn run_tests(command: &mut Command) -> Result<Count> {
    let shown = shown(command);
    println!("$ {shown}");
    let mut child = command.stdout(Stdio::piped()).spawn().with_context(|| format!("start {shown}"))?;
    let stdout = child.stdout.take().context("the child's standard output")?;
    let mut count = Count::default();
    for line in BufReader::new(stdout).split(b'\n') {
        let line = line.context("read the tests' output")?;
        let line = String::from_utf8_lossy(&line);
        writeln!(std::io::stdout(), "{line}").context("echo the tests' output")?;
        if let Some(one) = test_result(&line) {
            count.passed += one.passed;
            count.failed += one.failed;
        }
    }
    let status = child.wait().with_context(|| format!("wait for {shown}"))?;
    if !status.success() && count.failed == 0 {
        bail!("{shown}: {status}");
    }
    if count == Count::default() {
        bail!("{shown}: ran no test");
    }
    Ok(count)
}

/// What libtest says of one binary: `test result: ok. 12 passed; 0 failed; …`.
fn test_result(line: &str) -> Option<Count> {
    let rest = line.strip_prefix("test result: ")?;
    let (_, numbers) = rest.split_once(". ")?;
    let mut count = Count::default();
    for part in numbers.split("; ") {
        let mut words = part.split(' ');
        let number = words.next()?.parse().ok();
        match (number, words.next()) {
            (Some(number), Some("passed")) => count.passed = number,
            (Some(number), Some("failed")) => count.failed = number,
            _ => {}
        }
    }
    Some(count)
}

fn shown(command: &Command) -> String {
    let mut words: Vec<String> = command
        .get_envs()
        .filter_map(|(key, value)| Some(format!("{}={:?}", key.to_string_lossy(), value?.to_string_lossy())))
        .collect();
    words.push(command.get_program().to_string_lossy().into_owned());
    words.extend(command.get_args().map(|word| word.to_string_lossy().into_owned()));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_libtest_prints() {
        let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s";
        assert_eq!(test_result(line), Some(Count { passed: 12, failed: 3 }));
        assert_eq!(test_result("running 3 tests"), None);
    }
}
