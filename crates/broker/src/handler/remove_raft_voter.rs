//! RemoveRaftVoter (KIP-853): as AddRaftVoter, nothing that could be done here.

use super::add_raft_voter::refusal;
use crate::Shared;
use crate::rights::Rights;
use protocol::messages::remove_raft_voter_request::RemoveRaftVoterRequest;
use protocol::messages::remove_raft_voter_response::RemoveRaftVoterResponse;

pub(crate) fn handle(broker: &Shared, request: &RemoveRaftVoterRequest, rights: &Rights) -> RemoveRaftVoterResponse {
    let voter = (request.voter_id, request.voter_directory_id);
    let failure = refusal(broker, (request.cluster_id.as_deref(), voter), "Remove", rights);
    RemoveRaftVoterResponse {
        error_code: failure.code().number(),
        error_message: Some(failure.to_string()),
        ..RemoveRaftVoterResponse::default()
    }
}
