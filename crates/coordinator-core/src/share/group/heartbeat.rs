//! A member's heartbeat: who speaks, what it says, what that changes of the group, and what the member has from now on.
//!
//! First all is found out that may refuse it, and nothing has changed if something does; then the records are made and applied one after
//! another.

use super::configs::ShareConfigs;
use super::options::ShareGroupOptions;
use super::record::Key;
use super::request::{ShareHeartbeatAnswer, ShareHeartbeatRequest};
use super::state::{Current, Member, Metadata, Share, metadata_bytes};
use crate::consumer::{Partitions, Topics};
use crate::effects::{Effects, GroupError};
use crate::groups::{Groups, Now};
use crate::record::CoordinatorRecord;
use crate::share::find_topic;
use crate::timers::{Timer, Timers};
use std::time::Duration;

/// One group with all that a decision about a heartbeat needs.
pub(super) struct Beat<'a> {
    pub(super) id: &'a str,
    pub(super) share: &'a mut Share,
    pub(super) timers: &'a mut Timers,
    pub(super) options: &'a ShareGroupOptions,
    pub(super) configs: &'a ShareConfigs,
    pub(super) topics: &'a Topics<'a>,
    pub(super) now: Now,
    /// Bytes of its topics' record, and what it may grow by.
    pub(super) topics_bytes_max: usize,
    pub(super) room: usize,
    /// Where in `fx` its records begin.
    pub(super) start: usize,
    pub(super) fx: &'a mut Effects,
}

impl Groups {
    /// A member of a share group is there, for the first time or again, or leaves. `configs` are the group's own.
    ///
    /// # Errors
    /// What it must do instead of going on. Nothing has changed.
    pub fn share_heartbeat(
        &mut self,
        now: Now,
        topics: &Topics<'_>,
        configs: &ShareConfigs,
        request: &ShareHeartbeatRequest,
        fx: &mut Effects,
    ) -> Result<ShareHeartbeatAnswer, GroupError> {
        request.check()?;
        if request.leaves() {
            return self.share_leave(now, request, fx);
        }
        let metadata = self.admit_to_share(request)?;
        self.groups.entry(request.group.clone()).or_default().share.get_or_insert_default();
        let mut beat = self.share_beat(&request.group, (now, topics, configs), fx).ok_or(GroupError::NotFound)?;
        let answer = beat.hear(request, metadata);
        self.recount(&request.group);
        Ok(answer)
    }

    /// Finds out all that may refuse it; what the member says of itself by now.
    fn admit_to_share(&self, request: &ShareHeartbeatRequest) -> Result<Metadata, GroupError> {
        let nobody = Share::default();
        let share = match self.groups.get(&request.group) {
            Some(group) => group.share.as_deref().ok_or(GroupError::NotFound)?,
            None if request.joins() => &nobody,
            None => return Err(GroupError::NotFound),
        };
        let known = share.members().get(&request.member_id);
        if share.members().len() >= self.options.share.members_max && known.is_none() {
            return Err(GroupError::Full);
        }
        match known {
            Some(member) => member.check_epoch(request)?,
            None if request.joins() => {}
            None => return Err(GroupError::UnknownMember),
        }
        let metadata = request.said(known.map_or(&Metadata::default(), |member| &member.metadata));
        let record = CoordinatorRecord::share_metadata(&request.group, &request.member_id, &metadata);
        if record.len() > self.options.record_bytes_max {
            return Err(GroupError::RecordTooLarge);
        }
        let before = known.map_or(0, |member| metadata_bytes(&member.metadata));
        let grows = metadata_bytes(&metadata).saturating_sub(before);
        if grows > 0 && (grows > self.room || share.bytes() + grows > self.options.group_bytes_max) {
            return Err(GroupError::Full);
        }
        Ok(metadata)
    }

    pub(super) fn share_beat<'a>(
        &'a mut self,
        id: &'a str,
        (now, topics, configs): (Now, &'a Topics<'a>, &'a ShareConfigs),
        fx: &'a mut Effects,
    ) -> Option<Beat<'a>> {
        let Groups { options, groups, timers, room, .. } = self;
        let share = groups.get_mut(id)?.share.as_mut()?;
        let (start, room) = (fx.records.len(), *room);
        let topics_bytes_max = options.record_bytes_max;
        let options = &options.share;
        Some(Beat { id, share, timers, options, configs, topics, now, topics_bytes_max, room, start, fx })
    }
}

impl Member {
    /// A member speaks at its epoch, or at the one before, where its last answer was lost.
    fn check_epoch(&self, request: &ShareHeartbeatRequest) -> Result<(), GroupError> {
        let Current { epoch, previous_epoch, .. } = self.current;
        let said = request.member_epoch;
        let has_lost_answer = said < epoch && said == previous_epoch;
        if request.joins() || said == epoch || has_lost_answer { Ok(()) } else { Err(GroupError::FencedMemberEpoch) }
    }
}

impl Beat<'_> {
    fn hear(&mut self, request: &ShareHeartbeatRequest, metadata: Metadata) -> ShareHeartbeatAnswer {
        let member_id = &request.member_id;
        let before = self.current(member_id).assigned;
        let resubscribes = self.say(member_id, metadata);
        let has_risen = self.update_epoch(resubscribes);
        self.update_target();
        self.reconcile(member_id, has_risen);
        let session_timeout = self.configs.session_timeout().unwrap_or(self.options.session_timeout);
        self.timers.set(self.id, Timer::Session(member_id.clone()), self.now.at.plus(session_timeout));
        let initialize = self.initialize();
        let current = self.current(member_id);
        let is_told = request.joins() || request.names.is_some() || current.assigned != before;
        let heartbeat_interval = self.configs.heartbeat_interval().unwrap_or(self.options.heartbeat_interval);
        ShareHeartbeatAnswer {
            member_id: member_id.clone(),
            member_epoch: current.epoch,
            heartbeat_interval_ms: whole_millis(heartbeat_interval),
            assignment: is_told.then_some(current.assigned),
            initialize,
        }
    }

    fn current(&self, member_id: &str) -> Current {
        self.share.members().get(member_id).map(|member| member.current.clone()).unwrap_or_default()
    }

    /// What the member says of itself; whether it subscribes to something else than before.
    fn say(&mut self, member_id: &str, metadata: Metadata) -> bool {
        let before = self.share.members().get(member_id).map(|member| &member.metadata);
        if before == Some(&metadata) {
            return false;
        }
        let resubscribes = before.is_none_or(|before| before.names != metadata.names);
        self.fx.records.push(CoordinatorRecord::share_metadata(self.id, member_id, &metadata));
        self.share.put_metadata(member_id, metadata);
        resubscribes
    }

    /// Takes a member out, with all that is known of it.
    pub(super) fn remove(&mut self, member_id: &str) {
        for key in [Key::Current, Key::Target, Key::Metadata] {
            self.fx.records.push(CoordinatorRecord::share_gone(self.id, &key(member_id.to_owned())));
        }
        self.share.remove_target(member_id);
        self.share.remove_member(member_id);
        self.timers.cancel(self.id, Timer::Session(member_id.to_owned()));
    }

    /// The member has its part of the target at once. Where that is older than what it subscribes to, only of those topics.
    fn reconcile(&mut self, member_id: &str, has_risen: bool) {
        let Some(member) = self.share.members().get(member_id) else { return };
        let target_epoch = self.share.target_epoch;
        let is_behind = member.current.epoch != target_epoch;
        if !is_behind && !has_risen {
            return;
        }
        let mut assigned = self.share.targets().get(member_id).cloned().unwrap_or_default();
        self.retain_subscribed(&mut assigned, &member.metadata);
        let next = if is_behind {
            Current { epoch: target_epoch, previous_epoch: member.current.epoch, assigned }
        } else {
            Current { assigned, ..member.current }
        };
        if next != member.current {
            self.fx.records.push(CoordinatorRecord::share_current(self.id, member_id, &next));
            self.share.put_current(member_id, next);
        }
    }

    fn retain_subscribed(&self, assigned: &mut Partitions, metadata: &Metadata) {
        let is_subscribed = |topic| {
            let name = (self.topics.name_of)(topic).filter(|name| metadata.names.contains(name));
            name.is_some() && find_topic(self.topics, topic).is_some()
        };
        assigned.retain(|topic, _| is_subscribed(*topic));
    }
}

fn whole_millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}
