//! Ids for idempotent producers: from blocks that the ledger hands out, so that no two producers of a cluster ever have the same.
//!
//! For `handler::init_producer_id`. What a broker that dies has left of its block is given to nobody.

use crate::error::Failure;
use control_core::{Command, Outcome};
use std::ops::Range;
use stream::Store;
use tokio::sync::Mutex;

/// Ids taken from the ledger at once, as Kafka's controller hands them out.
const BLOCK_IDS: u32 = 1000;

/// The block in use.
#[derive(Default)]
pub(crate) struct ProducerIds {
    /// Held while the next block is asked for, so that one is.
    left: Mutex<Range<i64>>,
}

impl ProducerIds {
    /// An id that nobody has or had.
    pub(crate) async fn next(&self, store: &Store) -> Result<i64, Failure> {
        let mut left = self.left.lock().await;
        if left.is_empty() {
            let first = match store.ledger().submit(Command::TakeProducerIds { count: BLOCK_IDS }).await? {
                Outcome::ProducerIds { first } => first,
                Outcome::Refused(refusal) => return Err(refusal.into()),
                other => {
                    return Err(Failure::Unexpected(format!("a request for producer ids is answered by {other:?}")));
                }
            };
            *left = first..first + i64::from(BLOCK_IDS);
        }
        let id = left.start;
        left.start += 1;
        Ok(id)
    }
}
