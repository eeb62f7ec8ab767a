//! Follows the ledger: streams that it deletes are dropped, what it trims leaves the cache, its word of this start's death ends it.
//!
//! Streams are opened where they are met (see [`Shared::open_stream`]), so that a topic is served the moment its creation is
//! answered.

use crate::shared::Shared;
use base::StreamId;
use control_core::Image;
use std::sync::Arc;
use world::lock;

/// Runs until this start ends.
pub(crate) async fn follow(shared: Arc<Shared>) {
    let mut images = shared.ledger.watch();
    loop {
        let image = images.borrow_and_update().clone();
        if image.is_dead(shared.node_epoch) {
            shared.stop(format!("start {} was declared dead; start the broker again to rejoin", shared.node_epoch));
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
    for id in open.into_iter().filter(|id| !image.streams.contains_key(id)) {
        let stream = lock(&shared.streams).remove(&id);
        if let Some(stream) = stream {
            stream.mark_deleted();
        }
    }
    let mut cache = lock(&shared.cache);
    for id in cache.streams() {
        match image.streams.get(&id) {
            Some(record) => cache.trimmed(id, record.start),
            None => cache.dropped(id),
        }
    }
}
