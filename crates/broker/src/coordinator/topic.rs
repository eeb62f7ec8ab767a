//! `__consumer_offsets`: the internal topic that groups live in. Made on first use, with Kafka's defaults.

use crate::error::Failure;
use crate::topics::{self, NewTopic};
use crate::{Shared, uuid};
use base::StreamId;
use control_core::{Image, Topic};
use std::collections::BTreeMap;
use std::time::Duration;

/// Its name.
pub(crate) const NAME: &str = "__consumer_offsets";

/// The longest that its creation keeps an answer waiting.
const CREATION_WAIT_MAX: Duration = Duration::from_secs(10);

pub(crate) fn find(image: &Image) -> Option<&Topic> {
    image.topic(NAME).map(AsRef::as_ref)
}

/// The number of the partition that a group belongs to.
pub(crate) fn partition_of(topic: &Topic, group: &str) -> u32 {
    let partitions = u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX);
    coordinator_core::partition_of(group, partitions)
}

/// The partition that a group belongs to, as a stream.
pub(crate) fn stream_of_group(image: &Image, group: &str) -> Option<StreamId> {
    let topic = find(image)?;
    let number = usize::try_from(partition_of(topic, group)).ok()?;
    topic.partitions.get(number).copied()
}

/// Makes it where it is not there yet.
pub(crate) async fn ensure(broker: &Shared) -> Result<(), Failure> {
    if find(&broker.store.ledger().image()).is_some() {
        return Ok(());
    }
    // What Kafka gives it. The broker's own topics are not cut off by age or size, whatever their settings say.
    let configs = [("cleanup.policy", "compact"), ("compression.type", "producer"), ("segment.bytes", "104857600")];
    let topic = NewTopic {
        name: NAME.to_owned(),
        partitions: broker.options.offsets_topic_partitions,
        replication_factor: 1,
        leaders: Vec::new(),
        configs: BTreeMap::from(configs.map(|(name, value)| (name.to_owned(), value.to_owned()))),
    };
    let id = uuid::random(|| broker.clock.random()).into();
    match topics::create_unchecked(broker, topic, id, CREATION_WAIT_MAX).await {
        Ok(()) | Err(Failure::TopicExists(_)) => Ok(()),
        Err(failure) => Err(Failure::CoordinatorUnavailable(format!("{NAME} can't be created: {failure}"))),
    }
}
