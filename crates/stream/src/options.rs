//! Bounds and periods of the storage library, all in one place. The simulator makes them tiny.

use crate::wal::{Wal, WalOptions};
use std::time::Duration;
use stream_core::abandoned::UNCOMMITTED_OFFSETS_MAX;
use stream_core::append::AppendLimits;
use stream_core::compact::CompactLimits;
use stream_core::pace::PaceLimits;
use stream_core::producers::PRODUCER_BYTES;
use stream_core::upload::UploadLimits;

/// Bounds and periods.
#[derive(Debug, Clone)]
pub struct Options {
    /// Bytes appended and not yet durable, at the most; beyond that `append` answers [`crate::AppendError::Busy`]. A batch counts as 2 KiB at
    /// the least: what waits for it takes that.
    pub append_bytes_max: u64,
    /// Offsets that an owner gives out beyond its tenure's committed end, at the most (rule D-10). Every start of a cluster must have the
    /// same, and [`crate::abandon_logs`] as well: only tests change it.
    pub uncommitted_offsets_max: u64,
    /// Bytes of the log cache at the most; un-uploaded bytes beyond it are spilled to the WAL.
    pub log_cache_bytes_max: u64,
    /// The open block is uploaded when it holds so many bytes,
    pub upload_block_bytes: u64,
    /// or when its oldest batch is so old.
    pub upload_age: Duration,
    /// Blocks uploaded at the same time, at the most: with `upload_block_bytes` it bounds the memory of uploads.
    pub upload_blocks_max: usize,
    /// PUTs and GETs of data objects at the same time, at the most, each.
    pub requests_max: usize,
    /// A stream whose contiguous run is at least so long gets an object of its own.
    pub stream_object_bytes: u64,
    /// No stream-set object is planned larger.
    pub object_bytes_max: u64,
    /// Target size of a data block.
    pub data_block_bytes: usize,
    /// Bytes of the block cache at the most.
    pub block_cache_bytes_max: u64,
    /// Read-ahead at the most, per reader.
    pub read_ahead_bytes_max: u64,
    /// Idempotent producers in memory at the most, of all streams; beyond that strangers wait until saved ones have left it.
    pub producers_max: usize,
    /// While there are no more than so many, those stay in memory that nobody has used for long and that could be read back.
    pub producers_idle_max: usize,
    /// Where that is not enough, producers that were silent for so long are forgotten, though they have not expired. Well above the
    /// time for which clients repeat a batch.
    pub producer_silence_min: Duration,
    /// Dead objects are deleted so long after they died.
    pub dead_object_grace: Duration,
    /// How often dead objects are looked for.
    pub housekeeping_period: Duration,
    /// How often the whole bucket is listed for what nothing refers to.
    pub sweep_period: Duration,
    /// A request to the store that has not answered for so long is made again.
    pub request_timeout: Duration,
    /// How the bucket is tried out at the start.
    pub probe: StoreProbe,
    /// Bounds and periods of compaction.
    pub compaction: CompactionOptions,
    /// Bounds and periods of the WAL.
    pub wal: WalOptions,
}

/// When another broker is taken for dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatchTimes {
    /// How often each is asked that has answered.
    pub interval: Duration,
    /// Who is silent for so long is declared dead. Some intervals.
    pub timeout: Duration,
}

impl Default for WatchTimes {
    /// With some tenths of a second for what follows, a dead broker's partitions can be written again within two seconds.
    fn default() -> WatchTimes {
        WatchTimes { interval: Duration::from_millis(200), timeout: Duration::from_secs(1) }
    }
}

/// How the bucket is kept small.
#[derive(Debug, Clone)]
pub struct CompactionOptions {
    /// How often to look for what is worth it.
    pub period: Duration,
    /// So many objects are merged at once, and levels of size are so far apart. With `read_bytes` and `object_bytes_max` it bounds the
    /// memory of a job.
    pub fan: usize,
    /// Bytes of an object that is written, at the most, but for a single block that is longer.
    pub object_bytes_max: u64,
    /// Bytes asked for by one GET, about.
    pub read_bytes: u64,
    /// Parts of streams are merged until they have so many bytes: what a cold reader gets by one GET at the least.
    pub part_bytes: u64,
    /// Bytes read and written a second, at the most.
    pub bytes_per_second: u64,
    /// An object is written anew when more than so many per cent of it are dead,
    pub dead_percent_max: u64,
    /// and have been for so long: most objects die as a whole soon after, and until then their dead bytes cost less than writing the others
    /// once more (`docs/adr/0141-what-is-worth-compacting.md`).
    pub dead_age: Duration,
    /// What a job has written is handed to the ledger when it is so many bytes, or so many swaps, and the present object is large enough to
    /// be ended; and at the job's end.
    pub replace_bytes: u64,
    /// See `replace_bytes`.
    pub replace_swaps: usize,
    /// A request waits so long, at the most, for a write-ahead log that is filling.
    pub yield_max: Duration,
}

/// Whether the store does what everything rests on, put-if-absent above all, is tried out on the store itself at each start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreProbe {
    /// Not at all: the simulator's store is known, and late copies of a probe's puts would be taken for a broken one.
    Off,
    /// One round: a folder.
    Light,
    /// Many rounds when the cluster is made or its endpoint has changed, one otherwise: a remote store.
    Thorough,
}

const MIB: u64 = 1 << 20;

/// What a batch counts for in `append_bytes_max` at the least: its entry, its confirmation with a timer, and the answer that waits for it
/// take about so much together.
const APPEND_BYTES_MIN: usize = 2048;

impl Default for Options {
    fn default() -> Self {
        Options::for_memory(1024 * MIB)
    }
}

impl Options {
    /// The defaults for a memory budget: about two fifths for the tail, a fifth each for uploads, appends in flight and blocks read
    /// back. Memory is taken as it is needed.
    #[must_use]
    pub fn for_memory(bytes: u64) -> Options {
        let bytes = bytes.max(64 * MIB);
        let upload_blocks_max = 2;
        let upload_block_bytes = (bytes / 5 / upload_blocks_max as u64).clamp(4 * MIB, 224 * MIB);
        Options {
            append_bytes_max: (bytes / 8).min(512 * MIB),
            uncommitted_offsets_max: UNCOMMITTED_OFFSETS_MAX,
            log_cache_bytes_max: bytes * 2 / 5,
            upload_block_bytes,
            upload_age: Duration::from_secs(60),
            upload_blocks_max,
            requests_max: 4,
            stream_object_bytes: 32 * MIB,
            object_bytes_max: 256 * MIB,
            data_block_bytes: 1 << 20,
            block_cache_bytes_max: bytes / 5,
            read_ahead_bytes_max: (bytes / 128).clamp(MIB, 8 * MIB),
            producers_max: usize::try_from(bytes / 32 / PRODUCER_BYTES).unwrap_or(usize::MAX),
            // A little is free for those who come: who has left for it is the next to come back, where all are written in turns.
            producers_idle_max: usize::try_from(bytes / 32 / 32 * 31 / PRODUCER_BYTES).unwrap_or(usize::MAX),
            producer_silence_min: Duration::from_mins(15),
            dead_object_grace: Duration::from_mins(10),
            housekeeping_period: Duration::from_mins(5),
            sweep_period: Duration::from_hours(1),
            request_timeout: Duration::from_mins(1),
            probe: StoreProbe::Light,
            compaction: CompactionOptions::for_memory(bytes / 32),
            wal: WalOptions {
                ring_group_bytes_max: in_memory((bytes / 64).clamp(MIB, 8 * MIB)),
                // A quarter of what may be in flight, so that several can be.
                object_pace: PaceLimits {
                    object_bytes_max: in_memory((bytes / 32).clamp(MIB, 32 * MIB)),
                    ..PaceLimits::default()
                },
                ..WalOptions::default()
            },
        }
    }

    /// The part of one of so many logs in what is bounded for all of them: an equal one, so that a log that is slow or full leaves the
    /// others theirs. Of the log cache and of requests they take what they need.
    pub(crate) fn share(&self, logs: usize) -> Options {
        let logs = logs.max(1);
        let mut share = self.clone();
        if logs > 1 {
            share.append_bytes_max /= logs as u64;
            share.upload_block_bytes = (share.upload_block_bytes / logs as u64).max(1);
            // So that several groups can be in flight.
            let group_bytes_max = in_memory(share.append_bytes_max / 4).max(1);
            share.wal.ring_group_bytes_max = share.wal.ring_group_bytes_max.min(group_bytes_max);
            let pace = &mut share.wal.object_pace;
            pace.object_bytes_max = pace.object_bytes_max.min(group_bytes_max);
        }
        share
    }

    pub(crate) fn append_limits(&self, wal: &Wal) -> AppendLimits {
        AppendLimits {
            append_bytes_max: self.append_bytes_max,
            batch_bytes_min: APPEND_BYTES_MIN,
            group_batches_max: wal.group_entries_max(),
        }
    }

    pub(crate) fn compact_limits(&self) -> CompactLimits {
        let CompactionOptions { fan, object_bytes_max, part_bytes, dead_percent_max, .. } = self.compaction;
        let stream_object_bytes = self.stream_object_bytes.min(object_bytes_max);
        CompactLimits { fan, object_bytes_max, part_bytes, stream_object_bytes, dead_percent_max }
    }

    pub(crate) fn upload_limits(&self) -> UploadLimits {
        UploadLimits {
            block_bytes: self.upload_block_bytes,
            age: self.upload_age,
            blocks_in_flight_max: self.upload_blocks_max,
            stream_object_bytes: self.stream_object_bytes,
            object_bytes_max: self.object_bytes_max,
        }
    }
}

impl CompactionOptions {
    /// Half of these bytes for the object that is written, half for what is read for it.
    fn for_memory(bytes: u64) -> CompactionOptions {
        let fan = 8;
        CompactionOptions {
            period: Duration::from_secs(30),
            fan,
            object_bytes_max: (bytes / 2).min(256 * MIB),
            read_bytes: (bytes / 2 / fan as u64).min(8 * MIB),
            part_bytes: 64 << 10,
            bytes_per_second: 64 * MIB,
            dead_percent_max: 50,
            dead_age: Duration::from_hours(3),
            replace_bytes: 512 * MIB,
            replace_swaps: 4096,
            yield_max: Duration::from_secs(5),
        }
    }
}

/// Bytes that are held in memory.
pub(crate) fn in_memory(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_budget_is_kept_and_every_part_is_usable() {
        for mib in [0, 64, 256, 1024, 8192, 65_536] {
            let options = Options::for_memory(mib * MIB);
            let uploads = options.upload_block_bytes * options.upload_blocks_max as u64;
            let producers = options.producers_max as u64 * PRODUCER_BYTES;
            let held = options.append_bytes_max
                + options.log_cache_bytes_max
                + uploads
                + options.block_cache_bytes_max
                + options.compaction.object_bytes_max
                + options.compaction.read_bytes * options.compaction.fan as u64
                + producers;
            assert!(held <= mib.max(64) * MIB, "{mib} MiB: {held}");
            for group in [options.wal.ring_group_bytes_max, options.wal.object_pace.object_bytes_max] {
                assert!(options.append_bytes_max >= 4 * group as u64);
                assert!(options.upload_block_bytes + group as u64 <= options.object_bytes_max);
            }
        }
    }
}
