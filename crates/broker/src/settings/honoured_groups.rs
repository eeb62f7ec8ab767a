//! Where the honoured settings about groups act; see `honoured`.

use super::honoured_line::{Honoured, INT_MAX, duration, least, line, millis, most, number};
use super::value;
use crate::BrokerOptions;
use coordinator_core::{Assignor, Migration};

/// Kafka's own assignors may be named by their classes as well.
const CLASSES: [(&str, Assignor); 2] = [
    ("org.apache.kafka.coordinator.group.assignor.UniformAssignor", Assignor::Uniform),
    ("org.apache.kafka.coordinator.group.assignor.RangeAssignor", Assignor::Range),
];

/// The kind of groups that can't be done without.
const CLASSIC: &str = "classic";

pub(super) static GROUPS: &[Honoured] = &[
    line(
        "group.consumer.assignment.interval.ms",
        |text, to| duration(text, 0).map(|it| to.consumer_assignment_interval = it),
        |of| millis(of.consumer_assignment_interval),
    ),
    line(
        "group.consumer.assignors",
        |text, to| assignors(text).map(|it| to.groups.consumer.assignors = it),
        |of| of.groups.consumer.assignors.iter().map(|it| it.name()).collect::<Vec<_>>().join(","),
    ),
    line(
        "group.consumer.heartbeat.interval.ms",
        |text, to| duration(text, 1).map(|it| to.groups.consumer.times.heartbeat_interval = it),
        |of| millis(of.groups.consumer.times.heartbeat_interval),
    ),
    line(
        "group.consumer.max.assignment.interval.ms",
        |text, to| most(text, &mut to.consumer_bounds.assignment_interval),
        |of| millis(*of.consumer_bounds.assignment_interval.end()),
    ),
    line(
        "group.consumer.max.heartbeat.interval.ms",
        |text, to| most(text, &mut to.consumer_bounds.heartbeat_interval),
        |of| millis(*of.consumer_bounds.heartbeat_interval.end()),
    ),
    line(
        "group.consumer.max.session.timeout.ms",
        |text, to| most(text, &mut to.consumer_bounds.session_timeout),
        |of| millis(*of.consumer_bounds.session_timeout.end()),
    ),
    line(
        "group.consumer.max.size",
        |text, to| number(text, 1, INT_MAX).map(|it| to.groups.consumer.members_max = it),
        |of| of.groups.consumer.members_max.to_string(),
    ),
    line(
        "group.consumer.migration.policy",
        |text, to| migration(text).map(|it| to.groups.consumer.migration = it),
        |of| of.groups.consumer.migration.name().to_owned(),
    ),
    line(
        "group.consumer.min.assignment.interval.ms",
        |text, to| least(text, &mut to.consumer_bounds.assignment_interval),
        |of| millis(*of.consumer_bounds.assignment_interval.start()),
    ),
    line(
        "group.consumer.min.heartbeat.interval.ms",
        |text, to| least(text, &mut to.consumer_bounds.heartbeat_interval),
        |of| millis(*of.consumer_bounds.heartbeat_interval.start()),
    ),
    line(
        "group.consumer.min.session.timeout.ms",
        |text, to| least(text, &mut to.consumer_bounds.session_timeout),
        |of| millis(*of.consumer_bounds.session_timeout.start()),
    ),
    line(
        "group.consumer.session.timeout.ms",
        |text, to| duration(text, 1).map(|it| to.groups.consumer.times.session_timeout = it),
        |of| millis(of.groups.consumer.times.session_timeout),
    ),
    line(
        "group.coordinator.rebalance.protocols",
        |text, to| protocols(text).map(|it| to.group_protocols = it),
        |of| of.group_protocols.join(","),
    ),
    line(
        "group.initial.rebalance.delay.ms",
        |text, to| duration(text, 0).map(|it| to.groups.initial_rebalance_delay = it),
        |of| millis(of.groups.initial_rebalance_delay),
    ),
    line(
        "group.max.session.timeout.ms",
        |text, to| duration(text, 1).map(|it| to.groups.session_timeout_max = it),
        |of| millis(of.groups.session_timeout_max),
    ),
    line(
        "group.max.size",
        |text, to| number(text, 1, INT_MAX).map(|it| to.groups.members_max = it),
        |of| of.groups.members_max.to_string(),
    ),
    line(
        "group.min.session.timeout.ms",
        |text, to| duration(text, 1).map(|it| to.groups.session_timeout_min = it),
        |of| millis(of.groups.session_timeout_min),
    ),
];

fn assignors(text: &str) -> Result<Vec<Assignor>, String> {
    let mut all = Vec::new();
    for name in value::list(text) {
        let of_class = CLASSES.iter().find(|(class, _)| *class == name).map(|(_, assignor)| *assignor);
        let found = Assignor::of_name(name).or(of_class);
        let assignor = found.ok_or_else(|| format!("there is no assignor {name}: there are uniform and range"))?;
        if !all.contains(&assignor) {
            all.push(assignor);
        }
    }
    if all.is_empty() { Err("name one at least".to_owned()) } else { Ok(all) }
}

fn migration(text: &str) -> Result<Migration, String> {
    let found = Migration::ALL.into_iter().find(|policy| policy.name().eq_ignore_ascii_case(text));
    found.ok_or_else(|| format!("{text} is none of disabled, downgrade, upgrade and bidirectional"))
}

fn protocols(text: &str) -> Result<Vec<String>, String> {
    let all: Vec<String> = value::list(text).map(str::to_owned).collect();
    // Kafka's words.
    if all.iter().any(|it| it == CLASSIC) {
        Ok(all)
    } else {
        Err("The 'classic' rebalance protocol must be included".to_owned())
    }
}

/// Whether streams groups are served.
pub(crate) fn serves_streams_groups(options: &BrokerOptions) -> bool {
    options.group_protocols.iter().any(|it| it == "streams")
}

/// Whether consumer groups of the newer protocol are served.
pub(crate) fn serves_consumer_groups(options: &BrokerOptions) -> bool {
    options.group_protocols.iter().any(|it| it == "consumer")
}
