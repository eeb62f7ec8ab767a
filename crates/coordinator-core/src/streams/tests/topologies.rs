//! Which topics an application needs, and what its members are told of them.

use super::bench::{Bench, beats, internal, joined, joins, reads, tasks, topology, with_state};
use crate::{GroupError, StreamsState, StreamsStatusCode};
use protocol::messages::streams_group_heartbeat_request::{CopartitionGroup, Endpoint, Subtopology, Topology};

/// Counts words: `t` is read, keyed anew through `g-r`, and counted in a store.
fn word_count() -> Topology {
    let first = Subtopology { repartition_sink_topics: vec!["g-r".to_owned()], ..reads("0", &["t"]) };
    let second = Subtopology { repartition_source_topics: vec![internal("g-r", 0)], ..reads("1", &[]) };
    topology(vec![first, with_state(second, "g-log")])
}

#[test]
fn internal_topics_have_as_many_partitions_as_what_flows_into_them() {
    let mut bench = Bench::new(&[("t", 3)]);
    let answer = bench.beat(&joins("a", &word_count())).unwrap();
    assert_eq!(answer.status[0].code, StreamsStatusCode::MissingInternalTopics);
    assert_eq!(answer.status[0].detail, "Internal topics are missing: g-log, g-r");
    let told: Vec<_> =
        answer.create.iter().map(|it| (it.name.as_str(), it.partitions, it.replication_factor)).collect();
    assert_eq!(told, [("g-log", 3, -1), ("g-r", 3, -1)]);
    assert_eq!(answer.create[0].configs["cleanup.policy"], "compact");
    assert!(answer.tasks.unwrap().is_empty());
    assert_eq!(bench.describe().state, StreamsState::NotReady);
    assert_eq!(bench.describe().topology.unwrap().subtopologies[1].repartition_source_topics[0].partitions, 0);
    bench.make_topic("g-r", 3);
    bench.make_topic("g-log", 3);
    let answer = bench.beat(&beats("a", 2)).unwrap();
    assert_eq!(answer.status, []);
    let active = answer.tasks.unwrap().active;
    assert_eq!((active["0"].len(), active["1"].len()), (3, 3));
    assert_eq!(bench.describe().state, StreamsState::Stable);
    assert_eq!(bench.describe().topology.unwrap().subtopologies[1].repartition_source_topics[0].partitions, 3);
    // The topics go: nobody runs anything any more.
    bench.delete_topic("t");
    let answer = bench.beat(&beats("a", 3)).unwrap();
    assert_eq!(answer.status[0].detail, "Source topics t are missing.");
    assert!(answer.tasks.unwrap().is_empty());
    bench.make_topic("t", 4);
    let epoch = bench.describe().members[0].epoch;
    let answer = bench.beat(&beats("a", epoch)).unwrap();
    assert_eq!(answer.status[0].code, StreamsStatusCode::IncorrectlyPartitionedTopics);
    assert!(answer.status[0].detail.ends_with("expected 4, found 3"));
}

#[test]
fn topics_that_are_joined_have_the_same_number_of_partitions() {
    let join = |repartition: i32| {
        let source = Subtopology { repartition_sink_topics: vec!["g-r".to_owned()], ..reads("0", &["t"]) };
        let join = Subtopology { repartition_source_topics: vec![internal("g-r", repartition)], ..reads("1", &["u"]) };
        topology(vec![source, joined(join)])
    };
    let mut bench = Bench::new(&[("t", 3), ("u", 5)]);
    assert_eq!(
        bench.beat(&joins("a", &join(0))).unwrap().create[0].partitions,
        5,
        "as the topic that can't be changed"
    );
    let mut bench = Bench::new(&[("t", 3), ("u", 5)]);
    let told = bench.beat(&joins("a", &join(4))).unwrap().status;
    assert_eq!(
        told[0].detail,
        "Number of partitions [4] of repartition topic [g-r] doesn't match number of partitions [5] of the source topic."
    );
    let mut bench = Bench::new(&[("t", 3), ("u", 5)]);
    let told = bench.beat(&joins("a", &topology(vec![joined(reads("0", &["t", "u"]))]))).unwrap().status;
    assert_eq!(told[0].detail, "Following topics do not have the same number of partitions: [{t=3, u=5}]");
    assert_eq!(told[0].code.number(), 2);
}

#[test]
fn a_topology_that_can_t_be_run_is_refused() {
    let mut bench = Bench::new(&[("t", 3)]);
    let mut refused = |app: Topology| match bench.beat(&joins("a", &app)).unwrap_err() {
        GroupError::InvalidTopology(text) => text,
        other => panic!("{other}"),
    };
    let looped = Subtopology {
        repartition_source_topics: vec![internal("g-r", 0)],
        repartition_sink_topics: vec!["g-r".to_owned()],
        ..reads("0", &[])
    };
    assert!(refused(topology(vec![looped])).contains("loops"));
    let unfed = Subtopology { repartition_source_topics: vec![internal("g-r", 0)], ..reads("0", &["t"]) };
    assert!(refused(topology(vec![unfed])).contains("never used as a sink"));
    assert!(refused(topology(vec![reads("0", &[])])).contains("no source topics"));
    assert!(refused(topology(vec![reads("0", &["t"]), reads("0", &["t"])])).contains("same id"));
    let mut wrong = with_state(reads("0", &["t"]), "g-log");
    wrong.state_changelog_topics[0].partitions = 2;
    assert!(refused(topology(vec![wrong])).contains("undefined partition count"));
    let mut wrong = joined(reads("0", &["t"]));
    wrong.copartition_groups[0].source_topics = vec![1];
    assert!(refused(topology(vec![wrong])).contains("not in its subtopology"));
}

#[test]
fn a_group_keeps_its_first_topology() {
    let mut bench = Bench::new(&[("t", 2), ("u", 2)]);
    let app = Topology { epoch: 3, ..topology(vec![reads("0", &["t"]), reads("1", &["u"])]) };
    bench.beat(&joins("a", &app)).unwrap();
    let mut turned = app.clone();
    turned.subtopologies.reverse();
    assert_eq!(bench.beat(&joins("b", &turned)).unwrap().status, [], "the same in another order");
    let other = Topology { epoch: 3, ..topology(vec![reads("0", &["t"])]) };
    assert_eq!(bench.beat(&joins("c", &other)).unwrap_err().to_string(), "Topology updates are not supported yet.");
    let stale = bench.beat(&joins("c", &Topology { epoch: 2, ..other })).unwrap();
    assert_eq!(stale.status[0].code, StreamsStatusCode::StaleTopology);
    assert_eq!(stale.status[0].detail, "The member's topology epoch 2 is behind the group's topology epoch 3.");
    bench.restart();
    assert_eq!(bench.describe().topology.unwrap().epoch, 3);
    assert_eq!(tasks("0", 0..1).len(), 1);
}

/// Each repartition topic is fed by the subtopology behind its reader.
fn chain_from_its_end(length: usize) -> Vec<Subtopology> {
    let name = |place: usize| format!("r{place}");
    let link = |place: usize| Subtopology {
        repartition_source_topics: if place == 0 { Vec::new() } else { vec![internal(&name(place), 0)] },
        repartition_sink_topics: vec![name(place + 1)],
        ..reads(&place.to_string(), if place == 0 { &["t"] } else { &[] })
    };
    (0..length).rev().map(link).collect()
}

/// Where each part was held against all others this took minutes.
#[test]
fn a_topology_takes_no_more_time_than_it_has_parts() {
    let count = 10_000;
    let mut bench = Bench::new(&[("t", 3)]);
    // The last sink is read by nobody.
    let answer = bench.beat(&joins("a", &topology(chain_from_its_end(count)))).unwrap();
    assert_eq!(answer.create.len(), count - 1);
    assert!(answer.create.iter().all(|topic| topic.partitions == 3));
    // One subtopology writes to many topics and reads many, of which none is ever known.
    let names = |letter: char| (0..count).map(move |place| format!("{letter}{place}"));
    let known = Subtopology {
        repartition_source_topics: names('f').map(|name| internal(&name, 1)).collect(),
        ..reads("0", &["t"])
    };
    let looped = Subtopology {
        repartition_source_topics: names('u').map(|name| internal(&name, 0)).collect(),
        repartition_sink_topics: names('s').collect(),
        ..reads("1", &[])
    };
    let mut bench = Bench::new(&[("t", 3)]);
    assert!(bench.beat(&joins("a", &topology(vec![known.clone(), looped]))).is_err());
    let groups = vec![CopartitionGroup::default(); count];
    let grouped = topology(vec![Subtopology { copartition_groups: groups, ..known }]);
    assert_eq!(bench.beat(&joins("a", &grouped)).unwrap().create.len(), count);
}

#[test]
fn a_chain_of_topics_is_decided_in_the_order_of_kafka_s_passes() {
    // `b` reads what `a` writes and what `c` does, which is known later: the first that it hears of counts.
    let writes = |id: &str, read: &[&str], sources: &[&str], sink: &str| Subtopology {
        repartition_source_topics: sources.iter().map(|name| internal(name, 0)).collect(),
        repartition_sink_topics: vec![sink.to_owned()],
        ..reads(id, read)
    };
    let app = topology(vec![
        writes("a", &["t"], &[], "from-a"),
        writes("b", &[], &["from-a", "from-c"], "from-b"),
        writes("c", &["u"], &[], "from-c"),
        writes("d", &[], &["from-b"], "from-d"),
    ]);
    let mut bench = Bench::new(&[("t", 2), ("u", 5)]);
    let created = bench.beat(&joins("a", &app)).unwrap().create;
    let told: Vec<_> = created.iter().map(|it| (it.name.as_str(), it.partitions)).collect();
    assert_eq!(told, [("from-a", 2), ("from-b", 2), ("from-c", 5)]);
}

#[test]
fn a_topic_that_a_topology_names_often_is_told_once_with_an_endpoint() {
    let mut bench = Bench::new(&[("t", 2)]);
    let app = topology(vec![reads("0", &["t"; 1000])]);
    let endpoint = Some(Endpoint { host: "h".to_owned(), port: 1 });
    let mut request = joins("a", &app);
    request.endpoint = endpoint;
    request.endpoint_epoch = -1;
    assert!(bench.beat(&request).unwrap().tells_endpoints);
    let endpoints = bench.endpoints();
    assert_eq!(endpoints[0].active, [("t".to_owned(), vec![0, 1])]);
}
