//! The tables themselves, by what they are about. Names, types, defaults, values and when a change acts are facts of Apache Kafka
//! 4.4; fates and sentences are ours.

pub(super) mod reasons;

/// Rows of a table: `"name": Type = default, values, when a change acts, listed or internal, fate; "sentence";`.
///
/// Kafka does not tell of its *internal* settings unless they are given.
macro_rules! settings {
    ($(
        $name:literal: $kind:ident = $default:expr, $values:ident $(($($argument:expr),+))?, $update:ident, $listed:ident,
        $fate:ident $(($reason:ident))?;
        $about:literal;
    )*) => {
        &[$(Setting {
            name: $name,
            kind: $crate::settings::Kind::$kind,
            default: $default,
            values: $crate::settings::Values::$values $(($($argument),+))?,
            update: $crate::settings::Update::$update,
            is_listed: $crate::settings::table::$listed,
            fate: $crate::settings::Fate::$fate $(($crate::settings::table::reasons::$reason))?,
            about: $about,
        },)*]
    };
}

mod client_metrics;
mod cluster;
mod group;
mod groups;
mod logs;
mod network;
mod security;
mod topic;
mod topics;
mod transactions;

use super::Setting;

/// What a row says with `listed` and `internal`.
#[allow(non_upper_case_globals, reason = "written as words in the tables")]
const listed: bool = true;
#[allow(non_upper_case_globals, reason = "written as words in the tables")]
const internal: bool = false;

/// Broker settings, by what they are about.
pub(super) static BROKER: [(&str, &[Setting]); 7] = [
    ("Topics", topics::TOPICS),
    ("Connections and requests", network::NETWORK),
    ("Groups", groups::GROUPS),
    ("Producers and transactions", transactions::TRANSACTIONS),
    ("Brokers, replicas, quotas, metrics", cluster::CLUSTER),
    ("Logs", logs::LOGS),
    ("Security", security::SECURITY),
];

pub(super) use client_metrics::CLIENT_METRICS;
pub(super) use group::GROUP;
pub(super) use topic::TOPIC;
