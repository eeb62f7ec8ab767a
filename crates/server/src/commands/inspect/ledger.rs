//! `millstream inspect ledger`: its entries, and what they come to.

use super::super::{CommandError, counted};
use super::line::{Line, Teller};
use super::open;
use crate::args::StorageArgs;
use control::Dump;
use control_core::{Image, StreamRecord, Topic, WalState};
use serde_json::{Value, json};

/// Whether it contradicts itself is the command's outcome, whoever reads what is told of it.
pub(super) async fn ledger(teller: Teller, storage: &StorageArgs) -> Result<(), CommandError> {
    let store = open(storage).await?;
    let dump = control::read_all(store.as_ref()).await.map_err(|error| CommandError::failed(error.to_string()))?;
    let verdict = match dump.problems.len() {
        0 => Ok(()),
        count => Err(CommandError::failed(counted(count, "problem"))),
    };
    let told = tell(teller, &dump);
    verdict.and(told)
}

fn tell(teller: Teller, dump: &Dump) -> Result<(), CommandError> {
    if let Some(format) = &dump.format {
        let line = Line::of("format").with("layout", format.layout).with("reader", format.reader);
        teller.tell(&line.with("cluster", format!("{:032x}", format.cluster_id)))?;
    }
    for snapshot in &dump.snapshots {
        teller.tell(&Line::of("snapshot").bare("entry", snapshot.0))?;
    }
    for entry in &dump.entries {
        let (seq, count) = (entry.seq.0, entry.commands.len());
        teller.tell(&Line::of("entry").bare("entry", seq).with("epoch", entry.epoch.0).with("commands", count))?;
        for (id, command) in &entry.commands {
            let line = Line::within(1, "command", &[("entry", seq.into())]);
            let id = format!("{}/{}", id.requester, id.counter);
            teller.tell(&line.bare("id", id).bare("command", format!("{command:?}")))?;
        }
    }
    image(teller, &dump.image)?;
    dump.problems.iter().try_for_each(|problem| teller.problem(problem))
}

fn image(teller: Teller, image: &Image) -> Result<(), CommandError> {
    let line = Line::of("image").with("entry", image.seq.0).with("leader", image.leader.node_id.0);
    teller.tell(&line.with("term", image.leader.epoch.0))?;
    for (epoch, node) in &image.nodes {
        let line = Line::of("broker").bare("broker", node.node_id.0).with("start", epoch.0);
        teller.tell(&line.bare("state", format!("{:?}", node.state)).with("advertised", node.advertised.as_str()))?;
    }
    for (id, wal) in &image.wals {
        let line = Line::of("wal").bare("wal", id.to_string()).with("start", wal.start.0).with("trim", wal.trim.0);
        let line = if wal.name.is_empty() { line } else { line.with("name", wal.name.as_str()) };
        let line = match wal.state {
            WalState::Open => line.bare("state", "Open"),
            WalState::Sealed { end, recoverer } => {
                line.bare("state", "Sealed").with("end", end.0).with("recoverer", recoverer.0)
            }
        };
        teller.tell(&line.with("url", wal.url.as_str()))?;
    }
    for topic in image.topics.values() {
        let line = Line::of("topic").bare("topic", topic.name.as_str()).with("id", format!("{:032x}", topic.id.0));
        teller.tell(&line.with("configs", json!(topic.configs)))?;
        for (partition, id) in topic.partitions.iter().enumerate() {
            if let Some(record) = image.streams.get(id) {
                stream(teller, topic, partition, id.0, record)?;
            }
        }
    }
    for (id, record) in &image.objects {
        let line = Line::of("object").bare("object", id.to_string()).with("bytes", record.size);
        teller.tell(&line.with("data_bytes", record.data_bytes).with("references", record.references))?;
    }
    for (id, seq) in &image.dead_objects {
        teller.tell(&Line::of("dead").bare("object", id.to_string()).with("since_entry", seq.0))?;
    }
    Ok(())
}

fn stream(teller: Teller, topic: &Topic, partition: usize, id: u64, record: &StreamRecord) -> Result<(), CommandError> {
    let of: [(&str, Value); 2] = [("topic", topic.name.as_str().into()), ("partition", partition.into())];
    let line = Line::within(1, "partition", &of[..1]).bare("partition", partition).with("stream", id);
    let line = line.with("epoch", record.epoch.0).with("start", record.start.0);
    teller.tell(&line.with("committed", record.committed().0))?;
    for tenure in &record.tenures {
        let end = tenure.end.map_or_else(|| "open".into(), |end| Value::from(end.0));
        let line = Line::within(2, "tenure", &of).with("epoch", tenure.stream_epoch.0);
        teller.tell(&line.with("wal", tenure.wal.to_string()).with("start", tenure.start.0).with("end", end))?;
    }
    for reference in record.references.values() {
        let line = Line::within(2, "reference", &of).with("object", reference.object.to_string());
        let line = line.offsets(reference.range).with("records", reference.records);
        teller.tell(&line.with("bytes", reference.bytes))?;
    }
    Ok(())
}
