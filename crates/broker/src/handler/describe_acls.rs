//! DescribeAcls (KIP-140): the entries of access control lists that a filter means.

use crate::Shared;
use crate::acls::{Filter, Named, pattern_number, small};
use crate::error::Failure;
use crate::rights::Rights;
use control_core::{AclResource, Acls};
use protocol::api::Operation;
use protocol::messages::describe_acls_request::DescribeAclsRequest;
use protocol::messages::describe_acls_response::{AclDescription, DescribeAclsResource, DescribeAclsResponse};
use tokio::sync::OwnedSemaphorePermit;

/// What an entry takes beyond its texts, roughly.
const ENTRY_BYTES: usize = 64;

/// Answers with the memory that was got for it.
pub(crate) async fn handle(
    broker: &Shared,
    request: DescribeAclsRequest,
    rights: &Rights,
) -> (DescribeAclsResponse, Option<OwnedSemaphorePermit>) {
    let filter = Filter {
        kind: request.resource_type_filter,
        name: request.resource_name_filter,
        pattern: request.pattern_type_filter,
        principal: request.principal_filter,
        host: request.host_filter,
        operation: request.operation,
        permission: request.permission_type,
    };
    let refused = |failure: &Failure| {
        let (error_code, error_message) = (failure.code().number(), Some(failure.to_string()));
        DescribeAclsResponse { error_code, error_message, ..DescribeAclsResponse::default() }
    };
    if let Err(failure) = check(broker, rights, &filter) {
        return (refused(&failure), None);
    }
    let image = broker.store.ledger().image();
    let bytes: usize = filter
        .matching(&image.acls)
        .map(|(resource, entry)| ENTRY_BYTES + resource.name.len() + entry.principal.len() + entry.host.len())
        .sum();
    let memory = match broker.answer_memory.take_to_tell(bytes).await {
        Ok(memory) => memory,
        Err(failure) => return (refused(&failure), None),
    };
    let resources = tell(&filter, &image.acls);
    (DescribeAclsResponse { error_message: None, resources, ..DescribeAclsResponse::default() }, memory)
}

/// Other than in DeleteAcls, and as in Kafka, a filter with a number that nobody knows is no error: it means no entry. One with 0, which stands
/// for such a number, Kafka does not read; here it is told so.
fn check(broker: &Shared, rights: &Rights, filter: &Filter) -> Result<(), Failure> {
    rights.check_cluster(Operation::Describe)?;
    if !broker.options.authorizing.is_on {
        return Err(Failure::SecurityDisabled("No Authorizer is configured on the broker".to_owned()));
    }
    if [filter.kind, filter.pattern, filter.operation, filter.permission].contains(&0) {
        return Err(Failure::InvalidRequest("DescribeAclsRequest contains UNKNOWN elements".to_owned()));
    }
    Ok(())
}

/// Resource by resource: the entries of one come together.
fn tell(filter: &Filter, acls: &Acls) -> Vec<DescribeAclsResource> {
    let mut told: Vec<DescribeAclsResource> = Vec::new();
    let mut last: Option<&AclResource> = None;
    for (resource, entry) in filter.matching(acls) {
        if last != Some(resource) {
            last = Some(resource);
            told.push(DescribeAclsResource {
                resource_type: small(resource.kind),
                resource_name: resource.name.clone(),
                pattern_type: pattern_number(resource.pattern),
                acls: Vec::new(),
            });
        }
        let Named { principal, host, operation, permission, .. } = Named::of(resource, entry);
        if let Some(resource) = told.last_mut() {
            resource.acls.push(AclDescription { principal, host, operation, permission_type: permission });
        }
    }
    told
}
