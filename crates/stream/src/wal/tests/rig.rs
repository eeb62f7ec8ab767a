//! One log of any kind over fakes, with the image that the ledger would hold of it: what the conformance suite is written against.

use super::fakes::{FakeDisk, FakeStore, world};
use super::*;
use std::path::Path;
use std::sync::atomic::Ordering;
use world::{ObjectStore, World};

const DIR: &str = "/data/wal";
const RING: &str = "/data/wal/ring";
const DEVICE: &str = "/dev/wal";

/// The kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A ring in a local file.
    File,
    /// A ring on a raw device.
    Device,
    /// A ring in a file that the recoverer sees too.
    Shared,
    /// Objects in the bucket.
    Objects,
}

/// A log's device, the starts that have written to it, and what the ledger knows of them.
pub(super) struct Rig {
    pub(super) kind: Kind,
    pub(super) random: Seed,
    pub(super) image: Image,
    options: WalOptions,
    disk: Arc<FakeDisk>,
    store: Arc<FakeStore>,
    capacity: u64,
    epoch: u64,
    /// What the living start, or else the last recoverer, holds open.
    ring: Option<RingFile>,
}

impl Rig {
    /// An empty device, on which a log may hold so many bytes (a multiple of the smallest ring).
    pub(super) fn new(kind: Kind, seed: u64, capacity: u64) -> Rig {
        let object_pace = PaceLimits { copy_samples_min: Some(1), ..PaceLimits::default() };
        let options = WalOptions { object_capacity_bytes: capacity, object_pace, ..WalOptions::default() };
        let image = Image { cluster_id: CLUSTER, ..Image::default() };
        let (disk, store) = (FakeDisk::new(), FakeStore::new(seed));
        disk.add_device(Path::new(DEVICE), vec![0; 8192 + usize::try_from(capacity).unwrap()]);
        Rig { kind, random: Seed::new(seed), image, options, disk, store, capacity, epoch: 0, ring: None }
    }

    fn world(&self) -> World {
        world(self.epoch, &self.disk)
    }

    fn bucket(&self) -> Arc<dyn ObjectStore> {
        self.store.clone()
    }

    /// The next start registers and begins to write.
    pub(super) async fn begin(&mut self) -> Wal {
        self.epoch += 1;
        let id = wal_id(self.epoch);
        self.image.next_node_epoch = NodeEpoch(self.epoch + 1);
        match self.kind {
            Kind::File | Kind::Device => {
                let ring = self.open().await.unwrap();
                let start = ring.next_start(&self.world(), &self.image).await.unwrap();
                self.image.wals.insert(id, Arc::new(record(ring.id(), start)));
                let wal = Wal::Ring(ring.begin(&self.image, id, &self.options).await.unwrap());
                self.ring = Some(ring);
                wal
            }
            Kind::Shared => {
                let ring = RingFile::create_shared(&self.world(), Path::new(DIR), self.capacity).await.unwrap();
                let url = ring.url();
                self.image.wals.insert(id, Arc::new(WalRecord { url, ..record(ring.id(), WalPosition(0)) }));
                Wal::Ring(ring.begin(&self.image, id, &self.options).await.unwrap())
            }
            Kind::Objects => {
                self.image.wals.insert(id, Arc::new(record(0, WalPosition(0))));
                Wal::Object(ObjectWal::begin(&self.world(), self.bucket(), id, &self.options))
            }
        }
    }

    async fn open(&self) -> Result<RingFile, WalOpenError> {
        match self.kind {
            Kind::Device => RingFile::open_device(&self.world(), Path::new(DEVICE), None).await,
            Kind::File | Kind::Shared | Kind::Objects => {
                RingFile::open(&self.world(), Path::new(DIR), self.capacity).await
            }
        }
    }

    /// As another host does it: fenced, then read.
    async fn open_shared(&self, id: WalId) -> Result<RingFile, RecoverError> {
        let record = &self.image.wals[&id];
        let path = crate::wal::shared_path(&record.url).unwrap();
        let ring = RingFile::open_dead(&self.world(), &patient(&self.world()), &path, record.ring_id).await.unwrap();
        ring.fence(NodeEpoch(99)).await.unwrap();
        Ok(ring)
    }

    /// The process goes, with all that it held in memory.
    pub(super) fn die(&mut self, wal: Wal) {
        drop(wal);
        self.ring = None;
    }

    /// What the device had not made durable goes, or does not.
    pub(super) fn lose_power(&mut self) {
        self.disk.lose_power(&mut self.random);
    }

    /// What a recoverer finds of that start from its trim point on. A writer that lives is fenced by it, or keeps it out.
    pub(super) async fn recover(&mut self, id: WalId) -> Result<Recovered, RecoverError> {
        let from = self.from(id);
        match self.kind {
            Kind::File | Kind::Device => {
                let kept = self.ring.take();
                let ring = match kept {
                    Some(ring) => ring,
                    None => self.open().await.map_err(|error| unreadable(id, &error))?,
                };
                self.ring = Some(ring.clone());
                ring.recover(id, from).await
            }
            Kind::Shared => {
                let ring = self.open_shared(id).await?;
                self.ring = Some(ring.clone());
                ring.recover(id, from).await
            }
            Kind::Objects => recover_objects(&self.world(), &self.bucket(), id, from).await,
        }
    }

    /// The same by another process than the one that holds the log now, if any does.
    pub(super) async fn recover_elsewhere(&self, id: WalId) -> Result<Recovered, RecoverError> {
        let from = self.from(id);
        match self.kind {
            Kind::File | Kind::Device => {
                let ring = self.open().await.map_err(|error| unreadable(id, &error))?;
                ring.recover(id, from).await
            }
            Kind::Shared => self.open_shared(id).await?.recover(id, from).await,
            Kind::Objects => recover_objects(&self.world(), &self.bucket(), id, from).await,
        }
    }

    /// Reads a dead start's entries, after [`Rig::recover`].
    pub(super) fn reader(&self, id: WalId) -> WalReader {
        match self.kind {
            Kind::File | Kind::Device | Kind::Shared => {
                WalReader::Ring(self.ring.clone().expect("recovered before it is read"))
            }
            Kind::Objects => WalReader::Object(ObjectWalReader::new(self.bucket(), id)),
        }
    }

    /// Where a walk of that start begins in this image.
    pub(super) fn from(&self, id: WalId) -> WalPosition {
        let record = &self.image.wals[&id];
        record.start.max(record.trim)
    }

    /// An image shows everything below `end` committed, and the writer sees it.
    pub(super) fn commit(&mut self, wal: &mut Wal, end: WalPosition) {
        change(&mut self.image, wal.id(), |record| record.trim = record.trim.max(end));
        wal.trim(wal.floor_in(&self.image));
    }

    /// The ledger seals a dead start's log.
    pub(super) fn seal(&mut self, id: WalId, end: WalPosition) {
        let recoverer = NodeEpoch(99);
        change(&mut self.image, id, |record| record.state = WalState::Sealed { end, recoverer });
    }

    /// Everything of a dead start is committed and the ledger forgets its log.
    pub(super) fn forget(&mut self, id: WalId) {
        self.image.wals.remove(&id);
    }

    /// Every write takes so many turns more.
    pub(super) fn set_slow(&self, turns: u64) {
        self.disk.weather.slow_turns.store(turns, Ordering::Relaxed);
        self.store.turns_max.store(6 + turns, Ordering::Relaxed);
    }

    /// No write succeeds.
    pub(super) fn set_failing(&self, failing: bool) {
        self.disk.weather.failing.store(failing, Ordering::Relaxed);
        self.store.trouble_per_mille.store(if failing { 1000 } else { 0 }, Ordering::Relaxed);
    }

    /// Changes a byte of a group's head behind everybody's back.
    pub(super) async fn damage(&self, group: &Known) {
        match self.kind {
            Kind::Shared => {
                let path = crate::wal::shared_path(&self.image.wals[&wal_id(self.epoch)].url).unwrap();
                let at = 12_288 + group.placed.position.0 % self.capacity;
                self.disk.damage(&path, usize::try_from(at).unwrap() + 20, &[0xff]);
            }
            Kind::File | Kind::Device => {
                let at = 8192 + group.placed.position.0 % self.capacity;
                let path = if self.kind == Kind::Device { DEVICE } else { RING };
                self.disk.damage(Path::new(path), usize::try_from(at).unwrap() + 20, &[0xff]);
            }
            Kind::Objects => {
                let key = crate::keys::wal_object_key(wal_id(self.epoch), group.placed.position.0 >> 32);
                let (bytes, _) = self.store.get(&key, world::GetRange::All).await.unwrap();
                let mut bytes = bytes.to_vec();
                bytes[20] = 0xff;
                self.store.replace(&key, &bytes);
            }
        }
    }
}

fn unreadable(wal: WalId, error: &WalOpenError) -> RecoverError {
    RecoverError::Unreadable { wal, reason: error.to_string() }
}
