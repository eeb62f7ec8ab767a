//! The options as they are at the moment: those of the start, with the settings over them that brokers have been given since.
//!
//! Such settings live in the ledger, for all brokers or for this one. Whoever needs an option that may change asks here each time;
//! it is made anew only when the ledger's settings have changed. Which settings may change while a broker runs is checked by
//! whoever changes them.

use super::honoured;
use crate::BrokerOptions;
use base::NodeId;
use control_core::{Image, Settings, SettingsScope};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use world::lock;

/// What acts.
#[derive(Debug)]
pub(crate) struct Live {
    started: BrokerOptions,
    node_id: NodeId,
    now: Mutex<(Settings, Arc<BrokerOptions>)>,
}

impl Live {
    /// Of a broker that was started with these.
    pub(crate) fn new(mut started: BrokerOptions, node_id: NodeId) -> Live {
        if started.defaults.is_empty() {
            started.defaults = honoured::shown(&started);
        }
        let now = Arc::new(started.clone());
        Live { started, node_id, now: Mutex::new((Settings::new(), now)) }
    }

    /// The options at this image.
    pub(crate) fn at(&self, image: &Image) -> Arc<BrokerOptions> {
        let mut now = lock(&self.now);
        if !now.0.ptr_eq(&image.settings) {
            if changes(&now.0, &image.settings, self.node_id) {
                now.1 = Arc::new(self.made(&image.settings));
            }
            now.0 = image.settings.clone();
        }
        now.1.clone()
    }

    /// What this broker's options would be if these were the settings of `scope`.
    ///
    /// # Errors
    /// A value can't act.
    pub(crate) fn tried(
        &self,
        present: &Settings,
        scope: &SettingsScope,
        settings: BTreeMap<String, String>,
    ) -> Result<BrokerOptions, String> {
        let mut options = self.started.clone();
        let after = present.update(scope.clone(), Arc::new(settings));
        honoured::put(&given(&after, self.node_id), &mut options).map(|()| options)
    }

    fn made(&self, settings: &Settings) -> BrokerOptions {
        let mut options = self.started.clone();
        if let Err(wrong) = honoured::put(&given(settings, self.node_id), &mut options) {
            // Written by another version, which knows more values: what it can't read here keeps its value of the start.
            tracing::error!("a setting of the cluster does not act here: {wrong}");
        }
        options
    }
}

/// The broker's own over those of all.
fn given(settings: &Settings, node_id: NodeId) -> BTreeMap<String, String> {
    let scopes = [SettingsScope::Brokers, SettingsScope::Broker(node_id)];
    scopes
        .iter()
        .filter_map(|scope| settings.get(scope))
        .flat_map(|of| of.iter().map(|(name, text)| (name.clone(), text.clone())))
        .collect()
}

fn changes(before: &Settings, after: &Settings, node_id: NodeId) -> bool {
    [SettingsScope::Brokers, SettingsScope::Broker(node_id)].iter().any(|scope| before.get(scope) != after.get(scope))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(scopes: &[(SettingsScope, &[(&str, &str)])]) -> Image {
        let mut image = Image::default();
        for (scope, pairs) in scopes {
            let pairs = pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
            image.settings.insert(scope.clone(), Arc::new(pairs));
        }
        image
    }

    #[test]
    fn a_broker_s_own_setting_goes_over_that_of_all_and_both_go_over_the_start() {
        let started = BrokerOptions { batch_bytes_max: 10, num_partitions: 3, ..BrokerOptions::default() };
        let live = Live::new(started, NodeId(1));
        assert_eq!(live.at(&Image::default()).batch_bytes_max, 10);
        let all = (SettingsScope::Brokers, &[("message.max.bytes", "20"), ("max.connections", "5")][..]);
        assert_eq!(live.at(&image(std::slice::from_ref(&all))).batch_bytes_max, 20);
        let own = (SettingsScope::Broker(NodeId(1)), &[("message.max.bytes", "30")][..]);
        let both = live.at(&image(&[all.clone(), own]));
        assert_eq!((both.batch_bytes_max, both.connections_max, both.num_partitions), (30, 5, 3));
        let other = (SettingsScope::Broker(NodeId(2)), &[("message.max.bytes", "40")][..]);
        assert_eq!(live.at(&image(&[all, other])).batch_bytes_max, 20);
        assert_eq!(live.at(&Image::default()).batch_bytes_max, 10, "what is taken back acts no more");
    }

    #[test]
    fn a_value_that_can_t_act_is_found_before_it_is_written() {
        let live = Live::new(BrokerOptions::default(), NodeId(1));
        let one = |name: &str, text: &str| BTreeMap::from([(name.to_owned(), text.to_owned())]);
        let all = SettingsScope::Brokers;
        let try_it = |text: &str| live.tried(&Settings::new(), &all, one("max.connections", text));
        assert_eq!(try_it("7").map(|options| options.connections_max), Ok(7));
        assert!(try_it("0").is_err());
        let present = image(&[(all, &[("log.cleaner.max.compaction.lag.ms", "5")])]).settings;
        let min = one("log.cleaner.min.compaction.lag.ms", "6");
        let tried = live.tried(&present, &SettingsScope::Broker(NodeId(1)), min).expect("each alone can act");
        assert!(honoured::check_lags(&tried).is_err(), "a broker's own and that of all are seen together");
    }
}
