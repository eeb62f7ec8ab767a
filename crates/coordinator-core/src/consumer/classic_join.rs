//! A member of the classic protocol joins a consumer group: it is assigned to as all others are, and answered at once.
//!
//! Its generation is its epoch. What it holds it says within its subscription, so each of its joins is to it what a heartbeat is to a
//! member of the newer protocol: the next step towards the target.

use super::derived::metadata_bytes;
use super::embedded::{Subscription, read_subscription};
use super::heartbeat::Beat;
use super::options::Migration;
use super::state::{Classic, Consumer, Member, Metadata};
use super::topics::Topics;
use crate::effects::{Effects, GroupError, JoinAnswer, Ticket};
use crate::group::{CONSUMER, Protocol};
use crate::groups::{Groups, Now, millis};
use crate::joining::{JoinRequest, owned};
use crate::record::{CoordinatorRecord, TEXT_BYTES_MAX};
use crate::timers::Timer;
use std::collections::BTreeSet;

/// A member that may join.
struct Joiner {
    member_id: String,
    /// The static member whose place it takes.
    replaces: Option<String>,
    metadata: Metadata,
    subscription: Subscription,
}

impl Groups {
    /// Whether there is a consumer group of that id with members.
    pub(crate) fn has_consumers(&self, id: &str) -> bool {
        let consumer = self.groups.get(id).and_then(|group| group.consumer.as_ref());
        consumer.is_some_and(|consumer| !consumer.members().is_empty())
    }

    pub(crate) fn join_consumers(
        &mut self,
        now: Now,
        topics: &Topics<'_>,
        ticket: Ticket,
        request: &JoinRequest,
        fx: &mut Effects,
    ) {
        let answer = match self.admit_classic(request, topics) {
            Ok(joiner) => self.join_classic(now, topics, request, joiner, fx),
            Err((member_id, error)) => JoinAnswer::refused(&member_id, error),
        };
        fx.join(Some(ticket), answer);
        self.recount(&request.group);
    }

    /// Finds out who joins, and all that may refuse it: under which member id, and why.
    fn admit_classic(&self, request: &JoinRequest, topics: &Topics<'_>) -> Result<Joiner, (String, GroupError)> {
        // As in Kafka, whose refusals here name no member.
        let refused = |error| (String::new(), error);
        let consumer = self.groups.get(&request.group).and_then(|group| group.consumer.as_ref());
        let consumer = consumer.ok_or_else(|| refused(GroupError::UnknownMember))?;
        let options = &self.options.consumer;
        if options.migration == Migration::Disabled {
            return Err(refused(GroupError::InconsistentProtocol));
        }
        if consumer.members().len() >= options.members_max && !consumer.members().contains_key(&request.member_id) {
            return Err(refused(GroupError::Full));
        }
        if !consumer.supports(&request.protocol_type, &request.protocols) {
            return Err(refused(GroupError::InconsistentProtocol));
        }
        if request.member_id.len() > TEXT_BYTES_MAX {
            return Err((String::new(), GroupError::InvalidRequest));
        }
        let is_new = request.member_id.is_empty();
        let member_id = if is_new { request.new_id() } else { request.member_id.clone() };
        if is_new && request.instance_id.is_none() && request.joins_in_two_steps {
            return Err((member_id, GroupError::MemberIdRequired));
        }
        let (known, replaces) = consumer.find_joining(request, &member_id).map_err(refused)?;
        let said = request.protocols.first().and_then(|first| read_subscription(&first.metadata, topics));
        let subscription = said.ok_or_else(|| refused(GroupError::MalformedSubscription))?;
        // Who holds something under an id that is not known was fenced: others may hold it by now, and it has not noticed.
        if known.is_none() && !is_new && !subscription.owned.is_empty() {
            return Err((String::new(), GroupError::UnknownMember));
        }
        let before = known.map(|member| &member.metadata);
        let metadata = said_by(request, &subscription, before.unwrap_or(&Metadata::default()));
        let record = CoordinatorRecord::consumer_metadata(&request.group, &member_id, &metadata);
        if record.len() > self.options.record_bytes_max {
            return Err(refused(GroupError::RecordTooLarge));
        }
        let grows = metadata_bytes(&metadata).saturating_sub(before.map_or(0, metadata_bytes));
        if grows > 0 && (grows > self.room || consumer.bytes() + grows > self.options.group_bytes_max) {
            return Err(refused(GroupError::Full));
        }
        Ok(Joiner { member_id, replaces, metadata, subscription })
    }

    fn join_classic(
        &mut self,
        now: Now,
        topics: &Topics<'_>,
        request: &JoinRequest,
        joiner: Joiner,
        fx: &mut Effects,
    ) -> JoinAnswer {
        let Joiner { member_id, replaces, metadata, subscription } = joiner;
        let start = fx.records.len();
        let downgrades = replaces.as_ref().is_some_and(|old| self.may_downgrade_replacing(&request.group, old));
        let refused = |error| JoinAnswer::refused("", error);
        let Some(mut beat) = self.beat(&request.group, now, topics, fx) else {
            return refused(GroupError::UnknownMember);
        };
        if let Some(old) = replaces {
            beat.replace(&old, &member_id);
        }
        beat.take_step_of_classic(&member_id, metadata, &subscription, downgrades);
        if beat.is_too_large {
            return refused(GroupError::RecordTooLarge);
        }
        let is_reconciled = beat.consumer.is_reconciled();
        let generation = beat.current(&member_id).epoch;
        let protocol = beat.consumer.members().get(&member_id).and_then(Member::protocol).map(str::to_owned);
        let group_epoch = beat.consumer.epoch;
        let downgraded = downgrades && {
            let nobody = BTreeSet::new();
            let is_done = self.downgrade(&request.group, &nobody, !is_reconciled, now, topics, fx);
            fx.keep_whole(start);
            is_done
        };
        if !downgraded && let Some(mut beat) = self.beat(&request.group, now, topics, fx) {
            beat.has_joined(&member_id, request.rebalance_timeout_ms);
        }
        JoinAnswer {
            generation: if downgraded { group_epoch } else { generation },
            protocol_type: Some(CONSUMER.to_owned()),
            protocol,
            member_id,
            ..JoinAnswer::default()
        }
    }
}

/// What is known of the member when it has said this.
fn said_by(request: &JoinRequest, subscription: &Subscription, before: &Metadata) -> Metadata {
    let timeout_ms = request.rebalance_timeout_ms;
    Metadata {
        instance_id: request.instance_id.clone().or_else(|| before.instance_id.clone()),
        rack_id: subscription.rack_id.clone().or_else(|| before.rack_id.clone()),
        client_id: request.client_id.clone(),
        client_host: request.client_host.clone(),
        names: subscription.names.clone(),
        // Clients of the classic protocol match expressions themselves.
        regex: String::new(),
        rebalance_timeout_ms: if timeout_ms == -1 { before.rebalance_timeout_ms } else { timeout_ms },
        assignor: before.assignor.clone(),
        classic: Some(Classic { session_timeout_ms: request.session_timeout_ms, protocols: owned(&request.protocols) }),
    }
}

impl Consumer {
    /// Whether somebody with these protocols can be in the group: all members of the classic protocol must know one of them.
    fn supports(&self, protocol_type: &str, protocols: &[Protocol]) -> bool {
        protocol_type == CONSUMER && protocols.iter().any(|it| self.do_all_know(&it.name))
    }

    /// The member that joins, where it is known, and the one whose place it takes. A dynamic one may come with an id that it was given, and
    /// that nothing is kept of.
    fn find_joining(
        &self,
        request: &JoinRequest,
        member_id: &str,
    ) -> Result<(Option<&Member>, Option<String>), GroupError> {
        let Some(instance_id) = &request.instance_id else { return Ok((self.members().get(member_id), None)) };
        let holder = self.instance(instance_id);
        match holder {
            None if request.member_id.is_empty() => Ok((None, None)),
            None => Err(GroupError::UnknownMember),
            Some(holder) if request.member_id.is_empty() => Ok((self.members().get(holder), Some(holder.clone()))),
            Some(holder) if holder != member_id => Err(GroupError::FencedInstance),
            Some(holder) => Ok((self.members().get(holder), None)),
        }
    }
}

impl Beat<'_> {
    /// What a heartbeat would do. Where the group is to be a classic one, no new target is made for it.
    fn take_step_of_classic(&mut self, member_id: &str, metadata: Metadata, said: &Subscription, downgrades: bool) {
        let resubscribes = self.say(member_id, metadata);
        let matches_others = !downgrades && self.match_regexes();
        self.update_epoch(resubscribes || matches_others);
        if !downgrades {
            self.update_target();
        } else if self.consumer.target_epoch < self.consumer.epoch {
            return;
        }
        self.reconcile(member_id, resubscribes, Some(&said.owned));
    }

    /// It is to fetch its assignment within its rebalance timeout.
    fn has_joined(&mut self, member_id: &str, rebalance_timeout_ms: i32) {
        for timer in [Timer::MemberJoin, Timer::Revocation] {
            self.timers.cancel(self.id, timer(member_id.to_owned()));
        }
        self.renew_session(member_id);
        let sync_end = self.now.at.plus(millis(rebalance_timeout_ms));
        self.timers.set(self.id, Timer::MemberSync(member_id.to_owned()), sync_end);
    }
}
