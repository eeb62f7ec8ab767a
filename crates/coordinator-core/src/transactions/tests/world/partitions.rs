//! The partitions of the small world: who may write, which markers are taken, and what a reader makes of it.

use super::{Entry, Message, PARTITIONS, Partition, Phase, Process, Reply, World};
use crate::transactions::tests::broken::is_broken;
use crate::transactions::{MarkerOutcome, Producer};

impl World {
    fn partition(&mut self, partition: i32) -> &mut Partition {
        &mut self.partitions[usize::try_from(partition).unwrap()]
    }

    pub(super) fn number(&mut self, who: usize, attempt: u32, txn: usize, partition: i32, producer: Producer) {
        let it = self.partition(partition);
        let is_there = it.log.iter().any(|entry| matches!(entry, Entry::Data { txn: other, .. } if *other == txn));
        let passed = producer.epoch < it.epoch_of(producer.id);
        if !is_there && !passed {
            it.log.push(Entry::Data { txn, producer });
        }
        if !is_there && passed {
            self.network.push(Message::Reply { who, attempt, reply: Reply::Refused });
        }
        // Else the batch is acknowledged when it is confirmed.
    }

    /// F-2: higher epochs only, and those even where nothing is open.
    pub(super) fn marker(&mut self, partition: i32, producer: Producer, commit: bool) {
        let it = self.partition(partition);
        let epoch = it.epoch_of(producer.id);
        let is_new = match () {
            () if is_broken("F5") => producer.epoch >= epoch,
            () if is_broken("F6") => true,
            () => producer.epoch > epoch,
        };
        let is_skipped = is_broken("F13") && !it.log.iter().enumerate().any(|(at, _)| it.is_open(at));
        // F8: nothing tells that there was a marker, but the marker.
        let is_known = is_broken("F8") && it.log.contains(&Entry::Marker { producer, commit });
        if is_new && !is_known && !is_skipped {
            it.log.push(Entry::Marker { producer, commit });
        }
        if is_skipped || is_broken("F10") {
            self.network.push(Message::Marked { partition, producer, outcome: MarkerOutcome::Written });
        }
    }

    /// Some more of a partition is durable: batches are acknowledged, markers answered.
    pub(super) fn confirm_partition(&mut self) {
        let partition = i32::try_from(self.seed.below(PARTITIONS.unsigned_abs().into())).unwrap();
        self.confirm_all_of(partition);
    }

    pub(super) fn confirm_all_of(&mut self, partition: i32) {
        let it = self.partition(partition);
        it.confirmed = it.log.len();
        let answers: Vec<Message> = it
            .log
            .iter()
            .filter_map(|entry| match *entry {
                Entry::Marker { producer, .. } => {
                    Some(Message::Marked { partition, producer, outcome: MarkerOutcome::Written })
                }
                Entry::Data { .. } => None,
            })
            .collect();
        let written: Vec<usize> = it
            .log
            .iter()
            .filter_map(|entry| match *entry {
                Entry::Data { txn, .. } => Some(txn),
                Entry::Marker { .. } => None,
            })
            .collect();
        // A marker that is a repeat is answered like the first.
        self.network.extend(answers.into_iter().rev().take(1));
        for txn in written {
            let who = self.txns[txn].who;
            let Process { attempt, txn: present, phase, .. } = self.processes[who];
            if present == txn && phase == Phase::Writing && self.processes[who].waits.contains(&partition) {
                self.network.push(Message::Reply { who, attempt, reply: Reply::Written(partition) });
            }
        }
    }

    /// Another owner: it has any beginning that holds all that was confirmed, and no grants.
    pub(super) fn crash_partition(&mut self) {
        let partition = i32::try_from(self.seed.below(PARTITIONS.unsigned_abs().into())).unwrap();
        let it = self.partition(partition);
        let (length, confirmed) = (it.log.len(), it.confirmed);
        let kept = confirmed + usize::try_from(self.seed.below((length - confirmed + 1) as u64)).unwrap();
        let it = self.partition(partition);
        // Whoever sent a marker that is lost with its owner hears that the request failed.
        let lost = it.log.drain(kept..).filter_map(|entry| match entry {
            Entry::Marker { producer, .. } => {
                Some(Message::Marked { partition, producer, outcome: MarkerOutcome::Retry })
            }
            Entry::Data { .. } => None,
        });
        let lost: Vec<Message> = lost.collect();
        it.confirmed = kept;
        self.network.extend(lost);
        self.network.retain(|message| !matches!(message, Message::Number { partition: it, .. } if *it == partition));
        self.held.retain(|(_, message)| !matches!(message, Message::Number { partition: it, .. } if *it == partition));
    }
}

impl Partition {
    /// The highest epoch seen of a producer id.
    pub(super) fn epoch_of(&self, id: i64) -> i16 {
        let of = |entry: &Entry| match *entry {
            Entry::Data { producer, .. } => (producer.id == id).then_some(producer.epoch),
            Entry::Marker { producer, .. } => (producer.id == id && !is_broken("F8")).then_some(producer.epoch),
        };
        self.log.iter().filter_map(of).max().unwrap_or(-1)
    }

    pub(super) fn has(&self, txn: usize) -> bool {
        self.log.iter().any(|entry| matches!(entry, Entry::Data { txn: it, .. } if *it == txn))
    }

    /// What became of a transaction, as far as that is durable: the first marker of its producer id behind its data.
    pub(super) fn outcome(&self, txn: usize) -> Option<bool> {
        let durable = &self.log[..self.confirmed];
        let begin = durable.iter().position(|entry| matches!(entry, Entry::Data { txn: it, .. } if *it == txn))?;
        end_of(&durable[begin..])
    }

    /// Whether an entry is data without an end.
    pub(super) fn is_open(&self, at: usize) -> bool {
        matches!(self.log[at], Entry::Data { .. }) && end_of(&self.log[at..]).is_none()
    }
}

/// How the transaction of the first entry ends.
fn end_of(log: &[Entry]) -> Option<bool> {
    let Some(Entry::Data { producer: Producer { id, .. }, .. }) = log.first() else { return None };
    log.iter().find_map(|entry| match entry {
        Entry::Marker { producer, commit } if producer.id == *id => Some(*commit),
        Entry::Data { .. } | Entry::Marker { .. } => None,
    })
}
