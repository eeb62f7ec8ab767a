//! One of this start's write-ahead logs, with everything on the way into it: the appends that wait, the driver's wake-ups, its room, the
//! upload of what it holds.
//!
//! Logs share nothing but the log cache and the bucket: each acknowledges in its own order, fills, is slow and is trimmed by itself, so
//! that trouble of one is no trouble of another's streams. The first one, index 0, is where streams go that don't say otherwise.

use crate::front::Front;
use crate::options::Options;
use crate::upload::{self, Source};
use crate::wal::Wal;
use base::{Micros, WalId, WalPosition};
use control_core::Image;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use stream_core::pressure::{Pressure, SLOW_APPEND, WAL_FULL_PERMILLE};
use tokio::sync::Notify;
use world::{Clock, lock};

/// One log.
pub(crate) struct Log {
    /// By which topics choose it.
    pub(crate) name: String,
    pub(crate) id: WalId,
    clock: Arc<dyn Clock>,
    pub(crate) wal: Mutex<Wal>,
    /// The greatest batch that a group of it can hold.
    pub(crate) batch_bytes_max: usize,
    pub(crate) front: Mutex<Front>,
    /// Bytes of batches acknowledged by it since the start.
    pub(crate) appended_bytes: AtomicU64,
    /// Wakes the driver: something was accepted, or the log has room again.
    pub(crate) driver_wakes: Notify,
    /// It has next to no room: accept nothing more.
    pub(crate) is_full: AtomicBool,
    /// Thousandths of it in use, and when the oldest append was accepted that is not acknowledged (0: there is none): what every answer to
    /// a producer looks at, without a lock.
    permille: AtomicU64,
    oldest_append: AtomicU64,
    /// It takes nothing more: its streams go on in another log, and what it has acknowledged is uploaded.
    failed: AtomicBool,
    /// What it holds, as a source of uploads.
    pub(crate) source: Arc<Source>,
}

impl Log {
    /// With its share of the bounds; its records begin at `start`.
    pub(crate) fn new(name: String, wal: Wal, start: WalPosition, clock: Arc<dyn Clock>, share: &Options) -> Log {
        let id = wal.id();
        Log {
            name,
            id,
            clock,
            batch_bytes_max: wal.group_bytes_max(),
            front: Mutex::new(Front::new(share.append_limits(&wal))),
            wal: Mutex::new(wal),
            appended_bytes: AtomicU64::new(0),
            driver_wakes: Notify::new(),
            is_full: AtomicBool::new(false),
            permille: AtomicU64::new(0),
            oldest_append: AtomicU64::new(0),
            failed: AtomicBool::new(false),
            source: upload::source(share, id, start),
        }
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Whether what is only there can be read again, as far as one can tell: a device that takes nothing for a while may be about to fail,
    /// and what it has acknowledged may then be uploaded from memory alone. What a log that writes slowly holds is spilled when it has
    /// written something.
    pub(crate) fn gives_back(&self) -> bool {
        !self.has_failed() && self.oldest_append_waits() < SLOW_APPEND
    }

    /// Nothing more is accepted, and its driver is gone.
    pub(crate) fn fail(&self) {
        let mut front = lock(&self.front);
        front.give_up();
        self.note_oldest_append(&front);
        self.failed.store(true, Ordering::Release);
    }

    /// Whether an append would be refused for want of room, or since it has failed.
    pub(crate) fn is_busy(&self) -> bool {
        self.has_failed() || self.is_full.load(Ordering::Acquire) || lock(&self.front).is_busy()
    }

    /// Frees what the image shows committed.
    pub(crate) fn release_committed(&self, image: &Image) {
        {
            let mut wal = lock(&self.wal);
            let floor = wal.floor_in(image);
            wal.trim(floor);
            self.note_room(&wal);
        }
        self.driver_wakes.notify_one();
    }

    /// Notes whether there is room for what may be accepted; answers whether there is some again.
    pub(crate) fn note_room(&self, wal: &Wal) -> bool {
        let permille = u128::from(wal.used_bytes()) * 1000 / u128::from(wal.capacity_bytes().max(1));
        let permille = u64::try_from(permille).unwrap_or(u64::MAX);
        self.permille.store(permille, Ordering::Release);
        let full = permille >= WAL_FULL_PERMILLE;
        self.is_full.swap(full, Ordering::AcqRel) && !full
    }

    /// Notes since when something accepted is not acknowledged.
    pub(crate) fn note_oldest_append(&self, front: &Front) {
        let oldest = front.appender.oldest().map_or(0, |since| since.0.max(1));
        self.oldest_append.store(oldest, Ordering::Release);
    }

    /// How long the oldest append that is not acknowledged has waited.
    pub(crate) fn oldest_append_waits(&self) -> Duration {
        match self.oldest_append.load(Ordering::Acquire) {
            0 => Duration::ZERO,
            since => self.clock.now().since(Micros(since)),
        }
    }

    /// How long whoever has written to it and is answered now should send nothing. None is kept from sending to the next log of those that
    /// wrote to one which has failed.
    pub(crate) fn throttle(&self) -> Duration {
        if self.has_failed() {
            return Duration::ZERO;
        }
        let oldest_append = self.oldest_append_waits();
        // Only while appends are slow is their memory looked at, and then nothing is in a hurry.
        let slow = oldest_append >= SLOW_APPEND;
        let appends_permille = if slow { lock(&self.front).appender.held_permille() } else { 0 };
        let wal_permille = self.permille.load(Ordering::Acquire);
        Pressure { wal_permille, appends_permille, oldest_append }.throttle()
    }

    /// Whether it fills faster than blocks are uploaded by size and age.
    pub(crate) fn is_filling(&self) -> bool {
        let wal = lock(&self.wal);
        wal.used_bytes() >= wal.capacity_bytes() / 2 || self.is_full.load(Ordering::Acquire)
    }
}
