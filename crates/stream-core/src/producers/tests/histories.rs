//! Random histories of transactions: clients, coordinators and a network that repeats and delays, on one stream whose owner dies, against a
//! scan of the log.

use super::*;
use crate::{Ending, Marker};
use base::OffsetRange;

/// Producers 0 and 1 under the first version of transactions, the others under the second.
const PRODUCERS: i64 = 5;
const FIRST_OF_V2: i64 = 2;

/// What the log holds: all that is needed to tell everything again.
#[derive(Clone, Copy)]
struct Entry {
    written: Written,
    /// Which of its producer's transactions it is meant for.
    transaction: u32,
}

/// What is on its way.
#[derive(Clone, Copy)]
enum Message {
    Batch { delta: ProducerDelta, transaction: u32 },
    Question { ticket: Ticket, delta: ProducerDelta, transaction: u32 },
    Answer { ticket: Ticket, is_granted: bool },
    Marker { delta: ProducerDelta, transaction: u32 },
}

/// A producer, and what its coordinator knows of it.
struct Client {
    epoch: i16,
    sequence: i32,
    transaction: u32,
    /// The coordinator knows that this stream is part of the transaction.
    is_registered: bool,
    /// Decided, and not answered yet.
    ending: Option<Ending>,
    /// Sent, and not known to be there.
    waiting: Vec<ProducerDelta>,
}

struct Story {
    random: Seed,
    producers: Producers,
    grants: Grants,
    tickets: u64,
    log: Vec<Entry>,
    confirmed: u64,
    /// State sections, with what they are as of.
    saved: Vec<(u64, bytes::Bytes)>,
    stable: Offset,
    network: Vec<Message>,
    clients: BTreeMap<i64, Client>,
    /// How each transaction ended, by producer and number.
    endings: BTreeMap<(i64, u32), Ending>,
    /// Answers to coordinators that wait for what is below.
    answers: Vec<(u64, i64, u32)>,
    /// And to clients.
    acknowledgements: Vec<(u64, ProducerDelta)>,
    coordinator_epoch: i32,
    /// How many transactions came to their ends.
    done: usize,
}

impl Entry {
    fn id(&self) -> i64 {
        self.written.delta.producer_id
    }

    fn marker(&self) -> Option<Marker> {
        match self.written.delta.kind {
            BatchKind::Marker(marker) => Some(marker),
            BatchKind::Plain | BatchKind::Transactional => None,
        }
    }
}

/// What a scan of the log tells: where transactions are open, and which were aborted.
fn scan(log: &[Entry]) -> (BTreeMap<i64, Offset>, Vec<AbortedTransaction>) {
    let (mut open, mut aborted) = (BTreeMap::new(), Vec::new());
    for entry in log {
        let (id, range) = (entry.id(), entry.written.range);
        match entry.marker() {
            Some(marker) => {
                let first = open.remove(&id);
                if let (Some(first), Ending::Abort) = (first, marker.ending) {
                    let last_stable = open.values().copied().min().unwrap_or(range.next);
                    aborted.push(AbortedTransaction { producer_id: id, first, last: range.base, last_stable });
                }
            }
            None if entry.written.delta.kind == BatchKind::Transactional => {
                open.entry(id).or_insert(range.base);
            }
            None => {}
        }
    }
    (open, aborted)
}

impl Story {
    fn new(seed: u64) -> Story {
        let client = |epoch| Client {
            epoch,
            sequence: 0,
            transaction: 0,
            is_registered: false,
            ending: None,
            waiting: Vec::new(),
        };
        Story {
            random: Seed::new(seed),
            producers: Producers::default(),
            grants: Grants::default(),
            tickets: 0,
            log: Vec::new(),
            confirmed: 0,
            saved: vec![(0, encode_section(&Producers::default()))],
            stable: Offset(0),
            network: Vec::new(),
            clients: (0..PRODUCERS).map(|id| (id, client(0))).collect(),
            endings: BTreeMap::new(),
            answers: Vec::new(),
            acknowledgements: Vec::new(),
            coordinator_epoch: 0,
            done: 0,
        }
    }

    fn next(&self) -> u64 {
        self.log.last().map_or(0, |entry| entry.written.range.next.0)
    }

    fn append(&mut self, delta: ProducerDelta, transaction: u32) {
        let written = written(&delta, self.next());
        self.producers.accepted(&written, NOW, DAY, Offset(self.confirmed));
        self.grants.accepted(&delta);
        self.log.push(Entry { written, transaction });
    }

    /// Sends the next batch of its transaction, if that is not decided.
    fn produce(&mut self, id: i64) {
        let records = u32::try_from(self.random.between(1, 3)).unwrap();
        let client = self.clients.get_mut(&id).unwrap();
        if client.ending.is_some() || client.waiting.len() >= BATCHES_KEPT {
            return;
        }
        let delta =
            ProducerDelta { kind: BatchKind::Transactional, ..delta(id, client.epoch, client.sequence, records) };
        client.sequence = last_sequence(client.sequence, records + 1);
        client.waiting.push(delta);
    }

    /// Sends again, in order, what is not known to be there.
    fn send(&mut self, id: i64) {
        let Client { transaction, waiting, .. } = &self.clients[&id];
        for delta in waiting.clone() {
            self.network.push(Message::Batch { delta, transaction: *transaction });
        }
    }

    /// Ends it; a coordinator may do so without its client, which then has batches on their way, where they can be told from the next
    /// transaction's.
    fn decide(&mut self, id: i64) {
        let ending = if self.random.chance(500) { Ending::Abort } else { Ending::Commit };
        // Most end with something in them.
        let is_early = self.random.chance(900);
        let client = self.clients.get_mut(&id).unwrap();
        let is_quiet = client.waiting.is_empty();
        if client.ending.is_some() || is_early && !client.is_registered {
            return;
        }
        if (id < FIRST_OF_V2 || ending == Ending::Commit) && !is_quiet {
            return;
        }
        client.ending = Some(ending);
        self.endings.insert((id, client.transaction), ending);
        if !client.is_registered {
            let transaction = client.transaction;
            self.complete(id, transaction);
        }
    }

    fn send_marker(&mut self, id: i64) {
        let client = &self.clients[&id];
        if let Some(ending) = client.ending {
            let epoch = client.epoch + i16::from(id >= FIRST_OF_V2);
            let marker = Marker { ending, coordinator_epoch: self.coordinator_epoch };
            let transaction = client.transaction;
            self.network.push(Message::Marker { delta: ProducerDelta::marker(id, epoch, marker), transaction });
        }
    }

    /// All partitions have answered: the next transaction may begin.
    fn complete(&mut self, id: i64, transaction: u32) {
        let client = self.clients.get_mut(&id).unwrap();
        if client.transaction != transaction || client.ending.is_none() {
            return;
        }
        client.transaction += 1;
        client.ending = None;
        client.is_registered = false;
        self.done += 1;
        if id >= FIRST_OF_V2 {
            client.epoch += 1;
            client.sequence = 0;
            client.waiting.clear();
        } else {
            // A late copy could not be told from the next transaction's marker.
            self.network.retain(|it| !matches!(it, Message::Marker { delta, .. } if delta.producer_id == id));
        }
    }

    /// One message arrives; most are gone then.
    fn deliver(&mut self) {
        if self.network.is_empty() {
            return;
        }
        let at = usize::try_from(self.random.below(self.network.len() as u64)).unwrap();
        let message = self.network[at];
        if self.random.chance(700) || self.network.len() > 60 {
            self.network.swap_remove(at);
        }
        match message {
            Message::Batch { delta, transaction } => self.batch(delta, transaction),
            Message::Question { ticket, delta, transaction } => {
                let client = self.clients.get_mut(&delta.producer_id).unwrap();
                let is_granted = client.transaction == transaction
                    && client.epoch == delta.producer_epoch
                    && client.ending.is_none();
                client.is_registered |= is_granted;
                self.network.push(Message::Answer { ticket, is_granted });
            }
            Message::Answer { ticket, is_granted } => {
                self.grants.answered(ticket, is_granted);
            }
            Message::Marker { delta, transaction } => self.marker(delta, transaction),
        }
    }

    fn batch(&mut self, delta: ProducerDelta, transaction: u32) {
        let id = delta.producer_id;
        let checked = self.producers.check(&delta, NOW, DAY).and_then(|verdict| {
            if verdict == Verdict::New {
                self.producers.check_granted(&self.grants, &delta)?;
            }
            Ok(verdict)
        });
        match checked {
            Ok(Verdict::New) => {
                let client = &self.clients[&id];
                let is_its = client.transaction == transaction && client.is_registered;
                assert!(is_its || client.transaction > transaction, "nobody was asked for {delta:?}");
                self.append(delta, transaction);
                self.acknowledgements.push((self.next(), delta));
            }
            Ok(Verdict::Repeat(original)) => {
                let stored = self.log.iter().filter(|it| it.written.delta == delta);
                let bases: Vec<Offset> = stored.map(|it| it.written.range.base).collect();
                assert_eq!(bases, [original.base], "{delta:?} is stored once");
                if original.next().0 <= self.confirmed {
                    self.clients.get_mut(&id).unwrap().waiting.retain(|it| *it != delta);
                }
            }
            Err(SequenceError::NeedsGrant { .. }) => {
                self.tickets += 1;
                let ticket = self.grants.ask(&delta, self.tickets);
                self.network.push(Message::Question { ticket, delta, transaction });
            }
            Err(_) => {}
        }
    }

    fn marker(&mut self, delta: ProducerDelta, transaction: u32) {
        let BatchKind::Marker(marker) = delta.kind else { unreachable!("a marker") };
        let id = delta.producer_id;
        let rule = if id >= FIRST_OF_V2 { MarkerRule::V2 } else { MarkerRule::V1 };
        match self.producers.check_marker(&delta, marker, rule) {
            Ok(Verdict::New) => {
                self.append(delta, transaction);
                self.answers.push((self.next(), id, transaction));
            }
            Ok(Verdict::Repeat(original)) => self.answers.push((original.next().0, id, transaction)),
            Err(_) => {}
        }
    }

    fn confirm(&mut self) {
        let ends = self.log.iter().map(|it| it.written.range.next.0).filter(|end| *end > self.confirmed);
        let count = usize::try_from(self.random.between(1, 4)).unwrap();
        self.confirmed = ends.take(count).last().unwrap_or(self.confirmed);
        for (_, id, transaction) in self.answers.extract_if(.., |it| it.0 <= self.confirmed).collect::<Vec<_>>() {
            self.complete(id, transaction);
        }
        for (_, delta) in self.acknowledgements.extract_if(.., |it| it.0 <= self.confirmed) {
            self.clients.get_mut(&delta.producer_id).unwrap().waiting.retain(|it| *it != delta);
        }
        if self.random.chance(200) {
            let state = self.producers.as_of(Offset(self.confirmed));
            self.saved.push((self.confirmed, encode_section(&state)));
        }
    }

    /// Its owner is gone: any prefix that holds what is confirmed is left, and the state is what was saved of it, in parts that overlap.
    fn crash(&mut self) {
        let ends = self.log.iter().map(|it| it.written.range.next.0).filter(|end| *end >= self.confirmed);
        let ends: Vec<u64> = ends.collect();
        let end = if ends.is_empty() { self.confirmed } else { ends[self.below(ends.len())] };
        let bounds: Vec<u64> = [0].into_iter().chain(self.log.iter().map(|it| it.written.range.next.0)).collect();
        let bounds: Vec<u64> = bounds.into_iter().filter(|bound| *bound <= end).collect();
        let newest = self.saved.len() - 1;
        let at = newest - self.below(newest.min(5) + 1);
        let (saved, section) = self.saved[at].clone();
        let whole = decode_section(&section).unwrap();
        self.log.truncate(self.log.iter().filter(|it| it.written.range.next.0 <= end).count());
        let mut parts = vec![(OffsetRange::new(Offset(0), Offset(saved)), whole)];
        let mut reached = saved;
        loop {
            let from = bounds[self.below(bounds.iter().filter(|bound| **bound <= reached).count())];
            let to = bounds[self.below(bounds.len())].max(from);
            let mut part = Producers::default();
            let within = |it: &&Entry| from <= it.written.range.base.0 && it.written.range.next.0 <= to;
            for entry in self.log.iter().filter(within) {
                part.fold(&entry.written, NOW);
            }
            if from == 0 || from < to {
                parts.push((OffsetRange::new(Offset(from), Offset(to)), part));
            }
            reached = reached.max(to);
            if reached == end {
                break;
            }
        }
        let saved = parts.iter().map(|(range, part)| (*range, decode_section(&encode_section(part)).unwrap()));
        self.producers = Producers::of_parts(saved.collect());
        self.grants = Grants::default();
        self.confirmed = end;
        self.answers.clear();
        self.acknowledgements.clear();
        // Those that wait for an answer ask again; a coordinator may have moved as well.
        self.coordinator_epoch += i32::from(self.random.chance(300));
    }

    fn below(&mut self, len: usize) -> usize {
        usize::try_from(self.random.below(len as u64)).unwrap()
    }

    /// The stream moves to an owner of the same start, or its state leaves memory and comes back.
    fn hand_over(&mut self) {
        let confirmed = self.log.last().map_or(0, |it| it.written.range.next.0);
        self.confirmed = confirmed;
        self.answers.clear();
        self.acknowledgements.clear();
        self.producers = decode_section(&encode_section(&self.producers.as_of(Offset(confirmed)))).unwrap();
        self.grants = Grants::default();
    }

    /// What is known is what a scan tells.
    fn check(&mut self) {
        let below = |end: u64| self.log.iter().filter(move |it| it.written.range.next.0 <= end).copied();
        let (open, _) = scan(&below(self.confirmed).collect::<Vec<_>>());
        let stable = open.values().copied().min().unwrap_or(Offset(self.confirmed));
        assert_eq!(self.producers.last_stable(Offset(self.confirmed)), stable);
        assert!(stable >= self.stable, "the last stable offset went back");
        self.stable = stable;
        let (_, aborted) = scan(&self.log);
        let from = Offset(self.random.below(self.next() + 1));
        let range = OffsetRange::new(from, from.plus(self.random.below(20)));
        // As Kafka looks them up, entry by entry.
        let mut expected = Vec::new();
        for entry in aborted.iter().filter(|it| it.last >= range.base) {
            expected.extend((entry.first < range.next).then_some(*entry));
            if entry.last_stable >= range.next {
                break;
            }
        }
        assert_eq!(self.producers.aborted(range, Offset(0)).as_ref(), Ok(&expected), "in {range}");
        let needed = aborted.iter().filter(|it| it.first < range.next && it.last >= range.base);
        assert_eq!(needed.count(), expected.len(), "none is passed over");
    }

    /// Each record ends as its own transaction did (invariants 8 to 11), and no marker stands twice.
    fn check_outcomes(&self) {
        for (at, entry) in self.log.iter().enumerate() {
            let id = entry.id();
            let behind = &self.log[at + 1..];
            match entry.marker() {
                None => {
                    let marker = behind.iter().find(|it| it.id() == id && it.marker().is_some());
                    if let Some(marker) = marker {
                        assert_eq!(
                            marker.transaction, entry.transaction,
                            "{:?} by {:?}",
                            entry.written, marker.written
                        );
                        let ending = marker.marker().map(|marker| marker.ending);
                        assert_eq!(ending, self.endings.get(&(id, entry.transaction)).copied());
                    }
                }
                Some(_) if id >= FIRST_OF_V2 => {
                    let again = |it: &&Entry| it.written.delta == entry.written.delta;
                    assert_eq!(behind.iter().filter(again).count(), 0, "{:?} stands twice", entry.written);
                }
                Some(_) => {}
            }
        }
    }

    fn step(&mut self) {
        let id = i64::try_from(self.below(5)).unwrap();
        match self.random.below(100) {
            0..=19 => self.produce(id),
            20..=29 => self.send(id),
            30..=35 => self.decide(id),
            36..=43 => self.send_marker(id),
            44..=83 => (0..4).for_each(|_| self.deliver()),
            84..=95 => self.confirm(),
            96..=97 => self.hand_over(),
            _ => self.crash(),
        }
    }
}

#[test]
fn any_history_is_what_a_scan_of_its_log_tells() {
    // A mutants build runs these tests with one planted bug awake: one of them must fail then.
    #[cfg(mutants)]
    if let Ok(name) = std::env::var("MUTANT") {
        base::mutant::wake(&name);
    }
    let (mut done, mut aborted) = (0, 0);
    for seed in 0..600 {
        let mut story = Story::new(seed);
        for _ in 0..600 {
            story.step();
            story.check();
        }
        story.check_outcomes();
        done += story.done;
        aborted += scan(&story.log).1.len();
    }
    assert!(done > 2500 && aborted > 1200, "{done} transactions ended, {aborted} aborts are in the logs");
}
