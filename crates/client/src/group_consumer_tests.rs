use super::*;
use crate::options::ClientOptions;
use crate::test_broker::{self, answer};
use protocol::api_key::ApiKey;
use protocol::frame::RequestHeader;
use protocol::messages::find_coordinator_response::FindCoordinatorResponse;
use protocol::messages::heartbeat_response::HeartbeatResponse;
use protocol::messages::metadata_response::{MetadataResponse, MetadataResponseBroker};
use protocol::messages::offset_commit_response::{
    OffsetCommitResponse, OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use std::collections::VecDeque;
use std::sync::Mutex;
use world::{World, lock};

#[test]
fn ranges_are_those_of_kafka() {
    let members = BTreeSet::from(["a", "b", "c"].map(str::to_owned));
    let shares = |partitions| ranges(partitions, &members).into_iter().map(|(_, it)| it).collect::<Vec<_>>();
    assert_eq!(shares(7), [vec![0, 1, 2], vec![3, 4], vec![5, 6]]);
    assert_eq!(shares(2), [vec![0], vec![1], vec![]]);
}

#[test]
fn what_is_written_can_be_read() {
    let topics = vec!["t".to_owned()];
    let subscription = ConsumerProtocolSubscription { topics: topics.clone(), ..Default::default() };
    assert_eq!(subscribed(&versioned(&subscription)), topics);
    let part = TopicPartition { topic: "t".to_owned(), partitions: vec![0, 5] };
    let assignment = ConsumerProtocolAssignment { assigned_partitions: vec![part], user_data: None };
    assert_eq!(assigned(&versioned(&assignment)), [("t".to_owned(), 0), ("t".to_owned(), 5)]);
    assert_eq!(subscribed(&Bytes::from_static(b"\0")), Vec::<String>::new());
}

/// What a coordinator does with a member's request.
#[derive(Debug, Clone, Copy)]
enum Deed {
    Answers(ErrorCode),
    /// It closes the connection, as a broker that is killed.
    Dies,
}

/// A broker that coordinates every group, and does what it is told to.
#[derive(Clone, Default)]
struct Coordinator {
    port: u16,
    deeds: Arc<Mutex<VecDeque<Deed>>>,
    /// What it was asked.
    asked: Arc<Mutex<Vec<ApiKey>>>,
}

impl Coordinator {
    fn start() -> Coordinator {
        let mut coordinator = Coordinator::default();
        coordinator.port = test_broker::start(|port| {
            let served = Coordinator { port, ..coordinator.clone() };
            Arc::new(move |request| served.answer(&request.header))
        });
        coordinator
    }

    fn answer(&self, request: &RequestHeader) -> Option<Bytes> {
        lock(&self.asked).push(request.key);
        let itself = test_broker::itself(1, self.port);
        match request.key {
            ApiKey::ApiVersions => answer(request, &test_broker::serves(&SERVED)),
            ApiKey::Metadata => {
                answer(request, &MetadataResponse { brokers: vec![itself], ..MetadataResponse::default() })
            }
            ApiKey::FindCoordinator => {
                let MetadataResponseBroker { node_id, host, port, .. } = itself;
                answer(request, &FindCoordinatorResponse { node_id, host, port, ..Default::default() })
            }
            ApiKey::Heartbeat => {
                let error_code = self.next()?.number();
                answer(request, &HeartbeatResponse { error_code, ..HeartbeatResponse::default() })
            }
            ApiKey::OffsetCommit => {
                let partition = OffsetCommitResponsePartition { partition_index: 0, error_code: self.next()?.number() };
                let topic = OffsetCommitResponseTopic { partitions: vec![partition], ..Default::default() };
                answer(request, &OffsetCommitResponse { topics: vec![topic], ..OffsetCommitResponse::default() })
            }
            other => panic!("nobody asks for {other:?} here"),
        }
    }

    fn next(&self) -> Option<ErrorCode> {
        match lock(&self.deeds).pop_front().unwrap_or(Deed::Answers(ErrorCode::None)) {
            Deed::Answers(code) => Some(code),
            Deed::Dies => None,
        }
    }

    fn does(&self, deeds: &[Deed]) {
        *lock(&self.deeds) = deeds.iter().copied().collect();
    }

    fn searches(&self) -> usize {
        lock(&self.asked).iter().filter(|key| **key == ApiKey::FindCoordinator).count()
    }
}

const SERVED: [ApiKey; 5] =
    [ApiKey::ApiVersions, ApiKey::Metadata, ApiKey::FindCoordinator, ApiKey::Heartbeat, ApiKey::OffsetCommit];

async fn member(bootstrap: String, call_within: Duration) -> GroupConsumer {
    let options = ClientOptions { call_within, ..ClientOptions::new(bootstrap) };
    let cluster = Cluster::connect(World::system(), options).await.unwrap();
    GroupConsumer { member_id: "m".to_owned(), generation: 1, ..GroupConsumer::new(cluster, "g", "t") }
}

/// What a restart of the coordinator looks like from outside.
const RESTART: [Deed; 4] = [
    Deed::Dies,
    Deed::Answers(ErrorCode::CoordinatorNotAvailable),
    Deed::Answers(ErrorCode::CoordinatorLoadInProgress),
    Deed::Answers(ErrorCode::NotCoordinator),
];

#[tokio::test]
async fn a_member_bears_that_its_coordinator_is_away() {
    let coordinator = Coordinator::start();
    let mut member = member(format!("127.0.0.1:{}", coordinator.port), Duration::from_secs(60)).await;
    let offsets = BTreeMap::from([(0, 7)]);
    coordinator.does(&RESTART);
    assert_eq!(member.heartbeat().await, Ok(Standing::Stays));
    coordinator.does(&RESTART);
    assert_eq!(member.commit(&offsets).await, Ok(Standing::Stays));
    coordinator.does(&[Deed::Dies, Deed::Answers(ErrorCode::RebalanceInProgress)]);
    assert_eq!(member.commit(&offsets).await, Ok(Standing::JoinsAgain));
    coordinator.does(&[Deed::Answers(ErrorCode::GroupAuthorizationFailed)]);
    let refused = member.heartbeat().await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::GroupAuthorizationFailed), "what does not pass is told");
}

#[tokio::test]
async fn trouble_is_told_when_the_time_of_a_call_is_over() {
    let coordinator = Coordinator::start();
    let mut member = member(format!("127.0.0.1:{}", coordinator.port), Duration::from_millis(300)).await;
    coordinator.does(&[Deed::Answers(ErrorCode::CoordinatorLoadInProgress); 1000]);
    let error = member.heartbeat().await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::CoordinatorLoadInProgress));
}

#[tokio::test]
async fn the_coordinator_is_looked_for_once_until_there_is_trouble() {
    let coordinator = Coordinator::start();
    let mut member = member(format!("127.0.0.1:{}", coordinator.port), Duration::from_secs(60)).await;
    for _ in 0..5 {
        assert_eq!(member.heartbeat().await, Ok(Standing::Stays));
        assert_eq!(member.commit(&BTreeMap::from([(0, 7)])).await, Ok(Standing::Stays));
    }
    assert_eq!(coordinator.searches(), 1);
    coordinator.does(&[Deed::Answers(ErrorCode::NotCoordinator)]);
    assert_eq!(member.heartbeat().await, Ok(Standing::Stays));
    assert_eq!(coordinator.searches(), 2);
}
