//! A broker, and the commands that speak to it.

use super::process::{self, Broker, run_with_input, spawn_command};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader};
use std::process::Child;
use tempfile::TempDir;

/// A broker and its address as the commands take it.
pub(crate) struct Cluster {
    pub(crate) broker: Broker,
    pub(crate) bootstrap: String,
    pub(crate) folder: TempDir,
}

impl Cluster {
    pub(crate) fn start() -> Cluster {
        Cluster::start_in(TempDir::new().unwrap(), &[])
    }

    pub(crate) fn start_in(folder: TempDir, arguments: &[&str]) -> Cluster {
        let broker = process::start_in(folder.path(), arguments);
        let bootstrap = broker.kafka.to_string();
        Cluster { broker, bootstrap, folder }
    }

    /// The broker killed, and started again at its address when `meanwhile` has ended.
    pub(crate) fn killed(self, meanwhile: impl FnOnce()) -> Cluster {
        let Cluster { broker, bootstrap, folder } = self;
        broker.kill();
        meanwhile();
        let broker = process::start_in(folder.path(), &["--listen", &bootstrap]);
        Cluster { broker, bootstrap, folder }
    }

    pub(crate) fn arguments<'a>(&'a self, words: &[&'a str]) -> Vec<&'a str> {
        words.iter().copied().chain(["--bootstrap", &self.bootstrap]).collect()
    }

    /// What a command that must succeed says.
    pub(crate) fn ok(&self, words: &[&str]) -> String {
        self.ok_with(words, b"")
    }

    pub(crate) fn ok_with(&self, words: &[&str], input: &[u8]) -> String {
        let (code, out, err) = run_with_input(&self.arguments(words), input);
        assert_eq!((code, err.as_str()), (Some(0), ""), "{words:?}: {out}");
        out
    }

    /// The code and the one line of a command that must fail.
    pub(crate) fn fails(&self, words: &[&str], input: &[u8]) -> (Option<i32>, String) {
        let (code, _, err) = run_with_input(&self.arguments(words), input);
        (code, one_line(&err))
    }

    pub(crate) fn spawn(&self, words: &[&str]) -> Child {
        spawn_command(&self.arguments(words))
    }
}

pub(crate) fn one_line(err: &str) -> String {
    let lines: Vec<&str> = err.lines().collect();
    assert!(lines.len() == 1 && lines[0].starts_with("millstream: "), "one line: {err}");
    lines[0].to_owned()
}

pub(crate) fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

pub(crate) fn interrupt(child: &Child) {
    kill_process(Pid::from_child(child), Signal::INT).unwrap();
}

/// The exit code and what is on standard error.
pub(crate) fn end(mut child: Child) -> (Option<i32>, String) {
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// The lines that a command writes, one a call.
pub(crate) fn lines_of(command: &mut Child) -> impl FnMut() -> String + use<> {
    let mut written = BufReader::new(command.stdout.take().unwrap());
    move || {
        let mut line = String::new();
        written.read_line(&mut line).unwrap();
        line
    }
}
