//! Where the honoured broker settings act: each puts its value into a field of [`BrokerOptions`].
//!
//! Called once at the start, with what the operator has given, and again whenever settings of brokers change (`live`). A setting
//! is honoured in the tables if and only if it has a line here.

use super::honoured_line::{Honoured, INT_MAX, LONG_MAX, duration, line, millis, number};
use super::{
    Kind, Scope, consumer_times, honoured_groups, honoured_quotas, honoured_security, honoured_share_partitions,
    honoured_shares, honoured_streams, listener, shares, streams_times, value,
};
use crate::batch_check::DECOMPRESSED_BYTES_MAX;
use crate::{BrokerOptions, Cleaning, CleanupPolicy, topic_settings};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// What a timeout of -1 comes to.
const FOR_EVER: Duration = Duration::from_secs(u32::MAX as u64 * 60);

/// Where two speak for one thing the later line wins, as in Kafka: `log.retention.ms` over minutes over hours.
static HONOURED: &[Honoured] = &[
    line(
        "add.partitions.to.txn.retry.backoff.max.ms",
        |text, to| duration(text, 0).map(|it| to.add_partitions_wait_max = it),
        |of| millis(of.add_partitions_wait_max),
    ),
    line(
        "add.partitions.to.txn.retry.backoff.ms",
        |text, to| duration(text, 1).map(|it| to.add_partitions_pause = it),
        |of| millis(of.add_partitions_pause),
    ),
    line(
        "auto.create.topics.enable",
        |text, to| flag(text).map(|it| to.auto_create_topics = it),
        |of| of.auto_create_topics.to_string(),
    ),
    line(
        "compression.gzip.level",
        |text, to| number(text, -1, 9).map(|it| to.gzip_level = topic_settings::gzip_level(it)),
        |of| of.gzip_level.unwrap_or(-1).to_string(),
    ),
    line(
        "compression.type",
        |text, to| {
            to.compression = topic_settings::codec_of(text);
            Ok(())
        },
        |of| topic_settings::name_of(of.compression).to_owned(),
    ),
    line(
        "compression.zstd.level",
        |text, to| number(text, -131_072, 22).map(|it| to.zstd_level = it),
        |of| of.zstd_level.to_string(),
    ),
    line(
        "connections.max.idle.ms",
        |text, to| number_or_none(text).map(|it| to.connection_idle_max = it.map_or(FOR_EVER, Duration::from_millis)),
        |of| if of.connection_idle_max == FOR_EVER { "-1".to_owned() } else { millis(of.connection_idle_max) },
    ),
    line(
        "delete.topic.enable",
        |text, to| flag(text).map(|it| to.delete_topics = it),
        |of| of.delete_topics.to_string(),
    ),
    line(
        "fetch.max.bytes",
        |text, to| number(text, 1024, INT_MAX).map(|it| to.fetch_bytes_max = it),
        |of| of.fetch_bytes_max.to_string(),
    ),
    line(
        "log.cleaner.backoff.ms",
        // Never without a pause: an idle cleaner would keep a processor busy.
        |text, to| duration(text, 0).map(|it| to.cleaner.period = it.max(Duration::from_millis(1))),
        |of| millis(of.cleaner.period),
    ),
    line(
        "log.cleaner.dedupe.buffer.size",
        |text, to| {
            number(text, 1, LONG_MAX).map(|it| to.cleaner.map_bytes_max = within(it, to.cleaner.memory_bytes_max))
        },
        |of| of.cleaner.map_bytes_max.to_string(),
    ),
    line(
        "log.cleaner.delete.retention.ms",
        |text, to| number(text, 0, i64::MAX).map(|it| to.cleaner.cleaning.delete_retention_ms = it),
        |of| of.cleaner.cleaning.delete_retention_ms.to_string(),
    ),
    line(
        "log.cleaner.enable",
        |text, to| flag(text).map(|it| to.cleaner.is_enabled = it),
        |of| of.cleaner.is_enabled.to_string(),
    ),
    line(
        "log.cleaner.io.max.bytes.per.second",
        |text, to| rate(text).map(|it| to.cleaner.bytes_per_second = it),
        |of| match of.cleaner.bytes_per_second {
            u64::MAX => NO_RATE.to_owned(),
            rate => rate.to_string(),
        },
    ),
    line(
        "log.cleaner.max.compaction.lag.ms",
        |text, to| number(text, 1, i64::MAX).map(|it| to.cleaner.cleaning.lag_max_ms = it),
        |of| of.cleaner.cleaning.lag_max_ms.to_string(),
    ),
    line(
        "log.cleaner.min.cleanable.ratio",
        |text, to| number(text, 0.0, 1.0).map(|it| to.cleaner.cleaning.dirty_ratio_min = it),
        |of| of.cleaner.cleaning.dirty_ratio_min.to_string(),
    ),
    line(
        "log.cleaner.min.compaction.lag.ms",
        |text, to| number(text, 0, i64::MAX).map(|it| to.cleaner.cleaning.lag_min_ms = it),
        |of| of.cleaner.cleaning.lag_min_ms.to_string(),
    ),
    line(
        "log.cleanup.policy",
        |text, to| {
            to.cleanup = CleanupPolicy::of(text);
            Ok(())
        },
        |of| of.cleanup.to_string(),
    ),
    line(
        "log.message.timestamp.after.max.ms",
        |text, to| number(text, 0, i64::MAX).map(|it| to.timestamp_after_max_ms = it),
        |of| of.timestamp_after_max_ms.to_string(),
    ),
    line(
        "log.message.timestamp.before.max.ms",
        |text, to| number(text, 0, i64::MAX).map(|it| to.timestamp_before_max_ms = it),
        |of| of.timestamp_before_max_ms.to_string(),
    ),
    line(
        "log.message.timestamp.type",
        |text, to| {
            to.log_append_time = text == "LogAppendTime";
            Ok(())
        },
        |of| if of.log_append_time { "LogAppendTime".to_owned() } else { "CreateTime".to_owned() },
    ),
    line(
        "log.retention.bytes",
        |text, to| {
            // Any number below zero is no bound, as in Kafka.
            to.retention_bytes = text.parse::<i64>().ok().and_then(|bytes| u64::try_from(bytes).ok());
            Ok(())
        },
        |of| of.retention_bytes.map_or("-1".to_owned(), |bytes| bytes.to_string()),
    ),
    line(
        "log.retention.check.interval.ms",
        |text, to| duration(text, 1).map(|it| to.retention_check_period = it),
        |of| millis(of.retention_check_period),
    ),
    Honoured { name: "log.retention.hours", read: |text, to| retention(text, 3_600_000, to), show: None },
    Honoured { name: "log.retention.minutes", read: |text, to| retention(text, 60_000, to), show: None },
    Honoured { name: "log.retention.ms", read: |text, to| retention(text, 1, to), show: None },
    Honoured { name: "log.roll.hours", read: |text, to| roll(text, 3_600_000, to), show: None },
    Honoured { name: "log.roll.ms", read: |text, to| roll(text, 1, to), show: None },
    line(
        "max.connections",
        |text, to| number(text, 1, INT_MAX).map(|it| to.connections_max = it.min(to.connections_possible)),
        |of| of.connections_max.to_string(),
    ),
    line(
        "max.connections.per.ip",
        |text, to| number(text, 0, INT_MAX).map(|it| to.connections_per_ip_max = it),
        |of| of.connections_per_ip_max.to_string(),
    ),
    line(
        "max.connections.per.ip.overrides",
        |text, to| overrides(text).map(|it| to.connections_per_ip = it),
        |of| of.connections_per_ip.iter().map(|(ip, most)| format!("{ip}:{most}")).collect::<Vec<_>>().join(","),
    ),
    line(
        "max.decompressed.message.bytes",
        |text, to| number(text, 1, INT_MAX).map(|it| to.decompressed_bytes_max = it.min(DECOMPRESSED_BYTES_MAX)),
        |of| of.decompressed_bytes_max.to_string(),
    ),
    line(
        "max.incremental.fetch.session.cache.slots",
        |text, to| number(text, 0, INT_MAX).map(|it| to.fetch_sessions_max = it),
        |of| of.fetch_sessions_max.to_string(),
    ),
    line(
        "max.request.partition.size.limit",
        |text, to| number(text, 1, INT_MAX).map(|it| to.described_partitions_max = it),
        |of| of.described_partitions_max.to_string(),
    ),
    line(
        "message.max.bytes",
        |text, to| number(text, 0, INT_MAX).map(|it| to.batch_bytes_max = it),
        |of| of.batch_bytes_max.to_string(),
    ),
    line(
        "num.partitions",
        // What no topic may have would refuse every topic that leaves it open.
        |text, to| number(text, 1, to.topic_partitions_max).map(|it| to.num_partitions = it),
        |of| of.num_partitions.to_string(),
    ),
    line(
        "offset.metadata.max.bytes",
        |text, to| number(text, 0, INT_MAX).map(|it| to.groups.offset_metadata_bytes_max = it),
        |of| of.groups.offset_metadata_bytes_max.to_string(),
    ),
    line(
        "offsets.commit.timeout.ms",
        |text, to| duration(text, 1).map(|it| to.group_wait_max = it),
        |of| millis(of.group_wait_max),
    ),
    line(
        "offsets.retention.check.interval.ms",
        |text, to| duration(text, 1).map(|it| to.offsets_check_period = it),
        |of| millis(of.offsets_check_period),
    ),
    line(
        "offsets.retention.minutes",
        |text, to| number(text, 1, INT_MAX as u64).map(|it| to.groups.offsets_retention = Duration::from_secs(it * 60)),
        |of| (of.groups.offsets_retention.as_secs() / 60).to_string(),
    ),
    line(
        "offsets.topic.num.partitions",
        |text, to| number(text, 1, to.topic_partitions_max).map(|it| to.offsets_topic_partitions = it),
        |of| of.offsets_topic_partitions.to_string(),
    ),
    line(
        "producer.id.expiration.ms",
        |text, to| duration(text, 1).map(|it| to.producer_expiration = it),
        |of| millis(of.producer_expiration),
    ),
    line(
        "queued.max.request.bytes",
        |text, to| number_or_none(text).and_then(|it| requests(it, to)),
        |of| of.requests_bytes_max.to_string(),
    ),
    line(
        "socket.request.max.bytes",
        |text, to| number(text, 1, INT_MAX).map(|it| to.request_bytes_max = it),
        |of| of.request_bytes_max.to_string(),
    ),
    line(
        "telemetry.max.bytes",
        |text, to| number(text, 1, INT_MAX).map(|it| to.telemetry_bytes_max = it),
        |of| of.telemetry_bytes_max.to_string(),
    ),
    line(
        "transaction.max.timeout.ms",
        |text, to| duration(text, 1).map(|it| to.transactions.timeout_max = it),
        |of| millis(of.transactions.timeout_max),
    ),
    line(
        "transaction.remove.expired.transaction.cleanup.interval.ms",
        |text, to| duration(text, 1).map(|it| to.transactions_check_period = it),
        |of| millis(of.transactions_check_period),
    ),
    line(
        "transaction.state.log.num.partitions",
        |text, to| number(text, 1, to.topic_partitions_max).map(|it| to.transactions_topic_partitions = it),
        |of| of.transactions_topic_partitions.to_string(),
    ),
    line(
        "transactional.id.expiration.ms",
        |text, to| duration(text, 1).map(|it| to.transactions.expiration = it),
        |of| millis(of.transactions.expiration),
    ),
];

/// Those about groups, share groups and quotas stand in files of their own.
fn all() -> impl Iterator<Item = &'static Honoured> {
    HONOURED
        .iter()
        .chain(honoured_groups::GROUPS)
        .chain(honoured_quotas::QUOTAS)
        .chain(honoured_shares::SHARES)
        .chain(honoured_streams::STREAMS)
        .chain(honoured_share_partitions::SHARE_PARTITIONS)
        .chain(&honoured_security::HONOURED)
}

/// Puts every given setting where it acts, and remembers what was given. A line is logged for each that has no effect.
///
/// # Errors
/// One line that says what to change.
pub fn apply(given: &BTreeMap<String, String>, options: &mut BrokerOptions) -> Result<(), String> {
    let given = &listener::take_prefixed(given, options)?;
    for (name, text) in given {
        let setting = Scope::Broker.find(name).ok_or_else(|| Scope::Broker.unknown(name))?;
        setting.check(text)?;
        if let Some(caveat) = setting.caveat() {
            tracing::info!("setting {name}={} {caveat}", setting.printable(text));
        }
    }
    options.defaults = shown(options);
    put(given, options)?;
    listener::resolve(options)?;
    // What is secret is not kept where it is shown from.
    let is_secret = |name: &str| Scope::Broker.find(name).is_some_and(|setting| setting.kind == Kind::Password);
    let kept = |(name, text): (&String, &String)| {
        let text = if is_secret(name) { listener::HIDDEN.to_owned() } else { text.clone() };
        (name.clone(), text)
    };
    options.given = given.iter().map(kept).collect();
    check_lags(options)
}

/// That the brokers' defaults for log compaction don't contradict each other. Apart from [`put`], as it has a code of its own in Kafka.
///
/// # Errors
/// Which do.
pub(crate) fn check_lags(options: &BrokerOptions) -> Result<(), String> {
    options.cleaner.cleaning.check_lags("log.cleaner.min.compaction.lag.ms", "log.cleaner.max.compaction.lag.ms")
}

/// Puts texts that passed the table's check where they act; those that act nowhere are passed over. All are tried, whatever is wrong
/// with one.
pub(super) fn put(settings: &BTreeMap<String, String>, options: &mut BrokerOptions) -> Result<(), String> {
    let mut outcome = Ok(());
    for honoured in all() {
        if let Some(text) = settings.get(honoured.name)
            && let Err(wrong) = (honoured.read)(text.trim(), options)
        {
            let wrong = format!("Invalid value {text} for configuration {}: {wrong}", honoured.name);
            outcome = outcome.and(Err(wrong));
        }
    }
    outcome?;
    if options.groups.session_timeout_min > options.groups.session_timeout_max {
        return Err("group.min.session.timeout.ms must not be above group.max.session.timeout.ms".to_owned());
    }
    consumer_times::check(options)?;
    streams_times::check(options)?;
    shares::check(options)
}

/// Whether one value can be read, whatever others say.
#[cfg(test)]
pub(super) fn read(name: &str, text: &str) -> Result<(), String> {
    let honoured = all().find(|honoured| honoured.name == name).ok_or("it is not honoured")?;
    (honoured.read)(text, &mut BrokerOptions::default())
}

/// The values that act, by name.
pub(crate) fn shown(options: &BrokerOptions) -> BTreeMap<&'static str, String> {
    all().filter_map(|honoured| Some((honoured.name, (honoured.show?)(options)))).collect()
}

/// The value that acts.
pub(super) fn show(name: &str, options: &BrokerOptions) -> Option<String> {
    let honoured = all().find(|honoured| honoured.name == name)?;
    Some((honoured.show?)(options))
}

fn flag(text: &str) -> Result<bool, String> {
    Ok(text.eq_ignore_ascii_case("true"))
}

/// Kafka's default of a rate that has no bound.
const NO_RATE: &str = "1.7976931348623157E308";

/// Bytes a second, which Kafka takes as a decimal number.
fn rate(text: &str) -> Result<u64, String> {
    let wrong = || "say a number of bytes, 1 or more".to_owned();
    let rate: f64 = text.parse().map_err(|_| wrong())?;
    if rate.is_nan() || rate < 1.0 {
        return Err(wrong());
    }
    // What does not fit is no bound.
    Ok(format!("{rate:.0}").parse().unwrap_or(u64::MAX))
}

fn within(bytes: u64, max: usize) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX).min(max)
}

/// Kafka's -1: no limit.
fn number_or_none(text: &str) -> Result<Option<u64>, String> {
    if text == "-1" {
        return Ok(None);
    }
    number(text, 0, LONG_MAX).map(Some).map_err(|wrong| format!("{wrong}, or -1 for no limit"))
}

fn retention(text: &str, unit_ms: u64, to: &mut BrokerOptions) -> Result<(), String> {
    let units = number_or_none(text)?;
    to.retention = units.map(|units| Duration::from_millis(units.saturating_mul(unit_ms)));
    Ok(())
}

fn roll(text: &str, unit_ms: i64, to: &mut BrokerOptions) -> Result<(), String> {
    let units = number(text, 1, i64::MAX)?;
    to.cleaner.cleaning.little_wait_ms = units.saturating_mul(unit_ms).min(Cleaning::LITTLE_WAIT_MAX_MS);
    Ok(())
}

fn requests(bytes: Option<u64>, to: &mut BrokerOptions) -> Result<(), String> {
    if let Some(bytes) = bytes {
        to.requests_bytes_max = usize::try_from(bytes).map_err(|_| "it is too large for this machine".to_owned())?;
    }
    Ok(())
}

/// `address:number` pairs. An address of version 6 may stand in brackets.
fn overrides(text: &str) -> Result<BTreeMap<IpAddr, usize>, String> {
    let pair = |pair: &str| {
        let wrong = || format!("'{pair}' is no ADDRESS:NUMBER; write an IP address, names are not resolved");
        let (address, most) = pair.rsplit_once(':').ok_or_else(wrong)?;
        let address: IpAddr = address.trim_matches(['[', ']']).parse().map_err(|_| wrong())?;
        Ok((address, number(most.trim(), 0, INT_MAX)?))
    };
    value::list(text).map(pair).collect()
}

#[cfg(test)]
#[path = "honoured_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "live_reads_tests.rs"]
mod live_reads_tests;
