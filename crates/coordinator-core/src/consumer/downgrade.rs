//! A consumer group becomes a classic one again while it runs: when the last member that speaks the newer protocol goes, or when a static
//! member takes its place that speaks the classic one.
//!
//! The group's epoch is the generation, and what each member holds is what it has been given; in Kafka it is what it was to have, and may
//! be another's yet. Unless that is the same for all of them they join again, and nobody is given anything before they did. A crash loses that this was to be, as nothing of a rebalance lasts; so
//! the record that ends a consumer group says to whoever replays it that the classic group behind it is to begin with a rebalance.

use super::describe::all_of;
use super::embedded::{version_of, write_assignment};
use super::state::{Consumer, Member};
use super::topics::Topics;
use crate::effects::Effects;
use crate::group::{self, Group, State};
use crate::groups::{Groups, Now, Work};
use std::collections::BTreeSet;

impl Groups {
    /// Members are out; the next heartbeat of another one assigns what was theirs. With the last one of the newer protocol the group is
    /// a classic one.
    pub(super) fn fence(
        &mut self,
        id: &str,
        leaving: &BTreeSet<String>,
        now: Now,
        topics: &Topics<'_>,
        fx: &mut Effects,
    ) {
        if leaving.is_empty() || self.downgrade(id, leaving, true, now, topics, fx) {
            return;
        }
        let Some(mut beat) = self.beat(id, now, topics, fx) else { return };
        for member_id in leaving {
            beat.take_out(member_id);
        }
        beat.go_on_without();
        self.recount(id);
    }

    /// Whether the group is to be a classic one when these have left it.
    pub(super) fn may_downgrade(&self, id: &str, leaving: &BTreeSet<String>) -> bool {
        let Some(consumer) = self.groups.get(id).and_then(|group| group.consumer.as_ref()) else { return false };
        let left = consumer.members().len() - leaving.len();
        let fits = left > 0 && left <= self.options.members_max;
        fits && self.options.consumer.migration.downgrades() && consumer.are_classic_without(leaving)
    }

    /// The same when a member of the classic protocol has taken the place of this one.
    pub(super) fn may_downgrade_replacing(&self, id: &str, old: &str) -> bool {
        let Some(consumer) = self.groups.get(id).and_then(|group| group.consumer.as_ref()) else { return false };
        let is_newer = consumer.members().get(old).is_some_and(|member| !member.is_classic());
        let fits = consumer.members().len() <= self.options.members_max;
        let old = [old.to_owned()].into();
        is_newer && fits && self.options.consumer.migration.downgrades() && consumer.are_classic_without(&old)
    }

    /// Makes the group a classic one without these; whether it could be.
    pub(super) fn downgrade(
        &mut self,
        id: &str,
        leaving: &BTreeSet<String>,
        rebalances: bool,
        now: Now,
        topics: &Topics<'_>,
        fx: &mut Effects,
    ) -> bool {
        if !self.may_downgrade(id, leaving) {
            return false;
        }
        let Groups { options, groups, timers, .. } = self;
        let Some(before) = groups.get_mut(id) else { return false };
        let Some(consumer) = &before.consumer else { return false };
        let Some(mut group) = classic_of(consumer, leaving, topics) else { return false };
        let tombstones = consumer.tombstones(id);
        group.enter(State::Stable, now.wall);
        let start = fx.records.len();
        let mut work = Work { id, group: &mut group, timers, options, now, fx };
        let record = work.record();
        let bytes = tombstones.iter().chain([&record]).map(crate::CoordinatorRecord::len).sum::<usize>();
        if bytes > options.record_bytes_max {
            return false;
        }
        work.fx.records.extend(tombstones);
        work.store(record);
        work.fx.keep_whole(start);
        (group.offsets, group.offset_bytes) = (std::mem::take(&mut before.offsets), before.offset_bytes);
        (group.counted, group.is_downgraded) = (before.counted, rebalances);
        timers.cancel_all(id);
        *before = group;
        let mut work = Work { id, group: before, timers, options, now, fx };
        let member_ids: Vec<String> = work.group.members.keys().cloned().collect();
        for member_id in member_ids {
            work.renew_session(&member_id);
        }
        if rebalances {
            work.prepare_rebalance();
        }
        self.recount(id);
        true
    }
}

impl Consumer {
    /// Whether all others speak the classic protocol.
    fn are_classic_without(&self, leaving: &BTreeSet<String>) -> bool {
        self.members().iter().all(|(id, member)| leaving.contains(id) || member.is_classic())
    }

    /// Whether every member holds just what it is to hold.
    pub(super) fn is_reconciled(&self) -> bool {
        self.epoch == self.target_epoch
            && self.members().values().all(|member| member.current.is_reconciled(self.target_epoch))
    }
}

/// The same group under the classic protocol; none where its members have no protocol in common.
fn classic_of(consumer: &Consumer, leaving: &BTreeSet<String>, topics: &Topics<'_>) -> Option<Group> {
    let mut group = Group { generation: consumer.epoch, ..Group::default() };
    for (id, Member { metadata, .. }) in consumer.members().iter().filter(|(id, _)| !leaving.contains(*id)) {
        let classic = metadata.classic.clone()?;
        let member = group::Member {
            instance_id: metadata.instance_id.clone(),
            client_id: metadata.client_id.clone(),
            client_host: metadata.client_host.clone(),
            rebalance_timeout_ms: metadata.rebalance_timeout_ms,
            session_timeout_ms: classic.session_timeout_ms,
            protocols: classic.protocols,
            ..group::Member::default()
        };
        group.insert(id, group::CONSUMER, member);
    }
    group.protocol = Some(group.choose_protocol()?);
    group.subscribed = group.read_subscriptions();
    for (id, member) in &mut group.members {
        let version = version_of(&member.metadata(group.protocol.as_deref()));
        let held = consumer.members().get(id).map(|member| all_of(&member.current)).unwrap_or_default();
        member.assignment = write_assignment(&held, version, topics);
    }
    Some(group)
}
