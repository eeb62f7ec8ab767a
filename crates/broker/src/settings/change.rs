//! What a request to change settings comes to: which get which value, which lose theirs, or why nothing changes. Pure.
//!
//! Kafka's two requests meet here: AlterConfigs says all settings that there shall be, IncrementalAlterConfigs says what changes.
//! Refusals are Kafka's words where it has some. Whether a value can act is left to whoever asks.

use super::{Kind, Scope, value};
use std::collections::{BTreeMap, BTreeSet};

/// There may be many groups and subscriptions, and their settings are numbers, names and lists of a few.
const GROUP_VALUE_BYTES_MAX: usize = 256;
const SUBSCRIPTION_VALUE_BYTES_MAX: usize = 1024;

/// What a request wants.
#[derive(Debug, Clone)]
pub(crate) enum Wanted {
    /// These and no others.
    Exactly(Vec<(String, Option<String>)>),
    /// These changes.
    Changes(Vec<Change>),
}

/// One change.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) name: String,
    pub(crate) operation: Operation,
    pub(crate) value: Option<String>,
}

/// What happens to a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Set,
    Delete,
    Append,
    Subtract,
}

/// Why nothing changes, by Kafka's codes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wrong {
    Request(String),
    Config(String),
    /// There is no setting of that name.
    UnknownName(String),
}

/// The new value of each setting that changes; `None`: it has none any more.
pub(crate) type Changes = BTreeMap<String, Option<String>>;

impl Operation {
    /// By Kafka's number.
    pub(crate) fn of(number: i8) -> Option<Operation> {
        Some(match number {
            0 => Operation::Set,
            1 => Operation::Delete,
            2 => Operation::Append,
            3 => Operation::Subtract,
            _ => return None,
        })
    }
}

/// `set` are the settings as they are, `or_else` is what counts where there is none.
pub(crate) fn plan(
    scope: Scope,
    set: &BTreeMap<String, String>,
    or_else: impl Fn(&str) -> Option<String>,
    wanted: Wanted,
) -> Result<Changes, Wrong> {
    let changes = match wanted {
        Wanted::Exactly(pairs) => {
            let change = |(name, value)| Change { name, operation: Operation::Set, value };
            let mut planned = changed(scope, set, or_else, pairs.into_iter().map(change).collect())?;
            for name in set.keys() {
                planned.entry(name.clone()).or_insert(None);
            }
            planned
        }
        Wanted::Changes(changes) => changed(scope, set, or_else, changes)?,
    };
    for (name, text) in &changes {
        let Some(text) = text else { continue };
        let setting = scope.find(name).ok_or_else(|| Wrong::UnknownName(scope.unknown(name)))?;
        let bytes_max = match scope {
            Scope::Group => GROUP_VALUE_BYTES_MAX,
            Scope::ClientMetrics => SUBSCRIPTION_VALUE_BYTES_MAX,
            Scope::Broker | Scope::Topic => usize::MAX,
        };
        if text.len() > bytes_max {
            return Err(Wrong::Config(format!("{name} is longer than {bytes_max} bytes")));
        }
        setting.check(text).map_err(Wrong::Config)?;
    }
    Ok(changes)
}

fn changed(
    scope: Scope,
    set: &BTreeMap<String, String>,
    or_else: impl Fn(&str) -> Option<String>,
    changes: Vec<Change>,
) -> Result<Changes, Wrong> {
    let names: BTreeSet<&str> = changes.iter().map(|change| change.name.as_str()).collect();
    if names.len() < changes.len() {
        return Err(Wrong::Request("Error due to duplicate config keys".to_owned()));
    }
    let nulls = changes.iter().filter(|it| it.value.is_none() && it.operation != Operation::Delete);
    let nulls: Vec<&str> = nulls.map(|change| change.name.as_str()).collect();
    if !nulls.is_empty() {
        return Err(Wrong::Request(format!("Null value not supported for : {}", nulls.join(","))));
    }
    let mut planned = Changes::new();
    for Change { name, operation, value } in changes {
        let value = value.unwrap_or_default();
        let value = match operation {
            Operation::Delete => None,
            Operation::Set => Some(value),
            Operation::Append | Operation::Subtract => {
                let setting = scope.find(&name).ok_or_else(|| Wrong::UnknownName(scope.unknown(&name)))?;
                if setting.kind != Kind::List {
                    let word = if operation == Operation::Append { "APPEND" } else { "SUBTRACT" };
                    let wrong = format!("Can't {word} to key {name} because its type is not LIST.");
                    return Err(Wrong::Config(wrong));
                }
                let now = set.get(&name).cloned().or_else(|| or_else(&name)).unwrap_or_default();
                Some(listed(&now, operation, &value))
            }
        };
        planned.insert(name, value);
    }
    Ok(planned)
}

fn listed(now: &str, operation: Operation, value: &str) -> String {
    let mut elements: Vec<&str> = value::list(now).collect();
    let known: BTreeSet<&str> = elements.iter().copied().collect();
    let given: BTreeSet<&str> = value::list(value).collect();
    match operation {
        Operation::Append => {
            let mut seen = known;
            elements.extend(value::list(value).filter(|element| seen.insert(element)));
        }
        _ => elements.retain(|element| !given.contains(element)),
    }
    elements.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(set: &[(&str, &str)], changes: &[(Operation, &str, Option<&str>)]) -> Result<Changes, Wrong> {
        let set = set.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        let change = |(operation, name, value): &(Operation, &str, Option<&str>)| Change {
            name: (*name).to_owned(),
            operation: *operation,
            value: value.map(str::to_owned),
        };
        let or_else = |name: &str| (name == "cleanup.policy").then(|| "delete".to_owned());
        plan(Scope::Topic, &set, or_else, Wanted::Changes(changes.iter().map(change).collect()))
    }

    fn one(result: Result<Changes, Wrong>) -> Option<String> {
        result.expect("it is valid").into_values().next().flatten()
    }

    #[test]
    fn lists_grow_from_what_counts_and_shrink() {
        use Operation::{Append, Subtract};
        let append = |set: &[(&str, &str)], value| one(planned(set, &[(Append, "cleanup.policy", Some(value))]));
        assert_eq!(append(&[], "compact").as_deref(), Some("delete,compact"));
        assert_eq!(append(&[], "delete").as_deref(), Some("delete"));
        assert_eq!(
            append(&[("cleanup.policy", "compact")], "compact,delete,delete").as_deref(),
            Some("compact,delete")
        );
        let subtract =
            planned(&[("cleanup.policy", "compact,delete")], &[(Subtract, "cleanup.policy", Some("compact"))]);
        assert_eq!(one(subtract).as_deref(), Some("delete"));
        assert_eq!(one(planned(&[], &[(Subtract, "cleanup.policy", Some("delete"))])).as_deref(), Some(""));
    }

    #[test]
    fn refuses_in_kafka_s_words() {
        use Operation::{Append, Delete, Set};
        let cases = [
            (vec![(Set, "retention.ms", None)], Wrong::Request("Null value not supported for : retention.ms".into())),
            (
                vec![(Set, "retention.ms", Some("1")), (Delete, "retention.ms", None)],
                Wrong::Request("Error due to duplicate config keys".into()),
            ),
            (
                vec![(Append, "retention.ms", Some("1"))],
                Wrong::Config("Can't APPEND to key retention.ms because its type is not LIST.".into()),
            ),
            (
                vec![(Set, "retention.ms", Some("x"))],
                Wrong::Config("Invalid value x for configuration retention.ms: Not a number of type LONG".into()),
            ),
            (
                vec![(Set, "retention.m", Some("1"))],
                Wrong::UnknownName("Unknown topic config name: retention.m; did you mean retention.ms?".into()),
            ),
        ];
        for (changes, wrong) in cases {
            assert_eq!(planned(&[], &changes), Err(wrong));
        }
        assert!(planned(&[], &[(Delete, "no.such", None)]).is_ok(), "what is not there can be deleted, as in Kafka");
        let long = "0:1,".repeat(10_000);
        assert!(planned(&[], &[(Set, "leader.replication.throttled.replicas", Some(&long))]).is_err());
    }

    #[test]
    fn saying_all_settings_takes_the_others_away() {
        let set =
            BTreeMap::from([("retention.ms".to_owned(), "1".to_owned()), ("segment.ms".to_owned(), "2".to_owned())]);
        let wanted = Wanted::Exactly(vec![("segment.ms".to_owned(), Some("3".to_owned()))]);
        let changes = plan(Scope::Topic, &set, |_| None, wanted).expect("it is valid");
        let expected = [("retention.ms".to_owned(), None), ("segment.ms".to_owned(), Some("3".to_owned()))];
        assert_eq!(changes, Changes::from(expected));
    }
}
