//! AddRaftVoter (KIP-853), and what RemoveRaftVoter has in common with it: voters of Kafka's log of metadata are chosen by an administrator.
//!
//! Here nobody chooses them: an entry of metadata counts once the bucket holds it, and each broker that lives may lead
//! (`docs/adr/0180-what-a-quorum-of-one-bucket-tells.md`). So what is wrong with a request is told in Kafka's order, and one that is right
//! is answered as by a cluster of Kafka whose voters are fixed.

use crate::Shared;
use crate::error::Failure;
use crate::rights::Rights;
use protocol::api::Operation;
use protocol::messages::add_raft_voter_request::AddRaftVoterRequest;
use protocol::messages::add_raft_voter_response::AddRaftVoterResponse;
use protocol::wire::Uuid;

pub(crate) fn handle(broker: &Shared, request: &AddRaftVoterRequest, rights: &Rights) -> AddRaftVoterResponse {
    let voter = (request.voter_id, request.voter_directory_id);
    let failure = refusal(broker, (request.cluster_id.as_deref(), voter), "Add", rights);
    AddRaftVoterResponse {
        error_code: failure.code().number(),
        error_message: Some(failure.to_string()),
        ..AddRaftVoterResponse::default()
    }
}

/// Why a voter is not added or removed: `what` is said by Kafka's verb.
pub(super) fn refusal(
    broker: &Shared,
    (cluster_id, (id, directory)): (Option<&str>, (i32, Uuid)),
    what: &str,
    rights: &Rights,
) -> Failure {
    if let Err(failure) = rights.check_cluster(Operation::Alter) {
        return failure;
    }
    let own = Uuid(broker.store.ledger().image().cluster_id).to_string();
    if let Some(said) = cluster_id.filter(|said| *said != own) {
        return Failure::InconsistentClusterId { said: said.to_owned(), own };
    }
    if id < 0 || directory == Uuid::ZERO {
        return Failure::InvalidRequest(format!("{what} voter request didn't include a valid voter"));
    }
    // Kafka's words in front, for who looks for them.
    let verb = if what == "Add" { "adding" } else { "removing" };
    Failure::UnsupportedVersion(format!(
        "Cluster doesn't support {verb} voter because the kraft.version feature is 0: metadata is in the bucket, and each broker that is started \
         may lead; start one, or stop one and forget it by UnregisterBroker"
    ))
}
