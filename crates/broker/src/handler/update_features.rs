//! UpdateFeatures (KIP-584, KIP-778): changes of Kafka's feature levels, which are none here: what there is has one level, and stays at it.
//!
//! Refusals are Kafka's, in its order; the first one is that of the whole request (KIP-1022). A request that leaves everything as it is
//! succeeds.

use crate::Shared;
use crate::error::Failure;
use crate::features::{FEATURES, Feature, WITHOUT_LEVEL};
use crate::rights::Rights;
use protocol::api::Operation;
use protocol::messages::update_features_request::{FeatureUpdateKey, UpdateFeaturesRequest};
use protocol::messages::update_features_response::{UpdatableFeatureResult, UpdateFeaturesResponse};

/// Kafka's numbers of the kinds of change. Version 0 knows the first alone.
const UPGRADE: i8 = 1;
const SAFE_DOWNGRADE: i8 = 2;
const UNSAFE_DOWNGRADE: i8 = 3;

/// Up to this version the answer names the features.
const TELLS_FEATURES_TO: i16 = 1;

pub(crate) fn handle(
    broker: &Shared,
    request: &UpdateFeaturesRequest,
    version: i16,
    rights: &Rights,
) -> UpdateFeaturesResponse {
    if let Err(failure) = rights.check_cluster(Operation::Alter) {
        let error_code = failure.code().number();
        let error_message = Some(failure.to_string());
        return UpdateFeaturesResponse { error_code, error_message, ..UpdateFeaturesResponse::default() };
    }
    let own = broker.store.node_id().0;
    if let Some(failure) = request.feature_updates.iter().find_map(|update| check(update, own).err()) {
        return UpdateFeaturesResponse {
            error_code: failure.code().number(),
            error_message: Some(format!(
                "The update failed for all features since the following feature had an error: {failure}"
            )),
            ..UpdateFeaturesResponse::default()
        };
    }
    let told = request.feature_updates.iter().filter(|_| version <= TELLS_FEATURES_TO);
    let result = |update: &FeatureUpdateKey| UpdatableFeatureResult {
        feature: update.feature.clone(),
        error_message: None,
        ..UpdatableFeatureResult::default()
    };
    UpdateFeaturesResponse { error_message: None, results: told.map(result).collect(), ..Default::default() }
}

/// `own`: the id of this broker, which is a controller like every other.
fn check(update: &FeatureUpdateKey, own: i32) -> Result<(), Failure> {
    let (name, asked) = (&update.feature, update.max_version_level);
    let refused = |why: &str| {
        Err(Failure::InvalidFeatureLevel(format!("Invalid update version {asked} for feature {name}. {why}")))
    };
    if !matches!(update.upgrade_type, UPGRADE | SAFE_DOWNGRADE | UNSAFE_DOWNGRADE) {
        return refused("The controller does not support the given upgrade type.");
    }
    if asked < 0 {
        return refused("A feature version cannot be less than 0.");
    }
    let Some(Feature { least, most, level, .. }) = FEATURES.iter().find(|feature| feature.name == name) else {
        return match asked {
            0 if WITHOUT_LEVEL.contains(&name.as_str()) => Ok(()),
            0 => refused(&format!("Feature {name} not found.")),
            _ => refused(&format!("Local controller {own} does not support this feature.")),
        };
    };
    if !(*least..=*most).contains(&asked) {
        return refused(&format!("Local controller {own} only supports versions {least}-{most}"));
    }
    if asked == *level {
        return Ok(());
    }
    if update.upgrade_type == UPGRADE {
        return refused(
            "Can't downgrade the version of this feature without setting the upgrade type to either safe or unsafe downgrade.",
        );
    }
    refused("It is fixed: all brokers of a cluster have the same.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_feature_is_at_its_highest_level() {
        // What is above the level, and may be had, is not judged.
        assert!(FEATURES.iter().all(|feature| feature.least <= feature.most && feature.most == feature.level));
        assert!(FEATURES.iter().all(|feature| !WITHOUT_LEVEL.contains(&feature.name)));
    }
}
