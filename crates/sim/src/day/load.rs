//! What clients do on such a day: topics of ten thousand partitions, batches that come evenly, retention, and the end of it all.

use super::DayPlan;
use base::{StreamId, TopicId, WalIndex};
use control_core::{Command, Outcome};
use futures::future::try_join_all;
use std::collections::BTreeMap;
use std::time::Duration;
use stream::{AppendError, Appended, Confirmation, Store, Stream};
use stream_core::testing::batch;

/// Partitions of a topic.
const TOPIC_PARTITIONS: usize = 10_000;
/// Trims that are with the ledger at once.
const TRIMS_AT_ONCE: usize = 1_000;

fn name(topic: usize) -> String {
    format!("day-{topic}")
}

/// Makes the topics, and yields their streams.
pub(super) async fn create(store: &Store, partitions: usize) -> Result<Vec<Stream>, String> {
    let mut streams = Vec::with_capacity(partitions);
    for topic in 0..partitions.div_ceil(TOPIC_PARTITIONS) {
        let count = TOPIC_PARTITIONS.min(partitions - topic * TOPIC_PARTITIONS);
        let command = Command::CreateTopic {
            id: TopicId(topic as u128 + 1),
            name: name(topic),
            partitions: vec![(store.node_epoch(), WalIndex(0)); count],
            replication_factor: 1,
            configs: BTreeMap::new(),
            internal: false,
        };
        submit(store, command).await?;
        let image = store.ledger().image();
        let ids: &[StreamId] = image.topic(&name(topic)).map_or(&[], |topic| &topic.partitions);
        for id in ids {
            streams.push(store.stream(*id).ok_or_else(|| format!("stream {id} is not open"))?);
        }
    }
    Ok(streams)
}

/// An hour: each second the partitions whose turn it is get a batch, and all of them are acknowledged before the next second is over.
pub(super) async fn hour(plan: &DayPlan, streams: &[Stream]) -> Result<(), String> {
    for second in 0..3600 {
        let turn = second % plan.every_seconds;
        let mut confirmations = Vec::new();
        for stream in streams.iter().skip(turn).step_by(plan.every_seconds) {
            confirmations.push(append(stream, plan.batch_bytes).await?);
        }
        crate::world::wait(Duration::from_secs(1)).await;
        for confirmation in confirmations {
            confirmation.await.map_err(|_| "an append was not confirmed".to_owned())?;
        }
    }
    Ok(())
}

async fn append(stream: &Stream, bytes: usize) -> Result<Confirmation, String> {
    loop {
        match stream.append(batch(stream.next().0, 1, bytes)) {
            Ok(Appended::Enqueued(confirmation)) => return Ok(confirmation),
            Ok(Appended::Repeat(original)) => return Err(format!("taken for a repeat of {original:?}")),
            Err(AppendError::Busy) => stream.room().await,
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// What retention does: all but the newest hours go.
pub(super) async fn trim(plan: &DayPlan, streams: &[Stream], hour: u64, keep_hours: u64) -> Result<(), String> {
    let start = hour.saturating_sub(keep_hours) * 3600 / plan.every_seconds as u64;
    if start == 0 {
        return Ok(());
    }
    for some in streams.chunks(TRIMS_AT_ONCE) {
        let trims = some.iter().map(|stream| stream.trim(base::Offset(start)));
        try_join_all(trims).await.map_err(|error| format!("trim: {error}"))?;
    }
    Ok(())
}

/// All topics go.
pub(super) async fn delete(store: &Store) -> Result<(), String> {
    let ids: Vec<TopicId> = store.ledger().image().topics.keys().copied().collect();
    for id in ids {
        submit(store, Command::DeleteTopic { id }).await?;
    }
    Ok(())
}

async fn submit(store: &Store, command: Command) -> Result<(), String> {
    match store.ledger().submit(command).await {
        Ok(Outcome::Refused(refusal)) => Err(format!("refused: {refusal:?}")),
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}
