//! Where a partition is, as a coordinator sees it that has something for it.

use crate::{Shared, topics};
use control_core::{Image, Topic};

/// Who is to be asked about a partition.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// This broker.
    Here,
    /// The broker at this address.
    At(String),
    /// Nobody now.
    Nowhere,
    /// There is no such partition.
    Gone,
}

/// Where a partition is, according to this image.
pub(crate) fn of_partition(broker: &Shared, image: &Image, topic: &str, number: i32) -> Place {
    image.topic(topic).map_or(Place::Gone, |topic| of_number(broker, image, topic, number))
}

/// The same of a topic that is there.
pub(crate) fn of_number(broker: &Shared, image: &Image, topic: &Topic, number: i32) -> Place {
    let Ok(stream) = topics::stream_of(topic, number) else { return Place::Gone };
    if broker.partitions.owned(stream).is_some() {
        return Place::Here;
    }
    let owner = image.streams.get(&stream).and_then(|record| topics::owner(image, record));
    match owner {
        // It is about to be this broker's, or has just ceased to be.
        Some(owner) if owner.node_id == broker.store.node_id() => Place::Nowhere,
        Some(owner) => Place::At(owner.advertised.clone()),
        None => Place::Nowhere,
    }
}
