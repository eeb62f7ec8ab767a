//! What answers that tell of topics take while they are made, however small the question was: counted before they are. Roughly, as
//! values and as bytes. Only what is asked for counts, so that a question about one topic of very many does not wait for the memory of
//! all.

use control_core::{Image, Topic};

/// What a topic takes.
const TOPIC_BYTES: usize = 512;
/// What a partition takes.
const PARTITION_BYTES: usize = 256;

/// All topics with all partitions.
pub(crate) fn of_all(image: &Image) -> usize {
    of_page(image.topics.len(), image.streams.len())
}

/// These topics with all partitions; named more than once, they are told once.
pub(crate) fn of_topics<'a>(image: &Image, topics: impl Iterator<Item = &'a Topic>) -> usize {
    let bytes: usize = topics.map(|topic| of_page(1, topic.partitions.len())).sum();
    bytes.min(of_all(image))
}

/// So many topics, with so many partitions in all.
pub(crate) fn of_page(topics: usize, partitions: usize) -> usize {
    topics * TOPIC_BYTES + partitions * PARTITION_BYTES
}
