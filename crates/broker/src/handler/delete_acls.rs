//! DeleteAcls (KIP-140): takes away what filters mean, and tells it. All of a request goes at once.

use crate::Shared;
use crate::acls::{Filter, Named};
use crate::checks::Steps;
use crate::error::Failure;
use crate::handler::create_acls::{ALTER_WAIT_MAX, check_caller};
use crate::rights::Rights;
use crate::{requests, topics};
use control_core::{Acl, Command};
use protocol::messages::delete_acls_request::{DeleteAclsFilter, DeleteAclsRequest};
use protocol::messages::delete_acls_response::{DeleteAclsFilterResult, DeleteAclsMatchingAcl, DeleteAclsResponse};
use std::collections::BTreeSet;

/// Entries that one request may take away.
const REMOVED_MAX: usize = requests::NAMES_MAX;

/// The same entries may be meant, and told, by several filters: so many at the most.
const TOLD_MAX: usize = 4 * REMOVED_MAX;

pub(crate) async fn handle(broker: &Shared, request: DeleteAclsRequest, rights: &Rights) -> DeleteAclsResponse {
    let checked = check_caller(broker, rights, request.filters.len());
    let image = broker.store.ledger().image();
    let (mut removed, mut told, mut steps) = (BTreeSet::<Acl>::new(), 0, Steps::default());
    let mut found: Vec<Result<Vec<Acl>, Failure>> = Vec::with_capacity(request.filters.len());
    for filter in request.filters {
        steps.next().await;
        let filter = filter_of(filter);
        let meant = checked.clone().and_then(|()| filter.check()).and_then(|()| {
            let left = REMOVED_MAX.min(TOLD_MAX - told) + 1;
            let all = filter.matching(&image.acls).map(|(resource, entry)| (resource.clone(), entry.clone()));
            let meant: Vec<Acl> = all.take(left).collect();
            let more = meant.iter().filter(|acl| !removed.contains(*acl)).count();
            if meant.len() == left || removed.len() + more > REMOVED_MAX {
                return Err(too_many());
            }
            told += meant.len();
            removed.extend(meant.iter().cloned());
            Ok(meant)
        });
        found.push(meant);
    }
    let outcome = if removed.is_empty() {
        Ok(())
    } else {
        let command = Command::AlterAcls { removed: removed.into_iter().collect(), added: Vec::new() };
        topics::submit(broker, command, ALTER_WAIT_MAX).await
    };
    let result = |meant: Result<Vec<Acl>, Failure>| match outcome.clone().and(meant) {
        Ok(meant) => DeleteAclsFilterResult {
            error_code: 0,
            error_message: None,
            matching_acls: meant.iter().map(matching).collect(),
        },
        Err(failure) => DeleteAclsFilterResult {
            error_code: failure.code().number(),
            error_message: Some(failure.to_string()),
            matching_acls: Vec::new(),
        },
    };
    let filter_results = found.into_iter().map(result).collect();
    DeleteAclsResponse { filter_results, ..DeleteAclsResponse::default() }
}

fn too_many() -> Failure {
    Failure::InvalidRequest(format!("Cannot remove more than {REMOVED_MAX} acls in a single delete operation."))
}

fn filter_of(filter: DeleteAclsFilter) -> Filter {
    Filter {
        kind: filter.resource_type_filter,
        name: filter.resource_name_filter,
        pattern: filter.pattern_type_filter,
        principal: filter.principal_filter,
        host: filter.host_filter,
        operation: filter.operation,
        permission: filter.permission_type,
    }
}

fn matching((resource, entry): &Acl) -> DeleteAclsMatchingAcl {
    let Named { kind, name, pattern, principal, host, operation, permission } = Named::of(resource, entry);
    DeleteAclsMatchingAcl {
        error_code: 0,
        error_message: None,
        resource_type: kind,
        resource_name: name,
        pattern_type: pattern,
        principal,
        host,
        operation,
        permission_type: permission,
    }
}
