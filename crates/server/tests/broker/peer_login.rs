//! Two brokers of which one can't log in at the other: what it says at its start, and when a transaction waits for that.

use crate::support::client::Client;
use crate::support::eventually;
use crate::support::process::{self, Broker};
use protocol::messages::add_partitions_to_txn_request::{AddPartitionsToTxnRequest, AddPartitionsToTxnTopic};
use protocol::messages::create_topics_request::{CreatableReplicaAssignment, CreatableTopic, CreateTopicsRequest};
use protocol::messages::end_txn_request::EndTxnRequest;
use protocol::messages::find_coordinator_request::FindCoordinatorRequest;
use protocol::messages::init_producer_id_request::InitProducerIdRequest;
use protocol::messages::init_producer_id_response::InitProducerIdResponse;
use protocol::messages::sasl_authenticate_request::SaslAuthenticateRequest;
use protocol::messages::sasl_handshake_request::SaslHandshakeRequest;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

const SETTING: &str = "listener.name.sasl_plaintext.plain.sasl.jaas.config";
const LIMIT: Duration = Duration::from_secs(30);
const ID: &str = "payments";
const TOPIC: &str = "elsewhere";

fn start(bucket: &Path, id: &str, own: &str) -> (Broker, TempDir) {
    let folder = TempDir::new().unwrap();
    let storage = format!("file://{}", bucket.display());
    let jaas = format!(
        "{SETTING}=org.apache.kafka.common.security.plain.PlainLoginModule required {own} user_admin=\"right\" user_clerk=\"low\";"
    );
    let sasl =
        ["listeners=SASL_PLAINTEXT://127.0.0.1:0", "sasl.enabled.mechanisms=PLAIN", "super.users=User:admin", &jaas];
    let authorizer = "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer";
    let mut all = vec!["--storage", &storage, "--node-id", id];
    all.extend(sasl.into_iter().chain([authorizer]).flat_map(|setting| ["--set", setting]));
    (process::start_in(folder.path(), &all), folder)
}

fn logged_in(broker: &Broker) -> Client {
    let mut client = Client::connect(broker.kafka).unwrap();
    let plain = SaslHandshakeRequest { mechanism: "PLAIN".to_owned() };
    assert_eq!(client.call(&plain, 1).unwrap().error_code, 0);
    let token = SaslAuthenticateRequest { auth_bytes: "\0admin\0right".into() };
    assert_eq!(client.call(&token, 2).unwrap().error_code, 0);
    client
}

/// Which of the brokers coordinates [`ID`].
fn coordinator(brokers: &[(Broker, TempDir)]) -> usize {
    let mut client = logged_in(&brokers[0].0);
    let request = FindCoordinatorRequest { key: ID.to_owned(), key_type: 1, ..FindCoordinatorRequest::default() };
    let id = eventually(LIMIT, "there is a coordinator", || {
        let answer = client.call(&request, 2).unwrap();
        (answer.error_code == 0).then_some(answer.node_id)
    });
    usize::try_from(id).unwrap()
}

/// Has the coordinator commit a transaction with a partition that the other broker leads.
fn commits(coordinator: &Broker, other: usize) {
    let mut client = logged_in(coordinator);
    let partition = CreatableReplicaAssignment { partition_index: 0, broker_ids: vec![i32::try_from(other).unwrap()] };
    let topic = CreatableTopic {
        name: TOPIC.to_owned(),
        num_partitions: -1,
        replication_factor: -1,
        assignments: vec![partition],
        ..CreatableTopic::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], ..CreateTopicsRequest::default() };
    eventually(LIMIT, "they know one another", || {
        (client.call(&request, 4).unwrap().topics[0].error_code == 0).then_some(())
    });
    let request = InitProducerIdRequest {
        transactional_id: Some(ID.to_owned()),
        transaction_timeout_ms: 60_000,
        ..InitProducerIdRequest::default()
    };
    let InitProducerIdResponse { producer_id, producer_epoch, .. } = eventually(LIMIT, "a producer's id", || {
        Some(client.call(&request, 1).unwrap()).filter(|answer| answer.error_code == 0)
    });
    let request = AddPartitionsToTxnRequest {
        v3_and_below_transactional_id: ID.to_owned(),
        v3_and_below_producer_id: producer_id,
        v3_and_below_producer_epoch: producer_epoch,
        v3_and_below_topics: vec![AddPartitionsToTxnTopic { name: TOPIC.to_owned(), partitions: vec![0] }],
        ..AddPartitionsToTxnRequest::default()
    };
    let answer = client.call(&request, 3).unwrap();
    assert_eq!(answer.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code, 0);
    let request = EndTxnRequest { transactional_id: ID.to_owned(), producer_id, producer_epoch, committed: true };
    assert_eq!(client.call(&request, 3).unwrap().error_code, 0);
}

#[test]
fn a_broker_that_is_not_let_in_elsewhere_says_where_why_and_what_to_write() {
    let warning = "this broker can't log in at others";
    let cases = [
        ("", Some("has no username and password"), "closes the connection before it answers"),
        (r#"username="admin" password="wrong""#, Some("has another password there"), "does not let this one in"),
        (
            r#"username="clerk" password="low""#,
            None,
            "User:clerk what brokers ask: name it among that broker's super.users",
        ),
    ];
    for (own, at_start, then) in cases {
        let bucket = TempDir::new().unwrap();
        let brokers: Vec<_> = ["0", "1"].iter().map(|id| start(bucket.path(), id, own)).collect();
        for (broker, _) in &brokers {
            let log = broker.log();
            assert_eq!(log.contains(warning), at_start.is_some(), "{log}");
            assert!(log.contains(at_start.unwrap_or_default()), "{log}");
        }
        let coordinator = coordinator(&brokers);
        let other = 1 - coordinator;
        commits(&brokers[coordinator].0, other);
        let log = eventually(LIMIT, "it says who does not let it in", || {
            Some(brokers[coordinator].0.log()).filter(|log| log.contains(then))
        });
        let line = log.lines().find(|line| line.contains(then)).unwrap();
        assert!(line.contains(&format!("broker {other} at {}", brokers[other].0.kafka)), "{line}");
        assert!(line.contains("transactions with partitions that it leads wait"), "{line}");
        assert!(line.contains(SETTING) || line.contains("super.users"), "{line}");
        assert!(!line.contains("\"wrong\"") && !line.contains("\"low\""), "{line}");
    }
}
