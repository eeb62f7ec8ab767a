//! A classic group of consumers becomes one of the newer protocol while it runs: with the first heartbeat of a new member.
//!
//! Its members stay what they are, and go on speaking the classic protocol (`classic_members`). What the leader gave them last is their
//! target and what they hold; the member that comes raises the epoch, so that all of them join again. Who waits for the generation that was
//! to come is told to join again at once.

use super::embedded::{MALFORMED, held_since, read_assignment, read_subscription};
use super::request::HeartbeatRequest;
use super::state::{Classic, Consumer, Current, Member, MemberState, Metadata, Partitions};
use super::topics::Topics;
use crate::effects::{Effects, GroupError, JoinAnswer};
use crate::group::{self, Group};
use crate::groups::{Groups, Now};
use crate::record::{Change, CoordinatorRecord};
use crate::timers::Timer;
use base::TopicId;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// A group that is about to become one of consumers.
pub(super) struct Upgrade {
    pub(super) consumer: Box<Consumer>,
    records: Vec<CoordinatorRecord>,
}

impl Groups {
    /// What a classic group with members becomes with this heartbeat; none where there is nothing to become.
    pub(super) fn upgrade_for(
        &self,
        request: &HeartbeatRequest,
        topics: &Topics<'_>,
    ) -> Result<Option<Upgrade>, GroupError> {
        let is_classic = |group: &&Group| {
            group.consumer.is_none() && group.share.is_none() && group.streams.is_none() && !group.is_empty()
        };
        let found = self.groups.get(&request.group).filter(is_classic);
        let Some(group) = found.filter(|_| request.joins()) else { return Ok(None) };
        let options = &self.options.consumer;
        if !options.migration.upgrades() {
            return Err(GroupError::CannotUpgrade("online upgrade is disabled."));
        }
        if !group.is_consumers() {
            return Err(GroupError::CannotUpgrade("the group does not use the consumer embedded protocol."));
        }
        if group.members.len() > options.members_max {
            return Err(GroupError::CannotUpgrade("the group size exceeds the consumer group maximum size."));
        }
        let consumer = consumer_of(group, topics)?;
        let records = consumer.upgrade_records(&request.group);
        // All or nothing of it is stored.
        if records.iter().map(CoordinatorRecord::len).sum::<usize>() > self.options.record_bytes_max {
            return Err(GroupError::RecordTooLarge);
        }
        let before = group.member_bytes() + group.stored.as_ref().map_or(0, Bytes::len);
        if consumer.bytes().saturating_sub(before) > self.room {
            return Err(GroupError::Full);
        }
        Ok(Some(Upgrade { consumer: Box::new(consumer), records }))
    }

    pub(super) fn upgrade(&mut self, id: &str, upgrade: Upgrade, now: Now, fx: &mut Effects) {
        let Upgrade { consumer, records } = upgrade;
        let Some(group) = self.groups.get_mut(id) else { return };
        for (member_id, member) in &mut group.members {
            let again = GroupError::RebalanceInProgress;
            fx.join(member.joining.take(), JoinAnswer::refused(member_id, again));
            fx.sync(member.syncing.take(), Err(again));
        }
        let start = fx.records.len();
        if group.stored.is_some() {
            fx.records.push(CoordinatorRecord::group(id, None));
        }
        fx.records.extend(records);
        fx.keep_whole(start);
        group.forget_classic();
        self.timers.cancel_all(id);
        for (member_id, member) in consumer.members() {
            let session_end = now.at.plus(member.session_timeout(&self.options.consumer.times));
            self.timers.set(id, Timer::Session(member_id.clone()), session_end);
        }
        group.consumer = Some(consumer);
    }
}

/// The same group under the newer protocol. Its epoch is the generation; where there was none yet, nobody has been told of one.
fn consumer_of(group: &Group, topics: &Topics<'_>) -> Result<Consumer, GroupError> {
    let epoch = group.generation.max(1);
    let mut consumer = Consumer::default();
    (consumer.epoch, consumer.target_epoch) = (epoch, epoch);
    let told = last_told(group);
    let mut taken = BTreeSet::new();
    let mut claims = Vec::new();
    for (id, member) in &group.members {
        let said = said_by(group, member);
        let subscription = read_subscription(&said, topics).ok_or(MALFORMED)?;
        // A rebalance that came to nothing forgets in memory what its members go on holding.
        let assignment = if member.assignment.is_empty() { told.get(id) } else { Some(&member.assignment) };
        let held = read_assignment(assignment.unwrap_or(&Bytes::new()), topics)?;
        // Nothing is held by two, whoever assigned it.
        if !each(&held).all(|partition| taken.insert(partition)) {
            return Err(MALFORMED);
        }
        claims.push((id, subscription.owned));
        let current = Current {
            epoch,
            previous_epoch: epoch,
            state: MemberState::Stable,
            assigned: held_since(&held, epoch),
            ..Current::default()
        };
        let metadata = Metadata {
            instance_id: member.instance_id.clone(),
            rack_id: subscription.rack_id,
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            names: subscription.names,
            rebalance_timeout_ms: member.rebalance_timeout_ms,
            classic: Some(Classic {
                session_timeout_ms: member.session_timeout_ms,
                protocols: member.protocols.clone(),
            }),
            ..Metadata::default()
        };
        consumer.put_target(id, held);
        consumer.put_member(id, Member { metadata, current });
    }
    // What a cooperative leader has taken from a member, and given to nobody yet: the member may still be giving it up.
    for (id, claimed) in claims {
        let still: Vec<_> = each(&claimed).filter(|partition| taken.insert(*partition)).collect();
        consumer.hold_more(id, &still);
    }
    consumer.metadata_hash = consumer.look_at(topics);
    Ok(consumer)
}

/// What a member says of itself under the group's protocol; under its first one where it does not know that any more, as all say the same.
fn said_by(group: &Group, member: &group::Member) -> Bytes {
    let said = member.metadata(group.protocol.as_deref());
    let first = member.protocols.first().filter(|_| said.is_empty());
    first.map_or(said, |protocol| protocol.metadata.clone())
}

/// What members were given in the last generation that was stored, by their ids.
fn last_told(group: &Group) -> BTreeMap<String, Bytes> {
    let Some(stored) = &group.stored else { return BTreeMap::new() };
    match CoordinatorRecord::stored_group("", stored.clone()).decode() {
        Ok(Change::Group { value: Some(stored), .. }) => {
            stored.members.into_iter().map(|it| (it.id, it.member.assignment)).collect()
        }
        _ => BTreeMap::new(),
    }
}

fn each(partitions: &Partitions) -> impl Iterator<Item = (TopicId, i32)> {
    partitions.iter().flat_map(|(topic, partitions)| partitions.iter().map(|partition| (*topic, *partition)))
}

impl Consumer {
    /// A member holds these as well, and is to have them until the next target.
    fn hold_more(&mut self, id: &str, partitions: &[(TopicId, i32)]) {
        let (Some(member), Some(target)) = (self.members().get(id), self.targets().get(id)) else { return };
        let (mut current, mut target) = (member.current.clone(), target.clone());
        for (topic, partition) in partitions {
            current.assigned.entry(*topic).or_default().insert(*partition, current.epoch);
            target.entry(*topic).or_default().insert(*partition);
        }
        self.put_current(id, current);
        self.put_target(id, target);
    }

    /// The records that make it last, in Kafka's order.
    fn upgrade_records(&self, id: &str) -> Vec<CoordinatorRecord> {
        let metadata = self
            .members()
            .iter()
            .map(|(member_id, member)| CoordinatorRecord::consumer_metadata(id, member_id, &member.metadata));
        let targets =
            self.targets().iter().map(|(member_id, target)| CoordinatorRecord::consumer_target(id, member_id, target));
        let current = self
            .members()
            .iter()
            .map(|(member_id, member)| CoordinatorRecord::consumer_current(id, member_id, &member.current));
        let mut records: Vec<CoordinatorRecord> = metadata.collect();
        records.push(CoordinatorRecord::consumer_epoch(id, self.epoch, self.metadata_hash));
        records.extend(targets);
        records.push(CoordinatorRecord::consumer_target_epoch(id, self.target_epoch, self.target_at));
        records.extend(current);
        records
    }
}
