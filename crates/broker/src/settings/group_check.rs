//! Whether the settings of a group lie within what the brokers allow all groups, and agree with each other.

use super::describe::{View, broker_value, group};
use super::{Changes, Scope};
use std::collections::BTreeMap;

/// Checks the values that these changes set; the words are Kafka's.
pub(crate) fn check(view: &View<'_>, changes: &Changes) -> Result<(), String> {
    for (name, value) in changes {
        let Some(number) = value.as_ref().and_then(|value| value.trim().parse::<i64>().ok()) else { continue };
        let Some((kind, rest)) = name.split_once('.') else { continue };
        // `streams.num.standby.replicas` is bounded by `group.streams.max.standby.replicas`.
        let rest = rest.strip_prefix("num.").unwrap_or(rest);
        let bound = |word: &str| {
            let bound = Scope::Broker.find(&format!("group.{kind}.{word}.{rest}"))?;
            Some((bound.name, broker_value(view, bound.name)?.trim().parse::<i64>().ok()?))
        };
        if let Some((bound, least)) = bound("min")
            && number < least
        {
            return Err(format!("{name} must be greater than or equal to {bound}"));
        }
        if let Some((bound, most)) = bound("max")
            && number > most
        {
            return Err(format!("{name} must be less than or equal to {bound}"));
        }
    }
    check_heartbeats(view, changes)
}

/// A member that reports later than it is dropped would be dropped all the time.
fn check_heartbeats(view: &View<'_>, changes: &Changes) -> Result<(), String> {
    let set: BTreeMap<String, String> =
        changes.iter().filter_map(|(name, value)| Some((name.clone(), value.clone()?))).collect();
    let counts = group(view, &set);
    let number = |name: &str| {
        let found = counts.iter().find(|described| described.setting.name == name)?;
        found.value.as_ref()?.parse::<i64>().ok()
    };
    for kind in ["consumer", "share", "streams"] {
        let (beat, session) = (format!("{kind}.heartbeat.interval.ms"), format!("{kind}.session.timeout.ms"));
        let touched = set.contains_key(&beat) || set.contains_key(&session);
        if touched && number(&beat) >= number(&session) {
            return Err(format!("{session} must be greater than {beat}"));
        }
    }
    Ok(())
}
