//! Credentials for SCRAM and access control lists. What a request may hold is checked by whoever asks; here it is bounded.

use super::Applied;
use crate::{Acl, Image, Outcome, Refusal, ScramCredential, ScramUser};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Credentials at the most, so that nobody fills the image with them.
pub const SCRAM_CREDENTIALS_MAX: usize = 10_000;

/// Entries of all access control lists at the most.
pub const ACLS_MAX: usize = 50_000;

/// All changes, or none.
pub(super) fn alter_scram(image: &mut Image, changes: &BTreeMap<ScramUser, Option<ScramCredential>>) -> Applied {
    let added = changes.iter().filter(|(user, it)| it.is_some() && !image.scram.contains_key(*user)).count();
    if added > 0 && image.scram.len() + added > SCRAM_CREDENTIALS_MAX {
        return Err(Refusal::Invalid(format!(
            "there may be {SCRAM_CREDENTIALS_MAX} credentials at the most; delete some of those first"
        )));
    }
    for (user, change) in changes {
        match change {
            Some(credential) => image.scram.insert(user.clone(), Arc::new(credential.clone())),
            None => image.scram.remove(user),
        };
    }
    Ok(Outcome::Done)
}

/// Takes entries away, then adds others; what is not there, or is there already, stays so. All, or nothing.
pub(super) fn alter_acls(image: &mut Image, removed: &[Acl], added: &[Acl]) -> Applied {
    let mut acls = image.acls.clone();
    for (resource, entry) in removed {
        let Some(entries) = acls.get_mut(resource) else { continue };
        Arc::make_mut(entries).remove(entry);
        if entries.is_empty() {
            acls.remove(resource);
        }
    }
    let kept: usize = acls.values().map(|entries| entries.len()).sum();
    for (resource, entry) in added {
        Arc::make_mut(acls.entry(resource.clone()).or_default()).insert(entry.clone());
    }
    let count: usize = acls.values().map(|entries| entries.len()).sum();
    if count > ACLS_MAX && count > kept {
        return Err(Refusal::Invalid(format!(
            "access control lists may have {ACLS_MAX} entries at the most; delete some of those first, or use prefixes"
        )));
    }
    image.acls = acls;
    Ok(Outcome::Done)
}
