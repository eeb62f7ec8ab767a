//! What the commands take that speak to a cluster from outside, over Kafka's protocol.

use clap::builder::{NonEmptyStringValueParser, TypedValueParser};
use clap::{Args, Subcommand, ValueEnum};
use std::convert::Infallible;
use std::path::PathBuf;

/// Which cluster, and how to answer.
#[derive(Args, Debug, Clone)]
pub struct ClusterArgs {
    /// Any broker of a Kafka-compatible cluster; several with commas between them
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9092", value_parser = addresses)]
    pub bootstrap: String,
    /// How long a call may take, with the way to the broker and everything that is tried again
    #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub timeout: u64,
    /// Who logs in, as Kafka's tools are told: a file with security.protocol, sasl.mechanism (PLAIN) and sasl.jaas.config
    #[arg(long, value_name = "FILE")]
    pub command_config: Option<PathBuf>,
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
}

/// `HOST:PORT`, once or more with commas between.
fn addresses(text: &str) -> Result<String, String> {
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
    let is_one = |it: &str| it.trim().rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && is_port(port));
    if text.split(',').all(is_one) {
        Ok(text.to_owned())
    } else {
        Err("write HOST:PORT, such as 127.0.0.1:9092".to_owned())
    }
}

/// `millstream topic`.
#[derive(Subcommand, Debug)]
pub enum Topic {
    /// Make topics.
    #[command(after_help = "Example:\n  millstream topic create orders --partitions 6 --set retention.ms=86400000")]
    Create(TopicCreate),
    /// List the topics.
    #[command(after_help = "Example:\n  millstream topic list --json")]
    List(TopicList),
    /// Show a topic's partitions and settings.
    #[command(after_help = "Example:\n  millstream topic describe orders")]
    Describe(TopicDescribe),
    /// Delete topics with all their records.
    #[command(after_help = "Example:\n  millstream topic delete orders payments")]
    Delete(TopicDelete),
    /// Change a topic's settings or give it more partitions.
    #[command(after_help = "Example:\n  millstream topic alter orders --partitions 12 --unset retention.ms")]
    Alter(TopicAlter),
}

/// `millstream topic create`.
#[derive(Args, Debug)]
pub struct TopicCreate {
    /// Their names
    #[arg(required = true, value_name = "TOPIC")]
    pub topics: Vec<String>,
    /// One that is there already is left as it is
    #[arg(long)]
    pub if_not_exists: bool,
    /// How many partitions [default: the cluster's num.partitions]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    pub partitions: Option<i32>,
    /// How many replicas of each [default: the cluster's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i16).range(1..))]
    pub replication_factor: Option<i16>,
    /// One of Kafka's topic settings; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = setting)]
    pub set: Vec<(String, String)>,
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// `millstream topic list`.
#[derive(Args, Debug)]
pub struct TopicList {
    /// Also those that the cluster keeps for itself
    #[arg(long)]
    pub internal: bool,
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// `millstream topic describe`.
#[derive(Args, Debug)]
pub struct TopicDescribe {
    /// The topic's name
    pub topic: String,
    /// Also the settings that are the cluster's
    #[arg(long)]
    pub all: bool,
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// `millstream topic delete`.
#[derive(Args, Debug)]
pub struct TopicDelete {
    /// Their names
    #[arg(required = true, value_name = "TOPIC")]
    pub topics: Vec<String>,
    /// One that is not there is passed over
    #[arg(long)]
    pub if_exists: bool,
    /// Also those that the cluster keeps for itself
    #[arg(long)]
    pub internal: bool,
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// `millstream topic alter`.
#[derive(Args, Debug)]
#[group(id = "change", multiple = true, required = true, args = ["partitions", "set", "unset"])]
pub struct TopicAlter {
    /// The topic's name
    pub topic: String,
    /// How many partitions it has from now on; never fewer than before
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    pub partitions: Option<i32>,
    /// One of Kafka's topic settings; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = setting)]
    pub set: Vec<(String, String)>,
    /// A setting that becomes the cluster's again; may be repeated
    #[arg(long, value_name = "KEY")]
    pub unset: Vec<String>,
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// `millstream produce`.
#[derive(Args, Debug, Clone)]
#[command(after_help = "Example:\n  seq 1 1000 | millstream produce numbers")]
pub struct Produce {
    /// The topic to write to
    pub topic: String,
    /// Read the lines from here, not from standard input
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// What stands between key and value in each line; `\t` is a tab [default: lines have no key]
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new().try_map(|text| unescaped(&text)))]
    pub key_separator: Option<String>,
    /// The partition to write to [default: the one of the key, else any]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    pub partition: Option<i32>,
    /// How batches are compressed
    #[arg(long, value_enum, default_value_t = Codec::None)]
    pub compression: Codec,
    /// How long a record may wait for others to share its batch
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 5)]
    pub linger: u64,
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// `millstream consume`.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  millstream consume numbers --from -10m --follow\n  millstream consume numbers --group readers --follow"
)]
pub struct Consume {
    /// The topic to read
    pub topic: String,
    /// Where to begin: `beginning` or `earliest`, `end` or `latest`, an offset, a time such as 2026-11-21T10:00:00Z, or -10m for ten minutes ago
    #[arg(long, value_name = "WHERE", default_value = "beginning", allow_hyphen_values = true)]
    pub from: String,
    /// Share the topic with the other members of this group and commit what was read; `--from` counts where it has committed nothing
    #[arg(long, value_name = "GROUP", conflicts_with = "partition", value_parser = NonEmptyStringValueParser::new())]
    pub group: Option<String>,
    /// Go on at the end and wait for more, until Ctrl-C
    #[arg(long)]
    pub follow: bool,
    /// Read this many records at the most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub max: Option<u64>,
    /// Read this partition alone
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    pub partition: Option<i32>,
    /// Write the key and this text before each value; `\t` is a tab [default: values alone]
    #[arg(long, value_name = "TEXT", value_parser = unescaped)]
    pub key_separator: Option<String>,
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// `millstream group`.
#[derive(Subcommand, Debug)]
pub enum Group {
    /// List the consumer groups.
    #[command(after_help = "Example:\n  millstream group list --json")]
    List(GroupList),
    /// Show groups' members and how far they have come.
    #[command(after_help = "Example:\n  millstream group describe billing")]
    Describe(GroupDescribe),
    /// Delete groups that nobody is in, with all that they have committed.
    #[command(after_help = "Example:\n  millstream group delete billing reports")]
    Delete(GroupDelete),
    /// Set where a group that nobody is in goes on; shows what would change, unless told to --execute.
    #[command(
        after_help = "Examples:\n  millstream group reset billing --topic orders --to-earliest --execute\n  millstream group reset billing --topic orders:0,3 --by-duration 2h"
    )]
    Reset(GroupReset),
}

/// `millstream group list`.
#[derive(Args, Debug)]
pub struct GroupList {
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// `millstream group describe`.
#[derive(Args, Debug)]
pub struct GroupDescribe {
    /// Their ids
    #[arg(required = true, value_name = "GROUP")]
    pub groups: Vec<String>,
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// `millstream group delete`.
#[derive(Args, Debug)]
pub struct GroupDelete {
    /// Their ids
    #[arg(required = true, value_name = "GROUP")]
    pub groups: Vec<String>,
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// `millstream group reset`. An offset that a partition does not have becomes the nearest that it has.
#[derive(Args, Debug)]
#[group(id = "where", required = true, multiple = false, args = ["to_earliest", "to_latest", "to_offset", "to_datetime", "by_duration", "shift_by"])]
pub struct GroupReset {
    /// The group's id
    pub group: String,
    /// A topic, or some of its partitions; may be repeated [default: all that the group has committed]
    #[arg(long = "topic", value_name = "TOPIC[:N,N…]", value_parser = topic_partitions)]
    pub topics: Vec<(String, Vec<i32>)>,
    /// To the first record that is there
    #[arg(long)]
    pub to_earliest: bool,
    /// Behind the last record
    #[arg(long)]
    pub to_latest: bool,
    /// To this offset in every partition, or the nearest that it has
    #[arg(long, value_name = "OFFSET", value_parser = clap::value_parser!(i64).range(0..))]
    pub to_offset: Option<i64>,
    /// To the first record of this time or later, such as 2026-11-21T10:00:00Z
    #[arg(long, value_name = "TIME")]
    pub to_datetime: Option<String>,
    /// To the first record that is no older than this, such as 2h
    #[arg(long, value_name = "DURATION")]
    pub by_duration: Option<String>,
    /// By so many records from where the group stands, as far as there are any; negative: back
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub shift_by: Option<i64>,
    /// Do it
    #[arg(long)]
    pub execute: bool,
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// `TOPIC`, or `TOPIC:0,3`. No topic has a colon in its name.
fn topic_partitions(text: &str) -> Result<(String, Vec<i32>), String> {
    let wrong = || "write TOPIC, or TOPIC:0,3 for some of its partitions".to_owned();
    let (topic, partitions) = match text.split_once(':') {
        None => (text, Vec::new()),
        Some((topic, numbers)) => {
            let numbers: Result<Vec<i32>, _> = numbers.split(',').map(|it| it.trim().parse()).collect();
            (topic, numbers.map_err(|_| wrong())?)
        }
    };
    if topic.is_empty() { Err(wrong()) } else { Ok((topic.to_owned(), partitions)) }
}

/// Kafka's codecs by their names.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl From<Codec> for protocol::record_batch::Compression {
    fn from(codec: Codec) -> Self {
        match codec {
            Codec::None => Self::None,
            Codec::Gzip => Self::Gzip,
            Codec::Snappy => Self::Snappy,
            Codec::Lz4 => Self::Lz4,
            Codec::Zstd => Self::Zstd,
        }
    }
}

/// What stands for a tab in text, as few shells let one be typed: `\t`. A backslash before it is doubled.
fn unescaped(text: &str) -> Result<String, Infallible> {
    let mut meant = String::new();
    let mut rest = text.chars().peekable();
    while let Some(next) = rest.next() {
        let escaped = rest.peek().filter(|_| next == '\\').and_then(|it| match it {
            't' => Some('\t'),
            '\\' => Some('\\'),
            _ => None,
        });
        if escaped.is_some() {
            rest.next();
        }
        meant.push(escaped.unwrap_or(next));
    }
    Ok(meant)
}

/// `KEY=VALUE`.
fn setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.trim().to_owned())),
        _ => Err("write KEY=VALUE, such as retention.ms=86400000".to_owned()),
    }
}

/// `millstream bench`.
#[derive(Subcommand, Debug)]
pub enum Bench {
    /// Write at a fixed rate, or as fast as possible, and time the acknowledgements.
    #[command(
        after_help = "Examples:\n  millstream topic create load\n  millstream bench produce load --rate 5000 --size 1024 --duration 30 --json\n  millstream bench produce load --rate 5000 --duration 300 --console 127.0.0.1:9644"
    )]
    Produce(Load),
    /// Read a topic from its beginning to its end as fast as possible, with one reader or many.
    #[command(
        after_help = "Examples:\n  millstream bench consume load\n  millstream bench consume load --readers 32 --duration 30"
    )]
    Consume(BenchConsume),
    /// Write at a fixed rate, or as fast as possible, read at the same time, and time the way from one to the other.
    #[command(after_help = "Example:\n  millstream bench e2e load --rate 5000 --duration 30")]
    E2e(Load),
}

/// What `bench produce` and `bench e2e` write: an open loop, where each record has its time whatever became of those before it.
#[derive(Args, Debug)]
pub struct Load {
    /// The topic to write to; its partitions are written to in turn
    pub topic: String,
    /// Records a second; each record's time counts from when it was due [default: as many as are taken]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub rate: Option<u32>,
    /// Bytes of a record's value
    #[arg(long, value_name = "BYTES", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(16..=1_048_576))]
    pub size: u32,
    /// How long to write, without the warm-up
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub duration: u64,
    /// How long to write before what is written counts
    #[arg(long, value_name = "SECONDS", default_value_t = 1)]
    pub warmup: u64,
    /// How long a record may wait for others to share its batch
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 0)]
    pub linger: u64,
    /// A batch is sent when it has this many bytes
    #[arg(long, value_name = "BYTES", default_value_t = 262_144, value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    pub batch_size: u32,
    /// How batches are compressed
    #[arg(long, value_enum, default_value_t = Codec::None)]
    pub compression: Codec,
    /// The brokers' consoles, with commas between them: tells what the object store was asked for during the run
    #[arg(long, value_name = "HOST:PORT", value_parser = addresses)]
    pub console: Option<String>,
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// `millstream bench consume`.
#[derive(Args, Debug)]
pub struct BenchConsume {
    /// The topic to read
    pub topic: String,
    /// Read with this many at the same time, each all of it over connections of its own
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub readers: u32,
    /// Each reads this many records at the most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub max: Option<u64>,
    /// Read no more than so many MiB a second, all of them together [default: as fast as possible]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rate: Option<u32>,
    /// Stop after this time, wherever the readers are [default: read to the end]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub duration: Option<u64>,
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tab_can_be_written() {
        for (written, meant) in
            [(r"\t", "\t"), (":", ":"), (r"\\t", r"\t"), (r"\", r"\"), (r"\x", r"\x"), (r"a\tb", "a\tb")]
        {
            assert_eq!(unescaped(written).as_deref(), Ok(meant), "{written}");
        }
    }
}
