//! Share groups in a small world: both coordinators, members, two leaders for each share-partition, an administrator, and a network that
//! delivers what the group's coordinator asks of the share coordinator late, more than once, or never.
//!
//! What must never be is noticed when it happens: progress that a leader was told of, or an offset that an administrator was, is gone
//! though nobody asked for that; a leader writes that another one has followed; a leader's idea of a share-partition is not what is kept of it; a
//! partition is shared out though there is nothing to keep its progress in. When all is quiet every partition has somebody, and nothing more
//! is appended.
//!
//! One thing is taken for granted: what is asked before a deletion does not arrive after it (there is nothing then to tell it by).

mod administrator;
mod judge;
mod leaders;
mod members;

use super::bench::{Bench, Outcomes};
use crate::{CopyCursor, Effects, ShareStateCursor, ShareStateEffects, StateInitialization};
use base::{Seed, TopicId};
use leaders::Leaders;
use members::Client;
use std::collections::BTreeMap;

pub(super) type Outcome = Result<(), &'static str>;

/// A partition of a topic.
type Place = (TopicId, i32);

const CLIENTS: usize = 4;
const TOPICS: [&str; 2] = ["t", "u"];
const PARTITIONS_MAX: i32 = 4;
/// Requests and answers that are under way.
const MESSAGES_MAX: usize = 6;

pub(super) struct World {
    bench: Bench,
    seed: Seed,
    clients: Vec<Client>,
    draws: u64,
    requests: Vec<StateInitialization>,
    /// What the share coordinator has answered, with what it was asked.
    answers: Vec<(StateInitialization, Outcomes)>,
    leaders: BTreeMap<Place, Leaders>,
    /// How far share-partitions are known to have come.
    progress: BTreeMap<Place, i64>,
    copying: Option<(usize, CopyCursor)>,
    copying_states: Option<(usize, ShareStateCursor)>,
}

impl World {
    pub(super) fn new(seed: u64) -> World {
        let mut world = World {
            bench: Bench::new(&[("t", 2), ("u", 1)]),
            seed: Seed::new(seed),
            clients: vec![Client::default(); CLIENTS],
            draws: 0,
            requests: Vec::new(),
            answers: Vec::new(),
            leaders: BTreeMap::new(),
            progress: BTreeMap::new(),
            copying: None,
            copying_states: None,
        };
        (0..CLIENTS).for_each(|client| world.begin(client));
        world
    }

    /// Whether all goes well for so many steps, and comes to rest after them.
    pub(super) fn run(&mut self, steps: usize) -> Outcome {
        for _ in 0..steps {
            self.step()?;
            self.judge()?;
        }
        self.settle()
    }

    fn step(&mut self) -> Outcome {
        let client = self.pick(CLIENTS);
        let topic = TOPICS[self.pick(TOPICS.len())];
        match self.seed.below(100) {
            0..28 => {
                let is_lost = self.seed.chance(100);
                self.beat(client, is_lost)?;
            }
            28..30 => self.beat_and_crash(client),
            30..33 => self.clients[client].subscribe(self.seed.below(3)),
            33..36 => self.leave(client),
            36..38 => self.begin(client),
            38..48 => {
                let seconds = self.seed.between(1, 12);
                self.bench.pass_seconds(seconds);
            }
            48..58 => self.carry_request(),
            58..66 => self.carry_answer(),
            66..78 => self.write(true)?,
            78..82 => self.write(false)?,
            82..86 => self.lead(),
            86..88 => self.alter(topic),
            88..90 => self.delete_offsets(topic),
            90 => self.delete_group(),
            91 => self.grow(topic),
            92 => self.delete_topic(topic),
            93 => self.bench.hear_of_topics(),
            94..96 => self.copy()?,
            96 => self.crash()?,
            97 => self.crash_states(),
            98 => self.leave_all(),
            _ => self.write_and_crash(),
        }
        Ok(())
    }

    fn pick(&mut self, count: usize) -> usize {
        usize::try_from(self.seed.below(u64::try_from(count).unwrap())).unwrap()
    }

    /// What the group's coordinator asks is under way.
    fn send(&mut self, request: Option<StateInitialization>) {
        self.requests.extend(request);
        if self.requests.len() > MESSAGES_MAX {
            self.requests.remove(0);
        }
    }

    /// Some request arrives, not the oldest first; it may come again.
    fn carry_request(&mut self) {
        if self.requests.is_empty() {
            return;
        }
        let at = self.pick(self.requests.len());
        let request = self.requests[at].clone();
        if self.seed.chance(600) {
            self.requests.remove(at);
        }
        let outcomes = self.bench.ask(&request);
        self.answers.push((request, outcomes));
        if self.answers.len() > MESSAGES_MAX {
            self.answers.remove(0);
        }
    }

    fn carry_answer(&mut self) {
        if self.answers.is_empty() {
            return;
        }
        let at = self.pick(self.answers.len());
        let (request, outcomes) = self.answers.remove(at);
        self.bench.tell(request.state_epoch, &outcomes);
        self.note_altered(&request);
    }

    fn grow(&mut self, topic: &str) {
        let more = self.bench.topics.get(topic).map_or(1, |topic| topic.partitions + 1);
        self.bench.make_topic(topic, more.min(PARTITIONS_MAX));
    }

    fn delete_topic(&mut self, topic: &str) {
        let id = self.bench.id(topic);
        self.progress.retain(|(it, _), _| *it != id);
        self.leaders.retain(|(it, _), _| *it != id);
        self.bench.delete_topic(topic);
    }

    /// Copies a slice of either log; what lies before a whole copy goes, and nothing is missing then.
    fn copy(&mut self) -> Outcome {
        let bytes = self.pick(600) + 1;
        if self.seed.chance(500) {
            let (begin, mut cursor) = self.copying.take().unwrap_or((self.bench.log.len(), CopyCursor::default()));
            let mut fx = Effects::default();
            let is_whole = self.bench.groups.copy(&mut cursor, bytes, &mut fx);
            self.bench.log.extend(fx.records);
            if is_whole {
                self.bench.log.drain(..begin);
                return self.crash();
            }
            self.copying = Some((begin, cursor));
        } else {
            let begun = self.copying_states.take();
            let (begin, mut cursor) = begun.unwrap_or((self.bench.state_log.len(), ShareStateCursor::default()));
            let mut fx = ShareStateEffects::default();
            let is_whole = self.bench.states.copy(&mut cursor, bytes, &mut fx);
            self.bench.state_log.extend(fx.records);
            if is_whole {
                self.bench.state_log.drain(..begin);
                self.crash_states();
            } else {
                self.copying_states = Some((begin, cursor));
            }
        }
        Ok(())
    }

    fn crash_states(&mut self) {
        self.copying_states = None;
        self.bench.restart_states();
    }
}
