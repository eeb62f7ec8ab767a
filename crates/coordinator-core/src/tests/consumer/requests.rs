//! What is wrong with a heartbeat whatever the group is like.

use super::bench::{Bench, beats, joins, of, static_member};
use crate::{GroupError, HeartbeatRequest, LEAVES, LEAVES_FOR_NOW};

fn refusal(request: &HeartbeatRequest) -> Option<GroupError> {
    let mut bench = Bench::new(&[("t", 1)]);
    let outcome = bench.beat(request);
    assert!(outcome.is_ok() || bench.log.is_empty() && bench.groups.list_consumers().count() == 0);
    outcome.err()
}

#[test]
fn what_every_heartbeat_says() {
    let good = joins("m", &["t"]);
    assert_eq!(refusal(&good), None);
    let blank = |text: &'static str| Some(GroupError::Invalid(text));
    assert_eq!(refusal(&HeartbeatRequest { group: " ".to_owned(), ..good.clone() }), blank("GroupId can't be empty."));
    let nameless = HeartbeatRequest { member_id: String::new(), ..good.clone() };
    assert_eq!(refusal(&nameless), blank("MemberId can't be empty."));
    let old = HeartbeatRequest { may_lack_member_id: true, ..nameless };
    assert_eq!(refusal(&old), None, "a client of version 0 leaves its id to the coordinator when it joins");
    for member_epoch in [1, LEAVES] {
        assert_eq!(refusal(&HeartbeatRequest { member_epoch, ..old.clone() }), blank("MemberId can't be empty."));
    }
    assert_eq!(refusal(&static_member(good.clone(), "")), blank("InstanceId can't be empty."));
    let rack_id = Some(String::new());
    assert_eq!(refusal(&HeartbeatRequest { rack_id, ..good.clone() }), blank("RackId can't be empty."));
    assert_eq!(refusal(&beats("m", LEAVES_FOR_NOW)), blank("InstanceId can't be null."));
    assert_eq!(refusal(&beats("m", -3)), blank("MemberEpoch is invalid."));
    let assignor = |name: &str| HeartbeatRequest { assignor: Some(name.to_owned()), ..joins("m", &["t"]) };
    assert_eq!(refusal(&assignor("sticky")), Some(GroupError::UnsupportedAssignor));
    assert_eq!((refusal(&assignor("range")), refusal(&assignor("uniform"))), (None, None));
    let long = "m".repeat(40_000);
    assert_eq!(refusal(&joins(&long, &["t"])), Some(GroupError::InvalidRequest), "no key can hold it");
}

#[test]
fn what_a_joining_member_must_say() {
    let good = joins("m", &["t"]);
    let silent = HeartbeatRequest { rebalance_timeout_ms: -1, ..good.clone() };
    let text = "RebalanceTimeoutMs must be provided in first request.";
    assert_eq!(refusal(&silent), Some(GroupError::Invalid(text)));
    let owned = |owned| HeartbeatRequest { owned, ..good.clone() };
    let text = "TopicPartitions must be empty when (re-)joining.";
    for owner in [owned(None), owned(Some(of(base::TopicId(1), [0])))] {
        assert_eq!(refusal(&owner), Some(GroupError::Invalid(text)));
    }
    let names = HeartbeatRequest { names: None, ..good.clone() };
    let text = "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.";
    assert_eq!(refusal(&names), Some(GroupError::Invalid(text)));
    assert_eq!(refusal(&HeartbeatRequest { regex: Some("t".to_owned()), ..names }), None);
    assert_eq!(refusal(&joins("m", &[])), None, "to no topic at all");
}
