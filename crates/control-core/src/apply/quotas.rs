//! Quotas of clients.
//!
//! What a name means and which values it may have is checked by whoever asks; here they are names and numbers.

use super::Applied;
use crate::quota::{QuotaEntity, QuotaValue};
use crate::{Image, Outcome, Refusal};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Users, client ids, pairs of these and addresses with quotas of their own at the most, so that the image stays small.
pub const QUOTA_ENTITIES_MAX: usize = 100_000;

pub(super) fn alter(
    image: &mut Image,
    entity: &QuotaEntity,
    changes: &BTreeMap<String, Option<QuotaValue>>,
) -> Applied {
    if *entity == QuotaEntity::default() {
        return Err(Refusal::Invalid("a quota is for somebody".to_owned()));
    }
    let mut quotas = image.quotas.get(entity).map(|quotas| (**quotas).clone()).unwrap_or_default();
    for (name, value) in changes {
        match value {
            Some(value) => quotas.insert(name.clone(), *value),
            None => quotas.remove(name),
        };
    }
    if quotas.is_empty() {
        image.quotas.remove(entity);
        return Ok(Outcome::Done);
    }
    if !image.quotas.contains_key(entity) && image.quotas.len() >= QUOTA_ENTITIES_MAX {
        let most = format!(
            "{QUOTA_ENTITIES_MAX} users, client ids and addresses have quotas of their own already; remove some of those first, or \
             set a default"
        );
        return Err(Refusal::Invalid(most));
    }
    image.quotas.insert(entity.clone(), Arc::new(quotas));
    Ok(Outcome::Done)
}
