//! Members and their heartbeats.

use super::super::bench::{GROUP, beats, joins, leaves};
use super::{CLIENTS, Outcome, Place, TOPICS, World};
use crate::{GroupError, Partitions, ShareHeartbeatAnswer, ShareHeartbeatRequest, ShareStateError, ShareStateKey};

#[derive(Debug, Clone, Default)]
pub(super) struct Client {
    /// Drawn anew whenever the process begins anew.
    pub(super) member_id: String,
    pub(super) is_in: bool,
    pub(super) epoch: i32,
    names: u64,
    /// It says all that it can say next time: its subscription is another one, or an answer was lost.
    says_all: bool,
    pub(super) told: Partitions,
}

impl Client {
    pub(super) fn subscribe(&mut self, names: u64) {
        (self.names, self.says_all) = (names, true);
    }

    pub(super) fn names(&self) -> &'static [&'static str] {
        match self.names {
            0 => &["t"],
            1 => &["u"],
            _ => &["t", "u"],
        }
    }

    fn request(&self) -> ShareHeartbeatRequest {
        let joins = joins(&self.member_id, self.names());
        match (self.is_in, self.says_all) {
            (false, _) => joins,
            (true, true) => ShareHeartbeatRequest { member_epoch: self.epoch, ..joins },
            (true, false) => beats(&self.member_id, self.epoch),
        }
    }
}

impl World {
    /// The process begins, knowing nothing of an earlier one.
    pub(super) fn begin(&mut self, client: usize) {
        self.draws += 1;
        let names = self.clients[client].names;
        let member_id = format!("c{client}-{}", self.draws);
        self.clients[client] = Client { member_id, names, ..Client::default() };
    }

    pub(super) fn beat(&mut self, client: usize, is_lost: bool) -> Outcome {
        let outcome = self.bench.beat(&self.clients[client].request());
        self.send(outcome.as_ref().ok().and_then(|answer| answer.initialize.clone()));
        if is_lost {
            self.clients[client].says_all = true;
            return Ok(());
        }
        self.hear(client, outcome)
    }

    fn hear(&mut self, client: usize, outcome: Result<ShareHeartbeatAnswer, GroupError>) -> Outcome {
        let it = &mut self.clients[client];
        let Ok(answer) = outcome else {
            // Whatever it is, it gives up all that it has, and joins when it is its turn.
            (it.is_in, it.told) = (false, Partitions::new());
            return Ok(());
        };
        (it.is_in, it.epoch, it.says_all) = (true, answer.member_epoch, false);
        let Some(assignment) = answer.assignment else { return Ok(()) };
        it.told.clone_from(&assignment);
        for (topic, partition) in assignment.iter().flat_map(|(topic, all)| all.iter().map(move |it| (*topic, *it))) {
            let is_there = self.bench.topics.values().any(|it| it.id == topic);
            let read = self.bench.read(&key((topic, partition)), -1);
            if is_there && matches!(read, Err(ShareStateError::Invalid(_))) {
                return Err("shared out without anything to keep progress in");
            }
        }
        Ok(())
    }

    /// In the middle of a decision, which nobody has heard of, the coordinator ends with some of its records.
    pub(super) fn beat_and_crash(&mut self, client: usize) {
        let before = self.bench.log.len();
        let _unheard = self.bench.beat(&self.clients[client].request()).is_ok();
        let kept = (before + self.pick(8)).min(self.bench.log.len());
        self.bench.log.truncate(kept);
        self.clients[client].says_all = true;
        self.copying = None;
        self.bench.restart();
    }

    pub(super) fn leave(&mut self, client: usize) {
        let _was_in = self.bench.beat(&leaves(&self.clients[client].member_id)).is_ok();
        self.begin(client);
    }

    /// Nobody is in, and an administrator is about; some do not know yet that they are out.
    pub(super) fn leave_all(&mut self) {
        for client in 0..CLIENTS {
            let _was_in = self.bench.beat(&leaves(&self.clients[client].member_id)).is_ok();
            if self.seed.chance(500) {
                self.begin(client);
            }
        }
        // Those that processes before these have left behind.
        self.bench.pass_seconds(45);
        let topic = TOPICS[self.pick(TOPICS.len())];
        match self.seed.below(4) {
            0 | 1 => self.alter(topic),
            2 => self.delete_offsets(topic),
            _ => self.delete_group(),
        }
    }

    pub(super) fn crash(&mut self) -> Outcome {
        let lasting = |world: &World| {
            let group = world.bench.groups.find(GROUP).ok();
            group.and_then(|group| Some(group.share.as_ref()?.lasting()))
        };
        let before = lasting(self);
        self.copying = None;
        self.bench.restart();
        if before == lasting(self) { Ok(()) } else { Err("the records do not say what was decided") }
    }

    /// A heartbeat of everybody, with all that is under way delivered.
    pub(super) fn quiet_round(&mut self) -> Outcome {
        for client in 0..CLIENTS {
            self.beat(client, false)?;
        }
        for request in std::mem::take(&mut self.requests) {
            self.bench.carry(&request);
        }
        self.bench.pass_seconds(5);
        Ok(())
    }

    /// Places that members believe to have.
    pub(super) fn places(&self) -> Vec<Place> {
        let told = self.clients.iter().flat_map(|client| &client.told);
        let places = told.flat_map(|(topic, all)| all.iter().map(move |it| (*topic, *it)));
        places.filter(|(topic, _)| self.bench.topics.values().any(|it| it.id == *topic)).collect()
    }
}

pub(super) fn key((topic, partition): Place) -> ShareStateKey {
    ShareStateKey { group: GROUP.into(), topic, partition }
}
