//! Whole starts, as an operator would write them.

use super::*;

fn resolved(arguments: &[&str]) -> Result<Config, String> {
    use clap::Parser;
    let line = ["millstream", "start"].iter().chain(arguments);
    let cli = crate::args::Cli::try_parse_from(line).map_err(|error| error.to_string())?;
    let crate::args::Command::Start(args) = cli.command else { return Err("not a start".to_owned()) };
    Config::resolve(*args).map_err(|error| error.0)
}

fn only(config: &Config) -> WalChoice {
    assert_eq!(config.wals.len(), 1);
    config.wals[0].choice.clone()
}

#[test]
fn the_defaults_need_no_flag() {
    let config = resolved(&[]).unwrap();
    let here = std::env::current_dir().unwrap();
    assert_eq!(config.storage, StorageTarget::Folder(here.join("millstream-data/bucket")));
    assert_eq!(only(&config), WalChoice::File { dir: here.join("millstream-data/wal"), bytes: None });
    assert_eq!((config.listen.as_str(), config.console.as_str()), ("127.0.0.1:9092", "127.0.0.1:9644"));
    assert!(config.broker.batch_bytes_max <= config.broker.request_bytes_max);
}

#[test]
fn a_remote_bucket_holds_the_log_too() {
    let config = resolved(&["--storage", "s3://bucket/prefix?endpoint=http://127.0.0.1:9000"]).unwrap();
    assert!(matches!(config.storage, StorageTarget::Cloud(_)));
    assert_eq!(only(&config), WalChoice::Storage(Puts::default()));
}

#[test]
fn reads_urls_or_says_how_to_write_them() {
    let config = resolved(&["--storage", "file:///b", "--wal", "file:///w?size=64MiB"]).unwrap();
    assert_eq!(config.storage, StorageTarget::Folder("/b".into()));
    assert_eq!(only(&config), WalChoice::File { dir: "/w".into(), bytes: Some(64 << 20) });
    assert_eq!(
        resolved(&["--wal", "storage"]).map(|config| only(&config)).unwrap(),
        WalChoice::Storage(Puts::default())
    );
    let shared = |bytes| WalChoice::Shared { dir: "/mnt/w".into(), bytes };
    assert_eq!(resolved(&["--wal", "file:///mnt/w?shared"]).map(|config| only(&config)).unwrap(), shared(None));
    assert_eq!(
        resolved(&["--wal", "file:///mnt/w?shared&size=64MiB"]).map(|config| only(&config)).unwrap(),
        shared(Some(64 << 20))
    );
    let device =
        |give_up: Option<&str>| WalChoice::Device { path: "/dev/sdb".into(), give_up: give_up.map(str::to_owned) };
    assert_eq!(resolved(&["--wal", "block:///dev/sdb"]).map(|config| only(&config)).unwrap(), device(None));
    assert_eq!(
        resolved(&["--wal", "block:///dev/sdb?overwrite=xfs-1a"]).map(|config| only(&config)).unwrap(),
        device(Some("xfs-1a"))
    );
    for path in ["/a/dir", "/a/b/../dir/"] {
        let refused = resolved(&["--storage", path]).unwrap_err();
        assert!(refused.contains("did you mean file:///a/") && refused.contains("dir"), "{refused}");
        assert!(!refused.contains("?;"), "{refused}");
        let refused = resolved(&["--wal", path]).unwrap_err();
        assert!(refused.contains("did you mean file:///a/"), "{refused}");
    }
    let refused = resolved(&["--wal", "/dev/sdb"]).unwrap_err();
    assert!(refused.contains("did you mean block:///dev/sdb?"), "{refused}");
    for wrong in ["dir", "ftp://x/y", "file://dir/x", "file:///x?size=1"] {
        assert!(resolved(&["--storage", wrong]).unwrap_err().contains("write file:///dir, s3://"), "{wrong}");
    }
    for cloud in ["s3://b/p", "gs://b/p", "az://c/p?account=a", "abfs://c@a.dfs.core.windows.net/p"] {
        let config = resolved(&["--storage", cloud]).unwrap();
        assert_eq!((config.storage.url().as_str(), only(&config)), (cloud, WalChoice::Storage(Puts::default())));
    }
    assert!(resolved(&["--storage", "gs://me@b/p"]).unwrap_err().contains("holds no credentials"));
    for wrong in [
        "dir",
        "file:dir",
        "file:/dir",
        "block:dev/x",
        "s3://bucket/x",
        "file:///x?shared=no",
        "block://dev/x",
        "block:///dev/x?size=1GiB",
        "file:///x?;",
        "file:///x?size=64MiB;shared",
        "file:///x#size=64MiB",
        "storages",
        "storage?;",
        "storage?puts-per-second=4",
    ] {
        let refused = resolved(&["--wal", wrong]).unwrap_err();
        assert!(refused.contains("block:///dev/NAME, or storage"), "{refused}");
        assert!(refused.ends_with("or storage"), "what a folder refuses is not recommended: {refused}");
        let refused = resolved(&["--storage", "s3://bucket", "--wal", wrong]);
        assert!(refused.is_ok_and(|_| wrong.contains("puts")) || !wrong.contains("puts"), "{wrong}");
    }
    assert!(resolved(&["--storage", "file:///b#c"]).unwrap_err().contains("%23"));
}

#[test]
fn the_documented_file_is_taken() {
    let document = include_str!("../../../../docs/operating.md");
    let example = document.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("millstream.toml");
    std::fs::write(&path, example).unwrap();
    let config = resolved(&["--config", path.to_str().unwrap()]).unwrap();
    assert_eq!(config.listen, "0.0.0.0:9092");
    assert_eq!(config.advertise.as_deref(), Some("broker1.example.com:9092"));
    assert_eq!(config.storage.to_string(), "file:///var/lib/millstream/bucket");
}

#[test]
fn what_a_log_in_the_bucket_may_cost_is_a_parameter_of_it() {
    let wal = |wal: &str| resolved(&["--storage", "s3://bucket/x", "--wal", wal]).map(|config| only(&config));
    let puts = |per_second, per_gib| WalChoice::Storage(Puts { per_second, per_gib });
    assert_eq!(wal("storage").unwrap(), puts(None, None));
    assert_eq!(wal("storage?puts-per-second=4").unwrap(), puts(Some(4), None));
    assert_eq!(wal("storage?puts-per-gib=64&puts-per-second=200").unwrap(), puts(Some(200), Some(64)));
    for wrong in ["puts-per-second=0", "puts-per-second=fast", "puts-per-gib=31", "puts-per-gib=2000", "size=1GiB"] {
        let error = wal(&format!("storage?{wrong}")).unwrap_err();
        assert!(error.contains(wrong.split('=').next().unwrap()), "{error}");
    }
    assert!(wal("storages").unwrap_err().contains("question mark"));
    assert!(resolved(&["--wal", "storage?puts-per-second=4"]).unwrap_err().contains("cost nothing"));
    assert!(wal("storage?puts-per-second=0").unwrap_err().contains("storage?puts-per-second=20&puts-per-gib=100"));
}

#[test]
fn shows_no_secret() {
    let error = resolved(&["--storage", "s3://key:hidden@bucket/prefix"]).unwrap_err();
    assert!(!error.contains("hidden") && error.contains("AWS_SECRET_ACCESS_KEY"), "{error}");
    let config = resolved(&["--storage", "s3://bucket/prefix?region=hidden"]).unwrap();
    assert_eq!(config.storage.to_string(), "s3://bucket/prefix");
}

#[test]
fn flags_go_over_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("millstream.toml");
    std::fs::write(&path, "node-id = 3\nmemory = \"1GiB\"\n[settings]\nnum.partitions = 4\nmax.connections = 9\n")
        .unwrap();
    let config =
        resolved(&["--config", path.to_str().unwrap(), "--node-id", "5", "--set", "num.partitions=6"]).unwrap();
    assert_eq!(config.node_id, Some(NodeId(5)));
    assert_eq!((config.broker.num_partitions, config.broker.connections_max), (6, 9));
    assert_eq!(config.memory, MemoryBudget::divide(1 << 30));
}

#[test]
fn a_wrong_setting_is_told_with_the_file_that_it_stands_in() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("millstream.toml");
    let path = path.to_str().unwrap();
    for wrong in ["num.partitions = \"x\"", "num.partitons = 3"] {
        std::fs::write(path, format!("[settings]\n{wrong}\n")).unwrap();
        let told = resolved(&["--config", path]).unwrap_err();
        assert!(told.starts_with(&format!("--config {path}: ")), "{told}");
    }
    std::fs::write(path, "[settings]\nnum.partitions = 4\n").unwrap();
    let told = resolved(&["--config", path, "--set", "num.partitions=x"]).unwrap_err();
    assert!(!told.contains("--config"), "{told}");
}

#[test]
fn a_small_budget_shrinks_defaults_and_refuses_what_was_asked_for() {
    let config = resolved(&["--memory", "128MiB"]).unwrap();
    assert!(config.broker.request_bytes_max <= config.broker.requests_bytes_max / 2);
    assert!(config.broker.fetch_bytes_max <= config.broker.answers_bytes_max);
    let error = resolved(&["--memory", "128MiB", "--set", "socket.request.max.bytes=104857600"]).unwrap_err();
    assert!(error.contains("socket.request.max.bytes=104857600 does not fit"), "{error}");
    let error = resolved(&["--memory", "128MiB", "--set", "message.max.bytes=99999999"]).unwrap_err();
    assert!(error.contains("message.max.bytes=99999999 does not fit"), "{error}");
    let config = resolved(&["--memory", "128MiB", "--set", "fetch.max.bytes=2147483647"]).unwrap();
    assert_eq!(config.broker.fetch_bytes_max, 2_147_483_647, "the memory for answers bounds them anyway");
    assert!(resolved(&["--memory", "1MiB"]).unwrap_err().contains("at least 128MiB"));
}

#[test]
fn what_was_not_given_gives_way_to_what_was() {
    let broker = |settings: &[&str]| {
        let words = settings.iter().flat_map(|pair| ["--set", pair]);
        resolved(&["--memory", "1GiB"].into_iter().chain(words).collect::<Vec<_>>()).map(|config| config.broker)
    };
    let options = broker(&["queued.max.request.bytes=50000000"]).unwrap();
    assert_eq!((options.requests_bytes_max, options.request_bytes_max), (50_000_000, 25_000_000));
    assert_eq!(options.pipeline_bytes_max, 25_000_000);
    assert_eq!(options.defaults["socket.request.max.bytes"], "25000000", "DescribeConfigs tells it");
    let options = broker(&["socket.request.max.bytes=1000000"]).unwrap();
    assert_eq!((options.request_bytes_max, options.batch_bytes_max), (1_000_000, 1_000_000));
    assert_eq!(options.defaults["message.max.bytes"], "1000000");
    let options = broker(&[]).unwrap();
    assert_eq!(options.defaults["message.max.bytes"], "1048588");

    let wrong = |settings: &[&str]| broker(settings).unwrap_err();
    let error = wrong(&["queued.max.request.bytes=50000000", "socket.request.max.bytes=30000000"]);
    let told = "socket.request.max.bytes=30000000 does not fit half of queued.max.request.bytes=50000000: \
                lower it or raise queued.max.request.bytes";
    assert_eq!(error, told);
    let error = wrong(&["socket.request.max.bytes=99999999"]);
    assert!(error.contains("half of queued.max.request.bytes=") && error.contains("(the default)"), "{error}");
    assert!(error.ends_with("raise --memory"), "{error}");
    let error = wrong(&["message.max.bytes=99999999"]);
    assert!(error.contains("does not fit socket.request.max.bytes=") && error.contains("(the default)"), "{error}");
    assert!(error.ends_with("raise --memory"), "{error}");
    let error = wrong(&["message.max.bytes=9999999", "socket.request.max.bytes=5000000"]);
    assert!(error.ends_with("raise socket.request.max.bytes"), "{error}");
    let error = wrong(&["queued.max.request.bytes=9999999999"]);
    assert!(error.contains("does not fit the memory for requests"), "{error}");
    let error = wrong(&["queued.max.request.bytes=0"]);
    assert!(error.contains("say at least 131072, or -1"), "{error}");
}

#[test]
fn says_what_is_wrong_with_a_setting() {
    assert!(resolved(&["--set", "num.partitions"]).unwrap_err().contains("write --set KEY=VALUE"));
    assert!(resolved(&["--set", "num.partitons=1"]).unwrap_err().contains("did you mean num.partitions?"));
    assert!(resolved(&["--node-id", "-1"]).is_err());
    assert!(resolved(&["--node-id", "x"]).unwrap_err().contains("whole number"));
}
