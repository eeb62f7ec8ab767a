//! Settings that are not a topic's: of all brokers, of one, of a group, of a subscription to clients' metrics.
//!
//! What a name means and which values it may have is checked by whoever asks; here they are texts.

use super::Applied;
use crate::{Image, Outcome, Refusal, SettingsScope};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Brokers, groups and subscriptions with settings of their own at the most, so that no client can fill the image with names.
pub const SETTINGS_SCOPES_MAX: usize = 10_000;

pub(super) fn alter(image: &mut Image, scope: &SettingsScope, changes: &BTreeMap<String, Option<String>>) -> Applied {
    let mut settings = image.settings.get(scope).map(|settings| (**settings).clone()).unwrap_or_default();
    for (name, value) in changes {
        match value {
            Some(value) => settings.insert(name.clone(), value.clone()),
            None => settings.remove(name),
        };
    }
    if settings.is_empty() {
        image.settings.remove(scope);
        return Ok(Outcome::Done);
    }
    if !image.settings.contains_key(scope) && image.settings.len() >= SETTINGS_SCOPES_MAX {
        let most = format!(
            "{SETTINGS_SCOPES_MAX} brokers, groups and subscriptions have settings already; delete some of those first"
        );
        return Err(Refusal::Invalid(most));
    }
    image.settings.insert(scope.clone(), Arc::new(settings));
    Ok(Outcome::Done)
}
