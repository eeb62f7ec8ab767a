//! A share-partition begins: with what the persister has kept, or where `share.auto.offset.reset` says.

use super::led::Led;
use super::{persister, settings_of};
use crate::Shared;
use crate::checks::Work;
use crate::error::Failure;
use crate::time_index;
use base::{Offset, OffsetRange, UnixMillis};
use coordinator_core::{
    DeliveryState, PersistedShare, ShareEffects, SharePartition, ShareStateBatch, ShareWrite, StartLookup, StateBatch,
};
use std::sync::Arc;
use std::time::Duration;

/// The longest that a search by time waits for its turn with what takes long to decompress.
const SEARCH_WAIT_MAX: Duration = Duration::from_secs(30);

pub(super) async fn load(broker: &Shared, led: Arc<Led>) {
    let begun = begin(broker, &led).await;
    if let Err(failure) = &begun {
        tracing::debug!("share-partition {} is not loaded: {failure}", led.key);
    }
    led.loaded(broker, begun);
}

async fn begin(broker: &Shared, led: &Led) -> Result<(SharePartition, ShareEffects), Failure> {
    let leader_epoch = led.partition.leader_epoch();
    let read = persister::read(broker, &led.key, leader_epoch).await?;
    let batches: Option<Vec<ShareStateBatch>> = read.batches.iter().map(state_of).collect();
    let damaged = || Failure::Unexpected(format!("the state of share-partition {} is damaged", led.key));
    let batches = batches.ok_or_else(damaged)?;
    let persisted = PersistedShare { state_epoch: read.state_epoch, batches };
    let start = match Offset::from_kafka(read.start_offset) {
        Some(start) => start,
        None => first_start(broker, led, persisted.state_epoch).await?,
    };
    let mut effects = ShareEffects::default();
    let super::ShareSettings { options, .. } = settings_of(broker, &led.key.group);
    let loaded = SharePartition::load(options, leader_epoch, start, &persisted, &mut effects);
    let core = loaded.map_err(|wrong| {
        tracing::error!("share-partition {} can't be served: {wrong}", led.key);
        damaged()
    })?;
    Ok((core, effects))
}

fn state_of(batch: &StateBatch) -> Option<ShareStateBatch> {
    let (base, last) = (Offset::from_kafka(batch.first_offset)?, Offset::from_kafka(batch.last_offset)?);
    let state = DeliveryState::of_id(batch.delivery_state)?;
    // An empty one is refused by whoever loads it.
    let range = OffsetRange { base, next: last.plus(1) };
    Some(ShareStateBatch { range, state, delivery_count: batch.delivery_count })
}

/// Where a group begins. It is kept at once where another moment would give another place: a leader that comes next, before anything was
/// acknowledged, would else pass what was produced meanwhile. Kafka keeps it with the first acknowledgement.
async fn first_start(broker: &Shared, led: &Led, state_epoch: i32) -> Result<Offset, Failure> {
    let now = broker.clock.wall();
    let lookup = settings_of(broker, &led.key.group).reset.lookup(now);
    let start = match lookup {
        StartLookup::Earliest => return Ok(led.partition.log_start()),
        StartLookup::Latest => led.partition.high_watermark(),
        StartLookup::At(time) => first_from(broker, led, time).await?,
    };
    let leader_epoch = led.partition.leader_epoch();
    let write = ShareWrite { id: 0, state_epoch, leader_epoch, start, delivery_complete_count: 0, batches: Vec::new() };
    persister::write(broker, &led.key, &write).await.map_err(Failure::from)?;
    Ok(start)
}

async fn first_from(broker: &Shared, led: &Led, time: UnixMillis) -> Result<Offset, Failure> {
    let mut work = Work::of(0, usize::MAX, broker.clock.now().plus(SEARCH_WAIT_MAX));
    let found = time_index::first_from(broker, &mut work, &led.partition, time).await?;
    let below = led.partition.high_watermark();
    found.map(|(offset, _)| offset).filter(|offset| *offset < below).ok_or(Failure::OffsetNotAvailable)
}
