//! Where the honoured settings about streams groups act; see `honoured`.

use super::honoured_line::{Honoured, INT_MAX, duration, least, line, millis, most, number};

pub(super) static STREAMS: &[Honoured] = &[
    line(
        "group.streams.acceptable.recovery.lag",
        |text, to| number(text, 0, i64::MAX).map(|it| to.groups.streams.times.acceptable_recovery_lag = it),
        |of| of.groups.streams.times.acceptable_recovery_lag.to_string(),
    ),
    line(
        "group.streams.assignment.interval.ms",
        |text, to| duration(text, 0).map(|it| to.streams_assignment_interval = it),
        |of| millis(of.streams_assignment_interval),
    ),
    line(
        "group.streams.heartbeat.interval.ms",
        |text, to| duration(text, 1).map(|it| to.groups.streams.times.heartbeat_interval = it),
        |of| millis(of.groups.streams.times.heartbeat_interval),
    ),
    line(
        "group.streams.initial.rebalance.delay.ms",
        |text, to| duration(text, 0).map(|it| to.groups.streams.times.initial_rebalance_delay = it),
        |of| millis(of.groups.streams.times.initial_rebalance_delay),
    ),
    line(
        "group.streams.max.assignment.interval.ms",
        |text, to| most(text, &mut to.streams_bounds.times.assignment_interval),
        |of| millis(*of.streams_bounds.times.assignment_interval.end()),
    ),
    line(
        "group.streams.max.heartbeat.interval.ms",
        |text, to| most(text, &mut to.streams_bounds.times.heartbeat_interval),
        |of| millis(*of.streams_bounds.times.heartbeat_interval.end()),
    ),
    line(
        "group.streams.max.session.timeout.ms",
        |text, to| most(text, &mut to.streams_bounds.times.session_timeout),
        |of| millis(*of.streams_bounds.times.session_timeout.end()),
    ),
    line(
        "group.streams.max.size",
        |text, to| number(text, 1, INT_MAX).map(|it| to.groups.streams.members_max = it),
        |of| of.groups.streams.members_max.to_string(),
    ),
    line(
        "group.streams.max.standby.replicas",
        |text, to| number(text, 0, INT_MAX).map(|it| to.streams_bounds.standby_replicas_max = it),
        |of| of.streams_bounds.standby_replicas_max.to_string(),
    ),
    line(
        "group.streams.min.assignment.interval.ms",
        |text, to| least(text, &mut to.streams_bounds.times.assignment_interval),
        |of| millis(*of.streams_bounds.times.assignment_interval.start()),
    ),
    line(
        "group.streams.min.heartbeat.interval.ms",
        |text, to| least(text, &mut to.streams_bounds.times.heartbeat_interval),
        |of| millis(*of.streams_bounds.times.heartbeat_interval.start()),
    ),
    line(
        "group.streams.min.session.timeout.ms",
        |text, to| least(text, &mut to.streams_bounds.times.session_timeout),
        |of| millis(*of.streams_bounds.times.session_timeout.start()),
    ),
    line(
        "group.streams.min.task.offset.interval.ms",
        |text, to| duration(text, 1).map(|it| to.streams_bounds.task_offset_interval_min = it),
        |of| millis(of.streams_bounds.task_offset_interval_min),
    ),
    line(
        "group.streams.num.standby.replicas",
        |text, to| number(text, 0, INT_MAX).map(|it| to.groups.streams.times.standby_replicas = it),
        |of| of.groups.streams.times.standby_replicas.to_string(),
    ),
    line(
        "group.streams.session.timeout.ms",
        |text, to| duration(text, 1).map(|it| to.groups.streams.times.session_timeout = it),
        |of| millis(of.groups.streams.times.session_timeout),
    ),
    line(
        "group.streams.task.offset.interval.ms",
        |text, to| duration(text, 1).map(|it| to.groups.streams.times.task_offset_interval = it),
        |of| millis(of.groups.streams.times.task_offset_interval),
    ),
];
