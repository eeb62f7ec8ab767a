//! The groups of one partition of `__consumer_offsets`, and how they come back from its records.

use crate::consumer::{ConsumerOptions, ConsumerTimes, Topics};
use crate::effects::{Effects, GroupError};
use crate::group::{Group, Protocol, State};
use crate::pending::PendingOffsets;
use crate::record::{Change, CoordinatorRecord, RecordError, StoredGroup, StoredMember};
use crate::share::ShareGroupOptions;
use crate::streams::StreamsOptions;
use crate::timers::{Timer, Timers};
use base::{Micros, UnixMillis};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::time::Duration;

/// The moment of a call: for deadlines, and for timestamps.
#[derive(Debug, Clone, Copy, Default)]
pub struct Now {
    pub at: Micros,
    pub wall: UnixMillis,
}

/// Bounds and periods, with Kafka's names where Kafka has them.
#[derive(Debug, Clone)]
pub struct GroupOptions {
    /// `group.min.session.timeout.ms`.
    pub session_timeout_min: Duration,
    /// `group.max.session.timeout.ms`.
    pub session_timeout_max: Duration,
    /// How long an empty group waits for more members (`group.initial.rebalance.delay.ms`).
    pub initial_rebalance_delay: Duration,
    /// How long a member that joins for the first time may wait for its answer, as it can't be told alive by heartbeats.
    pub new_member_join_max: Duration,
    /// Members of a group (`group.max.size`), and ids handed out to members yet to come.
    pub members_max: usize,
    /// Bytes of a group's metadata in memory.
    pub group_bytes_max: usize,
    /// Bytes of a group's record.
    pub record_bytes_max: usize,
    /// Bytes of the metadata of an offset (`offset.metadata.max.bytes`).
    pub offset_metadata_bytes_max: usize,
    /// Offsets of a group without members are dropped after this (`offsets.retention.minutes`).
    pub offsets_retention: Duration,
    /// Of consumer groups of the newer protocol.
    pub consumer: ConsumerOptions,
    /// Of share groups.
    pub share: ShareGroupOptions,
    /// Of streams groups.
    pub streams: StreamsOptions,
}

impl Default for GroupOptions {
    /// Kafka's defaults; where Kafka has no bound, one that no honest client meets.
    fn default() -> Self {
        GroupOptions {
            session_timeout_min: Duration::from_secs(6),
            session_timeout_max: Duration::from_secs(30 * 60),
            initial_rebalance_delay: Duration::from_secs(3),
            new_member_join_max: Duration::from_secs(5 * 60),
            members_max: 50_000,
            group_bytes_max: 64 << 20,
            record_bytes_max: 8 << 20,
            offset_metadata_bytes_max: 4096,
            offsets_retention: Duration::from_secs(7 * 24 * 3600),
            consumer: ConsumerOptions::default(),
            share: ShareGroupOptions::default(),
            streams: StreamsOptions::default(),
        }
    }
}

/// The groups of one partition.
#[derive(Debug, Default)]
#[cfg_attr(test, derive(Clone))]
pub struct Groups {
    pub(crate) options: GroupOptions,
    pub(crate) groups: BTreeMap<String, Group>,
    pub(crate) timers: Timers,
    /// Offsets of transactions that have not ended.
    pub(crate) pending: PendingOffsets,
    /// Bytes of all groups, about.
    bytes: usize,
    /// Bytes that may be added.
    pub(crate) room: usize,
    /// There are records of protocols that are not known.
    holds_others: bool,
    /// Of what has expired, and of deleted topics, not all is gone that was to go.
    pub(crate) expires_more: bool,
    pub(crate) forgets_more: bool,
    /// The consumer group that the last record took back, while records are replayed.
    taken_back: Option<String>,
}

/// One group with all that a decision about it needs.
pub(crate) struct Work<'a> {
    pub(crate) id: &'a str,
    pub(crate) group: &'a mut Group,
    pub(crate) timers: &'a mut Timers,
    pub(crate) options: &'a GroupOptions,
    pub(crate) now: Now,
    pub(crate) fx: &'a mut Effects,
}

impl Groups {
    /// No groups yet.
    #[must_use]
    pub fn new(options: GroupOptions) -> Groups {
        Groups { options, room: usize::MAX, ..Groups::default() }
    }

    /// Applies a record of the log, oldest first, before anything else is asked. Records of other protocols are passed over.
    ///
    /// # Errors
    /// The record is damaged, or of a version that is not known; nothing has changed.
    pub fn replay(&mut self, record: &CoordinatorRecord) -> Result<(), RecordError> {
        let taken_back = self.taken_back.take();
        match record.decode()? {
            Change::Offset { group, topic, partition, value: Some(committed) } => {
                // A copy of what counts already says nothing new of what waits.
                let is_new = self.groups.get(&group).and_then(|it| it.offset(&topic, partition)) != Some(&committed);
                if is_new {
                    self.pending.supersede(&group, &topic, partition, None);
                }
                self.groups.entry(group).or_default().put_offset(topic, partition, committed);
            }
            Change::Offset { group, topic, partition, value: None } => {
                self.pending.forget(&group, &topic, partition);
                if let Some(group) = self.groups.get_mut(&group) {
                    group.forget_offset(&topic, partition);
                }
            }
            Change::Group { group, value: Some(stored) } => {
                let before = self.groups.remove(&group).unwrap_or_default();
                let is_downgraded = taken_back.as_ref() == Some(&group) && !stored.members.is_empty();
                let stored = Group { stored: record.value.as_ref().map(own), is_downgraded, ..restore(stored) };
                let Group { offsets, offset_bytes, .. } = before;
                self.groups.insert(group, Group { offsets, offset_bytes, ..stored });
            }
            Change::Group { group: id, value: None } => {
                let Some(group) = self.groups.get_mut(&id) else { return Ok(()) };
                group.forget_classic();
                if group.offsets.is_empty() && group.is_classic() {
                    self.groups.remove(&id);
                }
            }
            Change::Consumer(change) => {
                // What is taken back makes no group, and is nothing to a share group of that name.
                let id = change.group.clone();
                self.taken_back = change.ends_group().then(|| id.clone());
                let is_other = |group: &Group| group.share.is_some() || group.streams.is_some();
                if change.value.is_some() || self.groups.get(&id).is_some_and(|group| !is_other(group)) {
                    let group = self.groups.entry(id.clone()).or_default();
                    (group.share, group.streams) = (None, None);
                    let is_left = self.groups.entry(id.clone()).or_default().replay_consumer(change);
                    if !is_left {
                        self.groups.remove(&id);
                    }
                }
            }
            Change::Share(change) => self.replay_share(change),
            Change::Streams(change) => self.replay_streams(change),
            Change::Other => self.holds_others = true,
        }
        Ok(())
    }

    /// Bytes that all groups take, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes + self.pending.bytes()
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.groups.values().map(Group::bytes).sum::<usize>() + self.pending.bytes()
    }

    /// How many bytes may be added from now on; what is there stays.
    pub fn set_room(&mut self, bytes: usize) {
        self.room = bytes;
    }

    /// Whether a copy of the groups is all that the log holds.
    #[must_use]
    pub fn are_all_there_is(&self) -> bool {
        !self.holds_others
    }

    /// Takes into account what a decision has changed of a group.
    pub(crate) fn recount(&mut self, id: &str) {
        if let Some(group) = self.groups.get_mut(id) {
            let bytes = group.bytes();
            self.bytes = self.bytes - std::mem::replace(&mut group.counted, bytes) + bytes;
        }
    }

    /// The same where only offsets have changed.
    pub(crate) fn recount_offsets(&mut self, id: &str, offset_bytes_before: usize) {
        if let Some(group) = self.groups.get_mut(id) {
            let counted = (group.counted + group.offset_bytes).saturating_sub(offset_bytes_before);
            self.bytes = self.bytes - std::mem::replace(&mut group.counted, counted) + counted;
        }
    }

    pub(crate) fn drop_group(&mut self, id: &str) {
        self.bytes -= self.groups.remove(id).map_or(0, |group| group.counted);
        self.timers.cancel_all(id);
    }

    /// All records are replayed: from now on members must be heard of.
    pub fn loaded(&mut self, now: Now) {
        self.loaded_with(now, |_| None);
    }

    /// The same where some consumer groups have periods of their own.
    pub fn loaded_with(&mut self, now: Now, times_of: impl Fn(&str) -> Option<ConsumerTimes>) {
        self.bytes = 0;
        for (id, group) in &mut self.groups {
            group.counted = group.bytes();
            self.bytes += group.counted;
            for (member_id, member) in &group.members {
                let at = now.at.plus(millis(member.session_timeout_ms));
                self.timers.set(id, Timer::Session(member_id.clone()), at);
            }
        }
        self.rebalance_downgraded(now);
        self.consumer_loaded(now, times_of);
        self.share_loaded(now, |_| None);
        self.streams_loaded(now, |_| None);
    }

    /// Groups that a crash has kept from the rebalance that was to follow their change of protocol.
    fn rebalance_downgraded(&mut self, now: Now) {
        let downgraded = self.groups.iter().filter(|(_, group)| group.is_downgraded);
        let ids: Vec<String> = downgraded.map(|(id, _)| id.clone()).collect();
        for id in ids {
            // Nobody waits yet, and it makes no record: its members are to come.
            if let Some(mut work) = self.work(&id, now, &mut Effects::default()) {
                work.prepare_rebalance();
            }
        }
    }

    /// When [`Groups::tick`] is to be called.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Micros> {
        self.timers.next()
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Now, topics: &Topics<'_>, fx: &mut Effects) {
        while let Some((id, timer)) = self.timers.take_due(now.at) {
            let Some(mut work) = self.work(&id, now, fx) else { continue };
            if work.group.consumer.is_some() {
                self.consumer_tick(&id, &timer, now, topics, fx);
            } else if work.group.share.is_some() {
                self.share_tick(&id, &timer, now, fx);
            } else if work.group.streams.is_some() {
                self.streams_tick(&id, &timer, now, fx);
            } else {
                match timer {
                    Timer::Join => work.join_timed_out(),
                    Timer::Sync => work.sync_timed_out(),
                    Timer::Session(member_id) => work.session_timed_out(&member_id),
                    Timer::Revocation(_) | Timer::MemberJoin(_) | Timer::MemberSync(_) => {}
                }
            }
            self.recount(&id);
        }
    }

    pub(crate) fn work<'a>(&'a mut self, id: &'a str, now: Now, fx: &'a mut Effects) -> Option<Work<'a>> {
        let Groups { options, groups, timers, .. } = self;
        groups.get_mut(id).map(|group| Work { id, group, timers, options, now, fx })
    }

    pub(crate) fn find(&self, id: &str) -> Result<&Group, GroupError> {
        self.groups.get(id).ok_or(GroupError::NotFound)
    }
}

impl Work<'_> {
    /// The record from which the group, but for its offsets, comes back.
    pub(crate) fn record(&self) -> CoordinatorRecord {
        let group = &*self.group;
        let members = group.members.iter().map(|(id, member)| StoredMember {
            id: id.clone(),
            metadata: member.metadata(group.protocol.as_deref()),
            member: member.clone(),
        });
        let stored = StoredGroup {
            protocol_type: group.protocol_type.clone().unwrap_or_default(),
            generation: group.generation,
            protocol: group.protocol.clone(),
            leader: group.leader.clone(),
            state_since: group.state_since,
            members: members.collect(),
        };
        CoordinatorRecord::group(self.id, Some(&stored))
    }

    /// Sends the group's record on its way; a copy of the log holds the same.
    pub(crate) fn store(&mut self, record: CoordinatorRecord) {
        self.group.stored.clone_from(&record.value);
        self.group.is_downgraded = false;
        self.fx.records.push(record);
    }

    pub(crate) fn set_timer(&mut self, timer: Timer, after_ms: i32) {
        self.timers.set(self.id, timer, self.now.at.plus(millis(after_ms)));
    }

    pub(crate) fn cancel_timer(&mut self, timer: Timer) {
        self.timers.cancel(self.id, timer);
    }

    /// The member has been heard of.
    pub(crate) fn renew_session(&mut self, member_id: &str) {
        if let Some(member) = self.group.members.get(member_id) {
            let timeout_ms = member.session_timeout_ms;
            self.set_timer(Timer::Session(member_id.to_owned()), timeout_ms);
        }
    }
}

/// A group as its record has it. Its members are as if they had just been heard of.
fn restore(stored: StoredGroup) -> Group {
    let mut group = Group {
        state: if stored.members.is_empty() { State::Empty } else { State::Stable },
        state_since: stored.state_since,
        generation: stored.generation,
        protocol_type: Some(stored.protocol_type).filter(|it| !it.is_empty()),
        protocol: stored.protocol,
        leader: stored.leader,
        ..Group::default()
    };
    for StoredMember { id, metadata, mut member } in stored.members {
        let name = group.protocol.clone().unwrap_or_default();
        member.protocols = vec![Protocol { name, metadata }];
        if let Some(instance_id) = &member.instance_id {
            group.instances.insert(instance_id.clone(), id.clone());
        }
        group.members.insert(id, member);
    }
    // A record that names a leader who is no member would leave the group without one for ever.
    group.leader = group.leader.take().filter(|leader| group.members.contains_key(leader));
    if group.leader.is_none() {
        group.leader = group.members.keys().next().cloned();
    }
    group.subscribed = group.read_subscriptions();
    group
}

/// A client's number of milliseconds; a negative one is none.
pub(crate) fn millis(count: i32) -> Duration {
    Duration::from_millis(u64::try_from(count).unwrap_or(0))
}

/// Bytes of their own: a request's share its frame's memory, and a group outlives it.
pub(crate) fn own(bytes: &Bytes) -> Bytes {
    Bytes::copy_from_slice(bytes)
}
