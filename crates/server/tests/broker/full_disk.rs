//! A disk that fills up under a running broker: it waits, refuses in Kafka's words, loses nothing, and goes on when there is room.
//!
//! The disk is a small file system in a file. Where mounting one is not permitted, these tests say so and pass.

use crate::support::client::Client;
use crate::support::process::{self, closed_pipe, full_device, start_in, start_logging_into};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// A mounted file system of a few megabytes.
struct SmallDisk {
    folder: TempDir,
    mount: PathBuf,
}

impl SmallDisk {
    fn mount(megabytes: u32) -> Option<SmallDisk> {
        let folder = TempDir::new().unwrap();
        let image = folder.path().join("image");
        let mount = folder.path().join("mount");
        std::fs::create_dir(&mount).unwrap();
        let megabytes = format!("{megabytes}M");
        let done = run("truncate", &[Path::new("-s"), Path::new(&megabytes), &image])
            && run("mkfs.ext4", &[Path::new("-q"), Path::new("-m"), Path::new("0"), &image])
            && run("mount", &[Path::new("-o"), Path::new("loop"), &image, &mount]);
        if !done {
            crate::support::skip("this host does not let the test mount a small file system");
            return None;
        }
        Some(SmallDisk { folder, mount })
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = run("umount", &[&self.mount]);
        // A test that has failed already should say why it failed.
        assert!(unmounted || std::thread::panicking(), "umount {} of {:?}", self.mount.display(), self.folder);
    }
}

fn run(program: &str, arguments: &[&Path]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}

/// A record that says its number and is large enough to fill a disk with.
fn value(number: i64) -> Vec<u8> {
    let mut value = number.to_be_bytes().to_vec();
    value.resize(200_000, u8::try_from(number % 251).unwrap());
    value
}

/// Produces until the broker does not take any more; how many were acknowledged in all.
fn produce_until_full(client: &mut Client, mut acknowledged: i64) -> i64 {
    client.produce_within_ms = 3000;
    loop {
        match client.produce("full", 0, &[value(acknowledged)]).unwrap() {
            Ok(offset) => {
                assert_eq!(offset, acknowledged);
                acknowledged += 1;
            }
            Err(_) => return acknowledged,
        }
        assert!(acknowledged < 2000, "a disk of 128 MB took 400 MB");
    }
}

/// Everything acknowledged is there; what was refused may be there or not, but only at the end. Answers where the log ends.
fn verify(client: &mut Client, acknowledged: i64) -> i64 {
    let mut next = 0;
    loop {
        let fetched = client.fetch("full", 0, next).unwrap().unwrap();
        for (offset, bytes) in &fetched.records {
            assert_eq!(*offset, next);
            assert!(*offset >= acknowledged || *bytes == value(next), "offset {offset} holds something else");
            next += 1;
        }
        if next >= fetched.high_watermark {
            assert!(next >= acknowledged, "acknowledged up to {acknowledged}, but it ends at {next}");
            return next;
        }
    }
}

fn fills_up_and_recovers(log: &[&str]) {
    let Some(disk) = SmallDisk::mount(128) else { return };
    let filler = disk.mount.join("filler");
    std::fs::write(&filler, vec![1; 50 << 20]).unwrap();
    let data = disk.mount.join("data");
    let mut arguments = vec!["--memory", "128MiB"];
    arguments.extend(log);
    let mut broker = start_in(&data, &arguments);
    let mut client = Client::connect(broker.kafka).unwrap();
    client.create_topic("full", 1).unwrap();
    let acknowledged = produce_until_full(&mut client, 0);
    assert!(acknowledged > 20, "only {acknowledged} records were taken");
    assert!(broker.is_running(), "{}", broker.log());
    verify(&mut Client::connect(broker.kafka).unwrap(), acknowledged);

    // Killed while full, it comes up again: with the same records, and still full.
    broker.kill();
    let mut broker = start_in(&data, &arguments);
    let mut client = Client::connect(broker.kafka).unwrap();
    let end = verify(&mut client, acknowledged);
    assert!(broker.resident_kib() < 300 * 1024, "{} KiB", broker.resident_kib());

    // With room it goes on by itself.
    std::fs::remove_file(&filler).unwrap();
    client.produce_within_ms = 60_000;
    assert_eq!(client.produce("full", 0, &[value(end)]).unwrap(), Ok(end));
    assert!(broker.is_running(), "{}", broker.log());
    assert!(!broker.log().contains("panicked"), "{}", broker.log());
}

#[test]
fn with_a_local_log() {
    fills_up_and_recovers(&[]);
}

#[test]
fn with_the_log_in_the_bucket() {
    fills_up_and_recovers(&["--wal", "storage"]);
}

#[test]
fn a_log_that_does_not_fit_is_refused() {
    let Some(disk) = SmallDisk::mount(64) else { return };
    let data = disk.mount.join("data");
    let wal = format!("file://{}/wal?size=1GiB", disk.mount.display());
    let refused = process::start(&["--data", data.to_str().unwrap(), "--wal", &wal]);
    let Err(refused) = refused else { panic!("started with a log larger than its disk") };
    assert_eq!(refused.code, Some(1));
    assert!(refused.line().contains("space"), "{}", refused.line());
}

/// What the log goes to is no part of what the broker promises: it serves on without.
#[test]
fn a_log_line_that_is_not_taken_is_lost_alone() {
    for stderr in [Stdio::from(full_device()), Stdio::from(closed_pipe())] {
        let folder = TempDir::new().unwrap();
        let mut broker = start_logging_into(stderr, folder.path());
        let bootstrap = broker.kafka.to_string();
        // The broker logs that it keeps this setting to no end.
        let create = ["topic", "create", "t", "--set", "segment.ms=1000000", "--bootstrap", &bootstrap];
        let (code, _, err) = process::run(&create);
        assert_eq!(code, Some(0), "{err}");
        let mut client = Client::connect(broker.kafka).unwrap();
        assert_eq!(client.produce("t", 0, &[b"record".to_vec()]).unwrap(), Ok(0));
        assert!(broker.is_running());
        let (status, _) = broker.terminate();
        assert_eq!(status.code(), Some(0));
    }
}

/// A mistake is told by the exit code where its line can't be.
#[test]
fn a_complaint_that_is_not_taken_leaves_the_exit_code() {
    for arguments in [&["fsck", "--data", "/nonexistent"][..], &["strat"]] {
        let code = process::run_complaining_into(full_device(), arguments);
        assert_eq!(code, Some(if arguments == ["strat"] { 2 } else { 1 }), "{arguments:?}");
    }
}
