//! Where the honoured settings about share groups and their state act; see `honoured`.

use super::honoured_line::{Honoured, duration, least, line, millis, most, number};

pub(super) static SHARES: &[Honoured] = &[
    line(
        "group.share.assignment.interval.ms",
        |text, to| duration(text, 0).map(|it| to.share_assignment_interval = it),
        |of| millis(of.share_assignment_interval),
    ),
    line(
        "group.share.heartbeat.interval.ms",
        |text, to| duration(text, 1).map(|it| to.groups.share.heartbeat_interval = it),
        |of| millis(of.groups.share.heartbeat_interval),
    ),
    line(
        "group.share.initialize.retry.interval.ms",
        |text, to| duration(text, 1).map(|it| to.groups.share.initialize_retry_interval = it),
        |of| millis(of.groups.share.initialize_retry_interval),
    ),
    line(
        "group.share.max.assignment.interval.ms",
        |text, to| most(text, &mut to.share_bounds.assignment_interval),
        |of| millis(*of.share_bounds.assignment_interval.end()),
    ),
    line(
        "group.share.max.heartbeat.interval.ms",
        |text, to| most(text, &mut to.share_bounds.heartbeat_interval),
        |of| millis(*of.share_bounds.heartbeat_interval.end()),
    ),
    line(
        "group.share.max.session.timeout.ms",
        |text, to| most(text, &mut to.share_bounds.session_timeout),
        |of| millis(*of.share_bounds.session_timeout.end()),
    ),
    line(
        "group.share.max.size",
        |text, to| number(text, 1, 1000).map(|it| to.groups.share.members_max = it),
        |of| of.groups.share.members_max.to_string(),
    ),
    line(
        "group.share.min.assignment.interval.ms",
        |text, to| least(text, &mut to.share_bounds.assignment_interval),
        |of| millis(*of.share_bounds.assignment_interval.start()),
    ),
    line(
        "group.share.min.heartbeat.interval.ms",
        |text, to| least(text, &mut to.share_bounds.heartbeat_interval),
        |of| millis(*of.share_bounds.heartbeat_interval.start()),
    ),
    line(
        "group.share.min.session.timeout.ms",
        |text, to| least(text, &mut to.share_bounds.session_timeout),
        |of| millis(*of.share_bounds.session_timeout.start()),
    ),
    line(
        "group.share.session.timeout.ms",
        |text, to| duration(text, 1).map(|it| to.groups.share.session_timeout = it),
        |of| millis(of.groups.share.session_timeout),
    ),
    line(
        "share.coordinator.snapshot.update.records.per.snapshot",
        |text, to| number(text, 0, 500).map(|it| to.share_states.updates_per_snapshot = it),
        |of| of.share_states.updates_per_snapshot.to_string(),
    ),
    line(
        "share.coordinator.state.topic.num.partitions",
        |text, to| number(text, 1, to.topic_partitions_max).map(|it| to.share_topic_partitions = it),
        |of| of.share_topic_partitions.to_string(),
    ),
];
