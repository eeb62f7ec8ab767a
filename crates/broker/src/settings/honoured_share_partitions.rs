//! Where the honoured settings about the partitions of share groups act; see `honoured`.

use super::honoured_line::{Honoured, INT_MAX, duration, line, millis, number};
use std::ops::RangeInclusive;

pub(super) static SHARE_PARTITIONS: &[Honoured] = &[
    line(
        "group.share.delivery.count.limit",
        |text, to| number(text, 2, 10).map(|it| to.shares.deliveries_max = it),
        |of| of.shares.deliveries_max.to_string(),
    ),
    line(
        "group.share.max.delivery.count.limit",
        |text, to| number(text, 5, 25).map(|it| most(&mut to.shares.deliveries_bounds, it)),
        |of| of.shares.deliveries_bounds.end().to_string(),
    ),
    line(
        "group.share.max.partition.max.record.locks",
        |text, to| number(text, 2000, 10_000).map(|it| most(&mut to.shares.in_flight_bounds, it)),
        |of| of.shares.in_flight_bounds.end().to_string(),
    ),
    line(
        "group.share.max.record.lock.duration.ms",
        |text, to| duration(text, 30_000).map(|it| most(&mut to.shares.lock_bounds, it)),
        |of| millis(*of.shares.lock_bounds.end()),
    ),
    line(
        "group.share.max.share.sessions",
        |text, to| number(text, 1, INT_MAX).map(|it| to.shares.sessions_max = it),
        |of| of.shares.sessions_max.to_string(),
    ),
    line(
        "group.share.min.delivery.count.limit",
        |text, to| number(text, 2, 5).map(|it| least(&mut to.shares.deliveries_bounds, it)),
        |of| of.shares.deliveries_bounds.start().to_string(),
    ),
    line(
        "group.share.min.partition.max.record.locks",
        |text, to| number(text, 100, 2000).map(|it| least(&mut to.shares.in_flight_bounds, it)),
        |of| of.shares.in_flight_bounds.start().to_string(),
    ),
    line(
        "group.share.min.record.lock.duration.ms",
        |text, to| duration(text, 1000).map(|it| least(&mut to.shares.lock_bounds, it)),
        |of| millis(*of.shares.lock_bounds.start()),
    ),
    line(
        "group.share.partition.max.record.locks",
        |text, to| number(text, 100, 10_000).map(|it| to.shares.in_flight_max = it),
        |of| of.shares.in_flight_max.to_string(),
    ),
    line(
        "group.share.record.lock.duration.ms",
        |text, to| duration(text, 1000).map(|it| to.shares.lock = it),
        |of| millis(of.shares.lock),
    ),
];

fn least<T: Copy>(bounds: &mut RangeInclusive<T>, least: T) {
    *bounds = least..=*bounds.end();
}

fn most<T: Copy>(bounds: &mut RangeInclusive<T>, most: T) {
    *bounds = *bounds.start()..=most;
}
