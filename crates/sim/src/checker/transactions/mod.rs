//! What transactions did, checked while it happens (invariants 8 to 11).
//!
//! Every record has a number that no other has, so each reading tells whose it is; every committed offset names its transaction. From
//! all that is seen there is evidence that a transaction was committed (its producer was told so, a reader of decided records saw a record of
//! it, its offsets are committed) and that it was not (such a reader passed over a record of it, the last stable offset passed
//! it or its producer was fenced before a commit was asked for, later offsets came to be without it). Of no transaction may there be
//! both, and none may be seen whose commit nobody has asked for. What a reader of decided records was shown once is shown for ever.

#[cfg(test)]
mod tests;

use crate::checker::History;
use crate::world::{Trace, now};
use base::Micros;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A producer id and its epoch.
pub type ProducerEpoch = (i64, i16);

/// One of the moments at which something was asked or answered, in their true order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct When(u64);

/// What the transactions of one run did; clones share it. Partitions and transactions have numbers.
#[derive(Clone)]
pub struct TransactionHistory {
    inner: Arc<Mutex<Inner>>,
    history: History,
    trace: Trace,
}

#[derive(Default)]
struct Inner {
    moments: u64,
    lives: u64,
    /// Who was told that it is this producer.
    told: BTreeMap<ProducerEpoch, u64>,
    transactions: Vec<Transaction>,
    records: Vec<Record>,
    partitions: BTreeMap<usize, Partition>,
    wrong: Vec<String>,
}

/// In the order in which they began, which is that of their commits where they have one transactional id.
#[derive(Default)]
struct Transaction {
    id: String,
    producer: ProducerEpoch,
    records: Vec<u64>,
    /// By partition: which offsets it consumed, and what stood there.
    consumed: BTreeMap<usize, (i64, i64, Vec<u64>)>,
    asks_commit: bool,
    told_committed: Option<When>,
    /// Evidence of either, the first of each.
    committed: Option<String>,
    aborted: Option<String>,
}

#[derive(Clone, Copy)]
struct Record {
    transaction: usize,
    partition: usize,
    offset: Option<i64>,
}

#[derive(Default)]
struct Partition {
    /// What readers of decided records were shown at each offset that they passed.
    read: BTreeMap<i64, Option<u64>>,
    /// By the process that told them: when, and the greatest until then.
    stable: BTreeMap<u64, Vec<(Micros, i64)>>,
    stable_max: i64,
    /// Behind all that was acknowledged.
    end: i64,
}

impl TransactionHistory {
    /// Nothing yet. Violations go to `history`.
    #[must_use]
    pub fn new(history: History, trace: Trace) -> TransactionHistory {
        TransactionHistory { inner: Arc::default(), history, trace }
    }

    /// The present moment: something is about to be asked.
    #[must_use]
    pub fn asks(&self) -> When {
        self.change(Inner::moment)
    }

    /// A producer begins to live.
    #[must_use]
    pub fn lives(&self) -> u64 {
        self.change(|inner| {
            inner.lives += 1;
            inner.lives
        })
    }

    /// A life was told who it is: nobody else may be.
    pub fn told(&self, life: u64, producer: ProducerEpoch) {
        self.change(|inner| {
            let owner = *inner.told.entry(producer).or_insert(life);
            if owner != life {
                inner.wrong.push(format!("fencing: two producers are told that they are {producer:?}"));
            }
        });
    }

    /// A life was told that it is the one producer of a transactional id: whoever was before has had its last word.
    pub fn took_over(&self, id: &str, (producer_id, epoch): ProducerEpoch) {
        self.change(|inner| {
            for number in 0..inner.transactions.len() {
                let it = &inner.transactions[number];
                let is_fenced = it.id == id && it.producer.0 == producer_id && it.producer.1 < epoch;
                if is_fenced && !it.asks_commit {
                    inner.is_aborted(number, format!("{:?} was fenced by epoch {epoch} before", it.producer));
                }
            }
        });
        self.trace.count("check.txn_fence");
    }

    /// A transaction begins; its number.
    #[must_use]
    pub fn begins(&self, id: &str, producer: ProducerEpoch) -> usize {
        self.change(|inner| {
            inner.transactions.push(Transaction { id: id.to_owned(), producer, ..Transaction::default() });
            inner.transactions.len() - 1
        })
    }

    /// So many records are about to be written in it; their numbers.
    #[must_use]
    pub fn sends(&self, transaction: usize, partition: usize, count: usize) -> Vec<u64> {
        self.change(|inner| {
            let first = inner.records.len();
            inner.records.resize(first + count, Record { transaction, partition, offset: None });
            let numbers: Vec<u64> = (first..first + count).map(|number| number as u64).collect();
            inner.transactions[transaction].records.extend(&numbers);
            numbers
        })
    }

    /// They were acknowledged from this offset on.
    pub fn stored(&self, numbers: &[u64], base: i64) {
        self.change(|inner| {
            for (offset, number) in (base..).zip(numbers) {
                let Some(record) = index(*number).and_then(|at| inner.records.get_mut(at)) else { continue };
                record.offset = Some(offset);
                let Record { transaction, partition, .. } = *record;
                let of = inner.partitions.entry(partition).or_default();
                of.end = of.end.max(offset + 1);
                let is_passed = of.stable_max > offset;
                match of.read.get(&offset).copied() {
                    Some(Some(seen)) if seen != *number => inner.wrong.push(format!(
                        "altered: record {number} is acknowledged at {partition}/{offset}, where {seen} was read"
                    )),
                    Some(Some(_)) => {}
                    Some(None) => {
                        inner.is_aborted(transaction, format!("a reader passed over {partition}/{offset}"));
                    }
                    None if is_passed && !inner.transactions[transaction].asks_commit => {
                        inner.is_aborted(transaction, format!("the last stable offset passed {partition}/{offset}"));
                    }
                    None => {}
                }
            }
        });
    }

    /// It consumes what stands in `[from, next)` of a partition.
    pub fn consumes(&self, transaction: usize, partition: usize, (from, next): (i64, i64), numbers: Vec<u64>) {
        self.change(|inner| drop(inner.transactions[transaction].consumed.insert(partition, (from, next, numbers))));
    }

    /// Its commit is about to be asked for.
    pub fn asks_commit(&self, transaction: usize) {
        self.change(|inner| inner.transactions[transaction].asks_commit = true);
    }

    /// Its producer is told that it is committed.
    pub fn committed(&self, transaction: usize) {
        self.change(|inner| {
            let moment = inner.moment();
            inner.transactions[transaction].told_committed.get_or_insert(moment);
            inner.is_committed(transaction, || "its producer was told so".to_owned());
        });
        self.trace.count("check.txn_commit");
    }

    /// A reader of decided records passed `[from, next)` of a partition and was shown these.
    pub fn reads(&self, partition: usize, (from, next): (i64, i64), shown: &BTreeMap<i64, u64>) {
        self.change(|inner| {
            for offset in from..next {
                inner.reads(partition, offset, shown.get(&offset).copied());
            }
        });
        self.trace.count("check.txn_read");
    }

    /// A broker told the last stable offset of a partition, and its high watermark. Where it has nothing else to tell it may not know it.
    pub fn stable(&self, process: u64, partition: usize, asked: Micros, (stable, high_watermark): (i64, i64)) {
        if stable < 0 {
            return self.trace.count("check.txn_stable_unknown");
        }
        self.change(|inner| {
            let of = inner.partitions.entry(partition).or_default();
            let seen = of.stable.entry(process).or_default();
            let before = seen.iter().rev().find(|(answered, _)| *answered < asked).map_or(0, |(_, stable)| *stable);
            if stable < before {
                inner.wrong.push(format!("last stable offset of {partition} went back from {before} to {stable}"));
            }
            if stable > high_watermark {
                inner.wrong.push(format!("last stable offset of {partition} is {stable}, beyond {high_watermark}"));
            }
            let greatest = seen.last().map_or(0, |(_, stable)| *stable);
            seen.push((now(), stable.max(greatest)));
            of.stable_max = of.stable_max.max(stable);
            for number in 0..inner.transactions.len() {
                let it = &inner.transactions[number];
                if it.asks_commit || it.aborted.is_some() {
                    continue;
                }
                let records = it.records.iter().filter_map(|number| inner.records.get(index(*number)?));
                let mut here = records.filter(|it| it.partition == partition).filter_map(|it| it.offset);
                if let Some(offset) = here.find(|offset| *offset < stable) {
                    inner.is_aborted(number, format!("the last stable offset passed {partition}/{offset}"));
                }
            }
        });
    }

    /// A fetch of committed offsets that was asked for at that moment found this offset of this transaction, or none. What is not decided
    /// yet may be left out unless `is_stable`.
    pub fn offset(&self, asked: When, partition: usize, found: Option<(i64, usize)>, is_stable: bool) {
        self.change(|inner| {
            if let Some((offset, transaction)) = found {
                let consumed = inner.transactions.get(transaction).and_then(|it| it.consumed.get(&partition));
                if consumed.is_none_or(|(_, next, _)| *next != offset) {
                    inner.wrong.push(format!("invented: offset {offset} of {partition}, by transaction {transaction}"));
                    return;
                }
                inner.is_committed(transaction, || format!("its offset {offset} of {partition} is committed"));
            }
            let later = found.map_or(0, |(_, transaction)| transaction + 1);
            for number in later..inner.transactions.len() {
                let it = &inner.transactions[number];
                let was_told = it.told_committed.is_some_and(|told| told < asked);
                if is_stable && was_told && it.consumed.contains_key(&partition) {
                    inner.is_aborted(number, format!("its offset of {partition} is not there, {found:?} is"));
                }
            }
        });
        self.trace.count("check.txn_offset");
    }

    /// Behind all that was acknowledged in a partition.
    #[must_use]
    pub fn end(&self, partition: usize) -> i64 {
        self.change(|inner| inner.partitions.entry(partition).or_default().end)
    }

    /// A partition was read to its end, and this much of it is consumed in the end: each record exactly once.
    pub fn finish(&self, partition: usize, committed: i64) {
        self.change(|inner| {
            let mut next = 0;
            let mut wrong = Vec::new();
            for (number, it) in inner.transactions.iter().enumerate() {
                let Some((from, to, numbers)) = it.consumed.get(&partition).filter(|_| it.committed.is_some()) else {
                    continue;
                };
                if *from != next {
                    wrong
                        .push(format!("exactly once: {number} consumed {partition} from {from}, {next} was committed"));
                }
                let read = inner.partitions.entry(partition).or_default().read.range(*from..*to);
                let there: Vec<u64> = read.filter_map(|(_, number)| *number).collect();
                if there != *numbers {
                    wrong.push(format!(
                        "exactly once: {number} consumed {numbers:?} of {partition}, there is {there:?}"
                    ));
                }
                next = *to;
            }
            if next != committed {
                wrong.push(format!("exactly once: {partition} is committed up to {committed}, consumed up to {next}"));
            }
            inner.wrong.extend(wrong);
        });
        self.trace.count("check.txn_exactly_once");
    }

    fn change<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        let mut inner: MutexGuard<'_, Inner> = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let value = change(&mut inner);
        let wrong = std::mem::take(&mut inner.wrong);
        drop(inner);
        wrong.into_iter().for_each(|wrong| self.history.violation(format!("transactions: {wrong}")));
        value
    }
}

impl Inner {
    fn moment(&mut self) -> When {
        self.moments += 1;
        When(self.moments)
    }

    fn reads(&mut self, partition: usize, offset: i64, shown: Option<u64>) {
        let of = self.partitions.entry(partition).or_default();
        if let Some(before) = of.read.insert(offset, shown) {
            if before != shown {
                self.wrong.push(format!("at {partition}/{offset} stands {shown:?}, {before:?} was read before"));
            }
            return;
        }
        if let Some(number) = shown {
            match index(number).and_then(|at| self.records.get(at)).copied() {
                Some(it) if it.partition == partition && it.offset.is_none_or(|it| it == offset) => {
                    if let Some(record) = index(number).and_then(|at| self.records.get_mut(at)) {
                        record.offset = Some(offset);
                    }
                    self.is_committed(it.transaction, || format!("record {number} was read at {partition}/{offset}"));
                }
                other => {
                    let there = other.map(|it| (it.partition, it.offset));
                    self.wrong
                        .push(format!("record {number} is read at {partition}/{offset}, it belongs to {there:?}"));
                }
            }
            return;
        }
        let here = |it: &Record| it.partition == partition && it.offset == Some(offset);
        if let Some(it) = self.records.iter().copied().find(here) {
            self.is_aborted(it.transaction, format!("a reader passed over {partition}/{offset}"));
        }
    }

    fn is_committed(&mut self, number: usize, why: impl FnOnce() -> String) {
        let it = &mut self.transactions[number];
        if !it.asks_commit {
            self.wrong.push(format!("{number} of {} is seen, whose commit nobody asked for: {}", it.id, why()));
            return;
        }
        if it.committed.is_none() {
            let why = it.committed.insert(why());
            if let Some(aborted) = &it.aborted {
                self.wrong.push(format!("{number} of {} is committed ({why}) and is not ({aborted})", it.id));
            }
        }
    }

    fn is_aborted(&mut self, number: usize, why: String) {
        let it = &mut self.transactions[number];
        if it.aborted.is_none() {
            let why = it.aborted.insert(why);
            if let Some(committed) = &it.committed {
                self.wrong.push(format!("{number} of {} is committed ({committed}) and is not ({why})", it.id));
            }
        }
    }
}

fn index(number: u64) -> Option<usize> {
    usize::try_from(number).ok()
}
