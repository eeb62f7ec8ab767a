//! What a cluster says of settings that it takes and that do not act there: whoever sets one is told.
//!
//! Read from the settings' documentation as a Millstream words it. Other clusters' documentation has nothing of the kind.

use client::admin::Setting;
use client::{ClientError, Cluster};

/// What the documentation of a setting says whose object does not exist.
const WITHOUT_OBJECT: &str = "Without object here: ";

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
    let (_, reason) = setting.documentation.as_deref()?.split_once(WITHOUT_OBJECT)?;
    Some(format!("{} is without object here: {}", setting.name, reason.trim_end_matches('.')))
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
        assert_eq!(note(&setting("retention.ms", "1", "Records that are older are deleted; -1: never.")), None);
        let told = note(&setting("segment.ms", "1", "An age. Without object here: there are no files.")).unwrap();
        assert_eq!(told, "segment.ms is without object here: there are no files");
    }
}
