//! Bounds, periods and defaults of a broker, all in one place. Settings are data: the server parses them once and hands them here.
//!
//! Every bound has a name that ends in `_max`; the simulator makes them tiny.

use crate::batch_check::DECOMPRESSED_BYTES_MAX;
use crate::quota::QuotaWindows;
use crate::rights::Authorizing;
use crate::sasl::SaslOptions;
use crate::settings::{ConsumerBounds, ListenerSettings, ShareLimits, StreamsBounds};
use crate::tokens::TokenOptions;
use coordinator_core::{
    ConsumerTimes, GroupOptions, ShareGroupOptions, ShareStateOptions, StreamsTimes, TransactionOptions,
};
use protocol::record_batch::Compression;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// What a broker needs to know besides its streams.
#[derive(Debug, Clone)]
pub struct BrokerOptions {
    /// Where it listens: `host:port`.
    pub listening: String,
    /// What Metadata tells clients: `host:port`.
    pub advertised: String,
    /// Create topics on first use (`auto.create.topics.enable`).
    pub auto_create_topics: bool,
    /// Partitions of a topic where the request leaves it open (`num.partitions`).
    pub num_partitions: i32,
    /// Whether clients may delete topics (`delete.topic.enable`).
    pub delete_topics: bool,
    /// Partitions of one topic at the most, so that one small request can't fill the ledger.
    pub topic_partitions_max: i32,
    /// Partitions of the cluster at the most, beside the broker's own topics: each takes memory on every broker for good.
    pub cluster_partitions_max: usize,
    /// Partitions in one answer of DescribeTopicPartitions at the most (`max.request.partition.size.limit`).
    pub described_partitions_max: usize,
    /// Bytes of one push of a client's metrics at the most, compressed or not (`telemetry.max.bytes`).
    pub telemetry_bytes_max: usize,
    /// Greatest request frame in bytes (`socket.request.max.bytes`).
    pub request_bytes_max: usize,
    /// Bytes of all requests in memory at the most; beyond that sockets are not read.
    pub requests_bytes_max: usize,
    /// Bytes of record data in all fetch answers under way at the most; beyond that fetches wait.
    pub answers_bytes_max: usize,
    /// Greatest record data of one fetch answer, whatever the client asks for (`fetch.max.bytes`). One batch may exceed it.
    pub fetch_bytes_max: usize,
    /// A fetch with nothing to answer when its time is up waits so much longer where records are on their way into the log.
    pub fetch_arriving_wait_max: Duration,
    /// Incremental fetch sessions at the most (`max.incremental.fetch.session.cache.slots`).
    pub fetch_sessions_max: usize,
    /// Greatest record batch in bytes (`message.max.bytes`), where the topic has no `max.message.bytes`.
    pub batch_bytes_max: usize,
    /// Bytes of a batch's records at the most when they are decompressed (`max.decompressed.message.bytes`).
    pub decompressed_bytes_max: usize,
    /// What batches are compressed with (`compression.type`), where the topic does not say. `None`: what the producer took.
    pub compression: Option<Compression>,
    /// How hard gzip then tries, 1 to 9 (`compression.gzip.level`); `None`: as usual.
    pub gzip_level: Option<i32>,
    /// How hard Zstandard then tries (`compression.zstd.level`).
    pub zstd_level: i32,
    /// Batches that take long to decompress are checked so many at a time.
    pub heavy_checks_max: usize,
    /// Long answers are copied into their sockets by so many threads at a time: with one less than there are, short answers and
    /// produces always have one.
    pub long_writes_max: usize,
    /// Whether batches are stamped with the broker's clock (`log.message.timestamp.type`), where the topic does not say.
    pub log_append_time: bool,
    /// How far producers' timestamps may lie behind the broker's clock, in milliseconds, where the topic does not say.
    pub timestamp_before_max_ms: i64,
    /// And ahead of it.
    pub timestamp_after_max_ms: i64,
    /// Connections at the most (`max.connections`).
    pub connections_max: usize,
    /// What the process can have open, whatever `max.connections` says.
    pub connections_possible: usize,
    /// Connections from one address at the most (`max.connections.per.ip`).
    pub connections_per_ip_max: usize,
    /// The same for single addresses (`max.connections.per.ip.overrides`).
    pub connections_per_ip: BTreeMap<IpAddr, usize>,
    /// A connection without a request for so long is closed (`connections.max.idle.ms`).
    pub connection_idle_max: Duration,
    /// A peer that takes no byte of an answer for so long is cut off.
    pub write_stall_max: Duration,
    /// Produce requests of one connection running together at the most.
    pub pipeline_requests_max: usize,
    /// Bytes of produce requests of one connection running together at the most. A single greater one still runs, alone.
    pub pipeline_bytes_max: usize,
    /// The longest that a produce waits for its confirmation, whatever the client asks for.
    pub produce_wait_max: Duration,
    /// The longest that a fetch is parked, whatever the client asks for.
    pub fetch_wait_max: Duration,
    /// Records are dropped when they are so old (`log.retention.ms`), where the topic has no `retention.ms`. `None`: never.
    pub retention: Option<Duration>,
    /// Records are dropped beyond so many bytes of a partition (`log.retention.bytes`), where the topic has no
    /// `retention.bytes`. `None`: never.
    pub retention_bytes: Option<u64>,
    /// What retention and compaction do (`log.cleanup.policy`), where the topic does not say.
    pub cleanup: CleanupPolicy,
    /// What log compaction may take, and does where the topic does not say.
    pub cleaner: CleanerOptions,
    /// How often retention looks (`log.retention.check.interval.ms`).
    pub retention_check_period: Duration,
    /// Bounds and periods of consumer groups.
    pub groups: GroupOptions,
    /// Between two assignments of a consumer group (`group.consumer.assignment.interval.ms`).
    pub consumer_assignment_interval: Duration,
    /// Which periods consumer groups may set for themselves.
    pub consumer_bounds: ConsumerBounds,
    /// Between two assignments of a share group (`group.share.assignment.interval.ms`).
    pub share_assignment_interval: Duration,
    /// Which periods share groups may set for themselves.
    pub share_bounds: ConsumerBounds,
    /// Between two assignments of a streams group (`group.streams.assignment.interval.ms`).
    pub streams_assignment_interval: Duration,
    /// What streams groups may set for themselves.
    pub streams_bounds: Box<StreamsBounds>,
    /// The kinds of groups that are served, as far as there are such (`group.coordinator.rebalance.protocols`).
    pub group_protocols: Vec<String>,
    /// Bytes of memory for all groups, about: their members, what these say of themselves, and committed offsets.
    pub groups_bytes_max: usize,
    /// Bytes of a partition of groups beyond which it is copied and cut, unless it holds nothing but what a copy of it would be.
    pub groups_log_bytes_max: u64,
    /// Bytes of such a copy that are written at once.
    pub groups_copy_slice_bytes: usize,
    /// Partitions of `__consumer_offsets` when it is made (`offsets.topic.num.partitions`).
    pub offsets_topic_partitions: i32,
    /// How often offsets are looked through for expired ones (`offsets.retention.check.interval.ms`).
    pub offsets_check_period: Duration,
    /// The longest that a change of a group waits to become durable (`offsets.commit.timeout.ms`).
    pub group_wait_max: Duration,
    /// Bounds and periods of transactions.
    pub transactions: TransactionOptions,
    /// Bytes of memory for all transactional ids, about. Their logs are bounded and written as those of groups are, their changes
    /// wait as long.
    pub transactions_bytes_max: usize,
    /// Share groups, in the partitions that this broker leads.
    pub shares: ShareLimits,
    /// Bytes for what is known of their records at the most, roughly; beyond that no more is given out before something is acknowledged.
    pub shares_bytes_max: usize,
    /// Partitions of `__transaction_state` when it is made (`transaction.state.log.num.partitions`).
    pub transactions_topic_partitions: i32,
    /// How often it is looked for transactional ids that have expired (`transaction.remove.expired.transaction.cleanup.interval.ms`).
    pub transactions_check_period: Duration,
    /// Bounds of the state of share-partitions.
    pub share_states: ShareStateOptions,
    /// Bytes of memory for all of it, about. Its logs are bounded and written as those of groups are, its changes wait as long.
    pub share_states_bytes_max: usize,
    /// Partitions of `__share_group_state` when it is made (`share.coordinator.state.topic.num.partitions`).
    pub share_topic_partitions: i32,
    /// Between two attempts to add a partition to a transaction, for its leader (`add.partitions.to.txn.retry.backoff.ms`).
    pub add_partitions_pause: Duration,
    /// How long that is tried (`add.partitions.to.txn.retry.backoff.max.ms`).
    pub add_partitions_wait_max: Duration,
    /// How long a producer's last sequence numbers are remembered after its last batch (`producer.id.expiration.ms`).
    pub producer_expiration: Duration,
    /// Over which time what clients use is measured (`quota.window.num`, `quota.window.size.seconds`).
    pub quota_windows: QuotaWindows,
    /// The same of changes of topics (`controller.quota.window.num`, `controller.quota.window.size.seconds`).
    pub controller_quota_windows: QuotaWindows,
    /// What the settings say of the listener.
    pub listener: ListenerSettings,
    /// How callers show who they are. `None`: nobody has to, and all are anonymous.
    pub sasl: Option<Arc<SaslOptions>>,
    /// Delegation tokens, where there are such.
    pub tokens: TokenOptions,
    /// Who decides what callers may do.
    pub authorizing: Authorizing,
    /// The longest that [`crate::Broker::stop`] waits for requests in flight.
    pub stop_wait_max: Duration,
    /// Kafka's settings as the operator gave them, by name.
    pub given: BTreeMap<String, String>,
    /// What the honoured ones would be if none was given; empty: what they are.
    pub defaults: BTreeMap<&'static str, String>,
}

/// Bounds and periods of log compaction.
#[derive(Debug, Clone)]
pub struct CleanerOptions {
    /// Whether there is any (`log.cleaner.enable`).
    pub is_enabled: bool,
    /// How often to look for what is worth it (`log.cleaner.backoff.ms`).
    pub period: Duration,
    /// `map_bytes_max` at the most, whatever is set.
    pub memory_bytes_max: usize,
    /// Bytes for the keys that are remembered at once, and for transactions' markers (`log.cleaner.dedupe.buffer.size`).
    pub map_bytes_max: usize,
    /// Bytes read and written a second (`log.cleaner.io.max.bytes.per.second`), beside the bound of all compaction.
    pub bytes_per_second: u64,
    /// So many new bytes of a partition are worth a cleaning at once; fewer wait ([`Cleaning::little_wait_ms`]), since it takes some ten
    /// requests to the bucket however little there is.
    pub little_bytes: u64,
    /// A partition that could not be cleaned is left alone for at most so long.
    pub retry_max: Duration,
    /// Where the topic does not say.
    pub cleaning: Cleaning,
}

impl CleanerOptions {
    /// The defaults within so many bytes of memory.
    #[must_use]
    pub fn for_memory(bytes: usize) -> CleanerOptions {
        // The rest is for a batch that is made anew.
        let memory_bytes_max = bytes / 4 * 3;
        CleanerOptions {
            is_enabled: true,
            period: Duration::from_secs(15),
            memory_bytes_max,
            map_bytes_max: memory_bytes_max.min(CLEANER_MAP_BYTES),
            bytes_per_second: u64::MAX,
            little_bytes: 1 << 20,
            retry_max: Duration::from_secs(3600),
            cleaning: Cleaning {
                dirty_ratio_min: 0.5,
                lag_min_ms: 0,
                lag_max_ms: i64::MAX,
                little_wait_ms: Cleaning::LITTLE_WAIT_MAX_MS,
                delete_retention_ms: 24 * 3600 * 1000,
            },
        }
    }

    /// Of `map_bytes_max`, what is for transactions' markers.
    pub(crate) fn marker_bytes_max(&self) -> usize {
        self.map_bytes_max / 4
    }

    /// And what is for keys.
    pub(crate) fn key_bytes_max(&self) -> usize {
        self.map_bytes_max / 4 * 3
    }
}

/// Kafka's default of `log.cleaner.dedupe.buffer.size`.
const CLEANER_MAP_BYTES: usize = 128 * 1024 * 1024;

/// What the settings of a topic say about its cleaning.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cleaning {
    /// Cleaned when more than this part of it is new (`min.cleanable.dirty.ratio`).
    pub dirty_ratio_min: f64,
    /// A record stays at least so many milliseconds (`min.compaction.lag.ms`).
    pub lag_min_ms: i64,
    /// A record that compaction would remove stays at most so many milliseconds, about (`max.compaction.lag.ms`).
    pub lag_max_ms: i64,
    /// What is new and little is not worth it before so many milliseconds (`segment.ms`, [`Cleaning::LITTLE_WAIT_MAX_MS`] at the most).
    pub little_wait_ms: i64,
    /// A deletion mark stays so many milliseconds after it was first met (`delete.retention.ms`).
    pub delete_retention_ms: i64,
}

impl Cleaning {
    /// An hour: nobody has to wait for Kafka's week.
    pub(crate) const LITTLE_WAIT_MAX_MS: i64 = 3600 * 1000;

    /// Whether a record may go before it must: Kafka's check, in its words, with the names that the two settings have.
    ///
    /// # Errors
    /// It must go first.
    pub(crate) fn check_lags(&self, min: &str, max: &str) -> Result<(), String> {
        let Cleaning { lag_min_ms, lag_max_ms, .. } = self;
        if lag_min_ms > lag_max_ms {
            return Err(format!("conflict topic config setting {min} ({lag_min_ms}) > {max} ({lag_max_ms})"));
        }
        Ok(())
    }
}

/// What becomes of old records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CleanupPolicy {
    /// They are deleted by age and size.
    pub delete: bool,
    /// Those that a later one of the same key replaces are removed, so records must have keys.
    pub compact: bool,
}

impl CleanupPolicy {
    /// Of a list that passed the check of `cleanup.policy`.
    #[must_use]
    pub fn of(text: &str) -> CleanupPolicy {
        let has = |policy: &str| text.split(',').any(|word| word.trim() == policy);
        CleanupPolicy { delete: has("delete"), compact: has("compact") }
    }
}

impl fmt::Display for CleanupPolicy {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match (self.delete, self.compact) {
            (true, true) => "delete,compact",
            (true, false) => "delete",
            (false, true) => "compact",
            (false, false) => "",
        })
    }
}

impl Default for BrokerOptions {
    /// Kafka's defaults where Kafka has the setting.
    #[expect(clippy::too_many_lines, reason = "a table, a line each")]
    fn default() -> Self {
        const MIB: usize = 1024 * 1024;
        BrokerOptions {
            listening: "127.0.0.1:9092".to_owned(),
            advertised: "127.0.0.1:9092".to_owned(),
            auto_create_topics: true,
            num_partitions: 1,
            delete_topics: true,
            topic_partitions_max: 10_000,
            cluster_partitions_max: 1_000_000,
            described_partitions_max: 2000,
            telemetry_bytes_max: 1024 * 1024,
            request_bytes_max: 100 * MIB,
            requests_bytes_max: 256 * MIB,
            answers_bytes_max: 256 * MIB,
            fetch_bytes_max: 55 * MIB,
            fetch_arriving_wait_max: Duration::from_millis(50),
            fetch_sessions_max: 1000,
            batch_bytes_max: 1_048_588,
            decompressed_bytes_max: DECOMPRESSED_BYTES_MAX,
            heavy_checks_max: 1,
            long_writes_max: 1,
            log_append_time: false,
            compression: None,
            gzip_level: None,
            zstd_level: 3,
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: 3_600_000,
            connections_max: 20_000,
            connections_possible: usize::MAX,
            connections_per_ip_max: 0x7fff_ffff,
            connections_per_ip: BTreeMap::new(),
            connection_idle_max: Duration::from_secs(600),
            write_stall_max: Duration::from_secs(60),
            pipeline_requests_max: 64,
            pipeline_bytes_max: 64 * MIB,
            produce_wait_max: Duration::from_secs(120),
            fetch_wait_max: Duration::from_secs(300),
            retention: Some(Duration::from_secs(7 * 24 * 3600)),
            retention_bytes: None,
            cleanup: CleanupPolicy { delete: true, compact: false },
            cleaner: CleanerOptions::for_memory(32 * MIB),
            retention_check_period: Duration::from_secs(300),
            groups: GroupOptions::default(),
            consumer_assignment_interval: ConsumerTimes::default().assignment_interval,
            consumer_bounds: ConsumerBounds::default(),
            share_assignment_interval: ShareGroupOptions::default().assignment_interval,
            share_bounds: ConsumerBounds::default(),
            streams_assignment_interval: StreamsTimes::default().assignment_interval,
            streams_bounds: Box::default(),
            group_protocols: ["classic", "consumer", "streams"].map(str::to_owned).to_vec(),
            groups_bytes_max: 256 * MIB,
            groups_log_bytes_max: 1024 * 1024,
            groups_copy_slice_bytes: 64 * 1024,
            offsets_topic_partitions: 50,
            offsets_check_period: Duration::from_secs(600),
            group_wait_max: Duration::from_secs(5),
            transactions: TransactionOptions::default(),
            transactions_bytes_max: 64 * MIB,
            shares: ShareLimits::default(),
            shares_bytes_max: 64 * MIB,
            transactions_topic_partitions: 50,
            transactions_check_period: Duration::from_secs(3600),
            share_states: ShareStateOptions::default(),
            share_states_bytes_max: 64 * MIB,
            share_topic_partitions: 50,
            add_partitions_pause: Duration::from_millis(20),
            add_partitions_wait_max: Duration::from_millis(100),
            producer_expiration: Duration::from_secs(24 * 3600),
            quota_windows: QuotaWindows::default(),
            controller_quota_windows: QuotaWindows::default(),
            listener: ListenerSettings::default(),
            sasl: None,
            tokens: TokenOptions::default(),
            authorizing: Authorizing::default(),
            stop_wait_max: Duration::from_secs(3),
            given: BTreeMap::new(),
            defaults: BTreeMap::new(),
        }
    }
}
