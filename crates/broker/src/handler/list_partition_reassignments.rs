//! ListPartitionReassignments (KIP-455): which partitions are on their way from some brokers to others. None ever is: a partition has one
//! place, and what changes it does so in one entry of the ledger.

use crate::rights::Rights;
use protocol::api::Operation;
use protocol::messages::list_partition_reassignments_request::ListPartitionReassignmentsRequest;
use protocol::messages::list_partition_reassignments_response::ListPartitionReassignmentsResponse;

pub(crate) fn handle(
    _request: &ListPartitionReassignmentsRequest,
    rights: &Rights,
) -> ListPartitionReassignmentsResponse {
    let refused = rights.check_cluster(Operation::Describe).err();
    ListPartitionReassignmentsResponse {
        error_code: refused.as_ref().map_or(0, |failure| failure.code().number()),
        error_message: refused.map(|failure| failure.to_string()),
        ..ListPartitionReassignmentsResponse::default()
    }
}
