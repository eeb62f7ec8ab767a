//! The binary as a process.

use super::{eventually, now};
use rustix::process::Signal;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tempfile::NamedTempFile;

/// A broker that serves. Killed when dropped.
pub(crate) struct Broker {
    child: Child,
    stderr: NamedTempFile,
    pub(crate) kafka: SocketAddr,
    pub(crate) console: SocketAddr,
    /// Just before exec.
    pub(crate) began: Instant,
    /// From exec to the ready line.
    pub(crate) ready_after: Duration,
}

/// A start that was refused.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) code: Option<i32>,
    pub(crate) stderr: String,
}

impl Refused {
    /// The one line that says what to do, without the log lines that may stand above it.
    pub(crate) fn line(&self) -> &str {
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        let mut lines = self.stderr.lines().filter(|line| line.starts_with("millstream: "));
        let line = lines.next().unwrap_or_else(|| panic!("no last line: {}", self.stderr));
        assert_eq!(lines.next(), None, "one line: {}", self.stderr);
        line
    }
}

/// The binary that cargo built for these tests, or the one that `MILLSTREAM_BINARY` names.
fn millstream() -> Command {
    Command::new(std::env::var_os("MILLSTREAM_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_millstream").into()))
}

/// `millstream start` with arguments that keep a test away from everybody else's ports.
pub(crate) fn start(arguments: &[&str]) -> Result<Broker, Refused> {
    start_with(arguments, &[])
}

/// The same with variables in its environment.
pub(crate) fn start_with(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Broker, Refused> {
    let mut all = vec!["start"];
    for (option, address) in [("--listen", "127.0.0.1:0"), ("--console", "127.0.0.1:0")] {
        if !arguments.contains(&option) {
            all.extend([option, address]);
        }
    }
    all.extend(arguments);
    let stderr = NamedTempFile::new().unwrap();
    let file = stderr.reopen().unwrap();
    spawn_broker(&all, environment, stderr, file.into())
}

/// `millstream start` whose log goes elsewhere: to a disk that is full, or a reader that is gone.
pub(crate) fn start_logging_into(stderr: impl Into<Stdio>, folder: &Path) -> Broker {
    let data = folder.to_str().unwrap();
    let all = ["start", "--listen", "127.0.0.1:0", "--console", "127.0.0.1:0", "--data", data];
    let nowhere = NamedTempFile::new().unwrap();
    spawn_broker(&all, &[], nowhere, stderr.into()).unwrap_or_else(|refused| panic!("{refused:?}"))
}

fn spawn_broker(
    arguments: &[&str],
    environment: &[(&str, &str)],
    stderr: NamedTempFile,
    log: Stdio,
) -> Result<Broker, Refused> {
    let began = now();
    let mut child = millstream()
        .args(arguments)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let ready_after = began.elapsed();
    match ready_line(&line) {
        Some((kafka, console)) => Ok(Broker { child, stderr, kafka, console, began, ready_after }),
        None => {
            let code = child.wait().unwrap().code();
            Err(Refused { code, stderr: std::fs::read_to_string(stderr.path()).unwrap() })
        }
    }
}

/// `millstream start --data DIR` and whatever else.
pub(crate) fn start_in(folder: &Path, arguments: &[&str]) -> Broker {
    let mut all = vec!["--data", folder.to_str().unwrap()];
    all.extend(arguments);
    start(&all).unwrap_or_else(|refused| panic!("{refused:?}"))
}

/// Any other command, run to its end: its code, standard output and standard error.
pub(crate) fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = millstream().args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// The same where standard output is something else: its code and standard error.
pub(crate) fn run_into(stdout: impl Into<Stdio>, arguments: &[&str]) -> (Option<i32>, String) {
    let output = millstream().args(arguments).stdin(Stdio::null()).stdout(stdout).stderr(Stdio::piped()).spawn();
    let output = output.unwrap().wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// The same where standard error is something else: its code.
pub(crate) fn run_complaining_into(stderr: impl Into<Stdio>, arguments: &[&str]) -> Option<i32> {
    millstream().args(arguments).stdout(Stdio::null()).stderr(stderr).status().unwrap().code()
}

/// A device that takes nothing.
pub(crate) fn full_device() -> File {
    File::options().write(true).open("/dev/full").unwrap()
}

/// A pipe whose reader is gone.
pub(crate) fn closed_pipe() -> std::io::PipeWriter {
    std::io::pipe().unwrap().1
}

/// A command that speaks to a broker: it finds `input` on its standard input.
pub(crate) fn run_with_input(arguments: &[&str], input: &[u8]) -> (Option<i32>, String, String) {
    let mut child = spawn_command(arguments);
    let mut stdin = child.stdin.take().unwrap();
    // A command that refuses its input does not read all of it.
    stdin.write_all(input).ok();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// Any command, running, with all three of its streams in our hands.
pub(crate) fn spawn_command(arguments: &[&str]) -> Child {
    millstream().args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// `ready kafka=HOST:PORT console=HOST:PORT in N ms`
fn ready_line(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let mut words = line.split_whitespace();
    if words.next() != Some("ready") {
        return None;
    }
    let kafka = words.next()?.strip_prefix("kafka=")?.parse().ok()?;
    let console = words.next()?.strip_prefix("console=")?.parse().ok()?;
    Some((kafka, console))
}

impl Broker {
    /// `kill -9`.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM; the exit status and how long it took.
    pub(crate) fn terminate(mut self) -> (ExitStatus, Duration) {
        let began = now();
        self.signal(Signal::TERM);
        let status = eventually(Duration::from_secs(10), "exit after SIGTERM", || self.child.try_wait().unwrap());
        (status, began.elapsed())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for an exit that nobody asked for.
    pub(crate) fn wait_for_exit(&mut self, limit: Duration) -> ExitStatus {
        eventually(limit, "exit", || self.child.try_wait().unwrap())
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to standard error so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.stderr.path()).unwrap()
    }

    /// Memory in RAM, in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        let status = File::open(format!("/proc/{}/status", self.child.id())).unwrap();
        let lines = BufReader::new(status).lines().map(Result::unwrap);
        let line = lines.into_iter().find(|line| line.starts_with("VmRSS:")).expect("Linux tells VmRSS");
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Already gone after kill and terminate.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
