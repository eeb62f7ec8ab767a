//! Which of its leader's write-ahead logs a topic is written to: what `millstream.wal` says, and what it may say. Pure.
//!
//! The name is the topic's, the logs are each broker's: a broker that has none of that name, as it was started without, writes to its first
//! one. When a setting is made every leader must have it, so that a slip is told and not obeyed.

use crate::error::Failure;
use base::{NodeEpoch, StreamId, WalId, WalIndex};
use control_core::{Image, WalRecord, WalState};
use std::collections::BTreeMap;
use std::sync::Arc;
use stream::{DEFAULT_WAL, Store};

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

/// Whether every leader has a log of the name that these settings choose. `own` is this broker's start, with the logs that it was started
/// with: one that has failed is forgotten in time, and until the next start what chooses it is written to the first one that works.
///
/// # Errors
/// One that has not, and what it has.
pub(crate) fn check(
    image: &Image,
    leaders: impl Iterator<Item = NodeEpoch>,
    configs: &BTreeMap<String, String>,
    own: &Store,
) -> Result<(), Failure> {
    let had = |leader: NodeEpoch, name: &str| leader == own.node_epoch() && own.log_names().any(|it| it == name);
    check_with(image, leaders, configs, had)
}

fn check_with(
    image: &Image,
    leaders: impl Iterator<Item = NodeEpoch>,
    configs: &BTreeMap<String, String>,
    had: impl Fn(NodeEpoch, &str) -> bool,
) -> Result<(), Failure> {
    let Some(name) = chosen(configs) else { return Ok(()) };
    for leader in leaders {
        if logs(image, leader).any(|(_, record)| record.name == name) || had(leader, name) {
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
        let told = |leader| {
            let refused = check_with(&image, [NodeEpoch(leader)].into_iter(), &configs("bluk"), |_, _| false);
            refused.unwrap_err().to_string()
        };
        assert!(told(4).contains("it has default (file:///fast/ring), bulk (storage)"), "{}", told(4));
        for known in ["bulk", "default"] {
            assert!(check_with(&image, [NodeEpoch(4)].into_iter(), &configs(known), |_, _| false).is_ok());
        }
    }

    #[test]
    fn a_log_that_has_failed_and_is_forgotten_may_be_chosen_until_the_next_start() {
        let mut image = image();
        image.wals.remove(&WalId { node_epoch: NodeEpoch(4), index: WalIndex(1) });
        let had = |leader, name: &str| leader == NodeEpoch(4) && name == "bulk";
        let may = |leader| check_with(&image, [NodeEpoch(leader)].into_iter(), &configs("bulk"), had).is_ok();
        assert!(may(4) && !may(5));
        assert_eq!(index(&image, NodeEpoch(4), &configs("bulk")), WalIndex(0));
    }
}
