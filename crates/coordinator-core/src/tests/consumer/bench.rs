//! Consumer groups with a hand on the clock and on the topics, for the tests.

use crate::consumer::{read_assignment, read_subscription};
use crate::{
    Answer, CommitRequest, Committed, CoordinatorRecord, Effects, GroupError, GroupOptions, Groups, HeartbeatAnswer,
    HeartbeatRequest, JoinAnswer, JoinRequest, LeavingMember, Membership, NewOffset, Now, Partitions, SyncAnswer,
    SyncRequest, Ticket, TopicInfo, Topics,
};
use base::{Micros, TopicId, UnixMillis};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

pub(super) const GROUP: &str = "g";
pub(super) const REBALANCE_MS: i32 = 30_000;

pub(super) struct Bench {
    pub(super) groups: Groups,
    pub(super) now: Now,
    pub(super) log: Vec<CoordinatorRecord>,
    pub(super) topics: BTreeMap<String, TopicInfo>,
    pub(super) version: i64,
    /// Which records are in the log together or not at all.
    pub(super) whole: Vec<Range<usize>>,
    answers: BTreeMap<Ticket, Answer>,
    next_ticket: u64,
}

impl Bench {
    /// With topics of so many partitions, whose ids follow from their place.
    pub(super) fn new(topics: &[(&str, i32)]) -> Bench {
        Bench::with(GroupOptions::default(), topics)
    }

    pub(super) fn with(mut options: GroupOptions, topics: &[(&str, i32)]) -> Bench {
        // Epochs count changes from the first on.
        options.consumer.first_epoch = 1;
        let now = Now { at: Micros(1_000_000), wall: UnixMillis(1_700_000_000_000) };
        let mut bench = Bench {
            groups: Groups::new(options),
            now,
            log: Vec::new(),
            topics: BTreeMap::new(),
            version: 0,
            whole: Vec::new(),
            answers: BTreeMap::new(),
            next_ticket: 0,
        };
        for (name, partitions) in topics {
            bench.make_topic(name, *partitions);
        }
        bench
    }

    /// Makes a topic, anew or with more partitions.
    pub(super) fn make_topic(&mut self, name: &str, partitions: i32) -> TopicId {
        self.version += 1;
        let fresh = TopicId(u128::from(self.version.cast_unsigned()));
        let topic = self.topics.entry(name.to_owned()).or_insert(TopicInfo { id: fresh, partitions });
        topic.partitions = partitions;
        topic.id
    }

    pub(super) fn delete_topic(&mut self, name: &str) {
        self.version += 1;
        self.topics.remove(name);
    }

    pub(super) fn id(&self, topic: &str) -> TopicId {
        self.topics[topic].id
    }

    pub(super) fn beat(&mut self, request: &HeartbeatRequest) -> Result<HeartbeatAnswer, GroupError> {
        let mut fx = Effects::default();
        let Bench { groups, now, topics, version, .. } = self;
        let outcome = with(topics, *version, |topics| groups.consumer_heartbeat(*now, topics, request, &mut fx));
        self.take(fx);
        outcome
    }

    pub(super) fn take(&mut self, fx: Effects) {
        let begin = self.log.len();
        self.whole.extend(fx.whole.into_iter().map(|range| range.start + begin..range.end + begin));
        self.log.extend(fx.records);
        for (ticket, answer) in fx.answers {
            assert!(self.answers.insert(ticket, answer).is_none(), "{ticket:?} is answered twice");
        }
    }

    /// A crash in the middle of a decision leaves so many records at the most.
    pub(super) fn cut(&mut self, kept: usize) {
        let mut kept = kept.min(self.log.len());
        while let Some(whole) = self.whole.iter().find(|whole| whole.start < kept && kept < whole.end) {
            kept = whole.start;
        }
        self.log.truncate(kept);
        self.whole.retain(|whole| whole.end <= kept);
    }

    pub(super) fn join(&mut self, request: &JoinRequest) -> Ticket {
        let (ticket, mut fx) = (self.ticket(), Effects::default());
        let Bench { groups, now, topics, version, .. } = self;
        with(topics, *version, |topics| groups.join(*now, topics, ticket, request, &mut fx));
        self.take(fx);
        ticket
    }

    /// A join that is answered at once.
    pub(super) fn joined(&mut self, request: &JoinRequest) -> JoinAnswer {
        let ticket = self.join(request);
        self.join_answer(ticket).unwrap()
    }

    pub(super) fn join_answer(&mut self, ticket: Ticket) -> Option<JoinAnswer> {
        match self.answers.remove(&ticket)? {
            Answer::Join(answer) => Some(answer),
            Answer::Sync(answer) => panic!("a join is answered by {answer:?}"),
        }
    }

    pub(super) fn sync(&mut self, request: &SyncRequest) -> Ticket {
        let (ticket, mut fx) = (self.ticket(), Effects::default());
        let Bench { groups, now, topics, version, .. } = self;
        with(topics, *version, |topics| groups.sync(*now, topics, ticket, request, &mut fx));
        self.take(fx);
        ticket
    }

    pub(super) fn sync_answer(&mut self, ticket: Ticket) -> Option<Result<SyncAnswer, GroupError>> {
        match self.answers.remove(&ticket)? {
            Answer::Sync(answer) => Some(answer),
            Answer::Join(answer) => panic!("a sync is answered by {answer:?}"),
        }
    }

    /// What a member of the classic protocol is told is its own, at once.
    pub(super) fn fetch(&mut self, member_id: &str, generation: i32) -> Result<Partitions, GroupError> {
        let ticket = self.sync(&SyncRequest { member: membership(member_id, generation), ..SyncRequest::default() });
        let answer = self.sync_answer(ticket).unwrap()?;
        Ok(self.read(&answer.assignment))
    }

    /// An assignment of the classic protocol.
    pub(super) fn read(&self, assignment: &Bytes) -> Partitions {
        with(&self.topics, self.version, |topics| read_assignment(assignment, topics)).unwrap()
    }

    /// What a member of the classic protocol says that it holds.
    pub(super) fn owned_by(&self, metadata: &Bytes) -> Vec<(TopicId, i32)> {
        let read = with(&self.topics, self.version, |topics| read_subscription(metadata, topics));
        let each = |(topic, partitions): (TopicId, BTreeSet<i32>)| partitions.into_iter().map(move |it| (topic, it));
        read.unwrap().owned.into_iter().flat_map(each).collect()
    }

    /// What lies before goes.
    pub(super) fn trim(&mut self, begin: usize) {
        self.log.drain(..begin);
        self.whole.retain(|whole| whole.start >= begin);
        self.whole.iter_mut().for_each(|whole| *whole = whole.start - begin..whole.end - begin);
    }

    pub(super) fn heartbeat(&mut self, member: &Membership) -> Result<(), GroupError> {
        let mut fx = Effects::default();
        let Bench { groups, now, topics, version, .. } = self;
        let outcome = with(topics, *version, |topics| groups.heartbeat(*now, topics, member, &mut fx));
        self.take(fx);
        outcome
    }

    pub(super) fn leave(&mut self, leaving: &[LeavingMember]) -> Vec<Result<(), GroupError>> {
        let mut fx = Effects::default();
        let Bench { groups, now, topics, version, .. } = self;
        let outcome = with(topics, *version, |topics| groups.leave(*now, topics, GROUP, leaving, &mut fx));
        self.take(fx);
        outcome.unwrap()
    }

    fn ticket(&mut self) -> Ticket {
        self.next_ticket += 1;
        Ticket(self.next_ticket)
    }

    /// What is left after a crash: the records.
    pub(super) fn restart(&mut self) {
        self.groups = self.replayed();
        self.groups.loaded(self.now);
        self.answers.clear();
    }

    pub(super) fn replayed(&self) -> Groups {
        let mut groups = Groups::new(self.groups.options.clone());
        for record in &self.log {
            groups.replay(record).unwrap();
        }
        groups
    }

    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now.at.plus(time);
        while let Some(next) = self.groups.next_deadline().filter(|next| *next <= end) {
            self.step_to(next);
        }
        self.step_to(end);
    }

    pub(super) fn pass_seconds(&mut self, seconds: u64) {
        self.pass(Duration::from_secs(seconds));
    }

    fn step_to(&mut self, at: Micros) {
        let passed = i64::try_from(at.since(self.now.at).as_millis()).unwrap();
        self.now = Now { at: at.max(self.now.at), wall: UnixMillis(self.now.wall.0 + passed) };
        let mut fx = Effects::default();
        let Bench { groups, now, topics, version, .. } = self;
        with(topics, *version, |topics| groups.tick(*now, topics, &mut fx));
        self.take(fx);
    }

    pub(super) fn describe(&self) -> Result<crate::ConsumerDescription, GroupError> {
        with(&self.topics, self.version, |topics| self.groups.describe_consumer(GROUP, topics))
    }

    pub(super) fn consumer(&self) -> &crate::consumer::Consumer {
        self.groups.find(GROUP).unwrap().consumer.as_ref().unwrap()
    }

    /// The group's epoch and that of its target.
    pub(super) fn epochs(&self) -> (i32, i32) {
        (self.consumer().epoch, self.consumer().target_epoch)
    }

    pub(super) fn commit_at(
        &mut self,
        member: Membership,
        topic: &str,
        partition: i32,
        offset: i64,
    ) -> Result<(), GroupError> {
        let committed =
            Committed { topic: self.id(topic), committed_at: self.now.wall, offset, ..Committed::default() };
        let offsets = vec![NewOffset { topic: topic.to_owned(), partition, committed }];
        let mut fx = Effects::default();
        let request = CommitRequest { member, offsets, knows_member_epochs: true };
        let outcome = self.groups.commit(self.now, request, &mut fx);
        self.take(fx);
        outcome.map(|outcomes| assert!(outcomes.iter().all(Result::is_ok)))
    }

    pub(super) fn commit(
        &mut self,
        member: Membership,
        offsets: &[(&str, i32)],
        knows_member_epochs: bool,
    ) -> Result<(), GroupError> {
        let new = |(topic, partition): &(&str, i32)| NewOffset {
            topic: (*topic).to_owned(),
            partition: *partition,
            committed: Committed { topic: self.id(topic), committed_at: self.now.wall, ..Committed::default() },
        };
        let offsets = offsets.iter().map(new).collect();
        let mut fx = Effects::default();
        let request = CommitRequest { member, offsets, knows_member_epochs };
        let outcome = self.groups.commit(self.now, request, &mut fx);
        self.log.extend(fx.records);
        outcome.map(|outcomes| assert!(outcomes.iter().all(Result::is_ok)))
    }
}

/// Topics as a caller hands them over.
pub(super) fn with<T>(topics: &BTreeMap<String, TopicInfo>, version: i64, work: impl FnOnce(&Topics<'_>) -> T) -> T {
    let name_of = |id: TopicId| topics.iter().find(|(_, topic)| topic.id == id).map(|(name, _)| name.clone());
    work(&Topics {
        version,
        find: &|name| topics.get(name).copied(),
        name_of: &name_of,
        names: &|hand_over| topics.keys().for_each(|name| hand_over(name)),
    })
}

/// A member's first heartbeat.
pub(super) fn joins(member_id: &str, names: &[&str]) -> HeartbeatRequest {
    HeartbeatRequest {
        rebalance_timeout_ms: REBALANCE_MS,
        names: Some(names.iter().map(|name| (*name).to_owned()).collect()),
        owned: Some(Partitions::new()),
        ..beats(member_id, 0)
    }
}

/// A heartbeat that says nothing new.
pub(super) fn beats(member_id: &str, member_epoch: i32) -> HeartbeatRequest {
    HeartbeatRequest {
        group: GROUP.to_owned(),
        member_id: member_id.to_owned(),
        unique: format!("unique-{member_id}"),
        member_epoch,
        client_id: "c".to_owned(),
        client_host: "/127.0.0.1".to_owned(),
        rebalance_timeout_ms: -1,
        ..HeartbeatRequest::default()
    }
}

/// A heartbeat that says what the member holds.
pub(super) fn owns(member_id: &str, member_epoch: i32, owned: Partitions) -> HeartbeatRequest {
    HeartbeatRequest { owned: Some(owned), ..beats(member_id, member_epoch) }
}

pub(super) fn static_member(request: HeartbeatRequest, instance_id: &str) -> HeartbeatRequest {
    HeartbeatRequest { instance_id: Some(instance_id.to_owned()), ..request }
}

pub(super) fn of(topic: TopicId, partitions: impl IntoIterator<Item = i32>) -> Partitions {
    let partitions = Partitions::from([(topic, partitions.into_iter().collect())]);
    partitions
        .into_iter()
        .filter(|(_, partitions): &(_, std::collections::BTreeSet<i32>)| !partitions.is_empty())
        .collect()
}

pub(super) fn membership(member_id: &str, generation: i32) -> Membership {
    Membership { group: GROUP.to_owned(), member_id: member_id.to_owned(), instance_id: None, generation }
}
