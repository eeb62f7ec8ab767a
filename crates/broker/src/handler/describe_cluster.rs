//! DescribeCluster (KIP-700): the brokers, who of them takes changes, and the cluster's id.
//!
//! A broker that has died is *fenced* (KIP-1073) for as long as the ledger knows it: told only where the client asks for such.

use crate::error::Failure;
use crate::rights::Rights;
use crate::{Shared, authorized, topics};
use base::NodeId;
use control_core::{Image, Node};
use protocol::messages::describe_cluster_request::DescribeClusterRequest;
use protocol::messages::describe_cluster_response::{DescribeClusterBroker, DescribeClusterResponse};
use protocol::wire::Uuid;
use std::collections::BTreeMap;

/// From this version on the request says which kind of endpoints it means.
const ENDPOINT_TYPE_VERSION: i16 = 1;

/// Kafka's numbers for kinds of endpoints.
const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

const MISMATCHED: &str =
    "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER";

pub(crate) fn handle(
    broker: &Shared,
    request: &DescribeClusterRequest,
    version: i16,
    rights: &Rights,
) -> DescribeClusterResponse {
    if let Err(failure) = check_endpoint_type(request.endpoint_type, version) {
        return DescribeClusterResponse {
            error_code: failure.code().number(),
            error_message: Some(failure.to_string()),
            ..DescribeClusterResponse::default()
        };
    }
    let image = broker.store.ledger().image();
    DescribeClusterResponse {
        endpoint_type: BROKERS,
        cluster_id: Uuid(image.cluster_id).to_string(),
        controller_id: topics::controller(broker, &image).0,
        brokers: brokers(&image, request.include_fenced_brokers),
        cluster_authorized_operations: authorized::of_cluster(request.include_cluster_authorized_operations, rights),
        ..DescribeClusterResponse::default()
    }
}

/// There are no controllers to be spoken to: every broker is one.
fn check_endpoint_type(asked: i8, version: i16) -> Result<(), Failure> {
    let (kind, why): (fn(String) -> Failure, String) = match asked {
        BROKERS => return Ok(()),
        CONTROLLERS => (Failure::MismatchedEndpointType, MISMATCHED.to_owned()),
        other => (Failure::UnsupportedEndpointType, format!("Unsupported endpoint type {other}")),
    };
    Err(if version >= ENDPOINT_TYPE_VERSION { kind(why) } else { Failure::InvalidRequest(why) })
}

fn brokers(image: &Image, with_fenced: bool) -> Vec<DescribeClusterBroker> {
    let living = topics::living(image);
    let mut brokers: BTreeMap<NodeId, (&Node, bool)> = BTreeMap::new();
    if with_fenced {
        let were_brokers = image.nodes.values().filter(|node| node.is_broker());
        brokers.extend(were_brokers.map(|node| (node.node_id, (node.as_ref(), true))));
    }
    brokers.extend(living.iter().map(|(id, (_, node))| (*id, (node.as_ref(), false))));
    let describe = |(id, (node, is_fenced)): (NodeId, (&Node, bool))| {
        let (host, port) = topics::endpoint(&node.advertised);
        DescribeClusterBroker { broker_id: id.0, host, port, rack: None, is_fenced }
    };
    brokers.into_iter().map(describe).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::NodeEpoch;
    use control_core::NodeState;
    use std::sync::Arc;

    #[test]
    fn a_broker_whose_last_start_is_dead_is_fenced_and_told_to_who_asks_for_such() {
        let mut image = Image::default();
        let starts =
            [(1, 7, NodeState::Dead), (2, 7, NodeState::Alive), (3, 8, NodeState::Dead), (4, 8, NodeState::Dead)];
        for (node_epoch, node_id, state) in starts {
            let node = Node {
                node_id: NodeId(node_id),
                state,
                advertised: format!("host{node_epoch}:9092"),
                incarnation: u128::from(node_epoch),
                min_counter: 0,
                answered: Default::default(),
            };
            image.nodes.insert(NodeEpoch(node_epoch), Arc::new(node));
        }
        let told = |with_fenced| {
            let told = brokers(&image, with_fenced).into_iter();
            told.map(|it| (it.broker_id, it.host, it.is_fenced)).collect::<Vec<_>>()
        };
        assert_eq!(told(false), [(7, "host2".to_owned(), false)]);
        assert_eq!(told(true), [(7, "host2".to_owned(), false), (8, "host4".to_owned(), true)]);
    }
}
