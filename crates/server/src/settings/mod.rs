//! Apache Kafka's broker settings, by Kafka's names: which are honoured, how each is read, and what is said of the others.
//!
//! A setting is never accepted and then ignored. A name is honoured by one line of [`HONOURED`], refused as not served yet, or
//! unknown and refused with the nearest known name.

mod known;
mod nearest;

use broker::BrokerOptions;
use std::collections::BTreeMap;
use std::time::Duration;

pub use nearest::nearest;

/// One honoured setting.
struct Setting {
    name: &'static str,
    /// Reads the text and puts the value where it acts; `Err` says what is wrong with the text.
    read: fn(&str, &mut BrokerOptions) -> Result<(), String>,
}

/// Every honoured setting. Where two speak for one thing the later line wins, as in Kafka: `log.retention.ms` over minutes over hours.
const HONOURED: &[Setting] = &[
    Setting { name: "auto.create.topics.enable", read: |text, to| flag(text).map(|it| to.auto_create_topics = it) },
    Setting {
        name: "num.partitions",
        // What no topic may have would refuse every topic that leaves it open.
        read: |text, to| number(text, 1, to.topic_partitions_max).map(|it| to.num_partitions = it),
    },
    Setting {
        name: "message.max.bytes",
        read: |text, to| number(text, 0, KAFKA_INT_MAX).map(|it| to.batch_bytes_max = it),
    },
    Setting {
        name: "socket.request.max.bytes",
        read: |text, to| number(text, 1, KAFKA_INT_MAX).map(|it| to.request_bytes_max = it),
    },
    Setting {
        name: "queued.max.request.bytes",
        read: |text, to| {
            number_or_none(text, KAFKA_INT_MAX).map(|it| to.requests_bytes_max = it.unwrap_or(to.requests_bytes_max))
        },
    },
    Setting {
        name: "fetch.max.bytes",
        read: |text, to| number(text, 1024, KAFKA_INT_MAX).map(|it| to.fetch_bytes_max = it),
    },
    Setting {
        name: "max.connections",
        read: |text, to| number(text, 1, KAFKA_INT_MAX).map(|it| to.connections_max = it),
    },
    Setting {
        name: "connections.max.idle.ms",
        read: |text, to| {
            number_or_none(text, KAFKA_LONG_MAX)
                .map(|it| to.connection_idle_max = it.map_or(FOR_EVER, Duration::from_millis))
        },
    },
    Setting {
        name: "log.retention.hours",
        read: |text, to| {
            number_or_none(text, KAFKA_INT_MAX as u64)
                .map(|it| to.retention = it.map(|hours| Duration::from_secs(hours * 3600)))
        },
    },
    Setting {
        name: "log.retention.minutes",
        read: |text, to| {
            number_or_none(text, KAFKA_INT_MAX as u64)
                .map(|it| to.retention = it.map(|minutes| Duration::from_secs(minutes * 60)))
        },
    },
    Setting {
        name: "log.retention.ms",
        read: |text, to| number_or_none(text, KAFKA_LONG_MAX).map(|it| to.retention = it.map(Duration::from_millis)),
    },
    Setting {
        name: "log.retention.bytes",
        read: |text, to| number_or_none(text, KAFKA_LONG_MAX).map(|it| to.retention_bytes = it),
    },
    Setting {
        name: "log.retention.check.interval.ms",
        read: |text, to| {
            number(text, 1, KAFKA_LONG_MAX).map(|it| to.retention_check_period = Duration::from_millis(it))
        },
    },
];

/// Kafka's 32-bit and 64-bit settings end there.
const KAFKA_INT_MAX: usize = 0x7fff_ffff;
const KAFKA_LONG_MAX: u64 = 0x7fff_ffff_ffff_ffff;

/// What a timeout of -1 comes to.
const FOR_EVER: Duration = Duration::from_secs(u32::MAX as u64 * 60);

/// Puts every given setting where it acts. `Err` is one line that says what to change.
pub fn apply(given: &BTreeMap<String, String>, options: &mut BrokerOptions) -> Result<(), String> {
    for name in given.keys() {
        if !HONOURED.iter().any(|setting| setting.name == name) {
            return Err(refusal(name));
        }
    }
    for setting in HONOURED {
        if let Some(text) = given.get(setting.name) {
            (setting.read)(text.trim(), options)
                .map_err(|wrong| format!("setting {}={text}: {wrong}", setting.name))?;
        }
    }
    Ok(())
}

fn refusal(name: &str) -> String {
    if known::NOT_SERVED_YET.contains(&name) {
        return format!(
            "setting {name} is Kafka's, but this version does not serve it yet, so it would have no effect: remove it"
        );
    }
    let names = HONOURED.iter().map(|setting| setting.name).chain(known::NOT_SERVED_YET.iter().copied());
    match nearest(name, names) {
        Some(close) => format!("unknown setting {name}: did you mean {close}?"),
        None => format!("unknown setting {name}: settings are Kafka's broker settings, by their names"),
    }
}

fn flag(text: &str) -> Result<bool, String> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("say true or false".to_owned()),
    }
}

fn number<N>(text: &str, low: N, high: N) -> Result<N, String>
where
    N: std::str::FromStr + PartialOrd + std::fmt::Display + Copy,
{
    let wrong = || format!("say a whole number from {low} to {high}");
    let value: N = text.parse().map_err(|_| wrong())?;
    if value < low || value > high { Err(wrong()) } else { Ok(value) }
}

/// Kafka's -1: no limit.
fn number_or_none<N>(text: &str, high: N) -> Result<Option<N>, String>
where
    N: std::str::FromStr + PartialOrd + std::fmt::Display + Copy + Default,
{
    if text == "-1" {
        return Ok(None);
    }
    number(text, N::default(), high).map(Some).map_err(|wrong| format!("{wrong}, or -1 for no limit"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(pairs: &[(&str, &str)]) -> Result<BrokerOptions, String> {
        let given = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut options = BrokerOptions::default();
        apply(&given, &mut options).map(|()| options)
    }

    #[test]
    fn puts_values_where_they_act() {
        let options =
            applied(&[("num.partitions", "7"), ("auto.create.topics.enable", "false"), ("message.max.bytes", "99")]);
        let options = options.unwrap();
        assert_eq!((options.num_partitions, options.auto_create_topics, options.batch_bytes_max), (7, false, 99));
    }

    #[test]
    fn the_finer_retention_wins_and_minus_one_is_for_ever() {
        let options = applied(&[("log.retention.hours", "1"), ("log.retention.minutes", "5")]).unwrap();
        assert_eq!(options.retention, Some(Duration::from_secs(300)));
        let options = applied(&[("log.retention.ms", "-1"), ("log.retention.minutes", "5")]).unwrap();
        assert_eq!(options.retention, None);
    }

    #[test]
    fn refuses_what_it_would_ignore() {
        assert_eq!(
            applied(&[("num.partition", "7")]).unwrap_err(),
            "unknown setting num.partition: did you mean num.partitions?"
        );
        assert!(applied(&[("log.segment.bytes", "7")]).unwrap_err().contains("does not serve it yet"));
        assert!(applied(&[("xyzzy", "7")]).unwrap_err().starts_with("unknown setting xyzzy: settings are"));
    }

    #[test]
    fn says_what_a_value_should_be() {
        let error = applied(&[("num.partitions", "many")]).unwrap_err();
        assert_eq!(error, "setting num.partitions=many: say a whole number from 1 to 10000");
        assert!(applied(&[("num.partitions", "10001")]).is_err(), "no topic may have as many");
        assert!(applied(&[("message.max.bytes", "-5")]).is_err());
        assert!(applied(&[("auto.create.topics.enable", "yes")]).is_err());
        assert!(applied(&[("log.retention.ms", "-2")]).unwrap_err().ends_with("or -1 for no limit"));
    }

    #[test]
    fn no_name_is_both_honoured_and_refused() {
        assert!(HONOURED.iter().all(|setting| !known::NOT_SERVED_YET.contains(&setting.name)));
        assert!(known::NOT_SERVED_YET.is_sorted());
    }

    #[test]
    fn the_operator_s_page_names_every_honoured_setting() {
        let page = include_str!("../../../../docs/operating.md");
        let missing: Vec<_> =
            HONOURED.iter().map(|it| it.name).filter(|name| !page.contains(&format!("`{name}`"))).collect();
        assert_eq!(missing, [""; 0]);
    }
}
