//! CreateAcls (KIP-140): adds entries to access control lists. What is right of a request is done as a whole; an entry that is there
//! already is no error.

use crate::acls::{DISABLED, Named};
use crate::answer_bounds::Reasons;
use crate::error::Failure;
use crate::rights::Rights;
use crate::{Shared, requests, topics};
use control_core::{Acl, Command};
use protocol::api::Operation;
use protocol::messages::create_acls_request::{AclCreation, CreateAclsRequest};
use protocol::messages::create_acls_response::{AclCreationResult, CreateAclsResponse};
use std::time::Duration;

/// The request names no timeout of its own.
pub(crate) const ALTER_WAIT_MAX: Duration = Duration::from_secs(30);

pub(crate) async fn handle(broker: &Shared, request: CreateAclsRequest, rights: &Rights) -> CreateAclsResponse {
    let checked: Vec<Result<Acl, Failure>> = match check_caller(broker, rights, request.creations.len()) {
        Ok(()) => request.creations.into_iter().map(|creation| named(creation).check()).collect(),
        Err(failure) => request.creations.iter().map(|_| Err(failure.clone())).collect(),
    };
    let added: Vec<Acl> = checked.iter().filter_map(|it| it.as_ref().ok().cloned()).collect();
    let outcome = if added.is_empty() {
        Ok(())
    } else {
        topics::submit(broker, Command::AlterAcls { removed: Vec::new(), added }, ALTER_WAIT_MAX).await
    };
    let mut reasons = Reasons::default();
    let mut result = |checked: Result<Acl, Failure>| {
        let (error_code, error_message) = reasons.of(&checked.and(outcome.clone()));
        AclCreationResult { error_code, error_message }
    };
    let results = checked.into_iter().map(&mut result).collect();
    CreateAclsResponse { results, ..CreateAclsResponse::default() }
}

/// Whether lists may be changed, by this caller and by so many changes.
///
/// # Errors
/// They may not.
pub(crate) fn check_caller(broker: &Shared, rights: &Rights, changes: usize) -> Result<(), Failure> {
    rights.check_cluster(Operation::Alter)?;
    if !broker.options.authorizing.is_on {
        return Err(Failure::SecurityDisabled(DISABLED.to_owned()));
    }
    let most = requests::NAMES_MAX;
    if changes > most { Err(Failure::TooManyNames { most }) } else { Ok(()) }
}

fn named(creation: AclCreation) -> Named {
    Named {
        kind: creation.resource_type,
        name: creation.resource_name,
        pattern: creation.resource_pattern_type,
        principal: creation.principal,
        host: creation.host,
        operation: creation.operation,
        permission: creation.permission_type,
    }
}
