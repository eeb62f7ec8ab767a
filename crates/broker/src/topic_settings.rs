//! What a topic's settings come to, with the brokers' filled in where it does not say. Pure.
//!
//! Which names and values there are stands in `settings`.

use crate::batch_check::DECOMPRESSED_BYTES_MAX;
use crate::{BrokerOptions, Cleaning, CleanupPolicy};
use protocol::record_batch::{Compression, Level};
use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

/// What a topic's settings come to, with the broker's defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TopicSettings {
    /// `None`: records never grow too old.
    pub(crate) retention: Option<Duration>,
    /// Bytes of a partition; `None`: never too many.
    pub(crate) retention_bytes: Option<u64>,
    /// Whether records must have keys, since later ones may replace them (`cleanup.policy` with `compact`).
    pub(crate) keys_needed: bool,
    /// Greatest batch in bytes.
    pub(crate) batch_bytes_max: usize,
    /// The most that a batch's records may take when they are decompressed.
    pub(crate) decompressed_bytes_max: usize,
    /// How batches are compressed; `None`: as producers do.
    pub(crate) compression: Option<Level>,
    /// Whether the broker stamps batches with its own clock (`message.timestamp.type=LogAppendTime`).
    pub(crate) log_append_time: bool,
    /// How far producers' timestamps may lie behind the broker's clock, in milliseconds.
    pub(crate) timestamp_before_max_ms: i64,
    /// And ahead of it.
    pub(crate) timestamp_after_max_ms: i64,
}

impl TopicSettings {
    /// Of a topic whose settings passed their check. A value that did not (written by another version) counts as absent.
    pub(crate) fn of(configs: &BTreeMap<String, String>, options: &BrokerOptions) -> TopicSettings {
        let number = |name: &str| parsed::<i64>(configs, name);
        let size = |name: &str| number(name).and_then(|bytes| usize::try_from(bytes).ok());
        let cleanup = TopicSettings::cleanup(configs, options);
        let retention = match number("retention.ms") {
            Some(ms) => u64::try_from(ms).ok().map(Duration::from_millis),
            None => options.retention,
        };
        let retention_bytes = match number("retention.bytes") {
            Some(bytes) => u64::try_from(bytes).ok(),
            None => options.retention_bytes,
        };
        TopicSettings {
            retention: retention.filter(|_| cleanup.delete),
            retention_bytes: retention_bytes.filter(|_| cleanup.delete),
            keys_needed: cleanup.compact,
            batch_bytes_max: size("max.message.bytes").unwrap_or(options.batch_bytes_max),
            decompressed_bytes_max: size("max.decompressed.message.bytes")
                .map_or(options.decompressed_bytes_max, |bytes| bytes.min(DECOMPRESSED_BYTES_MAX)),
            compression: TopicSettings::compression(configs, options),
            log_append_time: configs
                .get("message.timestamp.type")
                .map_or(options.log_append_time, |it| it.trim() == "LogAppendTime"),
            timestamp_before_max_ms: number("message.timestamp.before.max.ms")
                .unwrap_or(options.timestamp_before_max_ms),
            timestamp_after_max_ms: number("message.timestamp.after.max.ms").unwrap_or(options.timestamp_after_max_ms),
        }
    }

    fn compression(configs: &BTreeMap<String, String>, options: &BrokerOptions) -> Option<Level> {
        let number = |name: &str| parsed::<i32>(configs, name);
        let codec = configs.get("compression.type").map_or(options.compression, |text| codec_of(text))?;
        let level = match codec {
            Compression::Gzip => number("compression.gzip.level").map_or(options.gzip_level, gzip_level),
            Compression::Zstd => Some(number("compression.zstd.level").unwrap_or(options.zstd_level)),
            Compression::None | Compression::Snappy | Compression::Lz4 => None,
        };
        Some(Level { codec, level })
    }

    /// What becomes of such a topic's old records.
    pub(crate) fn cleanup(configs: &BTreeMap<String, String>, options: &BrokerOptions) -> CleanupPolicy {
        configs.get("cleanup.policy").map_or(options.cleanup, |text| CleanupPolicy::of(text))
    }
}

/// What a text that passed the check of `compression.type` says; `None`: the producer's own.
pub(crate) fn codec_of(text: &str) -> Option<Compression> {
    Compression::ALL.into_iter().find(|codec| name_of(Some(*codec)) == text.trim())
}

/// The other way round.
pub(crate) fn name_of(codec: Option<Compression>) -> &'static str {
    match codec {
        None => "producer",
        Some(Compression::None) => "uncompressed",
        Some(Compression::Gzip) => "gzip",
        Some(Compression::Snappy) => "snappy",
        Some(Compression::Lz4) => "lz4",
        Some(Compression::Zstd) => "zstd",
    }
}

/// Kafka's -1 is the usual one.
pub(crate) fn gzip_level(level: i32) -> Option<i32> {
    Some(level).filter(|level| *level != -1)
}

/// A setting's value; none where the topic does not say, or says what does not pass the check.
fn parsed<T: FromStr>(configs: &BTreeMap<String, String>, name: &str) -> Option<T> {
    configs.get(name)?.trim().parse().ok()
}

/// How the topic's log is compacted; none where it is not.
pub(crate) fn cleaning(configs: &BTreeMap<String, String>, options: &BrokerOptions) -> Option<Cleaning> {
    TopicSettings::cleanup(configs, options).compact.then(|| cleaning_if_compacted(configs, options))
}

/// Whether a topic with these settings could be compacted as they say, whether it is or not, as in Kafka.
///
/// # Errors
/// Two that contradict each other, in Kafka's words.
pub(crate) fn check_cleaning(configs: &BTreeMap<String, String>, options: &BrokerOptions) -> Result<(), String> {
    cleaning_if_compacted(configs, options).check_lags("min.compaction.lag.ms", "max.compaction.lag.ms")
}

fn cleaning_if_compacted(configs: &BTreeMap<String, String>, options: &BrokerOptions) -> Cleaning {
    let number = |name: &str| parsed::<i64>(configs, name);
    let default = options.cleaner.cleaning;
    Cleaning {
        dirty_ratio_min: parsed(configs, "min.cleanable.dirty.ratio").unwrap_or(default.dirty_ratio_min),
        lag_min_ms: number("min.compaction.lag.ms").unwrap_or(default.lag_min_ms),
        lag_max_ms: number("max.compaction.lag.ms").unwrap_or(default.lag_max_ms),
        little_wait_ms: number("segment.ms").map_or(default.little_wait_ms, |ms| ms.min(Cleaning::LITTLE_WAIT_MAX_MS)),
        delete_retention_ms: number("delete.retention.ms").unwrap_or(default.delete_retention_ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minus_one_means_for_ever_and_absence_means_the_brokers_default() {
        let options = BrokerOptions::default();
        let mut configs = BTreeMap::new();
        assert_eq!(TopicSettings::of(&configs, &options).retention, options.retention);
        configs.insert("retention.ms".to_owned(), "-1".to_owned());
        configs.insert("retention.bytes".to_owned(), "4096".to_owned());
        let settings = TopicSettings::of(&configs, &options);
        assert_eq!((settings.retention, settings.retention_bytes), (None, Some(4096)));
    }

    #[test]
    fn a_topic_says_how_it_is_compacted_or_the_broker_does() {
        let options = BrokerOptions::default();
        let of = |pairs: &[(&str, &str)]| {
            let configs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            cleaning(&configs, &options)
        };
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[("cleanup.policy", "compact")]), Some(options.cleaner.cleaning));
        let own = [
            ("cleanup.policy", "compact,delete"),
            ("min.cleanable.dirty.ratio", "0.25"),
            ("min.compaction.lag.ms", "3"),
            ("max.compaction.lag.ms", "4"),
            ("delete.retention.ms", "5"),
            ("segment.ms", "6"),
        ];
        let expected =
            Cleaning { dirty_ratio_min: 0.25, lag_min_ms: 3, lag_max_ms: 4, little_wait_ms: 6, delete_retention_ms: 5 };
        assert_eq!(of(&own), Some(expected));
    }

    #[test]
    fn how_long_little_waits_is_said_by_the_topic_else_by_the_broker_and_bounded() {
        let waits = |broker: &[(&str, &str)], topic: &[(&str, &str)]| {
            let of = |pairs: &[(&str, &str)]| {
                pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<BTreeMap<_, _>>()
            };
            let mut options = BrokerOptions::default();
            crate::settings::apply(&of(broker), &mut options).unwrap();
            cleaning_if_compacted(&of(topic), &options).little_wait_ms
        };
        let hour = Cleaning::LITTLE_WAIT_MAX_MS;
        assert_eq!(waits(&[], &[]), hour);
        assert_eq!(waits(&[("log.roll.ms", "60000")], &[]), 60_000);
        assert_eq!(waits(&[("log.roll.hours", "2"), ("log.roll.ms", "60000")], &[]), 60_000);
        assert_eq!(waits(&[("log.roll.hours", "2")], &[]), hour);
        assert_eq!(waits(&[("log.roll.ms", "60000")], &[("segment.ms", "90000")]), 90_000);
        assert_eq!(waits(&[], &[("segment.ms", "604800000")]), hour);
    }

    #[test]
    fn a_topic_s_lags_must_agree_with_each_other_and_with_the_brokers() {
        let mut options = BrokerOptions::default();
        options.cleaner.cleaning.lag_max_ms = 100;
        let check = |pairs: &[(&str, &str)]| {
            let configs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            check_cleaning(&configs, &options)
        };
        assert_eq!(check(&[]), Ok(()));
        assert_eq!(check(&[("min.compaction.lag.ms", "100")]), Ok(()));
        let wrong = "conflict topic config setting min.compaction.lag.ms (101) > max.compaction.lag.ms (100)";
        assert_eq!(check(&[("min.compaction.lag.ms", "101")]), Err(wrong.to_owned()));
        assert_eq!(check(&[("min.compaction.lag.ms", "101"), ("max.compaction.lag.ms", "101")]), Ok(()));
    }

    #[test]
    fn only_the_delete_policy_deletes() {
        let options = BrokerOptions { retention_bytes: Some(1), ..BrokerOptions::default() };
        let of = |policy: &str| {
            TopicSettings::of(&BTreeMap::from([("cleanup.policy".to_owned(), policy.to_owned())]), &options)
        };
        let compacted = of("compact");
        assert_eq!((compacted.retention, compacted.retention_bytes, compacted.keys_needed), (None, None, true));
        let both = of("delete, compact");
        assert_eq!((both.retention, both.retention_bytes, both.keys_needed), (options.retention, Some(1), true));
        assert_eq!(of("").retention, None);
    }

    #[test]
    fn a_topic_s_codec_goes_over_the_broker_s_and_has_its_level() {
        let options = BrokerOptions { compression: Some(Compression::Lz4), ..BrokerOptions::default() };
        let of = |pairs: &[(&str, &str)]| {
            let configs = pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
            TopicSettings::of(&configs, &options).compression
        };
        let level = |codec, level| Some(Level { codec, level });
        assert_eq!(of(&[]), level(Compression::Lz4, None));
        assert_eq!(of(&[("compression.type", "producer")]), None);
        assert_eq!(of(&[("compression.type", "uncompressed")]), level(Compression::None, None));
        assert_eq!(of(&[("compression.type", "zstd")]), level(Compression::Zstd, Some(3)));
        let gzip = |text| of(&[("compression.type", "gzip"), ("compression.gzip.level", text)]);
        assert_eq!(gzip("9"), level(Compression::Gzip, Some(9)));
        assert_eq!(gzip("-1"), level(Compression::Gzip, None));
        assert_eq!(TopicSettings::of(&BTreeMap::new(), &BrokerOptions::default()).compression, None);
    }
}
