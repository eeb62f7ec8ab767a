//! The APIs of the newest Kafka that are not served, and why, and the table in `docs/compatibility.md` that tells of all.
//! `cargo run -p protocol --example apis` prints it.
//!
//! Together with `api::SERVED` it has every API that Kafka defines: tests hold that, and that the document is this table.

use crate::api;
use crate::api_key::{ApiKey, DEFINED};

/// The APIs that are not served, sorted by key: Kafka's own brokers and controllers speak them among themselves, and no client does.
pub static REFUSED: [ApiKey; 12] = [
    ApiKey::Vote,
    ApiKey::BeginQuorumEpoch,
    ApiKey::EndQuorumEpoch,
    ApiKey::AlterPartition,
    ApiKey::Envelope,
    ApiKey::FetchSnapshot,
    ApiKey::BrokerRegistration,
    ApiKey::BrokerHeartbeat,
    ApiKey::AllocateProducerIds,
    ApiKey::ControllerRegistration,
    ApiKey::AssignReplicasToDirs,
    ApiKey::UpdateRaftVoter,
];

const WHY: &str = "private to Kafka's brokers and controllers";

/// The line of `docs/compatibility.md` behind which there is nothing but [`table`].
pub const HEADING: &str = "## Every API\n";

const HEAD: &str = "
What becomes of each API of Apache Kafka 4.4, in each version, those that Kafka 4 dropped (KIP-896) among them; made by `cargo run -p protocol --example apis`.
A request that is not served closes its connection, with one log line; ApiVersions tells clients what is.

| key | API | versions | served | refused, and why |
|---|---|---|---|---|
";

/// One line for each API.
#[must_use]
pub fn table() -> String {
    let mut out = HEAD.to_owned();
    for (key, name, first, last, _) in &DEFINED {
        let here = api::served(*key).map_or_else(|| "–".to_owned(), |api| versions(api.first, api.last()));
        let cells = [key.number().to_string(), (*name).to_owned(), versions(*first, *last), here, refusal(*key)];
        out.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    out
}

fn refusal(key: ApiKey) -> String {
    let (_, _, first, last, _) = *key.defined();
    match api::served(key) {
        Some(api) if api.first > first || api.last() < last => "versions that are not served yet".to_owned(),
        Some(_) => String::new(),
        None if REFUSED.contains(&key) => WHY.to_owned(),
        None => "no reason".to_owned(),
    }
}

fn versions(first: i16, last: i16) -> String {
    if first == last { first.to_string() } else { format!("{first}–{last}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_api_is_served_or_refused_for_a_reason() {
        assert!(REFUSED.is_sorted_by_key(|key| key.number()));
        for (key, name, ..) in &DEFINED {
            let reasons = REFUSED.iter().filter(|refused| *refused == key).count();
            assert_eq!(reasons, usize::from(api::served(*key).is_none()), "{name}");
        }
    }

    #[test]
    fn the_document_has_the_table() {
        let document = include_str!("../../../docs/compatibility.md");
        let there = document.split_once(HEADING).map(|(_, table)| table);
        assert!(there == Some(&table()), "put what `cargo run -p protocol --example apis` prints behind {HEADING}");
    }
}
