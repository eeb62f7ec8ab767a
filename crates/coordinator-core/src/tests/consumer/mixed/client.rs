//! A consumer as the coordinator's decisions reach it, of either protocol: what it holds by what it was told, and gave up.

use super::super::bench::{Bench, beats, joins, membership, static_member};
use super::super::migrating::{assignment, holding};
use crate::tests::bench::joiner;
use crate::{
    GroupError, HeartbeatRequest, JoinAnswer, JoinRequest, JoinedMember, LEAVES, LEAVES_FOR_NOW, LeavingMember,
    Membership, Partitions, SyncRequest, Ticket,
};
use base::TopicId;
use std::collections::BTreeMap;

pub(super) const TOPICS: [&str; 2] = ["t", "u"];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Kind {
    #[default]
    Newer,
    Classic,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Client {
    pub(super) kind: Kind,
    /// Of the classic protocol: it goes on with what it holds while it joins.
    pub(super) is_cooperative: bool,
    pub(super) instance_id: Option<String>,
    pub(super) member_id: String,
    pub(super) unique: String,
    pub(super) is_in: bool,
    /// Its generation, where it is of the classic protocol.
    pub(super) epoch: i32,
    pub(super) says_all: bool,
    pub(super) owned: Partitions,
    pub(super) told: Partitions,
    pub(super) must_join: bool,
    pub(super) joining: Option<Ticket>,
    pub(super) syncing: Option<Ticket>,
}

impl Client {
    /// A process that begins.
    pub(super) fn begun(&self, unique: &str, kind: Kind) -> Client {
        let member_id = if kind == Kind::Newer { unique.to_owned() } else { String::new() };
        Client {
            kind,
            is_cooperative: self.is_cooperative,
            instance_id: self.instance_id.clone(),
            member_id,
            unique: unique.to_owned(),
            must_join: true,
            ..Client::default()
        }
    }

    /// It hears no more of what it asked for.
    pub(super) fn lose_answers(&mut self) {
        self.says_all = true;
        self.must_join |= self.joining.take().is_some() | self.syncing.take().is_some();
    }

    /// Waits for the answer to something.
    pub(super) fn waits(&self) -> bool {
        self.joining.is_some() || self.syncing.is_some()
    }

    fn lose_all(&mut self) {
        (self.is_in, self.epoch, self.must_join) = (false, 0, true);
        (self.owned, self.told) = Default::default();
    }

    pub(super) fn give_up(&mut self) {
        if self.owned != self.told && self.kind == Kind::Classic {
            // What was taken from it is what others wait for.
            self.must_join = true;
        }
        self.owned = self.told.clone();
    }

    /// Its next word to the coordinator.
    pub(super) fn act(&mut self, bench: &mut Bench, is_lost: bool) {
        if self.kind == Kind::Newer {
            let outcome = bench.beat(&self.beat());
            if is_lost {
                self.says_all = true;
            } else {
                self.hear(outcome);
            }
            return;
        }
        self.look(bench);
        if self.waits() {
            if is_lost {
                self.lose_answers();
            }
        } else if self.must_join {
            self.join(bench);
            if is_lost {
                self.lose_answers();
            }
            self.look(bench);
        } else {
            match bench.heartbeat(&self.membership()) {
                Ok(()) => {}
                Err(_) if is_lost => {}
                Err(error) => self.refused(error),
            }
        }
    }

    fn membership(&self) -> Membership {
        Membership { instance_id: self.instance_id.clone(), ..membership(&self.member_id, self.epoch) }
    }

    fn beat(&self) -> HeartbeatRequest {
        let owned = Some(self.owned.clone());
        let request = if !self.is_in {
            joins(&self.member_id, &TOPICS)
        } else if self.says_all {
            HeartbeatRequest { member_epoch: self.epoch, owned, ..joins(&self.member_id, &TOPICS) }
        } else {
            HeartbeatRequest { owned, ..beats(&self.member_id, self.epoch) }
        };
        self.instance_id.iter().fold(request, |request, id| static_member(request, id))
    }

    fn hear(&mut self, outcome: Result<crate::HeartbeatAnswer, GroupError>) {
        let Ok(answer) = outcome else { return self.lose_all() };
        if !self.is_in {
            (self.owned, self.told) = Default::default();
        }
        (self.is_in, self.epoch, self.says_all) = (true, answer.member_epoch, false);
        if let Some(assignment) = answer.assignment {
            self.take(assignment);
        }
    }

    fn take(&mut self, assignment: Partitions) {
        for (topic, partitions) in &assignment {
            self.owned.entry(*topic).or_default().extend(partitions);
        }
        self.told = assignment;
    }

    fn join(&mut self, bench: &mut Bench) {
        if self.is_cooperative {
            // Before it joins it has given up what it was to.
            self.owned = self.told.clone();
        } else {
            (self.owned, self.told) = Default::default();
        }
        let named = |(topic, partitions): (&TopicId, &std::collections::BTreeSet<i32>)| {
            let (name, _) = bench.topics.iter().find(|(_, it)| it.id == *topic)?;
            Some((name.as_str(), partitions.iter().copied().collect::<Vec<i32>>()))
        };
        let owned: Vec<(&str, Vec<i32>)> = self.owned.iter().filter_map(named).collect();
        let request = JoinRequest {
            member_id: self.member_id.clone(),
            instance_id: self.instance_id.clone(),
            protocols: vec![holding(&TOPICS, &owned)],
            joins_in_two_steps: true,
            may_skip_assignment: true,
            unique: self.unique.clone(),
            ..joiner("c")
        };
        self.must_join = false;
        self.joining = Some(bench.join(&request));
    }

    /// Looks whether it was answered.
    pub(super) fn look(&mut self, bench: &mut Bench) {
        if let Some(answer) = self.joining.and_then(|ticket| bench.join_answer(ticket)) {
            self.joining = None;
            if !answer.member_id.is_empty() && answer.error != Some(GroupError::UnknownMember) {
                self.member_id.clone_from(&answer.member_id);
            }
            match answer.error {
                None => self.joined(bench, answer),
                Some(error) => self.refused(error),
            }
        }
        if let Some(answer) = self.syncing.and_then(|ticket| bench.sync_answer(ticket)) {
            self.syncing = None;
            match answer {
                Ok(answer) => self.assigned(bench.read(&answer.assignment)),
                Err(error) => self.refused(error),
            }
        }
    }

    fn joined(&mut self, bench: &mut Bench, answer: JoinAnswer) {
        (self.is_in, self.epoch) = (true, answer.generation);
        let leads = answer.leader == self.member_id && !answer.skip_assignment;
        let assignments = if leads { self.assign(bench, &answer.members) } else { Vec::new() };
        let request = SyncRequest { member: self.membership(), assignments, ..SyncRequest::default() };
        self.syncing = Some(bench.sync(&request));
        self.look(bench);
    }

    /// As a leader does: in turn, and nothing that another one has not given up.
    fn assign(&self, bench: &Bench, members: &[JoinedMember]) -> Vec<(String, bytes::Bytes)> {
        let mut holders = BTreeMap::new();
        for member in members {
            for (topic, partition) in bench.owned_by(&member.metadata) {
                holders.insert((topic, partition), member.member_id.as_str());
            }
        }
        let mut given: BTreeMap<&str, BTreeMap<&str, Vec<i32>>> =
            members.iter().map(|member| (member.member_id.as_str(), BTreeMap::new())).collect();
        let all =
            bench.topics.iter().flat_map(|(name, topic)| (0..topic.partitions).map(move |it| (name, topic.id, it)));
        for ((name, topic, partition), member) in all.zip(members.iter().cycle()) {
            let holder = holders.get(&(topic, partition)).filter(|_| self.is_cooperative);
            if holder.is_none_or(|holder| *holder == member.member_id) {
                let of_member = given.entry(&member.member_id).or_default();
                of_member.entry(name).or_default().push(partition);
            }
        }
        let encode = |(member, topics): (&str, BTreeMap<&str, Vec<i32>>)| {
            let topics: Vec<(&str, &[i32])> = topics.iter().map(|(name, it)| (*name, it.as_slice())).collect();
            (member.to_owned(), assignment(&topics))
        };
        given.into_iter().map(encode).collect()
    }

    fn assigned(&mut self, assignment: Partitions) {
        self.take(assignment);
        if !self.is_cooperative {
            self.owned = self.told.clone();
        }
    }

    fn refused(&mut self, error: GroupError) {
        match error {
            GroupError::MemberIdRequired | GroupError::RebalanceInProgress => self.must_join = true,
            GroupError::IllegalGeneration => self.lose_all(),
            _ => {
                self.lose_all();
                self.member_id = String::new();
            }
        }
    }

    /// It tells that it goes, as its protocol lets it.
    pub(super) fn leave(&self, bench: &mut Bench) {
        match (self.kind, &self.instance_id) {
            (Kind::Newer, instance_id) => {
                let epoch = if instance_id.is_some() { LEAVES_FOR_NOW } else { LEAVES };
                let request = HeartbeatRequest { instance_id: instance_id.clone(), ..beats(&self.member_id, epoch) };
                let _was_in = bench.beat(&request).is_ok();
            }
            (Kind::Classic, Some(_)) => {}
            (Kind::Classic, None) => {
                let leaving = LeavingMember { member_id: self.member_id.clone(), instance_id: None };
                bench.leave(&[leaving]);
            }
        }
    }
}
