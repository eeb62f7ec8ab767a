//! Leaving: by a member's own word, because nothing was heard of it, or because it keeps what is not its own any more. And the end of the
//! wait for more members.

use super::heartbeat::Beat;
use super::options::StreamsTimes;
use super::request::{NO_RECOVERY_LAG, StreamsHeartbeatAnswer, StreamsHeartbeatRequest};
use super::state::MemberState;
use crate::consumer::Topics;
use crate::effects::{Effects, GroupError};
use crate::groups::{Groups, Now};
use crate::timers::Timer;
use std::time::Duration;

/// Without a look at the topics: what follows from them was seen before.
const UNSEEN: Topics<'static> = Topics { version: 0, find: &|_| None, name_of: &|_| None, names: &|_| {} };

impl Groups {
    pub(super) fn streams_leave(
        &mut self,
        now: Now,
        request: &StreamsHeartbeatRequest,
        fx: &mut Effects,
    ) -> Result<StreamsHeartbeatAnswer, GroupError> {
        self.find(&request.group)?;
        let mut beat = self.streams_beat(&request.group, (now, &UNSEEN), fx).ok_or(GroupError::NotStreams)?;
        if !beat.streams.members().contains_key(&request.member_id) {
            return Err(GroupError::UnknownMember);
        }
        if request.shuts_down {
            beat.streams.shutdown = Some(request.member_id.clone());
        }
        beat.fence(&request.member_id);
        self.recount(&request.group);
        let (member_id, member_epoch) = (request.member_id.clone(), request.member_epoch);
        let acceptable_recovery_lag = NO_RECOVERY_LAG;
        Ok(StreamsHeartbeatAnswer {
            member_id,
            member_epoch,
            acceptable_recovery_lag,
            ..StreamsHeartbeatAnswer::default()
        })
    }

    /// Does what is due with a streams group.
    pub(crate) fn streams_tick(&mut self, group: &str, timer: &Timer, now: Now, fx: &mut Effects) {
        let Some(mut beat) = self.streams_beat(group, (now, &UNSEEN), fx) else { return };
        match timer {
            Timer::Session(member_id) if beat.streams.members().contains_key(member_id) => beat.fence(member_id),
            Timer::Revocation(member_id) => {
                let found = beat.streams.members().get(member_id);
                if found.is_some_and(|member| member.current.state == MemberState::Unrevoked) {
                    beat.fence(member_id);
                }
            }
            Timer::Join => {
                beat.streams.is_delayed = false;
                if !beat.streams.members().is_empty() && beat.streams.configured.is_some() {
                    beat.assign_anew();
                }
            }
            Timer::Session(_) | Timer::Sync | Timer::MemberJoin(_) | Timer::MemberSync(_) => {}
        }
    }

    /// All records are replayed: from now on members must be heard of, within the periods of their groups.
    pub fn streams_loaded(&mut self, now: Now, times_of: impl Fn(&str) -> Option<StreamsTimes>) {
        let Groups { groups, timers, options, .. } = self;
        let all = groups.iter().filter_map(|(id, group)| Some((id, group.streams.as_ref()?)));
        for (id, streams) in all {
            let times = times_of(id).unwrap_or(options.streams.times);
            for (member_id, member) in streams.members() {
                timers.set(id, Timer::Session(member_id.clone()), now.at.plus(times.session_timeout));
                if member.current.state == MemberState::Unrevoked {
                    let timeout_ms = u64::try_from(member.metadata.rebalance_timeout_ms).unwrap_or(0);
                    let at = now.at.plus(Duration::from_millis(timeout_ms));
                    timers.set(id, Timer::Revocation(member_id.clone()), at);
                }
            }
        }
    }
}

impl Beat<'_> {
    /// The member is out; the next heartbeat of another one assigns what was its own.
    fn fence(&mut self, member_id: &str) {
        self.remove(member_id);
        self.raise_epoch();
    }
}
