//! Starts that must be refused: one clear line that says what to do, the right exit code, nothing harmed.

use crate::support::client::Client;
use crate::support::process;
use tempfile::TempDir;

/// The exit code and the one line of a start that must fail.
fn refused(arguments: &[&str]) -> (Option<i32>, String) {
    let Err(refused) = process::start(arguments) else { panic!("{arguments:?} started") };
    (refused.code, refused.line().to_owned())
}

fn data(folder: &TempDir) -> [&str; 2] {
    ["--data", folder.path().to_str().unwrap()]
}

#[test]
fn unknown_flags_and_settings_name_the_nearest() {
    let folder = TempDir::new().unwrap();
    let [data, dir] = data(&folder);
    let cases = [
        ("--lisen=127.0.0.1:0", "--listen"),
        ("--set=num.partitons=3", "did you mean num.partitions?"),
        ("--set=listeners=SSL://:9093", "a listener with TLS, which is not served yet"),
        ("--set=num.partitions=many", "Not a number"),
        ("--memory=12", "at least 128MiB"),
        ("--node-id=-3", "whole number"),
        ("--storage=http://x/y", "s3://bucket/prefix"),
        ("--storage=/tmp/somewhere", "did you mean file:///tmp/somewhere?"),
        ("--config=/nonexistent/file.toml", "/nonexistent/file.toml"),
    ];
    for (wrong, hint) in cases {
        let (code, line) = refused(&[data, dir, wrong]);
        assert_eq!(code, Some(2), "{line}");
        assert!(line.contains(hint), "{wrong}: {line}");
    }
    assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none(), "a refused start leaves nothing behind");
}

#[test]
fn listening_beyond_this_host_needs_a_word() {
    let folder = TempDir::new().unwrap();
    let [data, dir] = data(&folder);
    for option in ["--listen", "--console"] {
        let (code, line) = refused(&[data, dir, option, "0.0.0.0:0"]);
        assert_eq!(code, Some(2));
        assert!(line.contains("--allow-anonymous"), "{line}");
    }
}

#[test]
fn one_place_for_clients_and_console() {
    let folder = TempDir::new().unwrap();
    let [data, dir] = data(&folder);
    let (code, line) = refused(&[data, dir, "--listen", "127.0.0.1:9092", "--console", "127.0.0.1:9092"]);
    assert_eq!(code, Some(2));
    assert!(line.contains("give the console a port of its own"), "{line}");
}

#[test]
fn a_port_in_use() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for option in ["--listen", "--console"] {
        let folder = TempDir::new().unwrap();
        let [data, dir] = data(&folder);
        let (code, line) = refused(&[data, dir, option, &address]);
        assert_eq!(code, Some(1));
        assert!(line.contains(&address) && line.contains("another process listens there"), "{line}");
    }
}

#[test]
fn a_locked_log() {
    let folder = TempDir::new().unwrap();
    let first = process::start_in(folder.path(), &[]);
    let (code, line) = refused(&data(&folder));
    assert_eq!(code, Some(1));
    assert!(line.contains("another process") || line.contains("lock"), "{line}");
    // The one that runs is not disturbed.
    let mut client = Client::connect(first.kafka).unwrap();
    client.create_topic("undisturbed", 1).unwrap();
    assert_eq!(client.produce("undisturbed", 0, &[b"record".to_vec()]).unwrap(), Ok(0));
}

#[test]
fn a_bucket_that_can_not_be() {
    // Not even root can make a folder below a device.
    let (code, line) = refused(&["--storage", "file:///dev/null/bucket", "--wal", "storage"]);
    assert_eq!(code, Some(2));
    assert!(line.contains("/dev/null is no folder"), "{line}");
    let folder = TempDir::new().unwrap();
    let storage = format!("file://{}/bucket", folder.path().display());
    let (code, line) = refused(&["--storage", &storage, "--wal", "file:///dev/null/wal"]);
    assert_eq!(code, Some(2));
    assert!(line.contains("/dev/null is no folder"), "{line}");
}

#[test]
fn a_log_within_a_bucket() {
    let folder = TempDir::new().unwrap();
    let [data, dir] = data(&folder);
    for within in ["bucket", "bucket/wal"] {
        let (code, line) = refused(&[data, dir, "--wal", &format!("file://{dir}/{within}?size=64MiB")]);
        assert_eq!(code, Some(2), "{line}");
        assert!(line.contains(&format!("lies within the bucket {dir}/bucket: name a folder outside")), "{line}");
    }
}

#[test]
fn a_log_too_small_for_a_batch() {
    let folder = TempDir::new().unwrap();
    let [data, dir] = data(&folder);
    for size in ["1KiB", "1MiB"] {
        for more in ["", "&shared"] {
            let wal = format!("file://{dir}/wal?size={size}{more}");
            let (code, line) = refused(&[data, dir, "--wal", &wal]);
            assert_eq!(code, Some(2), "it is what was written that is wrong: {line}");
            assert!(line.contains("message.max.bytes") && line.contains("quarter"), "{line}");
            assert!(line.contains("at least --wal '…size=5MiB'"), "{line}");
        }
    }
    // What is advised is taken.
    let broker = process::start_in(folder.path(), &["--wal", &format!("file://{dir}/wal?size=5MiB")]);
    drop(broker);
    let (code, line) = refused(&[data, dir, "--set", "message.max.bytes=2000000"]);
    assert_eq!(code, Some(1), "{line}");
    assert!(line.contains("lower it, or give another place by --wal"), "{line}");
}

#[test]
fn a_file_where_a_folder_is_to_be_is_named() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "somebody's").unwrap();
    let file = file.to_str().unwrap();
    let storage = format!("file://{file}/bucket");
    for arguments in [["--data", file], ["--storage", &storage]] {
        let (code, line) = refused(&arguments);
        assert_eq!(code, Some(2), "{line}");
        assert!(line.contains(&format!("{file} is no folder")), "{line}");
    }
    let (code, line) = refused(&["--data", "/proc/millstream"]);
    assert_eq!(code, Some(1), "{line}");
    assert!(line.contains("/proc/millstream/bucket can't be used") && line.contains("a folder on a disk"), "{line}");
    let wal = format!("file://{file}/wal");
    let (code, line) = refused(&["--data", folder.path().join("data").to_str().unwrap(), "--wal", &wal]);
    assert_eq!(code, Some(2), "{line}");
    assert!(line.contains(&format!("{file} is no folder")), "{line}");
}

#[test]
fn help_and_version_are_no_mistakes() {
    let (code, out, _) = process::run(&["start", "--help"]);
    assert_eq!(code, Some(0));
    assert!(out.contains("--allow-anonymous"));
    let (code, out, _) = process::run(&["--version"]);
    assert_eq!((code, out.starts_with("millstream ")), (Some(0), true));
    assert_eq!(process::run(&[]).0, Some(2));
}
