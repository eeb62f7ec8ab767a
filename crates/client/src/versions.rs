//! In which version a request is sent: the newest that the broker serves, the definitions have and this client means.

use protocol::api_key::ApiKey;
use protocol::messages::api_versions_response::ApiVersionsResponse;
use protocol::wire::Request;
use std::collections::BTreeMap;

/// What one broker serves.
#[derive(Debug, Clone, Default)]
pub(crate) struct Versions(BTreeMap<i16, (i16, i16)>);

impl Versions {
    pub(crate) fn new(answer: &ApiVersionsResponse) -> Versions {
        Versions(answer.api_keys.iter().map(|api| (api.api_key, (api.min_version, api.max_version))).collect())
    }

    /// The version to send an `R` in; `None` where there is none that both sides speak.
    pub(crate) fn pick<R: Request>(&self) -> Option<i16> {
        let (served_first, served_last) = *self.0.get(&R::KEY.number())?;
        let (meant_first, meant_last) = meant(R::KEY);
        let first = served_first.max(meant_first).max(*R::VERSIONS.start());
        let last = served_last.min(meant_last).min(*R::VERSIONS.end());
        (first <= last).then_some(last)
    }
}

/// The versions in which requests mean what this client's code says. It names topics, where newer versions want their ids, and
/// it leaves out what older versions can't express.
fn meant(key: ApiKey) -> (i16, i16) {
    match key {
        // Before 3 the records are message sets; from 13 on topics go by id.
        ApiKey::Produce => (3, 12),
        ApiKey::Fetch => (4, 12),
        // Version 0 answers with lists of segments' offsets.
        ApiKey::ListOffsets => (1, i16::MAX),
        // Before 4 asking for a topic may create it.
        ApiKey::Metadata => (4, i16::MAX),
        // From 6 on topics may go by id.
        ApiKey::DeleteTopics => (0, 5),
        // Before 2 not all can be asked for, before 8 there is one group a request, from 10 on topics go by id.
        ApiKey::OffsetFetch => (2, 7),
        ApiKey::OffsetCommit => (2, 9),
        ApiKey::FindCoordinator => (0, 3),
        // Before 3 it is one member, named elsewhere.
        ApiKey::LeaveGroup => (3, i16::MAX),
        // Before 1 there is no time of its own to rebalance in.
        ApiKey::JoinGroup => (1, i16::MAX),
        _ => (0, i16::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::messages::api_versions_response::ApiVersion;
    use protocol::messages::fetch_request::FetchRequest;
    use protocol::messages::metadata_request::MetadataRequest;
    use protocol::wire::Message;

    #[test]
    fn the_newest_that_both_speak_and_none_where_there_is_none() {
        let api = |api_key, min_version, max_version| ApiVersion { api_key, min_version, max_version };
        let picked = |api_keys| {
            let versions = Versions::new(&ApiVersionsResponse { api_keys, ..ApiVersionsResponse::default() });
            (versions.pick::<FetchRequest>(), versions.pick::<MetadataRequest>())
        };
        assert_eq!(picked(vec![api(1, 4, 18), api(3, 0, 9)]), (Some(12), Some(9)));
        assert_eq!(picked(vec![api(1, 13, 18), api(3, 0, 99)]), (None, Some(*MetadataRequest::VERSIONS.end())));
        assert_eq!(picked(vec![api(1, 0, 3)]), (None, None));
    }
}
