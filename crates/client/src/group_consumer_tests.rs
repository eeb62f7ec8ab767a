use super::*;
use crate::options::ClientOptions;
use bytes::BytesMut;
use protocol::api_key::ApiKey;
use protocol::frame::{RequestFrame, encode_response, next_frame};
use protocol::messages::api_versions_response::{ApiVersion, ApiVersionsResponse};
use protocol::messages::find_coordinator_response::FindCoordinatorResponse;
use protocol::messages::heartbeat_response::HeartbeatResponse;
use protocol::messages::metadata_response::{MetadataResponse, MetadataResponseBroker};
use protocol::messages::offset_commit_response::{
    OffsetCommitResponse, OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
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
struct Coordinator {
    port: u16,
    deeds: Arc<Mutex<VecDeque<Deed>>>,
    /// What it was asked.
    asked: Arc<Mutex<Vec<ApiKey>>>,
}

impl Coordinator {
    #[expect(clippy::disallowed_methods, reason = "a broker beside the client, in tests that are never simulated")]
    fn start() -> Coordinator {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (deeds, asked) = (Arc::new(Mutex::default()), Arc::new(Mutex::default()));
        let served = Coordinator { port, deeds: Arc::clone(&deeds), asked: Arc::clone(&asked) };
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let each = Coordinator { port, deeds: Arc::clone(&deeds), asked: Arc::clone(&asked) };
                std::thread::spawn(move || each.serve(connection.unwrap()));
            }
        });
        served
    }

    fn serve(&self, mut connection: TcpStream) {
        let mut received = BytesMut::new();
        let mut some = [0; 4096];
        loop {
            while let Some(frame) = next_frame(&mut received, 1 << 20).unwrap() {
                let Some(answer) = self.answer(RequestFrame::decode(frame).unwrap()) else { return };
                connection.write_all(&answer).unwrap();
            }
            match connection.read(&mut some) {
                Ok(0) | Err(_) => return,
                Ok(length) => received.extend_from_slice(&some[..length]),
            }
        }
    }

    fn answer(&self, request: RequestFrame) -> Option<Bytes> {
        let (key, version, id) = (request.header.key, request.header.version, request.header.correlation_id);
        lock(&self.asked).push(key);
        let (host, port) = ("127.0.0.1".to_owned(), i32::from(self.port));
        let bytes = match key {
            ApiKey::ApiVersions => encode_response(key, version, id, &served()),
            ApiKey::Metadata => {
                let brokers = vec![MetadataResponseBroker { node_id: 1, host, port, ..Default::default() }];
                encode_response(key, version, id, &MetadataResponse { brokers, ..Default::default() })
            }
            ApiKey::FindCoordinator => {
                let found = FindCoordinatorResponse { node_id: 1, host, port, ..Default::default() };
                encode_response(key, version, id, &found)
            }
            ApiKey::Heartbeat => {
                let error_code = self.next()?.number();
                encode_response(key, version, id, &HeartbeatResponse { error_code, ..Default::default() })
            }
            ApiKey::OffsetCommit => {
                let partition = OffsetCommitResponsePartition { partition_index: 0, error_code: self.next()?.number() };
                let topic = OffsetCommitResponseTopic { partitions: vec![partition], ..Default::default() };
                let answer = OffsetCommitResponse { topics: vec![topic], ..Default::default() };
                encode_response(key, version, id, &answer)
            }
            other => panic!("nobody asks for {other:?} here"),
        };
        Some(bytes.unwrap().into_bytes())
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

fn served() -> ApiVersionsResponse {
    let served =
        [ApiKey::ApiVersions, ApiKey::Metadata, ApiKey::FindCoordinator, ApiKey::Heartbeat, ApiKey::OffsetCommit];
    let row = |key: ApiKey| ApiVersion { api_key: key.number(), min_version: 0, max_version: i16::MAX };
    ApiVersionsResponse { api_keys: served.map(row).into(), ..ApiVersionsResponse::default() }
}

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
