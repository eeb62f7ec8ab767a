//! A share-partition in a small world: leaders that follow each other and go on when they are deposed, a persister whose writes fail, come
//! late or are given up, members that acknowledge late or never, and a log that is compacted, cut at its start, and holds aborted
//! transactions.
//!
//! What must never be is what `crates/models/src/share_partition` says, noticed when it happens; when all is healed, each record must have been
//! accepted or rejected by somebody, delivered as often as it may be, or be delivered now.

mod judge;
mod log;
mod persister;

use super::bench::{ACCEPT, REJECT, RELEASE, RENEW, range};
use crate::Ticket;
use crate::share_partition::{
    AcknowledgeBatch, AcquireMode, AcquireRequest, Fetched, ShareEffects, ShareError, ShareOptions, SharePartition,
};
use base::{Micros, OffsetRange, Seed};
use log::Log;
use persister::{Persister, Reply, Sent};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const MEMBERS: usize = 3;
const NAMES: [&str; MEMBERS + 1] = ["a", "b", "c", "heals"];
const HEALS: usize = MEMBERS;
const LOCK: Duration = Duration::from_secs(10);
const DELIVERIES_MAX: i16 = 3;

pub(super) type Outcome = Result<(), &'static str>;

/// An acknowledgement that is not answered: of whom, what it says of which records, and until when its member had them.
#[derive(Debug, Clone)]
struct Asked {
    member: usize,
    records: Vec<(u64, i8, Option<Micros>)>,
}

#[derive(Debug)]
struct Leader {
    share: SharePartition,
    fx: ShareEffects,
    /// Who has which record, and until when, by what members were told.
    holders: BTreeMap<u64, (usize, Micros)>,
    /// What members think that they have.
    believed: Vec<BTreeSet<u64>>,
    asked: BTreeMap<Ticket, Asked>,
}

/// An acknowledgement under way.
#[derive(Debug, Clone)]
struct Ack {
    leader: usize,
    member: usize,
    batch: AcknowledgeBatch,
}

pub(super) struct World {
    seed: Seed,
    now: Micros,
    log: Log,
    persister: Persister,
    leaders: Vec<Leader>,
    acks: Vec<Ack>,
    sent: Vec<Sent>,
    replies: Vec<Reply>,
    /// Records on their way to another topic, by leader.
    letters: Vec<(usize, OffsetRange)>,
    /// The group has such a topic.
    dead_letters: bool,
    next_ticket: u64,
    /// Acknowledgements that end a record and may come to something.
    ending: BTreeMap<u64, i64>,
    /// By which leader somebody was told that a record is accepted.
    told: BTreeMap<u64, usize>,
    /// The highest count of a delivery.
    delivered: BTreeMap<u64, i16>,
}

fn options(dead_letters: bool) -> ShareOptions {
    let (in_flight_max, deliveries_max) = (12, DELIVERIES_MAX);
    ShareOptions { in_flight_max, deliveries_max, lock: LOCK, dead_letters, ..ShareOptions::default() }
}

fn ends(kind: i8) -> bool {
    kind == ACCEPT || kind == REJECT
}

impl World {
    pub(super) fn new(seed: u64) -> World {
        let mut seed = Seed::new(seed);
        let mut world = World {
            log: Log::new(&mut seed),
            seed,
            now: Micros(1),
            persister: Persister::default(),
            leaders: Vec::new(),
            acks: Vec::new(),
            sent: Vec::new(),
            replies: Vec::new(),
            letters: Vec::new(),
            dead_letters: false,
            next_ticket: 0,
            ending: BTreeMap::new(),
            told: BTreeMap::new(),
            delivered: BTreeMap::new(),
        };
        world.dead_letters = world.seed.chance(300);
        world.elect();
        world
    }

    pub(super) fn run(mut self, steps: usize) -> Outcome {
        for _ in 0..steps {
            self.step()?;
            self.check()?;
        }
        self.heal()
    }

    fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.seed.below(u64::try_from(count).unwrap())).unwrap()
    }

    /// Mostly the last leader.
    fn some_leader(&mut self) -> usize {
        let last = self.leaders.len() - 1;
        if self.seed.chance(800) { last } else { self.below(last + 1) }
    }

    fn step(&mut self) -> Outcome {
        let leader = self.some_leader();
        let member = self.below(MEMBERS);
        match self.below(100) {
            0..25 => self.fetch(leader, member),
            25..50 => {
                self.send_ack(leader, member);
                Ok(())
            }
            50..65 => self.take_ack(),
            65..78 => self.write_arrives(),
            78..88 => self.reply_arrives(),
            88..92 => {
                let time = if self.seed.chance(300) { LOCK } else { LOCK / 4 };
                self.pass(time)
            }
            92..94 => self.write_fails(),
            94 => self.write_is_given_up(),
            95 => {
                let member_leaves = self.acks.iter().all(|ack| (ack.leader, ack.member) != (leader, member));
                if member_leaves { self.leave(leader, member) } else { Ok(()) }
            }
            96 if self.leaders.len() < 4 => {
                self.elect();
                Ok(())
            }
            97 => self.cut(),
            98 => {
                self.log.compact(&mut self.seed);
                Ok(())
            }
            99 => self.letter_arrives(),
            _ => Ok(()),
        }
    }

    /// A record has been copied to another topic, or can't be.
    fn letter_arrives(&mut self) -> Outcome {
        if self.letters.is_empty() {
            return Ok(());
        }
        let place = self.below(self.letters.len());
        let (number, range) = self.letters.remove(place);
        let leader = &mut self.leaders[number];
        leader.share.dead_lettered(range, &mut leader.fx);
        self.go_on(number, true)
    }

    /// A new leader, which fences those before it off from the persister.
    fn elect(&mut self) {
        let epoch = i32::try_from(self.leaders.len()).unwrap();
        let (start, persisted) = self.persister.read(epoch);
        let mut fx = ShareEffects::default();
        let share = SharePartition::load(options(self.dead_letters), epoch, start, &persisted, &mut fx).unwrap();
        let believed = vec![BTreeSet::new(); MEMBERS + 1];
        self.letters.extend(fx.dead_letters.drain(..).map(|letter| (self.leaders.len(), letter.range)));
        self.leaders.push(Leader { share, fx, holders: BTreeMap::new(), believed, asked: BTreeMap::new() });
    }

    fn fetch(&mut self, number: usize, member: usize) -> Outcome {
        // A member's requests to a leader are taken in order.
        if self.acks.iter().any(|ack| (ack.leader, ack.member) == (number, member)) {
            return Ok(());
        }
        let leader = &mut self.leaders[number];
        let mut from = leader.share.next_fetch();
        if from < self.log.start {
            leader.share.log_starts_at(self.log.start);
            from = leader.share.next_fetch();
        }
        let batches = self.log.read(from, 1 + usize::try_from(self.seed.below(5)).unwrap());
        let aborted = self.log.aborted();
        let mode = if self.seed.chance(500) { AcquireMode::RecordLimit } else { AcquireMode::BatchOptimized };
        let records_max = 1 + u32::try_from(self.seed.below(8)).unwrap();
        let request = AcquireRequest { member: NAMES[member], mode, batch_size: 4, records_max };
        let fetched = Fetched { from, batches: &batches, aborted: &aborted };
        let acquired = leader.share.acquire(self.now, request, &fetched);
        let given: u64 = acquired.ranges.iter().map(|it| it.range.len()).sum();
        if given != u64::from(acquired.count) || mode == AcquireMode::RecordLimit && given > u64::from(records_max) {
            return Err("not as much is given as is said or asked for");
        }
        for it in acquired.ranges {
            for offset in it.range.base.0..it.range.next.0 {
                self.deliver(number, member, offset, it.delivery_count)?;
            }
        }
        Ok(())
    }

    fn send_ack(&mut self, leader: usize, member: usize) {
        let count = self.leaders[leader].believed[member].len();
        if count == 0 || self.acks.iter().any(|ack| (ack.leader, ack.member) == (leader, member)) {
            return;
        }
        let place = self.below(count);
        let believed = &self.leaders[leader].believed[member];
        let first = *believed.iter().nth(place).unwrap();
        let count = 1 + self.seed.below(6);
        let next = (first..first + count).find(|offset| !believed.contains(offset)).unwrap_or(first + count);
        let each = self.seed.chance(300);
        let kinds = if each { next - first } else { 1 };
        let kinds: Vec<i8> =
            (0..kinds).map(|_| [ACCEPT, ACCEPT, ACCEPT, RELEASE, RELEASE, REJECT, RENEW][self.below(7)]).collect();
        for (place, offset) in (first..next).enumerate() {
            let kind = if each { kinds[place] } else { kinds[0] };
            if kind != RENEW {
                self.leaders[leader].believed[member].remove(&offset);
            }
            *self.ending.entry(offset).or_default() += i64::from(ends(kind));
        }
        self.acks.push(Ack { leader, member, batch: AcknowledgeBatch { range: range(first, next), types: kinds } });
    }

    fn take_ack(&mut self) -> Outcome {
        if self.acks.is_empty() {
            return Ok(());
        }
        let place = self.below(self.acks.len());
        let ack = self.acks.remove(place);
        self.acknowledge(ack)
    }

    fn acknowledge(&mut self, ack: Ack) -> Outcome {
        let Ack { leader: number, member, batch } = ack;
        self.next_ticket += 1;
        let ticket = Ticket(self.next_ticket);
        let now = self.now;
        let leader = &mut self.leaders[number];
        let start = leader.share.start().0;
        let offsets = batch.range.base.0..batch.range.next.0;
        let held_until = |leader: &Leader, offset: &u64| {
            leader.holders.get(offset).filter(|(who, until)| *who == member && *until > now).map(|(_, until)| *until)
        };
        let has_all = offsets.clone().filter(|it| *it >= start).all(|it| held_until(leader, &it).is_some());
        let kind = |place: usize| if batch.types.len() > 1 { batch.types[place] } else { batch.types[0] };
        let records: Vec<_> =
            offsets.enumerate().map(|(place, it)| (it, kind(place), held_until(leader, &it))).collect();
        leader.share.acknowledge(now, NAMES[member], &[batch], ticket, &mut leader.fx);
        let refused = leader.fx.answers.iter().any(|(it, answer)| *it == ticket && answer.is_err());
        if refused && has_all && !leader.share.is_fenced() {
            return Err("a record is taken from the member that has it");
        }
        if !refused {
            for &(offset, kind, _) in records.iter().filter(|(offset, ..)| *offset >= start) {
                if kind == RENEW {
                    leader.holders.insert(offset, (member, now.plus(LOCK)));
                } else if leader.holders.get(&offset).is_some_and(|(who, _)| *who == member) {
                    leader.holders.remove(&offset);
                }
            }
        }
        leader.asked.insert(ticket, Asked { member, records });
        self.go_on(number, true)
    }

    /// A session ends.
    fn leave(&mut self, number: usize, member: usize) -> Outcome {
        let leader = &mut self.leaders[number];
        leader.believed[member].clear();
        leader.holders.retain(|_, (who, _)| *who != member);
        leader.share.release(NAMES[member], None, &mut leader.fx);
        self.go_on(number, true)
    }

    fn pass(&mut self, time: Duration) -> Outcome {
        self.now = self.now.plus(time);
        for number in 0..self.leaders.len() {
            let leader = &mut self.leaders[number];
            leader.share.tick(self.now, &mut leader.fx);
            leader.holders.retain(|_, (_, until)| *until > self.now);
            self.go_on(number, true)?;
        }
        Ok(())
    }

    fn cut(&mut self) -> Outcome {
        self.log.start = self.log.start.plus(self.seed.below(3));
        let leader = self.some_leader();
        self.leaders[leader].share.log_starts_at(self.log.start);
        Ok(())
    }

    /// What a call to a leader has resulted in. Failures are for good where nothing of the write can arrive any more.
    fn go_on(&mut self, number: usize, for_good: bool) -> Outcome {
        let leader = &mut self.leaders[number];
        let fx = std::mem::take(&mut leader.fx);
        self.sent.extend(fx.writes.into_iter().map(|write| Sent { leader: number, write, is_given_up: false }));
        self.letters.extend(fx.dead_letters.into_iter().map(|letter| (number, letter.range)));
        for (ticket, answer) in fx.answers {
            let Some(asked) = self.leaders[number].asked.remove(&ticket) else { continue };
            self.told(number, &asked, answer, for_good)?;
        }
        Ok(())
    }

    fn told(&mut self, number: usize, asked: &Asked, answer: Result<(), ShareError>, for_good: bool) -> Outcome {
        let leader = &mut self.leaders[number];
        for &(offset, kind, until) in &asked.records {
            if answer.is_ok() {
                if kind == ACCEPT && offset >= self.log.start.0 && until.is_some() {
                    if !self.persister.is_done(offset) {
                        return Err("an acknowledgement is answered before it is durable");
                    }
                    self.told.entry(offset).or_insert(number);
                }
                continue;
            }
            if for_good {
                *self.ending.entry(offset).or_default() -= i64::from(ends(kind));
            }
            // The member goes on without the record, which is its own until its time is over.
            if let Some(until) = until.filter(|until| *until > self.now && kind != RENEW) {
                let before = leader.holders.insert(offset, (asked.member, until));
                if before.is_some_and(|(who, _)| who != asked.member) {
                    return Err("two members have a record at a time");
                }
            }
        }
        Ok(())
    }
}
