//! What a day is looked at by.

use crate::world::Bucket;
use control_core::Image;
use stream::Store;
use world::{Operation, Purpose, StoreUse};

/// The state at the end of an hour, and what was asked of the bucket during it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sample {
    /// Hours since the start.
    pub hour: u64,
    /// Streams in the ledger.
    pub streams: usize,
    /// References to parts of objects, of all streams.
    pub references: usize,
    /// The most that one stream has.
    pub references_max: usize,
    /// Data objects that are referenced.
    pub objects: usize,
    /// Data objects in the bucket, dead ones in their grace included.
    pub stored_objects: usize,
    /// Their bytes.
    pub stored_bytes: u64,
    /// Bytes of batches that live.
    pub live_bytes: u64,
    /// All objects in the bucket but data.
    pub other_objects: usize,
    /// The newest ledger snapshot's bytes.
    pub snapshot_bytes: u64,
    /// Bytes of the ledger in the bucket, entries and snapshots.
    pub ledger_bytes: u64,
    /// Billed requests of the hour in hundredths of a PUT, by purpose in the order of [`Purpose::ALL`].
    pub put_equivalents_percent: [u64; Purpose::ALL.len()],
    /// Requests to delete of the hour.
    pub deletes: u64,
    /// Bytes put in data objects during the hour.
    pub put_bytes: u64,
    used: StoreUse,
}

impl Sample {
    /// Looks now.
    pub(super) fn take(hour: u64, store: &Store, bucket: &Bucket, used: StoreUse, before: Option<&Sample>) -> Sample {
        let image: &Image = &store.ledger().image();
        let references = || image.streams.values().map(|record| record.references.len());
        let all = bucket.sizes();
        let below = |prefix: &'static str| all.iter().filter(move |(key, _)| key.starts_with(prefix));
        let bytes = |prefix| below(prefix).map(|(_, size)| size).sum::<u64>();
        let zero = StoreUse::default();
        let earlier = before.map_or(&zero, |sample| &sample.used);
        let equivalents = |of: &StoreUse, purpose| of.put_equivalents_percent(purpose);
        let up = |of: &StoreUse| of.up_bytes(Purpose::Upload) + of.up_bytes(Purpose::Compaction);
        let deletes = |of: &StoreUse| Purpose::ALL.into_iter().map(|it| of.billed(Operation::Delete, it)).sum::<u64>();
        Sample {
            hour,
            streams: image.streams.len(),
            references: references().sum(),
            references_max: references().max().unwrap_or(0),
            objects: image.objects.len(),
            stored_objects: below("data/").count(),
            stored_bytes: bytes("data/"),
            live_bytes: image.streams.values().map(|record| record.live_bytes).sum(),
            other_objects: all.len() - below("data/").count(),
            snapshot_bytes: below("ledger/snapshot/").next_back().map_or(0, |(_, size)| *size),
            ledger_bytes: bytes("ledger/"),
            put_equivalents_percent: Purpose::ALL.map(|it| equivalents(&used, it) - equivalents(earlier, it)),
            deletes: deletes(&used) - deletes(earlier),
            put_bytes: up(&used) - up(earlier),
            used,
        }
    }

    /// Billed requests of the hour in PUTs.
    #[must_use]
    pub fn put_equivalents(&self) -> u64 {
        self.put_equivalents_percent.iter().sum::<u64>() / 100
    }

    /// Names of the columns of [`Sample::line`].
    #[must_use]
    pub fn heading() -> String {
        let purposes = Purpose::ALL.map(Purpose::name).join(",");
        format!(
            "hour,streams,references,references_max,objects,stored_objects,stored_mib,live_mib,other_objects,snapshot_mib,ledger_mib,put_mib,deletes,{purposes}"
        )
    }

    /// A line of comma-separated values.
    #[must_use]
    pub fn line(&self) -> String {
        let mib = |bytes: u64| format!("{:.2}", bytes as f64 / f64::from(1 << 20));
        let figures = [
            self.hour.to_string(),
            self.streams.to_string(),
            self.references.to_string(),
            self.references_max.to_string(),
            self.objects.to_string(),
            self.stored_objects.to_string(),
            mib(self.stored_bytes),
            mib(self.live_bytes),
            self.other_objects.to_string(),
            mib(self.snapshot_bytes),
            mib(self.ledger_bytes),
            mib(self.put_bytes),
            self.deletes.to_string(),
        ];
        let purposes = self.put_equivalents_percent.map(|count| (count / 100).to_string());
        figures.into_iter().chain(purposes).collect::<Vec<_>>().join(",")
    }
}
