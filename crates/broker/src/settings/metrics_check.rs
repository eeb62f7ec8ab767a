//! Whether the settings of a subscription to clients' metrics are ones that Kafka takes, by its codes and in its words.

use super::value;
use super::{Changes, Wrong};
use crate::telemetry;

/// What a client may be matched by (KIP-714).
const MATCHED_BY: [&str; 6] = [
    "client_id",
    "client_instance_id",
    "client_software_name",
    "client_software_version",
    "client_source_address",
    "client_source_port",
];

/// Least and greatest interval, in milliseconds.
const INTERVAL_MS: std::ops::RangeInclusive<i64> = 100..=3_600_000;

/// Checks the values that these changes set. A pattern is one that can be looked for in linear time and little memory.
pub(crate) fn check(changes: &Changes) -> Result<(), Wrong> {
    if let Some(Some(text)) = changes.get("interval.ms")
        && text.trim().parse().is_ok_and(|interval: i64| !INTERVAL_MS.contains(&interval))
    {
        return Err(Wrong::Request(format!(
            "Invalid value {text} for interval.ms, interval must be between 100 and 3600000 (1 hour)"
        )));
    }
    let Some(Some(text)) = changes.get("match") else { return Ok(()) };
    let is_pattern = |pattern: &&str| {
        let parts: Vec<&str> = pattern.split('=').collect();
        matches!(parts[..], [name, value] if MATCHED_BY.contains(&name.trim())
            && !value.trim().is_empty() && telemetry::compile(value.trim()).is_ok())
    };
    match value::list(text).find(|pattern| !is_pattern(pattern)) {
        Some(pattern) => Err(Wrong::Config(format!("Illegal client matching pattern: {pattern}"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(name: &str, value: &str) -> Result<(), Wrong> {
        check(&Changes::from([(name.to_owned(), Some(value.to_owned()))]))
    }

    #[test]
    fn takes_and_refuses_what_kafka_does() {
        for (name, value) in [
            ("interval.ms", "100"),
            ("interval.ms", "3600000"),
            ("match", ""),
            ("match", "client_software_name=apache-kafka-java, client_source_port=1.*"),
            ("metrics", "org.apache.kafka.consumer."),
        ] {
            assert_eq!(checked(name, value), Ok(()), "{name}={value}");
        }
        for interval in ["99", "3600001", "-1"] {
            assert!(matches!(checked("interval.ms", interval), Err(Wrong::Request(_))), "{interval}");
        }
        for pattern in [
            "client_id",
            "client=x",
            "client_id=",
            "client_id=a=b",
            "client_id=a,x=b",
            "client_id=(",
            "client_id=(?=a)",
            "client_id=(a{1000}){1000}",
        ] {
            assert!(matches!(checked("match", pattern), Err(Wrong::Config(_))), "{pattern}");
        }
    }
}
