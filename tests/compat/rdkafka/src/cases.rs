//! How cases are run and told, and what they wait and check with.

use std::fmt::Debug;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

pub type Failure = Box<dyn std::error::Error + Send + Sync>;
pub type Outcome = Result<(), Failure>;
pub type Case = (&'static str, Box<dyn FnOnce() -> Outcome + Send>);

/// Long enough for a broker that takes half a minute to start, and is killed three times.
const CASE_SECONDS_MAX: u64 = 300;
const UNTIL_SECONDS_MAX: u64 = 40;

/// Runs those cases that the command line names, else all, one after the other, and tells what became of each.
pub fn run(mut cases: Vec<Case>) {
    let named: Vec<String> = std::env::args().skip(1).collect();
    cases.retain(|(name, _)| named.is_empty() || named.iter().any(|it| it == name));
    println!("plan {}", cases.len());
    for (name, case) in cases {
        eprintln!("case {name}");
        let (tell, told) = mpsc::channel();
        // A case that panics drops its end, which is told as well.
        std::thread::spawn(move || tell.send(case().map_err(|it| it.to_string())));
        match told.recv_timeout(Duration::from_secs(CASE_SECONDS_MAX)) {
            Ok(Ok(())) => println!("pass {name}"),
            Ok(Err(reason)) => println!("fail {name}: {}", reason.replace('\n', " ")),
            Err(error) => println!("fail {name}: no outcome within {CASE_SECONDS_MAX} s: {error}"),
        }
    }
}

pub fn bootstrap() -> String {
    std::env::var("BOOTSTRAP").expect("the runner names the broker")
}

/// Has the broker killed and started again.
pub fn restart() -> Outcome {
    println!("restart");
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    same("restarted", answer.trim(), "the runner's answer")
}

static COUNTER: AtomicUsize = AtomicUsize::new(0);

fn count() -> usize {
    COUNTER.fetch_add(1, Ordering::SeqCst)
}

pub fn unique(about: &str) -> String {
    format!("{about}-{}", count())
}

/// Values of which no two are the same, in order.
pub fn numbered(many: usize) -> Vec<String> {
    (0..many).map(|i| format!("value-{:07}-{}", count(), "x".repeat(i % 50))).collect()
}

/// Bytes that no codec makes shorter.
pub fn noise(size: usize) -> Vec<u8> {
    let mut state = size as u64 | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..size).map(|_| next()).collect()
}

pub fn until(what: &str, mut holds: impl FnMut() -> Result<bool, Failure>) -> Outcome {
    let started = Instant::now();
    while !holds()? {
        check(
            started.elapsed() < Duration::from_secs(UNTIL_SECONDS_MAX),
            &format!("not within {UNTIL_SECONDS_MAX} s: {what}"),
        )?;
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

pub fn same<T: PartialEq + Debug>(expected: T, found: T, what: &str) -> Outcome {
    check(
        expected == found,
        &format!("{what}: expected {:.200}, found {:.200}", format!("{expected:?}"), format!("{found:?}")),
    )
}

pub fn check(holds: bool, what: &str) -> Outcome {
    if holds { Ok(()) } else { Err(what.into()) }
}
