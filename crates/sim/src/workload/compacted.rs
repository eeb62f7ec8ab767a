//! A compacted topic: a writer that knows what it has said of each key, and consumers that begin at the start and must come to know
//! the same.
//!
//! Every record carries a number in a header, which rises; so the last record of a key that a consumer meets tells how much it has heard.
//! It must have heard at least what was acknowledged when it began. A key of which it hears nothing was never written, or its last
//! word is that it is deleted, and such words may be forgotten in this run.
//!
//! The writer is idempotent. A batch that it gives up may be stored at any later time, so its keys are never written again.

use crate::checker::TopicKey;
use crate::plan::TopicPlan;
use crate::workload::batch::Stamp;
use crate::workload::client::{Client, Failure, RETRIABLE, Seek};
use crate::workload::topic::{LiveTopic, TOPIC_EXISTS};
use crate::workload::{Shared, breathe};
use crate::world::{now, true_wall};
use base::{Micros, Seed};
use bytes::Bytes;
use protocol::record_batch::{BatchBuilder, Compression, NO_TIMESTAMP, NewRecord, batches};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// Keys that are written to at a time.
const KEYS: usize = 6;
/// Records of a batch at the most.
const RECORDS_MAX: u64 = 3;
/// Tries of one batch before it is given up.
const TRIES_MAX: u32 = 40;
/// Bytes of a value at the most.
const VALUE_BYTES_MAX: u64 = 150;
/// A consumer that has not come to the end by then is slower than the log grows.
const STEPS_MAX: u32 = 500;
/// Longer than any run, and than any step of a clock.
const NEVER_MS: u64 = 1 << 45;

/// What was said of the topic.
#[derive(Default)]
pub(super) struct Said {
    topic: Option<LiveTopic>,
    keys: BTreeMap<String, KeySaid>,
    /// Behind the last record that was acknowledged.
    acknowledged: i64,
    /// Whether deletions may be forgotten.
    forgets: bool,
}

#[derive(Debug, Clone, Default)]
struct KeySaid {
    /// The number of the last word that was acknowledged.
    acknowledged: u64,
    /// Words that the last one may be: that one, and those after it.
    words: BTreeMap<u64, Option<u64>>,
}

/// A word of a batch: key, number, bytes of the value; `None` deletes the key.
type Word = (String, u64, Option<u64>);

/// Writes and reads until the workload stops.
pub(super) async fn run(shared: Arc<Shared>, mut seed: Seed, stopped: watch::Receiver<bool>) {
    let mut client = Client::new(&shared, seed.fork("client"));
    let topic = create(&mut client, &shared, &mut seed).await;
    said(&shared).topic = Some(topic.clone());
    let mut writer = Writer { topic, id: None, sequence: 0, number: 0, generation: [0; KEYS] };
    while !*stopped.borrow() {
        writer.write(&mut client, &shared, &mut seed, &stopped).await;
        if seed.chance(150) {
            // Trouble on the way is nobody's fault: the next consumer begins anew.
            let _tried = consume(&mut client, &shared).await;
        }
        breathe(&mut seed, 250).await;
    }
}

/// Reads it from its start to its end, until that works.
pub(super) async fn scan(shared: &Arc<Shared>, mut seed: Seed, deadline: Micros) {
    let mut client = Client::new(shared, seed.fork("client"));
    loop {
        match consume(&mut client, shared).await {
            Ok(()) => return,
            Err(last) if now() >= deadline => {
                let why = format!("lost: the compacted topic could not be read to its end; last answer: {last}");
                return shared.history.violation(why);
            }
            Err(_) => breathe(&mut seed, 100).await,
        }
    }
}

fn said(shared: &Shared) -> std::sync::MutexGuard<'_, Said> {
    shared.compacted.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn create(client: &mut Client, shared: &Shared, seed: &mut Seed) -> LiveTopic {
    let forgets = seed.chance(500);
    said(shared).forgets = forgets;
    let settings = [
        ("cleanup.policy", "compact".to_owned()),
        ("min.cleanable.dirty.ratio", ["0", "0.3"][usize::from(seed.chance(300))].to_owned()),
        ("delete.retention.ms", if forgets { seed.below(3000) } else { NEVER_MS }.to_string()),
        ("min.compaction.lag.ms", if seed.chance(200) { seed.below(2000) } else { 0 }.to_string()),
    ];
    let plan = TopicPlan {
        name: "compacted".to_owned(),
        partitions: 1,
        retention_bytes: None,
        settings: settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        recreated: false,
        pruned: false,
        value_bytes_max: VALUE_BYTES_MAX,
    };
    let id = loop {
        match client.create_topic(&plan, &[]).await {
            Ok(id) => break id,
            Err(Failure::Kafka(TOPIC_EXISTS)) => {
                if let Ok(id) = client.topic_id(&plan.name).await {
                    break id;
                }
            }
            Err(_) => {}
        }
        breathe(seed, 300).await;
    };
    LiveTopic { key: TopicKey { name: plan.name.clone(), generation: 0 }, plan, id }
}

struct Writer {
    topic: LiveTopic,
    id: Option<i64>,
    sequence: i32,
    number: u64,
    /// Of each key's name: raised where one is given up.
    generation: [u64; KEYS],
}

impl Writer {
    /// Says something of a few keys, until its fate is known or it is time to give up.
    async fn write(&mut self, client: &mut Client, shared: &Shared, seed: &mut Seed, stopped: &watch::Receiver<bool>) {
        while self.id.is_none() {
            if *stopped.borrow() {
                return;
            }
            self.id = client.init_producer_id().await.ok();
            self.sequence = 0;
            breathe(seed, 100).await;
        }
        let words = self.words(seed);
        let stamp = Stamp { id: self.id.unwrap_or(-1), epoch: 0, first_sequence: self.sequence, transactional: false };
        self.sequence += i32::try_from(words.len()).unwrap_or(0);
        let batch = encode(&words, &stamp, seed);
        {
            let mut said = said(shared);
            for (key, number, value) in &words {
                said.keys.entry(key.clone()).or_default().words.insert(*number, *value);
            }
        }
        for _ in 0..TRIES_MAX {
            match client.produce(&self.topic, 0, -1, &batch).await {
                Ok(base) => {
                    let mut said = said(shared);
                    let next = base.unwrap_or(0) + i64::try_from(words.len()).unwrap_or(0);
                    said.acknowledged = said.acknowledged.max(next);
                    for (key, number, _) in &words {
                        let of_key = said.keys.entry(key.clone()).or_default();
                        of_key.acknowledged = of_key.acknowledged.max(*number);
                        let last = of_key.acknowledged;
                        of_key.words.retain(|word, _| *word >= last);
                    }
                    shared.cluster.universe().trace.count("workload.compacted");
                    return;
                }
                Err(Failure::Kafka(code)) if !RETRIABLE.contains(&code) => {
                    shared.history.violation(format!("a batch for the compacted topic was refused with error {code}"));
                    break;
                }
                Err(_) => {}
            }
            if *stopped.borrow() {
                break;
            }
            breathe(seed, 250).await;
        }
        self.give_up(&words);
    }

    fn words(&mut self, seed: &mut Seed) -> Vec<Word> {
        let count = seed.between(1, RECORDS_MAX);
        (0..count)
            .map(|_| {
                self.number += 1;
                let key = usize::try_from(seed.below(KEYS as u64)).unwrap_or(0);
                let value = seed.chance(750).then(|| seed.between(1, VALUE_BYTES_MAX));
                (format!("k{key}.{}", self.generation[key]), self.number, value)
            })
            .collect()
    }

    fn give_up(&mut self, words: &[Word]) {
        self.id = None;
        for (name, _, _) in words {
            for (key, generation) in self.generation.iter_mut().enumerate() {
                if *name == format!("k{key}.{generation}") {
                    *generation += 1;
                }
            }
        }
    }
}

fn encode(words: &[Word], stamp: &Stamp, seed: &mut Seed) -> Bytes {
    // All but Zstandard, which older versions of Produce do not take.
    let codec = Compression::ALL[usize::try_from(seed.below(4)).unwrap_or(0)];
    let builder = BatchBuilder::new().compression(codec).producer(stamp.id, stamp.epoch, stamp.first_sequence);
    let timestamp = if seed.chance(200) { NO_TIMESTAMP } else { true_wall().0 };
    let add = |builder: BatchBuilder, (key, number, value): &Word| {
        let value = value.map(|bytes| value_of(*number, bytes));
        builder.record(&NewRecord {
            timestamp,
            key: Some(key.as_bytes()),
            value: value.as_deref(),
            headers: &[("n", Some(&number.to_be_bytes()))],
        })
    };
    words.iter().fold(builder, add).build(0).expect("a small batch can be built").bytes().clone()
}

fn value_of(number: u64, bytes: u64) -> Vec<u8> {
    (0..bytes).map(|at| (number.wrapping_mul(31) + at).to_be_bytes()[7]).collect()
}

/// What a consumer has heard of a key last: its number, and the length of the value.
type Heard = BTreeMap<String, (u64, Option<u64>)>;

/// One consumer, from the start to where the log ends when it begins.
async fn consume(client: &mut Client, shared: &Shared) -> Result<(), Failure> {
    let (topic, before, acknowledged, forgets) = {
        let said = said(shared);
        let Some(topic) = said.topic.clone() else { return Ok(()) };
        (topic, said.keys.clone(), said.acknowledged, said.forgets)
    };
    let (mut position, _) = client.seek(&topic, 0, Seek::Earliest).await?;
    let first = position;
    let mut heard = Heard::new();
    let mut records = 0;
    // A broker that does not know yet that it was deposed tells an older end. What was removed on the way has a later word further on.
    let mut end = acknowledged;
    for _ in 0..STEPS_MAX {
        if position >= end {
            break;
        }
        let fetched = client.fetch(&topic, 0, position, Duration::from_millis(100), 4_000).await?;
        end = end.max(fetched.high_watermark);
        let next = listen(shared, position, &fetched.records, &mut heard, &mut records);
        if next <= position {
            return Err(Failure::Empty { position, high_watermark: fetched.high_watermark });
        }
        position = next;
    }
    if position < end {
        return Err(Failure::Empty { position, high_watermark: end });
    }
    check(shared, &before, forgets, &heard);
    let trace = &shared.cluster.universe().trace;
    trace.count("check.compacted_read");
    if records < position - first {
        trace.count("check.compacted_removed");
    }
    Ok(())
}

/// Takes in a fetch's batches; where they end.
fn listen(shared: &Shared, position: i64, bytes: &Bytes, heard: &mut Heard, records: &mut i64) -> i64 {
    let mut next = position;
    for batch in batches(bytes.clone()) {
        let Ok(batch) = batch else {
            // A fetch may end within a batch.
            break;
        };
        if let Err(wrong) = batch.check() {
            shared.history.violation(format!("compacted: the batch at {}: {wrong}", batch.base_offset()));
        }
        // Only the first one may begin below where it was asked for: that lies in the middle of it.
        let is_in_order = batch.base_offset() >= next || (next == position && batch.last_offset() >= position);
        if !is_in_order {
            shared.history.violation(format!("compacted: the batch at {} comes after {next}", batch.base_offset()));
        }
        next = batch.last_offset() + 1;
        let found = batch.records(1 << 20).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let Ok(found) = found else {
            shared.history.violation(format!("compacted: the batch at {} can't be read", batch.base_offset()));
            continue;
        };
        for record in found {
            *records += 1;
            let number = record.headers.iter().find_map(|header| header.value.map(|value| number_of(&value)));
            let key = record.key.map(|key| String::from_utf8_lossy(&key).into_owned()).unwrap_or_default();
            let number = number.unwrap_or(0);
            let length = record.value.as_ref().map(|value| value.len() as u64);
            let is_said = record.value.is_none_or(|value| value[..] == value_of(number, value.len() as u64)[..]);
            if !is_said || number == 0 {
                shared.history.violation(format!("compacted: at {} stands what nobody wrote", record.offset));
            }
            heard.insert(key, (number, length));
        }
    }
    next
}

fn number_of(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn check(shared: &Shared, before: &BTreeMap<String, KeySaid>, forgets: bool, heard: &Heard) {
    let now_said = said(shared).keys.clone();
    for (key, of_key) in before {
        let last = of_key.acknowledged;
        let words = now_said.get(key).map(|now| &now.words);
        // What was said before it began, or since.
        let may_be_deleted =
            of_key.words.values().chain(words.into_iter().flat_map(BTreeMap::values)).any(Option::is_none);
        match heard.get(key) {
            // A consumer that is slow misses deletions that are forgotten before it comes to them, as in Kafka, and with them what they deleted.
            Some((number, _)) if *number < last && !(forgets && may_be_deleted) => shared.history.violation(format!(
                "compacted: of {key} word {number} is heard last, word {last} was acknowledged before"
            )),
            None if last > 0 && !(forgets && may_be_deleted) => shared.history.violation(format!(
                "compacted: nothing is heard of {key}, of which word {last} was acknowledged before"
            )),
            _ => {}
        }
    }
}
