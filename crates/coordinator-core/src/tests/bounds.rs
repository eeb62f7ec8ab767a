//! What groups may take, whatever clients send.

use super::bench::{Bench, GROUP, joiner, membership, nobody, protocol};
use crate::{GroupError, GroupOptions, JoinRequest, LeavingMember, Protocol, SyncRequest, Topics};
use bytes::Bytes;

fn refusal(bench: &mut Bench, request: &JoinRequest) -> Option<GroupError> {
    let ticket = bench.join(request);
    bench.joined(ticket).and_then(|answer| answer.error)
}

#[test]
fn a_group_takes_so_many_members_and_ids() {
    let mut bench = Bench::with(GroupOptions { members_max: 3, ..GroupOptions::default() });
    for number in 0..3 {
        assert_eq!(refusal(&mut bench, &joiner(&format!("c{number}"))), None);
    }
    assert_eq!(refusal(&mut bench, &joiner("c3")), Some(GroupError::Full));
    for number in 0..5 {
        let request = JoinRequest { joins_in_two_steps: true, ..joiner(&format!("two{number}")) };
        let request = JoinRequest { group: "pending".to_owned(), ..request };
        let expected = if number < 3 { GroupError::MemberIdRequired } else { GroupError::Full };
        assert_eq!(refusal(&mut bench, &request), Some(expected));
    }
}

#[test]
fn a_group_takes_so_many_bytes() {
    let mut bench = Bench::with(GroupOptions { group_bytes_max: 10_000, ..GroupOptions::default() });
    let large = Protocol { name: "range".to_owned(), metadata: Bytes::from(vec![0; 6_000]) };
    let request = |name: &str| JoinRequest { protocols: vec![large.clone()], ..joiner(name) };
    assert_eq!(refusal(&mut bench, &request("a")), None);
    assert_eq!(refusal(&mut bench, &request("b")), Some(GroupError::Full));
    assert_eq!(refusal(&mut bench, &joiner("c")), None, "a small one fits");
}

#[test]
fn what_is_there_stays_where_nothing_more_fits() {
    let mut bench = Bench::new();
    let ids = bench.stable(2);
    let generation = bench.groups.find(GROUP).unwrap().generation;
    let member = || membership(&ids[0], generation);
    assert_eq!(bench.commit(member(), "t", 5), Ok(()));
    bench.groups.set_room(0);
    assert_eq!(bench.commit(member(), "t", 6), Ok(()), "a known offset");
    assert_eq!(bench.commit(member(), "u", 1), Err(GroupError::NoRoom));
    assert_eq!(bench.committed("u"), None);
    assert_eq!(
        bench.commit(crate::Membership { group: "other".to_owned(), ..nobody() }, "t", 1),
        Err(GroupError::NoRoom)
    );
    assert!(bench.groups.committed("other").is_none(), "what is refused leaves no group behind");
    assert_eq!(refusal(&mut bench, &JoinRequest { group: "other".to_owned(), ..joiner("c") }), Some(GroupError::Full));
    assert_eq!(refusal(&mut bench, &joiner("c")), Some(GroupError::Full));
    let again = JoinRequest { member_id: ids[0].clone(), ..joiner("c0") };
    assert_eq!(refusal(&mut bench, &again), None, "a known member");
    let grown = JoinRequest { protocols: vec![protocol("range", &["t", "u"])], ..again };
    assert_eq!(refusal(&mut bench, &grown), Some(GroupError::Full), "it says more of itself");
    let left: Vec<_> = bench.groups.describe(GROUP).unwrap().members;
    assert!(left.iter().all(|member| member.member_id != ids[0]), "its part goes to the others");
}

#[test]
fn an_assignment_needs_room_beyond_what_it_replaces() {
    let mut bench = Bench::new();
    let ticket = bench.join(&joiner("a"));
    bench.begin();
    let id = bench.joined(ticket).unwrap().member_id;
    let mut assign = |room: usize, generation: i32, bytes: usize| {
        bench.groups.set_room(room);
        let before = bench.groups.bytes();
        let assignments = vec![(id.clone(), Bytes::from(vec![0; bytes]))];
        let request = SyncRequest { member: membership(&id, generation), assignments, ..SyncRequest::default() };
        let ticket = bench.sync(&request);
        let outcome = bench.synced(ticket).unwrap().map(drop);
        let grown = bench.groups.bytes().saturating_sub(before);
        assert!(grown <= room, "{grown} bytes more in a room of {room}");
        let log = bench.log.len();
        let ticket = bench.join(&JoinRequest { member_id: id.clone(), ..joiner("a") });
        bench.joined(ticket).unwrap();
        (outcome, log)
    };
    let (refused, log_before) = assign(15_000, 1, 10_000);
    assert_eq!(refused, Err(GroupError::NoRoomForAssignment), "it is in the group and in the group's record");
    let (stored, log) = assign(25_000, 2, 10_000);
    assert_eq!((stored, log), (Ok(()), log_before + 1), "what is refused is not stored");
    let mut fits = |room, generation, bytes| assign(room, generation, bytes).0;
    assert_eq!(fits(0, 3, 10_000), Ok(()), "it replaces as much");
    assert_eq!(fits(0, 4, 10_001), Err(GroupError::NoRoomForAssignment));
    assert_eq!(fits(10_000, 5, 10_000), Ok(()), "what was there of it is free again");
    assert_eq!(fits(0, 6, 1_000), Ok(()));
    assert_eq!(fits(10_000, 7, 10_000), Err(GroupError::NoRoomForAssignment));
    bench.restart();
    assert!(bench.groups.bytes() < 5_000, "nor is it there after a crash");
}

#[test]
fn a_new_member_needs_room_for_an_assignment_like_those_of_the_others() {
    let mut bench = Bench::new();
    let ticket = bench.join(&joiner("a"));
    bench.begin();
    let id = bench.joined(ticket).unwrap().member_id;
    let assignments = vec![(id.clone(), Bytes::from(vec![0; 10_000]))];
    let ticket = bench.sync(&SyncRequest { member: membership(&id, 1), assignments, ..SyncRequest::default() });
    bench.synced(ticket).unwrap().unwrap();
    bench.groups.set_room(15_000);
    assert_eq!(refusal(&mut bench, &joiner("b")), Some(GroupError::Full), "the group is as it was");
    assert_eq!(refusal(&mut bench, &JoinRequest { group: "other".to_owned(), ..joiner("b") }), None);
    bench.groups.set_room(25_000);
    assert_eq!(refusal(&mut bench, &joiner("b")), None);
    // The one that has come has none yet, and will need as much as the first.
    assert_eq!(refusal(&mut bench, &joiner("c")), Some(GroupError::Full));
    bench.groups.set_room(55_000);
    assert_eq!(refusal(&mut bench, &joiner("c")), None);
}

#[test]
fn what_is_gone_is_counted_no_more() {
    let mut bench = Bench::new();
    assert_eq!(bench.groups.bytes(), 0);
    let ids = bench.stable(3);
    let mut fx = crate::Effects::default();
    let leaving: Vec<LeavingMember> =
        ids.iter().map(|id| LeavingMember { member_id: id.clone(), instance_id: None }).collect();
    assert!(bench.groups.bytes() > 3 * 128);
    bench.groups.leave(bench.now, &Topics::NONE, GROUP, &leaving, &mut fx).unwrap();
    for _ in 0..3 {
        assert_eq!(bench.commit(nobody(), "t", 5), Ok(()));
    }
    bench.groups.delete_group(GROUP, &mut fx).unwrap();
    assert_eq!(bench.groups.bytes(), 0);
}
