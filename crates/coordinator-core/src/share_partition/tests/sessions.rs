//! Sessions of members.

use crate::share_partition::{
    EndedSession, SHARE_SESSION_BEGINS, SHARE_SESSION_ENDS, ShareSessionAnswer, ShareSessionError, ShareSessionKey,
    ShareSessionRequest, ShareSessions, SharedPartition,
};
use protocol::wire::Uuid;

fn key(member: &str) -> ShareSessionKey {
    ShareSessionKey { group: "g".into(), member: member.to_owned() }
}

fn partition(number: i32) -> SharedPartition {
    (Uuid(9), number)
}

struct Bench(ShareSessions);

impl Bench {
    fn fetch(
        &mut self,
        member: &str,
        epoch: i32,
        connection: u64,
        partitions: &[i32],
        forgotten: &[i32],
    ) -> Result<Vec<i32>, ShareSessionError> {
        let partitions: Vec<_> = partitions.iter().copied().map(partition).collect();
        let forgotten: Vec<_> = forgotten.iter().copied().map(partition).collect();
        let request = ShareSessionRequest {
            key: &key(member),
            epoch,
            connection,
            partitions: &partitions,
            forgotten: &forgotten,
            acknowledges: false,
        };
        Ok(self.0.fetch(&request)?.into_iter().map(|(_, number)| number).collect())
    }

    fn answer(&mut self, member: &str, epoch: i32, found: &[(i32, bool, bool)]) -> Vec<i32> {
        let tell = |(number, has_records, has_error): &(i32, bool, bool)| ShareSessionAnswer {
            partition: partition(*number),
            has_records: *has_records,
            has_error: *has_error,
        };
        let found: Vec<_> = found.iter().map(tell).collect();
        self.0.answer(&key(member), epoch, &found).unwrap().into_iter().map(|(_, number)| number).collect()
    }
}

#[test]
fn a_session_goes_on_request_by_request() {
    let mut bench = Bench(ShareSessions::new(2));
    assert_eq!(bench.fetch("a", 1, 1, &[], &[]), Err(ShareSessionError::NotFound));
    assert_eq!(bench.fetch("a", SHARE_SESSION_BEGINS, 1, &[0, 1, 2], &[]), Ok(vec![0, 1, 2]));
    assert_eq!(bench.fetch("a", 2, 1, &[], &[]), Err(ShareSessionError::InvalidEpoch));
    assert_eq!(bench.fetch("a", 1, 1, &[3], &[0]), Ok(vec![2, 3, 1]));
    assert_eq!(bench.0.partitions(), 3);
    // What is new is answered, and what has something to say; what has records is served last from now on.
    assert_eq!(bench.answer("a", 1, &[(1, true, false), (2, false, false), (3, false, false)]), [1, 3]);
    assert_eq!(bench.0.acknowledge(&key("a"), 2), Ok(()));
    assert_eq!(bench.fetch("a", 3, 1, &[], &[]), Ok(vec![2, 3, 1]));
    assert_eq!(bench.answer("a", 3, &[(2, false, true)]), [2]);
    assert_eq!(bench.fetch("a", 4, 1, &[], &[]), Ok(vec![3, 1, 2]));
    assert_eq!(bench.answer("a", 4, &[(2, false, false), (3, false, false)]), [2]);
    assert_eq!(bench.0.acknowledge(&key("a"), SHARE_SESSION_BEGINS), Err(ShareSessionError::InvalidEpoch));
    assert_eq!(bench.fetch("a", SHARE_SESSION_ENDS, 1, &[], &[]), Ok(vec![]));
    assert_eq!(bench.0.end(&key("a")).map(|it| it.partitions.len()), Some(3));
    assert_eq!((bench.0.len(), bench.0.partitions()), (0, 0));
    assert_eq!(bench.fetch("a", SHARE_SESSION_ENDS, 1, &[], &[]), Err(ShareSessionError::NotFound));
}

#[test]
fn there_are_so_many_at_the_most() {
    let mut bench = Bench(ShareSessions::new(1));
    assert_eq!(bench.fetch("a", SHARE_SESSION_BEGINS, 1, &[0], &[]), Ok(vec![0]));
    assert_eq!(bench.fetch("b", SHARE_SESSION_BEGINS, 2, &[0], &[]), Err(ShareSessionError::LimitReached));
    assert_eq!(bench.fetch("a", SHARE_SESSION_BEGINS, 1, &[1], &[]), Ok(vec![1]));
    assert_eq!(bench.0.partitions(), 1);
}

#[test]
fn a_session_ends_with_its_connection_but_not_with_one_of_before() {
    let mut bench = Bench(ShareSessions::new(9));
    bench.fetch("a", SHARE_SESSION_BEGINS, 1, &[0], &[]).unwrap();
    bench.fetch("a", SHARE_SESSION_BEGINS, 2, &[1], &[]).unwrap();
    assert_eq!(bench.0.disconnected(1), (vec![], vec![]));
    let ended = EndedSession { key: key("a"), partitions: vec![partition(1)] };
    assert_eq!(bench.0.disconnected(2), (vec![ended], vec!["g".into()]));
    assert_eq!(bench.0.disconnected(2), (vec![], vec![]));
    assert_eq!(bench.0.bytes(), 0);
}

#[test]
fn all_sessions_that_a_connection_has_begun_end_with_it() {
    let mut bench = Bench(ShareSessions::new(3));
    for member in ["a", "b", "c"] {
        bench.fetch(member, SHARE_SESSION_BEGINS, 1, &[0], &[]).unwrap();
    }
    bench.0.end(&key("b"));
    bench.fetch("b", SHARE_SESSION_BEGINS, 2, &[0], &[]).unwrap();
    assert_eq!(bench.fetch("d", SHARE_SESSION_BEGINS, 2, &[0], &[]), Err(ShareSessionError::LimitReached));
    let (ended, empty) = bench.0.disconnected(1);
    assert_eq!(ended.into_iter().map(|it| it.key).collect::<Vec<_>>(), [key("a"), key("c")]);
    assert_eq!((empty, bench.0.len()), (vec![], 1));
    assert!(bench.fetch("d", SHARE_SESSION_BEGINS, 2, &[0], &[]).is_ok());
    assert_eq!(bench.0.disconnected(2).0.len(), 2);
    assert_eq!((bench.0.len(), bench.0.partitions(), bench.0.bytes()), (0, 0, 0));
}

#[test]
fn long_names_are_counted_also_of_groups_of_which_no_session_is_left() {
    let mut sessions = ShareSessions::new(9);
    for number in 0..9 {
        let key = ShareSessionKey { group: format!("{number}{}", "g".repeat(10_000)).into(), member: "a".to_owned() };
        let (partitions, forgotten) = (&[][..], &[][..]);
        let request = ShareSessionRequest {
            key: &key,
            epoch: SHARE_SESSION_BEGINS,
            connection: 1,
            partitions,
            forgotten,
            acknowledges: false,
        };
        sessions.fetch(&request).unwrap();
        assert!(sessions.end(&key).is_some());
    }
    assert!(sessions.is_empty() && sessions.bytes() > 90_000);
    assert_eq!(sessions.disconnected(1).1.len(), 9);
    assert_eq!(sessions.bytes(), 0);
}

#[test]
fn a_session_does_not_begin_with_acknowledgements() {
    let mut sessions = ShareSessions::new(9);
    let request = ShareSessionRequest {
        key: &key("a"),
        epoch: SHARE_SESSION_BEGINS,
        connection: 1,
        partitions: &[],
        forgotten: &[],
        acknowledges: true,
    };
    assert_eq!(sessions.fetch(&request), Err(ShareSessionError::InvalidRequest));
    assert!(sessions.is_empty());
}
