//! The topics as groups of the newer protocol see them, with the number by which a group notices that some have changed.
//!
//! A group's decisions are made under its shard's lock, and the image is taken there: so a group never sees older topics after newer ones.

use crate::Shared;
use base::TopicId;
use control_core::{Image, TopicsById};
use coordinator_core::{TopicInfo, Topics};
use std::sync::Mutex;
use world::lock;

/// Counts changes of the topics. Most entries of the ledger are about other things, and change none.
#[derive(Default)]
pub(crate) struct TopicChanges(Mutex<(TopicsById, i64)>);

impl TopicChanges {
    /// The number of the image's topics.
    fn version(&self, image: &Image) -> i64 {
        let mut seen = lock(&self.0);
        let (topics, version) = &mut *seen;
        // A broker that has just started has counted none yet, and 0 says that nobody has looked.
        if *version == 0 || !topics.ptr_eq(&image.topics) {
            *topics = image.topics.clone();
            *version += 1;
        }
        *version
    }
}

/// Shows the topics as they are now.
pub(crate) fn with_topics<T>(broker: &Shared, see: impl FnOnce(&Topics<'_>) -> T) -> T {
    let image = broker.store.ledger().image();
    let find = |name: &str| {
        let topic = image.topic(name)?;
        Some(TopicInfo { id: topic.id, partitions: i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX) })
    };
    see(&Topics {
        version: broker.topic_changes.version(&image),
        find: &find,
        name_of: &|id: TopicId| image.topics.get(&id).map(|topic| topic.name.clone()),
        names: &|see| image.topic_names.keys().for_each(|name| see(name)),
    })
}
