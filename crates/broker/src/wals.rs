//! Which of its leader's write-ahead logs a topic is written to: what `millstream.wal` says, and what it may say. Pure.
//!
//! The name is the topic's, the logs are each broker's: a broker that has none of that name, as it was started without, writes to its first
//! one. When a setting is made every leader must have it, so that a slip is told and not obeyed.

use crate::error::Failure;
use base::{NodeEpoch, StreamId, WalId, WalIndex};
use control_core::{Image, WalRecord, WalState};
use std::collections::BTreeMap;
use std::sync::Arc;
use stream::DEFAULT_WAL;

/// The setting.
pub(crate) const WAL: &str = "millstream.wal";

/// The name that a stream's topic has chosen, as [`stream::StartRequest`] asks for it.
#[must_use]
pub fn wal_choice(image: &Image, stream: StreamId) -> Option<&str> {
    let topic = image.topics.get(&image.streams.get(&stream)?.topic)?;
    chosen(&topic.configs)
}

/// `None`: the first one.
fn chosen(configs: &BTreeMap<String, String>) -> Option<&str> {
    configs.get(WAL).map(|name| name.trim()).filter(|name| *name != DEFAULT_WAL)
}

/// Which of this leader's logs a topic with these settings is written to.
pub(crate) fn index(image: &Image, leader: NodeEpoch, configs: &BTreeMap<String, String>) -> WalIndex {
    let open = || logs(image, leader).filter(|(_, record)| record.state == WalState::Open);
    let named = chosen(configs).and_then(|name| open().find(|(_, record)| record.name == name));
    // One that has failed is sealed.
    named.or_else(|| open().next()).map_or(WalIndex(0), |(wal, _)| wal.index)
}

/// Whether every leader has a log of the name that these settings choose.
///
/// # Errors
/// One that has not, and what it has.
pub(crate) fn check(
    image: &Image,
    leaders: impl Iterator<Item = NodeEpoch>,
    configs: &BTreeMap<String, String>,
) -> Result<(), Failure> {
    let Some(name) = chosen(configs) else { return Ok(()) };
    for leader in leaders {
        if logs(image, leader).any(|(_, record)| record.name == name) {
            continue;
        }
        let broker = image.nodes.get(&leader).map_or(-1, |node| node.node_id.0);
        let has: Vec<String> = logs(image, leader).map(|(wal, record)| described(wal, record)).collect();
        return Err(Failure::InvalidConfig(format!(
            "{WAL}={name}: broker {broker} has no write-ahead log of that name; it has {}; start it with --wal {name}=URL \
             beside the others, or choose one of these",
            has.join(", ")
        )));
    }
    Ok(())
}

fn logs(image: &Image, leader: NodeEpoch) -> impl Iterator<Item = (WalId, &Arc<WalRecord>)> {
    let all = |index| WalId { node_epoch: leader, index: WalIndex(index) };
    image.wals.range(all(0)..=all(u16::MAX)).map(|(wal, record)| (*wal, record))
}

fn described(wal: WalId, record: &WalRecord) -> String {
    let kind = if record.in_storage { "storage" } else { &record.url };
    match (wal.index.0, record.name.as_str()) {
        (0, "") => format!("{DEFAULT_WAL} ({kind})"),
        (0, name) => format!("{DEFAULT_WAL} or {name} ({kind})"),
        (_, name) => format!("{name} ({kind})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::WalPosition;

    fn image() -> Image {
        let mut image = Image::default();
        for (index, name, url) in [(0, "", "file:///fast/ring"), (1, "bulk", "s3://b")] {
            let wal = WalId { node_epoch: NodeEpoch(4), index: WalIndex(index) };
            let record = WalRecord {
                url: url.to_owned(),
                ring_id: 0,
                in_storage: index == 1,
                start: WalPosition(0),
                trim: WalPosition(0),
                state: WalState::Open,
                name: name.to_owned(),
            };
            image.wals.insert(wal, Arc::new(record));
        }
        image
    }

    fn configs(name: &str) -> BTreeMap<String, String> {
        BTreeMap::from([(WAL.to_owned(), name.to_owned())])
    }

    #[test]
    fn a_name_finds_its_log_and_anything_else_the_first() {
        let (image, leader) = (image(), NodeEpoch(4));
        assert_eq!(index(&image, leader, &configs("bulk")), WalIndex(1));
        for first in ["default", "gone"] {
            assert_eq!(index(&image, leader, &configs(first)), WalIndex(0));
        }
        assert_eq!(index(&image, leader, &BTreeMap::new()), WalIndex(0));
    }

    #[test]
    fn a_name_that_a_leader_has_not_is_refused_with_those_that_it_has() {
        let image = image();
        let told = |leader| check(&image, [NodeEpoch(leader)].into_iter(), &configs("bluk")).unwrap_err().to_string();
        assert!(told(4).contains("it has default (file:///fast/ring), bulk (storage)"), "{}", told(4));
        for known in ["bulk", "default"] {
            assert!(check(&image, [NodeEpoch(4)].into_iter(), &configs(known)).is_ok());
        }
    }
}
