//! The internal topics that coordinators keep what they decide in. Each is made on first use, with Kafka's defaults.

use crate::error::Failure;
use crate::topics::{self, NewTopic};
use crate::{BrokerOptions, Shared, uuid};
use base::StreamId;
use control_core::{Image, Topic};
use std::time::Duration;

/// The longest that its creation keeps an answer waiting.
const CREATION_WAIT_MAX: Duration = Duration::from_secs(10);

/// One of them.
pub(crate) struct OwnTopic {
    pub(crate) name: &'static str,
    /// What Kafka gives it. The broker's own topics are not cut off by age or size, whatever their settings say.
    configs: &'static [(&'static str, &'static str)],
    partitions: fn(&BrokerOptions) -> i32,
}

/// Where groups live.
pub(crate) static OFFSETS: OwnTopic = OwnTopic {
    name: "__consumer_offsets",
    configs: &[("cleanup.policy", "compact"), ("compression.type", "producer"), ("segment.bytes", "104857600")],
    partitions: |options| options.offsets_topic_partitions,
};

/// Where transactional ids live.
pub(crate) static TRANSACTION_STATE: OwnTopic = OwnTopic {
    name: "__transaction_state",
    configs: &[
        ("cleanup.policy", "compact"),
        ("compression.type", "uncompressed"),
        ("segment.bytes", "104857600"),
        ("unclean.leader.election.enable", "false"),
    ],
    partitions: |options| options.transactions_topic_partitions,
};

/// Where the state of share-partitions lives.
pub(crate) static SHARE_STATE: OwnTopic = OwnTopic {
    name: "__share_group_state",
    configs: &[
        ("cleanup.policy", "delete"),
        ("compression.type", "producer"),
        ("retention.ms", "-1"),
        ("segment.bytes", "104857600"),
    ],
    partitions: |options| options.share_topic_partitions,
};

/// All of them.
static ALL: [&OwnTopic; 3] = [&OFFSETS, &TRANSACTION_STATE, &SHARE_STATE];

impl OwnTopic {
    /// The one of that name.
    pub(crate) fn named(name: &str) -> Option<&'static OwnTopic> {
        ALL.into_iter().find(|topic| topic.name == name)
    }

    pub(crate) fn find<'a>(&self, image: &'a Image) -> Option<&'a Topic> {
        image.topic(self.name).map(AsRef::as_ref)
    }

    /// The partition that a group or a transactional id belongs to, as a stream.
    pub(crate) fn stream_of(&self, image: &Image, key: &str) -> Option<StreamId> {
        let topic = self.find(image)?;
        let number = usize::try_from(partition_of(topic, key)).ok()?;
        topic.partitions.get(number).copied()
    }

    /// The same by its topic's name and its number.
    pub(crate) fn name_of(&self, image: &Image, key: &str) -> Option<(String, i32)> {
        let number = i32::try_from(partition_of(self.find(image)?, key)).ok()?;
        Some((self.name.to_owned(), number))
    }

    /// Makes it where it is not there yet.
    pub(crate) async fn ensure(&self, broker: &Shared) -> Result<(), Failure> {
        if self.find(&broker.store.ledger().image()).is_some() {
            return Ok(());
        }
        let topic = NewTopic {
            name: self.name.to_owned(),
            partitions: (self.partitions)(&broker.options),
            replication_factor: 1,
            leaders: Vec::new(),
            configs: self.configs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        };
        let id = uuid::random(|| broker.clock.random()).into();
        match topics::create_unchecked(broker, topic, id, CREATION_WAIT_MAX).await {
            Ok(()) | Err(Failure::TopicExists(_)) => Ok(()),
            Err(failure) => Err(Failure::CoordinatorUnavailable(format!("{} can't be created: {failure}", self.name))),
        }
    }
}

/// The number of the partition that a group or a transactional id belongs to.
pub(crate) fn partition_of(topic: &Topic, key: &str) -> u32 {
    let partitions = u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX);
    coordinator_core::partition_of(key, partitions)
}
