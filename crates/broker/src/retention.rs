//! Drops records that are too old or too many: moves each owned partition's start as its topic's settings say.
//!
//! A housekeeping loop. Where a stream should begin is decided by the stream's own helper, which knows sizes and timestamps; this
//! file only knows the settings (`retention.ms`, `retention.bytes`) and the period (`log.retention.check.interval.ms`). A failure
//! is logged and tried again in the next round; nothing else waits for it.

use crate::Shared;
use crate::topic_settings::TopicSettings;
use base::UnixMillis;
use std::sync::Arc;

/// Looks in every period until the broker stops.
pub(crate) async fn run(broker: Arc<Shared>) {
    while !broker.stops_before(broker.clock.sleep(broker.options.retention_check_period)).await {
        round(&broker).await;
        broker.partitions.forget_deleted(&broker.store.ledger().image());
    }
}

async fn round(broker: &Shared) {
    let image = broker.store.ledger().image();
    let options = broker.live.at(&image);
    // The broker's own topics hold state, which does not age.
    for topic in image.topics.values().filter(|topic| !topic.internal) {
        let settings = TopicSettings::of(&topic.configs, &options);
        let older_than = settings.retention.map(|retention| {
            let retention_ms = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
            UnixMillis(broker.clock.wall().0.saturating_sub(retention_ms))
        });
        if older_than.is_none() && settings.retention_bytes.is_none() {
            continue;
        }
        for (number, id) in topic.partitions.iter().enumerate() {
            let Some(partition) = broker.partitions.owned(*id) else { continue };
            if let Err(error) = partition.retain(older_than, settings.retention_bytes).await {
                tracing::warn!(topic = %topic.name, partition = number, "retention failed, next try later: {error}");
            }
        }
    }
}
