//! FindCoordinator: who answers for a group, for a transactional id, or for a share-partition (what a share group has of a partition): the owner
//! of its partition of an internal topic, which is made on first use.

use crate::coordinator::{OFFSETS, OwnTopic, SHARE_STATE, TRANSACTION_STATE, partition_of};
use crate::error::Failure;
use crate::rights::Rights;
use crate::{Shared, requests, topics};
use coordinator_core::ShareStateKey;
use protocol::api::{Operation, Resource};
use protocol::error_code::ErrorCode;
use protocol::messages::find_coordinator_request::FindCoordinatorRequest;
use protocol::messages::find_coordinator_response::{Coordinator, FindCoordinatorResponse};
use protocol::wire::Uuid;

/// From this version on a request names several keys.
const MANY_KEYS_VERSION: i16 = 4;

/// From this version on there are share-partitions (KIP-932).
const SHARE_VERSION: i16 = 6;

/// Kafka's numbers for what a key is.
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
const SHARE: i8 = 2;

pub(crate) async fn handle(
    broker: &Shared,
    request: FindCoordinatorRequest,
    version: i16,
    rights: &Rights,
) -> FindCoordinatorResponse {
    if version >= MANY_KEYS_VERSION {
        let mut coordinators = Vec::new();
        for key in requests::once(request.coordinator_keys, String::clone).await {
            coordinators.push(find((broker, rights), (request.key_type, version), key).await);
        }
        return FindCoordinatorResponse { coordinators, ..FindCoordinatorResponse::default() };
    }
    let found = find((broker, rights), (request.key_type, version), request.key).await;
    FindCoordinatorResponse {
        error_code: found.error_code,
        error_message: found.error_message,
        node_id: found.node_id,
        host: found.host,
        port: found.port,
        ..FindCoordinatorResponse::default()
    }
}

async fn find((broker, rights): (&Shared, &Rights), (kind, version): (i8, i16), key: String) -> Coordinator {
    let found = match kind {
        GROUP if !rights.allow(Operation::Describe, Resource::Group, &key) => {
            Err(Failure::NotAuthorized(Resource::Group))
        }
        TRANSACTION if !rights.allow(Operation::Describe, Resource::TransactionalId, &key) => {
            Err(Failure::NotAuthorized(Resource::TransactionalId))
        }
        GROUP => find_in(broker, &OFFSETS, &key).await,
        TRANSACTION => find_in(broker, &TRANSACTION_STATE, &key).await,
        SHARE if version >= SHARE_VERSION && !rights.allow_cluster(Operation::ClusterAction) => {
            Err(Failure::NotAuthorized(Resource::Cluster))
        }
        SHARE if version >= SHARE_VERSION => match share_partition(&key) {
            Some(share_partition) => find_in(broker, &SHARE_STATE, &share_partition.to_string()).await,
            None => Err(Failure::InvalidRequest("the key of a share-partition is group:topic id:partition".to_owned())),
        },
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

/// Of the text `group:topic id:partition`; a group may have colons in its name.
fn share_partition(key: &str) -> Option<ShareStateKey> {
    let mut parts = key.rsplitn(3, ':');
    let (partition, topic, group) = (parts.next()?, parts.next()?, parts.next()?);
    if group.trim().is_empty() {
        return None;
    }
    let (topic, partition) = (Uuid::parse(topic)?.into(), partition.parse().ok()?);
    Some(ShareStateKey { group: group.into(), topic, partition })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_partition_is_named_by_group_topic_id_and_partition() {
        for key in ["g:AAAAAAAAAAAAAAAAAAAAAQ:3", "a:b:c:AAAAAAAAAAAAAAAAAAAAAQ:0"] {
            assert_eq!(share_partition(key).map(|it| it.to_string()).as_deref(), Some(key));
        }
        for key in [
            "",
            "g",
            "g:0",
            "g:AAAAAAAAAAAAAAAAAAAAAQ",
            ":AAAAAAAAAAAAAAAAAAAAAQ:0",
            "g:AAAA:0",
            "g:AAAAAAAAAAAAAAAAAAAAAQ:x",
        ] {
            assert!(share_partition(key).is_none(), "{key}");
        }
    }
}
