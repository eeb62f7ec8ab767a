//! What goes by itself, but for what a transaction is about to change: offsets that nobody has used for long, offsets of deleted topics, groups without members and offsets.

use crate::effects::Effects;
use crate::group::{Group, State};
use crate::groups::Groups;
use crate::offsets::Committed;
use crate::record::CoordinatorRecord;
use base::{TopicId, UnixMillis};

/// What one look takes back at the most, about: each record has its group's name, which may be long, and a group may have very many.
const GONE_BYTES_MAX: usize = 8 << 20;

/// What a record counts for at the least: so much it takes about, in memory and in the log, however short its names are.
const RECORD_BYTES_MIN: usize = 256;

/// What one look may still take back.
struct Room {
    bytes_left: usize,
    /// Whether there was more than it was for.
    has_more: bool,
}

impl Room {
    fn new() -> Room {
        Room { bytes_left: GONE_BYTES_MAX, has_more: false }
    }

    /// Counts that offset; whether it may go with this look.
    fn take(&mut self, group: &str, topic: &str) -> bool {
        self.has_more |= self.bytes_left == 0;
        let bytes = (group.len() + topic.len()).max(RECORD_BYTES_MIN);
        self.bytes_left = self.bytes_left.saturating_sub(bytes);
        !self.has_more
    }
}

impl Groups {
    /// Whether the last look left something behind that is to go as well: look again, soon.
    #[must_use]
    pub fn are_behind(&self) -> bool {
        self.expires_more || self.forgets_more
    }

    /// Drops what has outlived `offsets_retention`, and then groups that nothing is left of.
    pub fn expire(&mut self, now: UnixMillis, fx: &mut Effects) {
        let retention_ms = i64::try_from(self.options.offsets_retention.as_millis()).unwrap_or(i64::MAX);
        let pending = std::mem::take(&mut self.pending);
        let mut room = Room::new();
        self.retain_offsets(&mut room, fx, |id, group, (topic, partition), committed| {
            let is_old = match (committed.expires_at, unused_since(group, committed)) {
                (_, None) => false,
                (Some(expires_at), Some(_)) => now >= expires_at,
                (None, Some(since)) => now.0.saturating_sub(since.0) >= retention_ms,
            };
            !is_old || group.is_subscribed(topic) || pending.has(id, topic, partition)
        });
        self.expires_more = room.has_more;
        self.pending = pending;
        let is_over = |id: &str, group: &Group| {
            group.is_empty() && group.pending.is_empty() && group.offsets.is_empty() && !self.pending.has_group(id)
        };
        let over: Vec<String> =
            self.groups.iter().filter(|(id, group)| is_over(id, group)).map(|(id, _)| id.clone()).collect();
        for id in over {
            fx.records.extend(self.groups.get(&id).into_iter().flat_map(|group| group.tombstones(&id)));
            self.drop_group(&id);
        }
    }

    /// Drops the offsets of topics that are gone, those of open transactions among them as in Kafka, and what share groups keep of them: a
    /// topic made anew under the same name has other records.
    pub fn forget_topics(&mut self, is_gone: impl Fn(&str, TopicId) -> bool, fx: &mut Effects) {
        let mut room = Room::new();
        for (group, topic, partition) in self.pending.gone(&is_gone, |(group, topic, _)| room.take(group, topic)) {
            self.pending.forget(&group, &topic, partition);
            fx.records.push(CoordinatorRecord::offset(&group, &topic, partition, None));
        }
        self.retain_offsets(&mut room, fx, |_, _, (topic, _), committed| !is_gone(topic, committed.topic));
        self.forgets_more = room.has_more;
        self.share_forget_topics(&is_gone, fx);
    }

    /// Drops those that are not kept, as many as there is room for.
    fn retain_offsets(
        &mut self,
        room: &mut Room,
        fx: &mut Effects,
        keeps: impl Fn(&str, &Group, (&str, i32), &Committed) -> bool,
    ) {
        let mut changed = Vec::new();
        for (id, group) in &mut self.groups {
            let mut gone: Vec<(String, i32)> = Vec::new();
            for (topic, partitions) in &group.offsets {
                let unwanted = partitions.iter().filter(|(it, committed)| !keeps(id, group, (topic, **it), committed));
                let some = unwanted.take_while(|_| room.take(id, topic));
                gone.extend(some.map(|(partition, _)| (topic.clone(), *partition)));
            }
            if !gone.is_empty() {
                changed.push(id.clone());
            }
            for (topic, partition) in gone {
                group.forget_offset(&topic, partition);
                fx.records.push(CoordinatorRecord::offset(id, &topic, partition, None));
            }
        }
        for id in changed {
            self.recount(&id);
        }
    }
}

/// Since when an offset may have been of no use: the group is empty, or its members consume other topics. None: it is in use.
fn unused_since(group: &Group, committed: &Committed) -> Option<UnixMillis> {
    if group.consumer.is_some() || group.streams.is_some() {
        // Those of topics that members subscribe to are in use, which is asked for beside this.
        return Some(committed.committed_at);
    }
    match (&group.protocol_type, group.state) {
        // Nobody ever joined: a client that manages its own members.
        (None, _) => Some(committed.committed_at),
        (Some(_), State::Empty) => Some(group.state_since.unwrap_or(committed.committed_at)),
        (Some(_), State::Stable) if group.subscribed.is_some() => Some(committed.committed_at),
        (Some(_), _) => None,
    }
}
