//! Who does what when a broker is gone: who watches whom, who declares it dead and recovers its logs, who gets its streams. Pure: an image
//! in, names out.
//!
//! All who look at one image come to one answer, so that they mostly do not do one thing twice. Nothing rests on it: images differ for a
//! while, and then put-if-absent and the first sealing entry decide (rules A-1, B-2).

use crate::wal::shared_path;
use base::{NodeEpoch, StreamId, WalId, WalIndex};
use control_core::{Image, WalRecord, WalState};
use std::collections::{BTreeMap, BTreeSet};

/// So many watch each broker, and each watches so many: the cost of a cluster's watching grows with its size, not with the square of it.
pub(crate) const WATCHED_MAX: usize = 3;

/// The living brokers, oldest start first.
pub(crate) fn brokers(image: &Image) -> Vec<NodeEpoch> {
    image.living().filter(|(_, node)| node.is_broker()).map(|(epoch, _)| epoch).collect()
}

/// The other living brokers as they follow one start in a ring of all.
fn behind(image: &Image, start: NodeEpoch) -> Vec<NodeEpoch> {
    let mut ring = brokers(image);
    let first = ring.partition_point(|epoch| *epoch <= start);
    ring.rotate_left(first);
    ring.retain(|epoch| *epoch != start);
    ring
}

/// Whom this start watches, with their addresses: those that follow it in the ring. Where they die together with all others that watch them,
/// the ring closes over the first and the next are watched.
pub(crate) fn watched(image: &Image, own: NodeEpoch) -> BTreeMap<NodeEpoch, String> {
    let address = |epoch| image.nodes.get(&epoch).map(|node| (epoch, node.advertised.clone()));
    behind(image, own).into_iter().take(WATCHED_MAX).filter_map(address).collect()
}

/// How many of those that watch `other` are to declare it dead before this one does: those that stand between the two in the ring, but for
/// the `silent`.
pub(crate) fn declarers_before(
    image: &Image,
    own: NodeEpoch,
    other: NodeEpoch,
    silent: impl Fn(NodeEpoch) -> bool,
) -> usize {
    let between = behind(image, own).into_iter().take_while(|epoch| *epoch != other);
    between.filter(|epoch| !silent(*epoch)).count()
}

/// Whether any broker can read that log.
pub(crate) fn can_read(record: &WalRecord) -> bool {
    record.in_storage || shared_path(&record.url).is_some()
}

/// Whether a log of this start can be read by others.
pub(crate) fn can_be_followed(image: &Image, start: NodeEpoch) -> bool {
    logs_of(image, start).any(|(_, record)| can_read(record))
}

fn logs_of(image: &Image, start: NodeEpoch) -> impl Iterator<Item = (WalId, &WalRecord)> {
    let first = WalId { node_epoch: start, index: WalIndex(0) };
    let last = WalId { node_epoch: start, index: WalIndex(u16::MAX) };
    image.wals.range(first..=last).map(|(wal, record)| (*wal, &**record))
}

/// How many brokers come before this one when a dead start's log is to be recovered: those that watched it come first, as they know of its
/// death first, and logs of several starts, or several of one, fall to several of them. But a broker that has come back, and recovers what
/// it left as it starts, comes before all. `None`: it is no living broker.
pub(crate) fn rank(image: &Image, own: NodeEpoch, wal: WalId) -> Option<usize> {
    let mut heirs = behind(image, wal.node_epoch);
    heirs.reverse();
    let watchers = heirs.len().min(WATCHED_MAX);
    if watchers > 0 {
        let turn = wal.node_epoch.0.wrapping_add(u64::from(wal.index.0)) % watchers as u64;
        heirs[..watchers].rotate_left(usize::try_from(turn).unwrap_or(0));
    }
    let broker = |epoch: &NodeEpoch| image.nodes.get(epoch).map(|node| node.node_id);
    if let Some(back) = heirs.iter().position(|epoch| broker(epoch) == broker(&wal.node_epoch)) {
        heirs[..=back].rotate_right(1);
    }
    heirs.iter().position(|epoch| *epoch == own)
}

/// The log of a living start that a stream goes to: that of the name which its topic chooses, else the first one that works.
fn log_for(image: &Image, owner: NodeEpoch, choice: Option<&str>) -> Option<WalId> {
    let works = || logs_of(image, owner).filter(|(_, record)| record.state == WalState::Open);
    let named = works().find(|(_, record)| choice == Some(&record.name));
    named.or_else(|| works().next()).map(|(wal, _)| wal)
}

/// Deals these streams to the living brokers but for those `except`: each to the one that has the fewest by then, in the log that it chooses.
/// Nothing where there is nobody.
pub(crate) fn shares<'a>(
    image: &'a Image,
    streams: impl IntoIterator<Item = StreamId>,
    choice: impl Fn(&'a Image, StreamId) -> Option<&'a str>,
    except: &BTreeSet<NodeEpoch>,
) -> BTreeMap<WalId, Vec<StreamId>> {
    let mut owned: BTreeMap<NodeEpoch, usize> = brokers(image)
        .into_iter()
        .filter(|epoch| !except.contains(epoch) && log_for(image, *epoch, None).is_some())
        .map(|epoch| (epoch, 0))
        .collect();
    for owner in image.streams.values().filter_map(|record| record.owner()) {
        if let Some(count) = owned.get_mut(&owner.node_epoch()) {
            *count += 1;
        }
    }
    let mut fewest: BTreeSet<(usize, NodeEpoch)> = owned.into_iter().map(|(epoch, count)| (count, epoch)).collect();
    let mut shares: BTreeMap<WalId, Vec<StreamId>> = BTreeMap::new();
    for stream in streams {
        let Some((count, heir)) = fewest.pop_first() else { break };
        fewest.insert((count + 1, heir));
        if let Some(wal) = log_for(image, heir, choice(image, stream)) {
            shares.entry(wal).or_default().push(stream);
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::{LedgerEpoch, NodeId, Nonce, TopicId, UnixMillis, WalPosition};
    use control_core::{Command, CommandId, Entry, WalRegistration, apply};

    /// An image made by commands, as every image is.
    struct Story(Image);

    impl Story {
        fn new() -> Story {
            let mut story = Story(Image::default());
            story.does(Command::BecomeLeader { epoch: LedgerEpoch(1), node_id: NodeId(0), cluster_id: 1 });
            story
        }

        fn does(&mut self, command: Command) {
            let entry = Entry {
                seq: self.0.seq.next(),
                epoch: LedgerEpoch(1),
                nonce: Nonce(u128::from(self.0.seq.0) + 1),
                written: UnixMillis(0),
                commands: vec![(CommandId::default(), command)],
            };
            let outcomes = apply(&mut self.0, &entry);
            assert!(!matches!(outcomes[0], control_core::Outcome::Refused(_)), "{outcomes:?}");
        }

        /// A start of that broker; without an address it is none.
        fn start(&mut self, id: i32, advertised: &str, logs: &[(&str, bool, &str)]) -> NodeEpoch {
            let wals = logs.iter().map(|(url, in_storage, name)| WalRegistration {
                url: (*url).to_owned(),
                ring_id: 0,
                start: WalPosition(0),
                in_storage: *in_storage,
                name: (*name).to_owned(),
            });
            self.does(Command::Register {
                node_id: Some(NodeId(id)),
                advertised: advertised.to_owned(),
                wals: wals.collect(),
                incarnation: u128::from(self.0.seq.0) + 1,
            });
            NodeEpoch(self.0.next_node_epoch.0 - 1)
        }

        fn broker(&mut self, id: i32) -> NodeEpoch {
            self.start(id, &format!("host{id}:9092"), &[("bucket", true, "")])
        }

        fn topic(&mut self, id: u128, owners: &[NodeEpoch]) -> Vec<StreamId> {
            let partitions = owners.iter().map(|owner| (*owner, WalIndex(0))).collect();
            self.does(Command::CreateTopic {
                id: TopicId(id),
                name: format!("topic{id}"),
                partitions,
                replication_factor: 1,
                configs: BTreeMap::new(),
                internal: false,
            });
            self.0.topics[&TopicId(id)].partitions.clone()
        }
    }

    const NOBODY: BTreeSet<NodeEpoch> = BTreeSet::new();

    #[test]
    fn each_watches_those_behind_it_and_is_watched_by_as_many() {
        let mut story = Story::new();
        let all: Vec<_> = (0..6).map(|id| story.broker(id)).collect();
        story.start(99, "", &[("bucket", true, "")]);
        let of = |own: usize| watched(&story.0, all[own]).into_keys().collect::<Vec<_>>();
        assert_eq!(of(0), [all[1], all[2], all[3]]);
        assert_eq!(of(4), [all[0], all[1], all[5]]);
        for broker in &all {
            let watchers = all.iter().filter(|own| watched(&story.0, **own).contains_key(broker)).count();
            assert_eq!(watchers, WATCHED_MAX, "{broker}");
        }
        // Those that are dead leave the ring.
        story.does(Command::DeclareDead { node_epochs: vec![all[1], all[2], all[3]] });
        assert_eq!(watched(&story.0, all[0]).into_keys().collect::<Vec<_>>(), [all[4], all[5]]);
        assert_eq!(watched(&story.0, all[0])[&all[5]], "host5:9092");
    }

    #[test]
    fn who_is_alone_watches_nobody() {
        let mut story = Story::new();
        let own = story.broker(0);
        story.start(9, "", &[("bucket", true, "")]);
        assert!(watched(&story.0, own).is_empty());
    }

    #[test]
    fn every_log_has_one_first_heir_and_logs_of_several_have_several() {
        let mut story = Story::new();
        let all: Vec<_> = (0..4).map(|id| story.broker(id)).collect();
        story.does(Command::DeclareDead { node_epochs: vec![all[2], all[3]] });
        let ranks = |dead: NodeEpoch| -> Vec<_> {
            let wal = WalId { node_epoch: dead, index: WalIndex(0) };
            [all[0], all[1]].iter().map(|own| rank(&story.0, *own, wal).unwrap()).collect()
        };
        let (third, fourth) = (ranks(all[2]), ranks(all[3]));
        assert_eq!((third.iter().sum::<usize>(), fourth.iter().sum::<usize>()), (1, 1));
        assert_ne!(third, fourth);
        assert_eq!(rank(&story.0, all[2], WalId { node_epoch: all[3], index: WalIndex(0) }), None, "it is dead");
        // Before the death is in the image the one that is to die has no turn.
        let wal = WalId { node_epoch: all[0], index: WalIndex(0) };
        assert_eq!(rank(&story.0, all[1], wal), Some(0));
    }

    #[test]
    fn those_that_watch_know_first_and_act_first() {
        let mut story = Story::new();
        let all: Vec<_> = (0..8).map(|id| story.broker(id)).collect();
        let dead = all[5];
        let watchers: Vec<_> = all.iter().filter(|own| watched(&story.0, **own).contains_key(&dead)).collect();
        assert_eq!(watchers, [&all[2], &all[3], &all[4]]);
        let before = |own, silent| declarers_before(&story.0, own, dead, |epoch| Some(epoch) == silent);
        assert_eq!((before(all[4], None), before(all[3], None), before(all[2], None)), (0, 1, 2));
        assert_eq!((before(all[3], Some(all[4])), before(all[2], Some(all[4]))), (0, 1));
        story.does(Command::DeclareDead { node_epochs: vec![dead] });
        let ranks = |own| rank(&story.0, own, WalId { node_epoch: dead, index: WalIndex(0) }).unwrap();
        assert!(watchers.iter().all(|own| ranks(**own) < WATCHED_MAX));
        let mut every: Vec<_> = all.iter().filter(|own| **own != dead).map(|own| ranks(*own)).collect();
        every.sort_unstable();
        assert_eq!(every, (0..7).collect::<Vec<_>>());
    }

    #[test]
    fn who_comes_back_recovers_what_it_left() {
        let mut story = Story::new();
        let (first, other) = (story.broker(0), story.broker(1));
        let back = story.broker(0);
        for index in 0..3 {
            let wal = WalId { node_epoch: first, index: WalIndex(index) };
            assert_eq!((rank(&story.0, back, wal), rank(&story.0, other, wal)), (Some(0), Some(1)));
        }
    }

    #[test]
    fn streams_are_dealt_to_who_has_the_fewest() {
        let mut story = Story::new();
        let (a, b, c) = (story.broker(0), story.broker(1), story.broker(2));
        story.start(99, "", &[("bucket", true, "")]);
        story.topic(1, &[a, a, a, b]);
        let of_c = story.topic(2, &[c; 6]);
        story.does(Command::DeclareDead { node_epochs: vec![c] });
        let dealt = shares(&story.0, of_c.clone(), |_, _| None, &NOBODY);
        let counts: BTreeMap<_, _> = dealt.iter().map(|(wal, streams)| (wal.node_epoch, streams.len())).collect();
        assert_eq!(counts, BTreeMap::from([(a, 2), (b, 4)]), "five each");
        let one = shares(&story.0, of_c.clone(), |_, _| None, &BTreeSet::from([a]));
        assert_eq!(one.into_values().next().unwrap(), of_c);
        assert!(shares(&story.0, of_c, |_, _| None, &BTreeSet::from([a, b])).is_empty());
    }

    #[test]
    fn a_stream_goes_to_the_log_that_it_chooses_where_that_is_open() {
        let mut story = Story::new();
        let a = story.start(0, "a:1", &[("bucket", true, ""), ("file:///wal", false, "fast")]);
        let b = story.broker(1);
        let streams = story.topic(1, &[b, b]);
        story.does(Command::DeclareDead { node_epochs: vec![b] });
        let index = |choice: &'static str| {
            let dealt = shares(&story.0, streams[..1].to_vec(), |_, _| Some(choice), &NOBODY);
            dealt.into_keys().next().unwrap()
        };
        assert_eq!(index("fast"), WalId { node_epoch: a, index: WalIndex(1) });
        assert_eq!(index("gone"), WalId { node_epoch: a, index: WalIndex(0) });
    }

    #[test]
    fn what_lies_on_one_host_is_read_there() {
        let mut story = Story::new();
        let shared = "file:///mnt/wal/1.ring?shared";
        let local = story.start(0, "a:1", &[("file:///var/wal", false, "")]);
        let both = story.start(1, "b:1", &[("file:///var/wal", false, ""), ("bucket", true, "x")]);
        let on_a_filer = story.start(2, "c:1", &[(shared, false, "")]);
        let can = |start| can_be_followed(&story.0, start);
        assert_eq!((can(local), can(both), can(on_a_filer)), (false, true, shared_path(shared).is_some()));
    }
}
