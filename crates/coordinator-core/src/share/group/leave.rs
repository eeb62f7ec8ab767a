//! Leaving: by a member's own word, or because nothing was heard of it.

use super::configs::ShareConfigs;
use super::heartbeat::Beat;
use super::request::{ShareHeartbeatAnswer, ShareHeartbeatRequest};
use crate::consumer::Topics;
use crate::effects::{Effects, GroupError};
use crate::groups::{Groups, Now};
use crate::timers::Timer;
use std::time::Duration;

/// Without a look at the topics: what a group without the member subscribes to was seen with the member in it.
pub(super) const UNSEEN: Topics<'static> = Topics { version: 0, find: &|_| None, name_of: &|_| None, names: &|_| {} };

impl Groups {
    pub(super) fn share_leave(
        &mut self,
        now: Now,
        request: &ShareHeartbeatRequest,
        fx: &mut Effects,
    ) -> Result<ShareHeartbeatAnswer, GroupError> {
        let share = self.find(&request.group)?.share.as_ref().ok_or(GroupError::NotFound)?;
        if !share.members().contains_key(&request.member_id) {
            return Err(GroupError::UnknownMember);
        }
        self.share_fence(&request.group, &request.member_id, now, fx);
        self.recount(&request.group);
        Ok(ShareHeartbeatAnswer {
            member_id: request.member_id.clone(),
            member_epoch: request.member_epoch,
            heartbeat_interval_ms: 0,
            assignment: None,
            initialize: None,
        })
    }

    /// Does what is due with a member of a share group.
    pub(crate) fn share_tick(&mut self, group: &str, timer: &Timer, now: Now, fx: &mut Effects) {
        if let Timer::Session(member_id) = timer {
            self.share_fence(group, member_id, now, fx);
        }
    }

    /// All records are replayed: from now on members must be heard of, within the session timeouts of their groups.
    pub fn share_loaded(&mut self, now: Now, session_of: impl Fn(&str) -> Option<Duration>) {
        let Groups { groups, timers, options, .. } = self;
        let shares = groups.iter().filter_map(|(id, group)| Some((id, group.share.as_ref()?)));
        for (id, share) in shares {
            let session_end = now.at.plus(session_of(id).unwrap_or(options.share.session_timeout));
            for member_id in share.members().keys() {
                timers.set(id, Timer::Session(member_id.clone()), session_end);
            }
        }
    }

    fn share_fence(&mut self, group: &str, member_id: &str, now: Now, fx: &mut Effects) {
        let configs = ShareConfigs::default();
        if let Some(mut beat) = self.share_beat(group, (now, &UNSEEN, &configs), fx) {
            beat.fence(member_id);
        }
    }
}

impl Beat<'_> {
    /// The member is out; the next heartbeat of another one shares out what was its own.
    fn fence(&mut self, member_id: &str) {
        if self.share.members().contains_key(member_id) {
            self.remove(member_id);
            let hash = self.known_hash();
            self.raise_epoch(hash);
        }
    }
}
