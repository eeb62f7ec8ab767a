//! What a cluster says of settings that it takes and that do not act there, or only in part: whoever sets one is told.
//!
//! Read from the settings' documentation as a Millstream words it. Other clusters' documentation has nothing of the kind.

use client::admin::Setting;
use client::{ClientError, Cluster};

/// What the documentation of a setting says whose object does not exist.
const WITHOUT_OBJECT: &str = "Without object here: ";
/// What stands in a sentence about a value that acts in part.
const IN_PART: &str = " yet";

/// A line for each of the settings `names` of a topic that does not do what its name says.
pub(super) async fn notes(cluster: &Cluster, topic: &str, names: &[String]) -> Vec<String> {
    if names.is_empty() {
        return Vec::new();
    }
    match cluster.explained_settings(topic, names).await {
        Ok(settings) => settings.iter().filter_map(note).collect(),
        // One that is too old to be asked explains nothing.
        Err(ClientError::Unserved { .. } | ClientError::Impossible(_)) => Vec::new(),
        // They are set: that is what the command was asked for.
        Err(error) => vec![format!("whether the settings act could not be asked: {error}")],
    }
}

fn note(setting: &Setting) -> Option<String> {
    let documentation = setting.documentation.as_deref()?;
    let Setting { name, value, .. } = setting;
    if let Some((_, reason)) = documentation.split_once(WITHOUT_OBJECT) {
        return Some(format!("{name} is without object here: {}", reason.trim_end_matches('.')));
    }
    let value = value.as_deref()?;
    let is_about = |part: &&str| {
        let word = part.split(' ').next().unwrap_or_default();
        part.contains(IN_PART) && value.split(',').any(|item| item.trim() == word)
    };
    let parts = documentation.split(['.', ';']).map(str::trim);
    parts.into_iter().find(is_about).map(|part| format!("{name}={value} acts in part: {part}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(name: &str, value: &str, documentation: &str) -> Setting {
        let documentation = Some(documentation.to_owned());
        Setting { name: name.to_owned(), value: Some(value.to_owned()), is_own: true, documentation }
    }

    #[test]
    fn what_acts_has_no_note() {
        let about = "Whether old records go; compact removes nothing yet, and takes keys.";
        assert_eq!(note(&setting("cleanup.policy", "delete", about)), None);
        assert_eq!(note(&setting("retention.ms", "1", "Records that are older are deleted; -1: never.")), None);
        let told = note(&setting("cleanup.policy", "delete,compact", about)).unwrap();
        assert_eq!(told, "cleanup.policy=delete,compact acts in part: compact removes nothing yet, and takes keys");
        let told = note(&setting("segment.ms", "1", "An age. Without object here: there are no files.")).unwrap();
        assert_eq!(told, "segment.ms is without object here: there are no files");
    }
}
