//! FindCoordinator: who answers for a group, or for a transactional id: the owner of its partition of an internal topic, which is made on
//! first use.
//!
//! There is no coordinator of share groups yet: that is told by a code that ends the client's search, as a client
//! that is told of a coordinator which is not there *now* would look for it until its timeout, or for ever.

use crate::coordinator::{OFFSETS, OwnTopic, TRANSACTION_STATE, partition_of};
use crate::error::Failure;
use crate::{Shared, requests, topics};
use protocol::error_code::ErrorCode;
use protocol::messages::find_coordinator_request::FindCoordinatorRequest;
use protocol::messages::find_coordinator_response::{Coordinator, FindCoordinatorResponse};

/// From this version on a request names several keys.
const MANY_KEYS_VERSION: i16 = 4;

/// Kafka's numbers for what a key is.
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
const SHARE: i8 = 2;

pub(crate) async fn handle(broker: &Shared, request: FindCoordinatorRequest, version: i16) -> FindCoordinatorResponse {
    if version >= MANY_KEYS_VERSION {
        let mut coordinators = Vec::new();
        for key in requests::once(request.coordinator_keys, String::clone).await {
            coordinators.push(find(broker, request.key_type, key).await);
        }
        return FindCoordinatorResponse { coordinators, ..FindCoordinatorResponse::default() };
    }
    let found = find(broker, request.key_type, request.key).await;
    FindCoordinatorResponse {
        error_code: found.error_code,
        error_message: found.error_message,
        node_id: found.node_id,
        host: found.host,
        port: found.port,
        ..FindCoordinatorResponse::default()
    }
}

async fn find(broker: &Shared, kind: i8, key: String) -> Coordinator {
    let found = match kind {
        GROUP => find_in(broker, &OFFSETS, &key).await,
        TRANSACTION => find_in(broker, &TRANSACTION_STATE, &key).await,
        SHARE => Err(Failure::NotServedYet(
            "share groups arrive in a later version; consumer groups and transactions are served".to_owned(),
        )),
        other => Err(Failure::InvalidRequest(format!("there is no coordinator of type {other}"))),
    };
    match found {
        Ok((node_id, (host, port))) => Coordinator {
            key,
            node_id,
            host,
            port,
            error_code: ErrorCode::None.number(),
            error_message: Some(String::new()),
        },
        Err(failure) => Coordinator {
            key,
            node_id: -1,
            host: String::new(),
            port: -1,
            error_code: failure.code().number(),
            error_message: Some(failure.to_string()),
        },
    }
}

async fn find_in(broker: &Shared, own: &OwnTopic, key: &str) -> Result<(i32, (String, i32)), Failure> {
    own.ensure(broker).await?;
    let image = broker.store.ledger().image();
    let unavailable = || Failure::CoordinatorUnavailable("the coordinator's partition has no owner now".to_owned());
    let topic = own.find(&image).ok_or_else(unavailable)?;
    let number = i32::try_from(partition_of(topic, key)).map_err(|_| Failure::UnknownPartition)?;
    let stream = image.streams.get(&topics::stream_of(topic, number)?).ok_or_else(unavailable)?;
    let owner = topics::owner(&image, stream).ok_or_else(unavailable)?;
    Ok((owner.node_id.0, topics::endpoint(&owner.advertised)))
}
