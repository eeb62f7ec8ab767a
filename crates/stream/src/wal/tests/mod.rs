//! The WAL kinds over a disk and a bucket that lose, tear, delay and lie as the seams' contracts allow.
//!
//! `conformance` is what every kind must do, written once; beside it each kind's own files.

mod conformance;
mod device;
mod fakes;
mod object;
mod rig;
mod ring;
mod shared;

use super::*;
use base::OffsetRange;
use base::{NodeEpoch, Offset, Seed, StreamEpoch, StreamId, UnixMillis, WalIndex};
use control_core::image::{WalRecord, WalState};
use std::sync::Arc;
use stream_core::{BatchBytes, NumberedBatch};

const CLUSTER: u128 = 77;

/// What is only slow is not given up, however often its limit goes by.
#[tokio::test]
async fn a_start_waits_for_a_slow_disk_past_every_word_about_it() {
    let world = fakes::world(1, &Arc::new(fakes::FakeDisk::default()));
    let mut words = Vec::new();
    // The clock's thirty seconds, ten and twenty seconds after which there is a word, and what is left for no third one.
    for turns in [fakes::LIMIT_TURNS / 4, fakes::LIMIT_TURNS / 2, 3 * fakes::LIMIT_TURNS / 2] {
        let slow = async {
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
            "opened"
        };
        let mut told = 0;
        let waited = patience::telling_while_waiting(world.clock.as_ref(), || told += 1, slow);
        assert_eq!(waited.await, "opened");
        words.push(told);
    }
    assert_eq!(words, [0, 1, 2]);
}

/// As a start is with dead rings.
fn patient(world: &world::World) -> Arc<Patience> {
    Patience::new(world, WalOptions::default().dead_ring_stalled_max)
}

fn wal_id(epoch: u64) -> WalId {
    WalId { node_epoch: NodeEpoch(epoch), index: WalIndex(0) }
}

/// Writes that may be under way at once.
fn in_flight_max(wal: &Wal) -> usize {
    wal.terms(Micros(0)).in_flight_max
}

/// Entries whose bytes nobody else would write.
fn entries(random: &mut Seed, count_max: u64, bytes_max: u64) -> Vec<WalEntry> {
    (0..random.between(1, count_max))
        .map(|_| {
            let len = usize::try_from(random.between(1, bytes_max)).unwrap();
            let bytes: Vec<u8> = (0..len.div_ceil(8)).flat_map(|_| random.next_u64().to_le_bytes()).take(len).collect();
            let split = len.min(16);
            let base = random.below(1000);
            WalEntry {
                stream: StreamId(random.below(5)),
                stream_epoch: StreamEpoch(0),
                batch: NumberedBatch {
                    range: OffsetRange::new(Offset(base), Offset(base + 1)),
                    bytes: BatchBytes {
                        head: Bytes::copy_from_slice(&bytes[..split]),
                        body: Bytes::copy_from_slice(&bytes[split..]),
                    },
                    records: 1,
                    max_timestamp: UnixMillis(0),
                    producer: None,
                    control: false,
                    frame: None,
                },
            }
        })
        .collect()
}

/// A group that was placed, and what reading it back must give.
struct Known {
    placed: Placed,
    contents: Vec<Vec<u8>>,
}

impl Known {
    fn new(placed: Placed, entries: &[WalEntry]) -> Known {
        let contents = entries.iter().map(|it| [&it.batch.bytes.head[..], &it.batch.bytes.body[..]].concat()).collect();
        Known { placed, contents }
    }
}

/// What was recovered is the known groups from `from` on, in order, without a hole, up to some end; and their bytes can be read.
/// Yields how many of the known groups lie below that end.
async fn expect_prefix(known: &[Known], from: WalPosition, recovered: &Recovered, reader: &WalReader) -> usize {
    let first = known.partition_point(|group| group.placed.end <= from);
    assert!(recovered.groups.len() <= known.len() - first, "more groups recovered than were placed");
    for (found, known) in recovered.groups.iter().zip(&known[first..]) {
        assert_eq!((found.position, found.end), (known.placed.position, known.placed.end));
        let spans: Vec<WalSpan> = found.entries.iter().map(|entry| found.span(entry)).collect();
        assert_eq!(spans, known.placed.spans);
        for (span, content) in spans.iter().zip(&known.contents) {
            assert_eq!(&reader.read(*span).await.unwrap()[..], &content[..]);
        }
    }
    let count = first + recovered.groups.len();
    let end = count.checked_sub(1).map_or(from, |last| known[last].placed.end.max(from));
    // A pad may have survived whose group did not.
    let after_pad = match reader {
        WalReader::Ring(ring) if count < known.len() => WalPosition(end.0.next_multiple_of(ring.capacity_bytes())),
        WalReader::Ring(_) | WalReader::Object(_) => end,
    };
    assert!(recovered.end == end || recovered.end == after_pad, "ends at {}, not at {end}", recovered.end);
    count
}

fn record(ring_id: u128, start: WalPosition) -> WalRecord {
    WalRecord {
        url: String::new(),
        ring_id,
        in_storage: ring_id == 0,
        start,
        trim: start,
        state: WalState::Open,
        name: String::new(),
    }
}

/// Changes one WAL's record, as a ledger entry would.
fn change(image: &mut Image, wal: WalId, change: impl FnOnce(&mut WalRecord)) {
    let mut record = WalRecord::clone(&image.wals[&wal]);
    change(&mut record);
    image.wals.insert(wal, Arc::new(record));
}
