//! One partition's records on their way to the sender: an open batch that fills, and full ones that wait.
//!
//! Records are appended under a short lock by whoever sends; the [sender](crate::sender) takes batches from there, in their order.

use crate::error::ClientError;
use crate::producer::OutRecord;
use crate::shared::{Ready, Shared};
use base::Micros;
use protocol::record_batch::{BatchBuilder, NewRecord};
use std::collections::VecDeque;
use std::sync::Mutex;
use world::lock;

/// One partition.
pub(crate) struct Lane {
    /// Where it stands among the producer's lanes.
    at: usize,
    pub(crate) partition: i32,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    open: Collected,
    full: VecDeque<Collected>,
    /// Whether the sender is going to look at it anyway.
    is_listed: bool,
}

/// Records of a batch to be.
#[derive(Default)]
pub(crate) struct Collected {
    builder: BatchBuilder,
    bytes: usize,
    due: Vec<Micros>,
    since: Micros,
}

impl Lane {
    pub(crate) fn new(at: usize, partition: i32) -> Lane {
        Lane { at, partition, waiting: Mutex::default() }
    }

    /// Makes the sender look at it.
    pub(crate) fn list(&self, shared: &Shared) {
        if !std::mem::replace(&mut lock(&self.waiting).is_listed, true) {
            shared.list(self.at);
        }
    }

    /// Puts a record into the open batch, for which `bytes` are reserved. Answers whether that filled a batch.
    pub(crate) fn push(&self, shared: &Shared, record: &OutRecord<'_>, bytes: usize) -> bool {
        let timestamp = shared.cluster.world().clock.wall().0;
        let new = NewRecord { timestamp, key: record.key, value: record.value, headers: &[] };
        let mut waiting = lock(&self.waiting);
        let mut filled = !waiting.open.due.is_empty() && waiting.open.bytes + bytes > shared.options.batch_bytes;
        if filled {
            waiting.close_open();
        }
        let open = &mut waiting.open;
        let is_first = open.due.is_empty();
        if is_first {
            open.since = shared.now();
        }
        open.builder = std::mem::take(&mut open.builder).record(&new);
        open.bytes += bytes;
        open.due.push(record.due);
        if open.bytes >= shared.options.batch_bytes {
            waiting.close_open();
            filled = true;
        }
        let is_news = (is_first || filled) && !std::mem::replace(&mut waiting.is_listed, true);
        drop(waiting);
        if is_news {
            shared.list(self.at);
        }
        filled
    }

    /// When what is here has to go; `None` where there is nothing. What comes later than this look is listed again.
    pub(crate) fn look(&self, shared: &Shared) -> Option<Micros> {
        let mut waiting = lock(&self.waiting);
        waiting.is_listed = false;
        if !waiting.full.is_empty() {
            return Some(Micros(0));
        }
        let open = &waiting.open;
        let is_urgent = shared.is_flushing();
        (!open.due.is_empty()).then(|| if is_urgent { Micros(0) } else { open.since.plus(shared.options.linger) })
    }

    /// The next batch, whether or not it is full.
    pub(crate) fn take(&self) -> Option<Collected> {
        let mut waiting = lock(&self.waiting);
        if let Some(full) = waiting.full.pop_front() {
            return Some(full);
        }
        (!waiting.open.due.is_empty()).then(|| std::mem::take(&mut waiting.open))
    }
}

impl Waiting {
    fn close_open(&mut self) {
        let open = std::mem::take(&mut self.open);
        self.full.push_back(open);
    }
}

impl Collected {
    /// How many records there are.
    pub(crate) fn records(&self) -> usize {
        self.due.len()
    }

    /// The batch, with `sequence` for its first record where the producer is idempotent.
    pub(crate) fn finish(self, shared: &Shared, sequence: i32, ordinal: u64) -> Result<Ready, ClientError> {
        let mut builder = self.builder.compression(shared.options.compression);
        if let Some((id, epoch)) = shared.id {
            builder = builder.producer(id, epoch, sequence);
        }
        let built = builder.build(0);
        let batch = built.map_err(|error| ClientError::Impossible(format!("make a batch: {error}")))?;
        let batch = batch.bytes().clone();
        Ok(Ready { batch, bytes: self.bytes, due: self.due, first_sent: shared.now(), ordinal })
    }
}
