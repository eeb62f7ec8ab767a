//! Follows the ledger: streams that it deletes are dropped, what it trims leaves the cache, its word of this start's death ends it.
//!
//! Streams are opened where they are met (see [`Shared::open_stream`]), so that a topic is served the moment its creation is
//! answered.

use crate::producers;
use crate::shared::Shared;
use base::{StreamId, planted};
use control_core::Image;
use std::sync::Arc;
use world::lock;

/// Runs until this start ends.
pub(crate) async fn follow(shared: Arc<Shared>) {
    let mut images = shared.ledger.watch();
    loop {
        let image = images.borrow_and_update().clone();
        if image.is_dead(shared.node_epoch) && planted!("R2", true, shared.logs.iter().all(|log| log.source.is_idle()))
        {
            let (broker, start) = (shared.node_id, shared.node_epoch);
            shared.stop(format!("broker {broker} (its start {start}) was declared dead; start it again to rejoin"));
            return;
        }
        apply(&shared, &image);
        tokio::select! {
            biased;
            changed = images.changed() => if changed.is_err() {
                shared.stop("the ledger is closed".to_owned());
                return;
            },
            _ = shared.until_stopped() => return,
        }
    }
}

fn apply(shared: &Shared, image: &Image) {
    let open: Vec<StreamId> = lock(&shared.streams).keys().copied().collect();
    for id in deleted(open, image) {
        let stream = lock(&shared.streams).remove(&id);
        if let Some(stream) = stream {
            stream.mark_deleted();
            producers::drop_of(shared, &stream);
        }
    }
    let mut cache = lock(&shared.cache);
    for id in deleted(cache.streams(), image) {
        cache.dropped(id);
    }
    for id in cache.streams() {
        if let Some(record) = image.streams.get(&id) {
            cache.trimmed(id, record.start);
        }
    }
}

/// Those that are gone for ever. A stream that this image does not know yet stays: it was met in a newer one, and may have
/// acknowledged records.
fn deleted(streams: Vec<StreamId>, image: &Image) -> impl Iterator<Item = StreamId> {
    streams.into_iter().filter(|id| image.is_deleted(*id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_older_than_a_stream_does_not_close_it() {
        let image = Image { next_stream_id: StreamId(5), ..Image::default() };
        let streams = vec![StreamId(3), StreamId(4), StreamId(5), StreamId(6)];
        assert_eq!(deleted(streams, &image).collect::<Vec<_>>(), [StreamId(3), StreamId(4)]);
    }
}
