//! Kafka's topic settings: one table of all names, what becomes of each here, and the values that the broker acts on. Pure.
//!
//! Nothing is accepted that silently does something else: a name is *honoured*, or *without object here* (what it tunes does not
//! exist in this architecture: kept and shown, with one log line), or *refused* with the reason. Unknown names are refused with
//! the nearest known one.

use crate::BrokerOptions;
use std::collections::BTreeMap;
use std::time::Duration;

/// What becomes of a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The broker acts on it.
    Honoured,
    /// What it tunes does not exist here.
    WithoutObject,
}

/// Which values a setting may have.
#[derive(Debug, Clone, Copy)]
enum Values {
    /// A whole number in this range.
    Number(i64, i64),
    /// A decimal number from 0 to 1.
    Fraction,
    /// `true` or `false`.
    Flag,
    /// One of these.
    OneOf(&'static [&'static str]),
    /// Only the first of these; the others are Kafka's but not served, for that reason.
    Only(&'static str, &'static [&'static str], &'static str),
    /// Anything.
    Text,
}

const ANY_LONG: Values = Values::Number(i64::MIN, i64::MAX);
const FROM_MINUS_ONE: Values = Values::Number(-1, i64::MAX);
const FROM_MINUS_TWO: Values = Values::Number(-2, i64::MAX);
const FROM_ZERO: Values = Values::Number(0, i64::MAX);
const INT_FROM_ZERO: Values = Values::Number(0, i32::MAX as i64);
const INT_FROM_ONE: Values = Values::Number(1, i32::MAX as i64);

/// All topic settings of Kafka 4.x, sorted by name.
const TABLE: &[(&str, Fate, Values)] = &[
    (
        "cleanup.policy",
        Fate::Honoured,
        Values::Only("delete", &["compact", "compact,delete", "delete,compact", ""], "log compaction arrives later"),
    ),
    ("compression.gzip.level", Fate::WithoutObject, Values::Number(-1, 9)),
    ("compression.lz4.level", Fate::WithoutObject, Values::Number(1, 17)),
    (
        "compression.type",
        Fate::Honoured,
        Values::Only(
            "producer",
            &["gzip", "snappy", "lz4", "zstd", "uncompressed"],
            "the broker keeps batches as producers compress them; set compression.type on the producer",
        ),
    ),
    ("compression.zstd.level", Fate::WithoutObject, Values::Number(-131_072, 22)),
    ("delete.retention.ms", Fate::WithoutObject, FROM_ZERO),
    ("file.delete.delay.ms", Fate::WithoutObject, FROM_ZERO),
    ("flush.messages", Fate::WithoutObject, Values::Number(1, i64::MAX)),
    ("flush.ms", Fate::WithoutObject, FROM_ZERO),
    ("follower.replication.throttled.replicas", Fate::WithoutObject, Values::Text),
    ("index.interval.bytes", Fate::WithoutObject, INT_FROM_ZERO),
    ("leader.replication.throttled.replicas", Fate::WithoutObject, Values::Text),
    ("local.retention.bytes", Fate::WithoutObject, FROM_MINUS_TWO),
    ("local.retention.ms", Fate::WithoutObject, FROM_MINUS_TWO),
    ("max.compaction.lag.ms", Fate::WithoutObject, Values::Number(1, i64::MAX)),
    ("max.message.bytes", Fate::Honoured, INT_FROM_ZERO),
    ("message.timestamp.after.max.ms", Fate::Honoured, FROM_ZERO),
    ("message.timestamp.before.max.ms", Fate::Honoured, FROM_ZERO),
    ("message.timestamp.type", Fate::Honoured, Values::OneOf(&["CreateTime", "LogAppendTime"])),
    ("min.cleanable.dirty.ratio", Fate::WithoutObject, Values::Fraction),
    ("min.compaction.lag.ms", Fate::WithoutObject, FROM_ZERO),
    ("min.insync.replicas", Fate::WithoutObject, INT_FROM_ONE),
    ("preallocate", Fate::WithoutObject, Values::Flag),
    ("remote.log.copy.disable", Fate::WithoutObject, Values::Flag),
    ("remote.log.delete.on.disable", Fate::WithoutObject, Values::Flag),
    ("remote.storage.enable", Fate::WithoutObject, Values::Flag),
    ("retention.bytes", Fate::Honoured, ANY_LONG),
    ("retention.ms", Fate::Honoured, FROM_MINUS_ONE),
    ("segment.bytes", Fate::WithoutObject, INT_FROM_ONE),
    ("segment.index.bytes", Fate::WithoutObject, INT_FROM_ZERO),
    ("segment.jitter.ms", Fate::WithoutObject, FROM_ZERO),
    ("segment.ms", Fate::WithoutObject, Values::Number(1, i64::MAX)),
    ("unclean.leader.election.enable", Fate::WithoutObject, Values::Flag),
];

/// Checks one setting of a request: what becomes of it, or why it is refused.
pub(crate) fn check(name: &str, value: &str) -> Result<Fate, String> {
    let Some((_, fate, values)) = TABLE.iter().find(|(known, _, _)| *known == name) else {
        return Err(unknown(name));
    };
    check_value(name, value, *values)?;
    Ok(*fate)
}

fn unknown(name: &str) -> String {
    let nearest = TABLE.iter().map(|(known, _, _)| *known).min_by_key(|known| strsim::levenshtein(known, name));
    format!("unknown topic setting '{name}'; the nearest known one is '{}'", nearest.unwrap_or_default())
}

fn check_value(name: &str, value: &str, values: Values) -> Result<(), String> {
    match values {
        Values::Number(low, high) => match value.trim().parse::<i64>() {
            Ok(number) if (low..=high).contains(&number) => Ok(()),
            Ok(_) => Err(format!("{name} must be from {low} to {high}, not {value}")),
            Err(_) => Err(format!("{name} must be a whole number, not '{value}'")),
        },
        Values::Fraction => match value.trim().parse::<f64>() {
            Ok(number) if (0.0..=1.0).contains(&number) => Ok(()),
            _ => Err(format!("{name} must be a number from 0 to 1, not '{value}'")),
        },
        Values::Flag => check_value(name, value, Values::OneOf(&["true", "false"])),
        Values::OneOf(known) if known.contains(&value) => Ok(()),
        Values::OneOf(known) => Err(format!("{name} must be one of {}, not '{value}'", known.join(", "))),
        Values::Only(served, _, _) if value == served => Ok(()),
        Values::Only(served, others, reason) if others.contains(&value) => {
            Err(format!("{name}={value} is not served, only {served}: {reason}"))
        }
        Values::Only(served, _, _) => Err(format!("{name} must be {served}, not '{value}'")),
        Values::Text => Ok(()),
    }
}

/// The values of honoured settings that a topic doesn't set itself.
pub(crate) fn defaults(options: &BrokerOptions) -> Vec<(&'static str, String)> {
    let TopicSettings {
        retention,
        retention_bytes,
        batch_bytes_max,
        log_append_time,
        timestamp_before_max_ms,
        timestamp_after_max_ms,
    } = TopicSettings::of(&BTreeMap::new(), options);
    let or_for_ever = |value: Option<u128>| value.map_or("-1".to_owned(), |value| value.to_string());
    let timestamp_type = if log_append_time { "LogAppendTime" } else { "CreateTime" };
    vec![
        ("cleanup.policy", "delete".to_owned()),
        ("compression.type", "producer".to_owned()),
        ("max.message.bytes", batch_bytes_max.to_string()),
        ("message.timestamp.after.max.ms", timestamp_after_max_ms.to_string()),
        ("message.timestamp.before.max.ms", timestamp_before_max_ms.to_string()),
        ("message.timestamp.type", timestamp_type.to_owned()),
        ("retention.bytes", or_for_ever(retention_bytes.map(u128::from))),
        ("retention.ms", or_for_ever(retention.map(|it| it.as_millis()))),
    ]
}

/// What a topic's settings come to, with the broker's defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TopicSettings {
    /// `None`: records never grow too old.
    pub(crate) retention: Option<Duration>,
    /// Bytes of a partition; `None`: never too many.
    pub(crate) retention_bytes: Option<u64>,
    /// Greatest batch in bytes.
    pub(crate) batch_bytes_max: usize,
    /// Whether the broker stamps batches with its own clock (`message.timestamp.type=LogAppendTime`).
    pub(crate) log_append_time: bool,
    /// How far producers' timestamps may lie behind the broker's clock, in milliseconds.
    pub(crate) timestamp_before_max_ms: i64,
    /// And ahead of it.
    pub(crate) timestamp_after_max_ms: i64,
}

impl TopicSettings {
    /// Of a topic whose settings passed [`check`]. A value that did not (written by another version) counts as absent.
    pub(crate) fn of(configs: &BTreeMap<String, String>, options: &BrokerOptions) -> TopicSettings {
        let number = |name: &str| configs.get(name).and_then(|value| value.trim().parse::<i64>().ok());
        TopicSettings {
            retention: match number("retention.ms") {
                Some(ms) => u64::try_from(ms).ok().map(Duration::from_millis),
                None => options.retention,
            },
            retention_bytes: match number("retention.bytes") {
                Some(bytes) => u64::try_from(bytes).ok(),
                None => options.retention_bytes,
            },
            batch_bytes_max: number("max.message.bytes")
                .and_then(|bytes| usize::try_from(bytes).ok())
                .unwrap_or(options.batch_bytes_max),
            log_append_time: configs.get("message.timestamp.type").is_some_and(|it| it == "LogAppendTime"),
            timestamp_before_max_ms: number("message.timestamp.before.max.ms").unwrap_or(i64::MAX),
            timestamp_after_max_ms: number("message.timestamp.after.max.ms").unwrap_or(3_600_000),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_has_no_name_twice() {
        assert!(TABLE.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }

    #[test]
    fn settings_are_honoured_kept_or_refused_with_a_reason() {
        assert_eq!(check("retention.ms", "1000"), Ok(Fate::Honoured));
        assert_eq!(check("segment.ms", "1000"), Ok(Fate::WithoutObject));
        assert_eq!(check("cleanup.policy", "delete"), Ok(Fate::Honoured));
        let refused = check("cleanup.policy", "compact").unwrap_err();
        assert!(refused.contains("log compaction arrives later"), "{refused}");
        let misspelt = check("retention.m", "1").unwrap_err();
        assert!(misspelt.contains("'retention.ms'"), "{misspelt}");
        assert!(check("retention.ms", "-2").is_err());
        assert!(check("retention.ms", "soon").is_err());
        assert!(check("preallocate", "yes").is_err());
        assert!(check("message.timestamp.type", "createtime").is_err());
    }

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
}
