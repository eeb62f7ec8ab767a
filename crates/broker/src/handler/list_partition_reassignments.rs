//! ListPartitionReassignments (KIP-455): which partitions are on their way from some brokers to others. None ever is: a partition has one
//! place, and what changes it does so in one entry of the ledger.

use protocol::messages::list_partition_reassignments_request::ListPartitionReassignmentsRequest;
use protocol::messages::list_partition_reassignments_response::ListPartitionReassignmentsResponse;

pub(crate) fn handle(_request: &ListPartitionReassignmentsRequest) -> ListPartitionReassignmentsResponse {
    ListPartitionReassignmentsResponse { error_message: None, ..ListPartitionReassignmentsResponse::default() }
}
