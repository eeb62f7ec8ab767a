//! One group as a value: its members, its generation, its committed offsets. What happens to it when is decided by the verbs:
//! `joining`, `syncing`, `leaving`, `offsets`. A consumer group of the newer protocol is one that has nothing of its own here but
//! its offsets, and a [`Consumer`]; a share group one that has nothing here but a [`Share`].

use crate::consumer::Consumer;
use crate::effects::{GroupError, JoinedMember, Ticket};
use crate::offsets::Committed;
use crate::share::Share;
use crate::streams::Streams;
use base::UnixMillis;
use bytes::Bytes;
use protocol::messages::consumer_protocol_subscription::ConsumerProtocolSubscription;
use protocol::wire::Decoder;
use std::collections::{BTreeMap, BTreeSet};

/// What a protocol takes beyond its texts.
const PROTOCOL_BYTES: usize = 64;

/// The protocol type of consumers, whose metadata the coordinator may look into.
pub(crate) const CONSUMER: &str = "consumer";

/// Kafka's states of a group. A group that does not exist is *dead*.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum State {
    /// Nobody is in it; it may hold offsets.
    #[default]
    Empty,
    /// Members join.
    PreparingRebalance,
    /// All have joined; the leader is to assign.
    CompletingRebalance,
    /// All know what is theirs.
    Stable,
}

impl State {
    /// Kafka's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            State::Empty => "Empty",
            State::PreparingRebalance => "PreparingRebalance",
            State::CompletingRebalance => "CompletingRebalance",
            State::Stable => "Stable",
        }
    }
}

/// A way to assign that a member knows, and what it says of itself under it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Protocol {
    pub name: String,
    pub metadata: Bytes,
}

/// What an entry of a map takes beyond its texts, about.
pub(crate) const ENTRY_BYTES: usize = 128;

/// Bytes of what a member says of itself.
pub(crate) fn protocols_bytes(protocols: &[Protocol]) -> usize {
    protocols.iter().map(|it| it.name.len() + it.metadata.len() + PROTOCOL_BYTES).sum()
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Member {
    pub(crate) instance_id: Option<String>,
    pub(crate) client_id: String,
    pub(crate) client_host: String,
    pub(crate) rebalance_timeout_ms: i32,
    pub(crate) session_timeout_ms: i32,
    pub(crate) protocols: Vec<Protocol>,
    pub(crate) assignment: Bytes,
    /// It joined for the first time and has not had its answer.
    pub(crate) is_new: bool,
    pub(crate) joining: Option<Ticket>,
    pub(crate) syncing: Option<Ticket>,
}

impl Member {
    /// What it says of itself under a protocol.
    pub(crate) fn metadata(&self, protocol: Option<&str>) -> Bytes {
        let found = self.protocols.iter().find(|it| Some(it.name.as_str()) == protocol);
        found.map(|it| it.metadata.clone()).unwrap_or_default()
    }

    /// Bytes of what the group keeps of it.
    pub(crate) fn bytes(&self) -> usize {
        let texts = self.client_id.len() + self.client_host.len() + self.instance_id.as_ref().map_or(0, String::len);
        ENTRY_BYTES + texts + self.assignment.len() + protocols_bytes(&self.protocols)
    }
}

/// How long an empty group still waits for more members before its first generation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InitialDelay {
    pub(crate) delay_ms: i32,
    pub(crate) remaining_ms: i32,
    /// Somebody came since the delay began.
    pub(crate) extend: bool,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Group {
    pub(crate) state: State,
    /// When the state was entered; unknown where an old record does not say.
    pub(crate) state_since: Option<UnixMillis>,
    pub(crate) generation: i32,
    /// None: nobody ever joined.
    pub(crate) protocol_type: Option<String>,
    /// Of this generation.
    pub(crate) protocol: Option<String>,
    pub(crate) leader: Option<String>,
    pub(crate) members: BTreeMap<String, Member>,
    /// Member ids by group instance id.
    pub(crate) instances: BTreeMap<String, String>,
    /// Ids that were handed out and have not come back yet.
    pub(crate) pending: BTreeSet<String>,
    /// Members of this generation that have not synced.
    pub(crate) unsynced: BTreeSet<String>,
    /// While the first rebalance of an empty group waits for more.
    pub(crate) initial: Option<InitialDelay>,
    /// Topics of all members in this generation, where they are consumers and their metadata can be read.
    pub(crate) subscribed: Option<BTreeSet<String>>,
    /// By topic and partition.
    pub(crate) offsets: BTreeMap<String, BTreeMap<i32, Committed>>,
    /// Bytes of the offsets.
    pub(crate) offset_bytes: usize,
    /// The value of its record as it was stored last; none where nobody ever joined.
    pub(crate) stored: Option<Bytes>,
    /// Bytes of a member's assignment on the average, when the leader brought them last.
    pub(crate) brought_assignment: usize,
    /// What [`crate::Groups`] counts of it.
    pub(crate) counted: usize,
    /// It has just been a consumer group, and its members have not joined since: where it is replayed, they are told to.
    pub(crate) is_downgraded: bool,
    /// Where it is of the newer protocol. It has no members here then.
    pub(crate) consumer: Option<Box<Consumer>>,
    /// Where it is a share group. Then it has nothing else.
    pub(crate) share: Option<Box<Share>>,
    /// Where it is a streams group. Then it has nothing else but its offsets.
    pub(crate) streams: Option<Box<Streams>>,
}

impl Group {
    pub(crate) fn enter(&mut self, state: State, now: UnixMillis) {
        self.state = state;
        self.state_since = Some(now);
    }

    pub(crate) fn is_leader(&self, member_id: &str) -> bool {
        self.leader.as_deref() == Some(member_id)
    }

    /// Whether nobody is in it, so that it may give way. A share group never does: it stays until it is deleted.
    pub(crate) fn is_empty(&self) -> bool {
        let is_empty = |consumer: &Consumer| consumer.members().is_empty();
        let has_streams = self.streams.as_ref().is_some_and(|streams| !streams.members().is_empty());
        !has_streams && self.share.is_none() && self.consumer.as_deref().map_or(self.state == State::Empty, is_empty)
    }

    /// Whether it is of no other protocol than the classic one.
    pub(crate) fn is_classic(&self) -> bool {
        self.consumer.is_none() && self.share.is_none() && self.streams.is_none()
    }

    /// Nothing of the classic protocol is left but offsets.
    pub(crate) fn forget_classic(&mut self) {
        let Group { offsets, offset_bytes, counted, consumer, share, streams, .. } = std::mem::take(self);
        *self = Group { offsets, offset_bytes, counted, consumer, share, streams, ..Group::default() };
    }

    /// Whether the member may speak for itself: it is known, and nobody took over its instance id.
    pub(crate) fn check_member(&self, member_id: &str, instance_id: Option<&str>) -> Result<(), GroupError> {
        if let Some(instance_id) = instance_id {
            match self.instances.get(instance_id) {
                None => return Err(GroupError::UnknownMember),
                Some(holder) if holder != member_id => return Err(GroupError::FencedInstance),
                Some(_) => {}
            }
        }
        if self.members.contains_key(member_id) { Ok(()) } else { Err(GroupError::UnknownMember) }
    }

    pub(crate) fn insert(&mut self, member_id: &str, protocol_type: &str, member: Member) {
        if let Some(instance_id) = &member.instance_id {
            self.instances.insert(instance_id.clone(), member_id.to_owned());
        }
        if self.members.is_empty() {
            self.protocol_type = Some(protocol_type.to_owned());
        }
        self.leader.get_or_insert_with(|| member_id.to_owned());
        self.pending.remove(member_id);
        self.members.insert(member_id.to_owned(), member);
    }

    /// Takes a member out, pending or not; another one leads where it led.
    pub(crate) fn remove(&mut self, member_id: &str) -> Option<Member> {
        let removed = self.members.remove(member_id);
        if let Some(instance_id) = removed.as_ref().and_then(|member| member.instance_id.as_ref()) {
            self.instances.remove(instance_id);
        }
        if self.is_leader(member_id) {
            self.leader = self.members.keys().next().cloned();
        }
        self.pending.remove(member_id);
        self.unsynced.remove(member_id);
        removed
    }

    pub(crate) fn have_all_joined(&self) -> bool {
        self.pending.is_empty() && self.members.values().all(|member| member.joining.is_some())
    }

    pub(crate) fn joining(&self) -> usize {
        self.members.values().filter(|member| member.joining.is_some()).count()
    }

    /// A leader that has joined, another one where the old one has not; false where nobody has.
    pub(crate) fn elect_joined_leader(&mut self) -> bool {
        let has_joined = |id: &String| self.members.get(id).is_some_and(|member| member.joining.is_some());
        if self.leader.as_ref().is_some_and(has_joined) {
            return true;
        }
        let other = self.members.iter().find(|(_, member)| member.joining.is_some());
        let Some((id, _)) = other else { return false };
        self.leader = Some(id.clone());
        true
    }

    pub(crate) fn rebalance_timeout_ms(&self) -> i32 {
        self.members.values().map(|member| member.rebalance_timeout_ms).max().unwrap_or(0)
    }

    /// Whether somebody with these protocols can be in the group.
    pub(crate) fn supports(&self, protocol_type: &str, protocols: &[Protocol]) -> bool {
        if self.state == State::Empty {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        let same_type = self.protocol_type.as_deref() == Some(protocol_type);
        same_type && protocols.iter().any(|it| self.all_know(&it.name))
    }

    fn all_know(&self, protocol: &str) -> bool {
        self.members.values().all(|member| member.protocols.iter().any(|it| it.name == protocol))
    }

    /// The protocol that most members prefer among those that all know.
    pub(crate) fn choose_protocol(&self) -> Option<String> {
        let known = self.members.values().next()?.protocols.iter().map(|it| it.name.as_str());
        let mut votes: Vec<(&str, usize)> = known.filter(|name| self.all_know(name)).map(|name| (name, 0)).collect();
        for member in self.members.values() {
            let vote = member.protocols.iter().find_map(|it| votes.iter().position(|(name, _)| *name == it.name));
            if let Some(vote) = vote {
                votes[vote].1 += 1;
            }
        }
        let most = votes.iter().map(|(_, count)| *count).max()?;
        votes.iter().find(|(_, count)| *count == most).map(|(name, _)| (*name).to_owned())
    }

    /// Begins the next generation with those who are in.
    pub(crate) fn begin_generation(&mut self, now: UnixMillis) {
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        self.protocol = self.choose_protocol();
        self.subscribed = self.read_subscriptions();
        let state = if self.members.is_empty() { State::Empty } else { State::CompletingRebalance };
        self.enter(state, now);
        self.initial = None;
        self.unsynced.clear();
    }

    /// All members, for their leader.
    pub(crate) fn joined_members(&self) -> Vec<JoinedMember> {
        let describe = |(member_id, member): (&String, &Member)| JoinedMember {
            member_id: member_id.clone(),
            instance_id: member.instance_id.clone(),
            metadata: member.metadata(self.protocol.as_deref()),
        };
        self.members.iter().map(describe).collect()
    }

    /// Which topics the members consume; none where they are no consumers, or say so in a way that can't be read.
    pub(crate) fn read_subscriptions(&self) -> Option<BTreeSet<String>> {
        if self.protocol_type.as_deref() != Some(CONSUMER) {
            return None;
        }
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            let mut decoder = Decoder::new(member.metadata(self.protocol.as_deref()));
            let _version: i16 = decoder.get(0);
            // Version 0 is the beginning of all later ones.
            let subscription: ConsumerProtocolSubscription = decoder.get(0);
            decoder.so_far().ok()?;
            topics.extend(subscription.topics);
        }
        Some(topics)
    }

    pub(crate) fn is_consumers(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER)
    }

    /// Whether offsets of the topic are in use. Consumers whose subscriptions can't be read may use any.
    pub(crate) fn is_subscribed(&self, topic: &str) -> bool {
        if let Some(consumer) = &self.consumer {
            return consumer.is_subscribed(topic);
        }
        if let Some(streams) = &self.streams {
            return streams.is_subscribed(topic);
        }
        self.subscribed.as_ref().map_or_else(|| self.is_consumers(), |topics| topics.contains(topic))
    }

    /// Bytes that its members take.
    pub(crate) fn member_bytes(&self) -> usize {
        self.members.iter().map(|(id, member)| id.len() + member.bytes()).sum()
    }

    /// Bytes of a member's assignment on the average: as they are, or as the leader brought them last, stored or not.
    pub(crate) fn usual_assignment_bytes(&self) -> usize {
        self.brought_assignment.max(self.mean_assignment_bytes())
    }

    pub(crate) fn mean_assignment_bytes(&self) -> usize {
        let all: usize = self.members.values().map(|member| member.assignment.len()).sum();
        all / self.members.len().max(1)
    }

    /// What members will need who have none yet.
    pub(crate) fn missing_assignment_bytes(&self) -> usize {
        let missing = self.members.values().filter(|member| member.assignment.is_empty()).count();
        missing * self.usual_assignment_bytes()
    }

    /// Bytes that it takes in all, about.
    pub(crate) fn bytes(&self) -> usize {
        let pending: usize = self.pending.iter().map(|id| id.len() + ENTRY_BYTES).sum();
        let stored = self.stored.as_ref().map_or(0, Bytes::len);
        let consumer = self.consumer.as_ref().map_or(0, |consumer| consumer.bytes());
        let share = self.share.as_ref().map_or(0, |share| share.bytes());
        let streams = self.streams.as_ref().map_or(0, |streams| streams.bytes());
        ENTRY_BYTES + self.member_bytes() + pending + stored + self.offset_bytes + consumer + share + streams
    }

    pub(crate) fn put_offset(&mut self, topic: String, partition: i32, committed: Committed) {
        self.offset_bytes += committed.bytes(&topic);
        let known = self.offsets.entry(topic.clone()).or_default();
        if let Some(before) = known.insert(partition, committed) {
            self.offset_bytes -= before.bytes(&topic);
        }
    }
}
