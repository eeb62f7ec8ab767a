//! The command line: what a broker's operator says is here, what a client of any cluster says in [`client`].

pub mod client;

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// A Kafka-compatible broker that keeps its data in object storage.
#[derive(Parser, Debug)]
#[command(
    name = "millstream",
    version,
    propagate_version = true,
    arg_required_else_help = true,
    after_help = "Example:\n  millstream start\n  millstream topic create numbers\n  seq 1 1000 | millstream produce numbers\n  millstream consume numbers"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Start a broker.
    #[command(
        after_help = "Examples:\n  millstream start --data /var/lib/millstream --set num.partitions=6\n  millstream start --storage 's3://bucket/prefix?endpoint=http://127.0.0.1:9000&region=us-east-1'"
    )]
    Start(Box<StartArgs>),
    /// Make, list, describe, change or delete topics.
    #[command(
        subcommand,
        after_help = "Example:\n  millstream topic create orders --partitions 6\n  millstream topic describe orders"
    )]
    Topic(client::Topic),
    /// Write lines of text to a topic, a record each.
    Produce(client::Produce),
    /// Read a topic's records, a line each.
    Consume(client::Consume),
    /// List, describe or delete consumer groups, or set where they go on.
    #[command(
        subcommand,
        after_help = "Example:\n  millstream group describe billing\n  millstream group reset billing --topic orders --to-earliest --execute"
    )]
    Group(client::Group),
    /// Put a load on a cluster and time it.
    #[command(
        subcommand,
        after_help = "Example:\n  millstream topic create load\n  millstream bench produce load --rate 5000 --duration 30"
    )]
    Bench(client::Bench),
    /// Show what a data object, a write-ahead log or the ledger holds.
    #[command(
        subcommand,
        after_help = "Example:\n  millstream inspect ledger\n  millstream inspect object 3-17\n  millstream inspect wal ./millstream-data/wal"
    )]
    Inspect(Inspect),
    /// Check every byte that the ledger speaks of; brokers may go on meanwhile.
    #[command(
        after_help = "Example:\n  millstream fsck --data ./millstream-data\n  millstream fsck --storage 's3://bucket/prefix?region=us-east-1' --json"
    )]
    Fsck(StorageArgs),
    /// Recover dead brokers' write-ahead logs, from wherever they lie by now.
    #[command(
        subcommand,
        after_help = "Example:\n  millstream wal recover --at /mnt/disk-of-the-dead-host/wal --storage 's3://bucket/prefix?region=us-east-1'"
    )]
    Wal(Wal),
    /// Give up a dead broker's write-ahead logs that are gone for good.
    #[command(
        subcommand,
        after_help = "Example:\n  millstream broker abandon 2 --storage 's3://bucket/prefix?region=us-east-1'"
    )]
    Broker(Broker),
    /// Rebuild the ledger from what is in the bucket, where brokers can't read it; says what it found, unless told to --execute.
    #[command(
        after_help = "Examples:\n  millstream restore --storage 's3://bucket/prefix?region=us-east-1'\n  millstream restore --to 's3://other/prefix?region=us-east-1' --execute\n  millstream restore --topic orders=5..11 --topic users=11 --execute"
    )]
    Restore(Restore),
}

/// `millstream start`. What is absent comes from `--config`, else from the defaults.
#[derive(Args, Debug, Default, Clone)]
pub struct StartArgs {
    /// Folder for everything that is not elsewhere: the bucket and the write-ahead log [default: ./millstream-data]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// The bucket that is the cluster [default: DIR/bucket]
    ///
    /// file:///dir; s3://bucket/prefix?endpoint=…&region=…; gs://bucket/prefix; az://container/prefix?account=…;
    /// abfs://container@account.dfs.core.windows.net/prefix. Credentials come from the environment, as your cloud's tools read them.
    #[arg(long, value_name = "URL")]
    pub storage: Option<String>,
    /// The write-ahead log; may be repeated, as NAME=URL from the second on [default: file://DIR/wal; with a cloud's bucket `storage`]
    ///
    /// file:///dir?size=2GiB: a ring in a local file. Durable when the disk says so; recovered by a broker with the same folder.
    /// file:///dir?shared: a ring for each start in a folder that all brokers mount under this name; recovered by any of them.
    /// block:///dev/NAME: as file:///dir on a whole device, which must hold nothing else. Its size is the ring's.
    /// storage: objects in the bucket. Durable when the bucket says so; recovered by any broker, and no disk is needed.
    /// storage?puts-per-second=20&puts-per-gib=100: what its PUTs may cost, at any load and under heavy load; these are the defaults.
    ///
    /// Of several, topics choose one by its name in their setting millstream.wal; those that don't are written to the first one:
    /// --wal file:///nvme/wal --wal bulk=storage
    #[arg(long, value_name = "[NAME=]URL")]
    pub wal: Vec<String>,
    /// Where Kafka clients connect; port 0 picks a free one [default: 127.0.0.1:9092]
    #[arg(long, value_name = "HOST:PORT")]
    pub listen: Option<String>,
    /// Health, readiness and metrics over HTTP; port 0 picks a free one [default: 127.0.0.1:9644]
    #[arg(long, value_name = "HOST:PORT")]
    pub console: Option<String>,
    /// What clients are told to connect to [default: where it listens]
    #[arg(long, value_name = "HOST:PORT")]
    pub advertise: Option<String>,
    /// Kafka's broker id [default: chosen by the cluster, and kept]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub node_id: Option<String>,
    /// Memory for records, taken as it is needed [default: a quarter of what there is, 256MiB to 8GiB]
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<String>,
    /// What the bucket costs, for the console's cost meter: s3, s3-express, gcs, azure, oss or minio, and what differs [default: by --storage]
    ///
    /// Dollars for a thousand requests (put, list, get) and for a GiB (up, down, stored for a month): s3,stored=0.02,get=0.0003
    #[arg(long, value_name = "STORE[,NAME=DOLLARS…]")]
    pub prices: Option<String>,
    /// How long another broker of the bucket may be silent before it is declared dead and its partitions are taken over, or off [default: 1s]
    #[arg(long, value_name = "TIME")]
    pub watch_timeout: Option<String>,
    /// How often other brokers are asked whether they serve [default: a fifth of the timeout]
    #[arg(long, value_name = "TIME")]
    pub watch_interval: Option<String>,
    /// A TOML file with these options by their names, and a table [settings] of Kafka's broker settings
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// One of Kafka's broker settings; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Let anybody who can reach it in: needed to listen beyond this host where clients do not log in
    #[arg(long)]
    pub allow_anonymous: bool,
}

/// Which bucket to look at, and how to answer. Reading it disturbs no broker, and changes nothing.
#[derive(Args, Debug, Clone)]
pub struct StorageArgs {
    /// As given to `millstream start` [default: ./millstream-data]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// As given to `millstream start` [default: DIR/bucket]
    #[arg(long, value_name = "URL")]
    pub storage: Option<String>,
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
}

impl StorageArgs {
    /// What another command is to be told as well, so that it means the same bucket; begins with a space where it is not empty.
    #[must_use]
    pub fn repeated(&self) -> String {
        let quoted = |text: &str| format!("'{}'", text.replace('\'', "'\\''"));
        let data = self.data.as_ref().map(|dir| format!(" --data {}", quoted(&dir.display().to_string())));
        let storage = self.storage.as_ref().map(|url| format!(" --storage {}", quoted(url)));
        data.unwrap_or_default() + &storage.unwrap_or_default()
    }
}

/// `millstream restore`.
#[derive(Args, Debug)]
pub struct Restore {
    /// Leave this bucket as it is: copy what is left to an empty one, and write the ledger there
    #[arg(long, value_name = "URL")]
    pub to: Option<String>,
    /// The ring of a broker that was not stopped: its folder, file or device; may be repeated
    #[arg(long = "log", value_name = "PLACE")]
    pub logs: Vec<PathBuf>,
    /// Do without the logs that the ledger names and no --log gives: what only they hold is lost
    #[arg(long)]
    pub without_logs: bool,
    /// What streams were called that the ledger does not know, by partition: orders=5..11 or orders=5,8; may be repeated
    #[arg(long = "topic", value_name = "NAME=STREAMS", value_parser = named_streams)]
    pub topics: Vec<(String, Vec<u64>)>,
    /// Ask the data objects though the ledger seems whole: entries may have been taken from its end
    #[arg(long)]
    pub ask_objects: bool,
    /// Do it
    #[arg(long)]
    pub execute: bool,
    #[command(flatten)]
    pub storage: StorageArgs,
}

/// `orders=5..11`, where 11 is the first that is not meant, or `orders=5,8`.
fn named_streams(text: &str) -> Result<(String, Vec<u64>), String> {
    /// More partitions than a topic has.
    const STREAMS_MAX: u64 = 1_000_000;
    let wrong =
        || "write NAME=FIRST..END or NAME=N,N…, with the numbers of streams as the report tells them".to_owned();
    let (name, streams) = text.split_once('=').ok_or_else(wrong)?;
    let number = |text: &str| text.trim().parse::<u64>().map_err(|_| wrong());
    let streams: Vec<u64> = match streams.split_once("..") {
        Some((first, end)) => {
            let (first, end) = (number(first)?, number(end)?);
            if end.saturating_sub(first) > STREAMS_MAX {
                return Err(wrong());
            }
            (first..end).collect()
        }
        None => streams.split(',').map(number).collect::<Result<_, _>>()?,
    };
    if streams.is_empty() { Err(wrong()) } else { Ok((name.to_owned(), streams)) }
}

/// What to do to write-ahead logs.
#[derive(Subcommand, Debug)]
pub enum Wal {
    /// Bring what dead brokers' logs hold into the bucket, without a broker that serves; shows what it would do, unless told to --execute.
    #[command(
        after_help = "Examples:\n  millstream wal recover\n  millstream wal recover 3/0 --storage 's3://bucket/prefix?region=us-east-1' --execute\n  millstream wal recover --at /dev/nvme1n1 --execute"
    )]
    Recover(WalRecover),
}

/// `millstream wal recover`.
#[derive(Args, Debug)]
pub struct WalRecover {
    /// START/INDEX, as `inspect ledger` shows it [default: all whose brokers are dead or answer no more]
    pub wal: Option<String>,
    /// Where a ring is now that is not where its broker had it: its folder, file or device
    #[arg(long, value_name = "PLACE")]
    pub at: Option<PathBuf>,
    /// Also a ring that is an older copy, such as a snapshot, by what the ledger knows of its log: what only the newest has is lost
    #[arg(long)]
    pub older_too: bool,
    /// Do it
    #[arg(long)]
    pub execute: bool,
    #[command(flatten)]
    pub storage: StorageArgs,
}

/// What to do about brokers.
#[derive(Subcommand, Debug)]
pub enum Broker {
    /// Open a dead broker's partitions again without what only its lost disk had: that is lost, and told first; nothing is done unless told
    /// to --execute.
    #[command(
        after_help = "Examples:\n  millstream broker abandon 2 --storage 's3://bucket/prefix?region=us-east-1'\n  millstream broker abandon 2 --execute\n  millstream broker abandon 2 --log 3/0 --execute --yes"
    )]
    Abandon(BrokerAbandon),
}

/// `millstream broker abandon`.
#[derive(Args, Debug)]
pub struct BrokerAbandon {
    /// Kafka's id of the dead broker
    #[arg(value_name = "BROKER_ID")]
    pub broker: i32,
    /// Only this log of it, START/INDEX, as `inspect ledger` shows it, with all others in its ring [default: all that it left]
    #[arg(long, value_name = "WAL")]
    pub log: Option<String>,
    /// Also a log that can be read here: for the rest of one that is damaged
    #[arg(long)]
    pub readable_too: bool,
    /// Do it
    #[arg(long)]
    pub execute: bool,
    /// The broker's host is off, or without the disk: do not ask
    #[arg(long)]
    pub yes: bool,
    #[command(flatten)]
    pub storage: StorageArgs,
}

/// What to show.
#[derive(Subcommand, Debug)]
pub enum Inspect {
    /// A data object: its blocks and the ranges of streams that they cover.
    #[command(after_help = "Example:\n  millstream inspect object 3-17")]
    Object {
        /// The object as `inspect ledger` shows it, such as 3-17, or its key in the bucket, data/…
        key: String,
        #[command(flatten)]
        storage: StorageArgs,
    },
    /// A write-ahead log: its groups and what each holds.
    #[command(after_help = "Examples:\n  millstream inspect wal ./millstream-data/wal\n  millstream inspect wal 3/0")]
    Wal {
        /// The folder or device of a local log, or START/INDEX of a log in the bucket, as `inspect ledger` shows it.
        wal: String,
        #[command(flatten)]
        storage: StorageArgs,
    },
    /// The ledger: its entries, and what they come to: brokers, topics and objects.
    #[command(
        after_help = "Examples:\n  millstream inspect ledger | grep ^topic\n  millstream inspect ledger --json | jq 'select(.what == \"topic\")'"
    )]
    Ledger {
        #[command(flatten)]
        storage: StorageArgs,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_is_named_means_the_same_bucket() {
        let of = |data: Option<&str>, storage: Option<&str>| {
            StorageArgs { data: data.map(PathBuf::from), storage: storage.map(str::to_owned), json: true }.repeated()
        };
        assert_eq!(of(None, None), "");
        assert_eq!(of(Some("/it's"), None), " --data '/it'\\''s'");
        assert_eq!(of(None, Some("s3://b/p?region=x&y=1")), " --storage 's3://b/p?region=x&y=1'");
    }

    /// What it is to be instead is told by whoever reads it, in the words that are told for any other number.
    #[test]
    fn a_broker_s_id_may_be_written_with_a_minus() {
        use clap::Parser;
        #[derive(Parser)]
        struct Program {
            #[command(flatten)]
            start: StartArgs,
        }
        let parsed = Program::try_parse_from(["x", "--node-id", "-1"]).unwrap();
        assert_eq!(parsed.start.node_id.as_deref(), Some("-1"));
    }
}
