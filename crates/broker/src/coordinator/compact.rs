//! Bounds the log of a partition of groups or of transactions, and with it what a takeover replays: once it has become long, all that it says is said
//! again at its end, and what lies before goes.
//!
//! The copy is made of ordinary records, in slices, so that others get in between. The log begins with it only when all of it is
//! confirmed in this start's log; until then both are there, and replaying both says the same. A broker that dies in between leaves a
//! longer log, and its successor copies anew.

use crate::Shared;
use crate::coordinator::log_size::Begun;
use crate::coordinator::{Core, Shard};
use base::{Offset, planted};
use std::sync::Arc;
use std::time::Duration;
use stream::ReadError;

/// The wait before the ledger is asked again.
const TROUBLE_WAIT: Duration = Duration::from_secs(1);

/// Copies; what stops it is that the broker stops or the shard is lost, and then the copy has no effect.
pub(crate) async fn run<C: Core>(broker: Arc<Shared>, shard: Arc<Shard<C>>, begun: Begun) {
    if planted!("trim before the copy is confirmed", false, true) {
        trim(&broker, &shard, begun.begin).await;
    }
    let Some(bytes) = copy(&broker, &shard).await else { return };
    if trim(&broker, &shard, begun.begin).await {
        tracing::debug!(begin = begun.begin.0, bytes, "the log of {} begins with a copy", C::WHAT);
        shard.has_copied(&begun, bytes);
    }
}

/// The bytes of the whole copy, once it is confirmed.
async fn copy<C: Core>(broker: &Shared, shard: &Shard<C>) -> Option<u64> {
    let mut cursor = C::Cursor::default();
    let mut copied = 0;
    loop {
        let slice = shard.copy_slice(broker, &mut cursor, broker.options.groups_copy_slice_bytes);
        let (bytes, is_whole) = slice.value;
        copied += bytes;
        // Whatever it takes: a copy that is given up and begun again would make the log longer still.
        while shard.confirmed(broker, slice.after, deadline(broker)).await.is_err() {
            if shard.is_lost() || *broker.stopping.borrow() {
                return None;
            }
        }
        if is_whole {
            return Some(copied);
        }
    }
}

fn deadline(broker: &Shared) -> base::Micros {
    broker.clock.now().plus(broker.options.group_wait_max)
}

/// Moves the log's start; false where that is no longer this broker's.
async fn trim<C: Core>(broker: &Shared, shard: &Shard<C>, start: Offset) -> bool {
    let mut stopping = broker.stopping.subscribe();
    while !shard.is_lost() && !*stopping.borrow_and_update() {
        match shard.partition().delete_before(start).await {
            Ok(()) => return true,
            Err(ReadError::NotOwner) => return false,
            Err(ReadError::Corrupt(error)) => {
                tracing::error!("begin the log of {} with a copy: {error}; this is a bug, it stays as it is", C::WHAT);
                return false;
            }
            Err(ReadError::Trouble(_) | ReadError::OutOfRange) => {}
        }
        tokio::select! {
            biased;
            _ = stopping.wait_for(|stopping| *stopping) => return false,
            () = broker.clock.sleep(TROUBLE_WAIT) => {}
        }
    }
    false
}
