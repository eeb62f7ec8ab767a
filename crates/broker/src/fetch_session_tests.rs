use super::*;
use protocol::messages::fetch_request::{FetchTopic, ForgottenTopic};
use std::cell::Cell;

const START: Micros = Micros(1_000_000);

/// Partitions of topic `t` at offset 0.
fn request(session: (i32, i32), partitions: &[i32]) -> FetchRequest {
    let partition = |partition: &i32| FetchPartition { partition: *partition, ..FetchPartition::default() };
    let topic = FetchTopic {
        topic: "t".to_owned(),
        partitions: partitions.iter().map(partition).collect(),
        ..FetchTopic::default()
    };
    FetchRequest { session_id: session.0, session_epoch: session.1, topics: vec![topic], ..FetchRequest::default() }
}

fn quiet(high_watermark: i64) -> Told {
    Told { high_watermark, log_start: 0, has_records: false, is_news: false, is_error: false }
}

struct Fixture {
    sessions: Sessions,
    drawn: Cell<u64>,
}

impl Fixture {
    fn new(sessions_max: usize, bytes_max: usize) -> Fixture {
        Fixture { sessions: Sessions::new(sessions_max, bytes_max), drawn: Cell::new(0) }
    }

    fn random(&self) -> u64 {
        self.drawn.set(self.drawn.get() + 1);
        self.drawn.get() << 33
    }

    /// The session's id and the partitions that are answered, where each is told `told`.
    fn fetch(
        &self,
        now: Micros,
        request: &FetchRequest,
        told: impl Fn(i32) -> Told,
    ) -> Result<(i32, Vec<i32>), Failure> {
        let (context, mut asked) = self.sessions.begin(now, request, 12)?;
        let all = |asked: &Asked| told(asked.partition);
        let id = context.finish(&self.sessions, now, &mut asked, |it| (it, all(it)), || self.random());
        Ok((id.map_err(|(_, failure)| failure)?, asked.iter().map(|it| it.partition).collect()))
    }
}

#[test]
fn only_what_has_changed_is_told_and_who_got_records_goes_to_the_end() {
    let fixture = Fixture::new(10, 1 << 20);
    let (id, all) = fixture.fetch(START, &request((0, 0), &[0, 1, 2, 1]), |_| quiet(0)).unwrap();
    assert_eq!((id, all), (1, vec![0, 1, 2]));
    let next = |epoch, partitions: &[i32], told: &dyn Fn(i32) -> Told| {
        fixture.fetch(START, &request((id, epoch), partitions), told).unwrap().1
    };
    assert_eq!(next(1, &[], &|_| quiet(0)), [0; 0]);
    let records = |partition| Told { has_records: partition == 0, ..quiet(5) };
    assert_eq!(next(2, &[], &|partition| if partition == 2 { quiet(0) } else { records(partition) }), [0, 1]);
    let all_new = |_| Told { log_start: 1, ..quiet(5) };
    assert_eq!(next(3, &[3], &all_new), [1, 2, 0, 3], "0 had records, 3 is new");
    let failed = |_| Told { is_news: true, is_error: true, ..quiet(-1) };
    assert_eq!(next(4, &[], &failed), [1, 2, 0, 3]);
    assert_eq!(next(5, &[], &failed), [1, 2, 0, 3], "an error is told each time");
    assert_eq!(next(6, &[], &all_new), [1, 2, 0, 3], "and its end as well");
    let mut forgets = request((id, 7), &[4]);
    let topic = "t".to_owned();
    forgets.forgotten_topics_data = vec![ForgottenTopic { topic, partitions: vec![0, 4, 9], ..Default::default() }];
    assert_eq!(fixture.fetch(START, &forgets, |_| quiet(7)).unwrap().1, [1, 2, 3]);
}

#[test]
fn epochs_ids_and_the_way_to_name_topics_must_be_the_sessions_own() {
    let fixture = Fixture::new(10, 1 << 20);
    let (id, _) = fixture.fetch(START, &request((0, 0), &[0]), |_| quiet(0)).unwrap();
    let begin = |session, version| fixture.sessions.begin(START, &request(session, &[]), version);
    assert!(matches!(begin((id + 1, 1), 12), Err(Failure::NoSession)));
    assert!(matches!(begin((0, 1), 12), Err(Failure::NoSession)));
    for wrong in [2, i32::MAX, -2] {
        assert!(matches!(begin((id, wrong), 12), Err(Failure::WrongSessionEpoch)));
    }
    assert!(matches!(begin((id, 1), 13), Err(Failure::SessionTopicIds)));
    // Two requests of one epoch: the second is refused, and the first finds its session in other hands.
    let (first, _) = begin((id, 1), 12).unwrap();
    assert!(matches!(begin((id, 1), 12), Err(Failure::WrongSessionEpoch)));
    let (_second, _) = begin((id, 2), 12).unwrap();
    let late = first.finish(&fixture.sessions, START, &mut Vec::<Asked>::new(), |it| (it, quiet(0)), || 0);
    assert!(matches!(late, Err((it, Failure::WrongSessionEpoch)) if it == id));
    // A whole request ends the session that it mentions, with or without wanting another.
    let (other, _) = fixture.fetch(START, &request((id, 0), &[0]), |_| quiet(0)).unwrap();
    assert!(other != id && matches!(begin((id, 3), 12), Err(Failure::NoSession)));
    assert_eq!(fixture.fetch(START, &request((other, -1), &[0]), |_| quiet(0)).unwrap(), (NO_SESSION, vec![0]));
    assert_eq!(fixture.sessions.count(), 0);
    assert_eq!(next_epoch(i32::MAX), 1);
}

#[test]
fn a_session_that_forgets_all_of_its_partitions_ends() {
    let fixture = Fixture::new(10, 1 << 20);
    let (id, _) = fixture.fetch(START, &request((0, 0), &[0]), |_| quiet(0)).unwrap();
    let mut forgets = request((id, 1), &[]);
    let topic = "t".to_owned();
    forgets.forgotten_topics_data = vec![ForgottenTopic { topic, partitions: vec![0], ..Default::default() }];
    assert_eq!(fixture.fetch(START, &forgets, |_| quiet(0)).unwrap(), (NO_SESSION, vec![]));
    assert_eq!((fixture.sessions.count(), lock(&fixture.sessions.table).bytes), (0, 0));
}

#[test]
fn what_the_last_request_of_a_session_names_and_forgets_at_once_is_answered_without_one() {
    let fixture = Fixture::new(10, 1 << 20);
    let (id, _) = fixture.fetch(START, &request((0, 0), &[0]), |_| quiet(0)).unwrap();
    let forgotten = ForgottenTopic { topic: "t".to_owned(), partitions: vec![0, 1], ..ForgottenTopic::default() };
    let last = FetchRequest { forgotten_topics_data: vec![forgotten], ..request((id, 1), &[0]) };
    assert_eq!(fixture.fetch(START, &last, |_| quiet(0)).unwrap(), (NO_SESSION, vec![0]));
    assert_eq!(fixture.sessions.count(), 0);
}

#[test]
fn a_full_table_evicts_the_idle_and_after_a_time_the_smaller() {
    let fixture = Fixture::new(2, 1 << 20);
    let full = |now, partitions: &[i32]| fixture.fetch(now, &request((0, 0), partitions), |_| quiet(0)).unwrap().0;
    let use_again = |now, id, epoch| fixture.fetch(now, &request((id, epoch), &[]), |_| quiet(0)).is_ok();
    let after = |seconds| START.plus(Duration::from_secs(seconds));
    let (small, large) = (full(START, &[0]), full(START, &[0, 1]));
    assert_eq!(full(after(60), &[0, 1, 2]), NO_SESSION, "both are young");
    assert!(use_again(after(100), small, 1) && use_again(after(121), large, 1));
    assert_eq!(full(after(130), &[0, 1]), NO_SESSION, "the small one's grace is not over, as it was not used since");
    assert!(use_again(after(131), small, 2));
    assert_eq!(full(after(132), &[0]), NO_SESSION, "nobody is smaller");
    let third = full(after(133), &[0, 1]);
    assert!(third != NO_SESSION && !use_again(after(134), small, 3) && use_again(after(134), large, 2));
    let fourth = full(after(260), &[0]);
    assert!(fourth != NO_SESSION && !use_again(after(261), third, 1) && use_again(after(261), fourth, 1));
}

#[test]
fn memory_is_bounded_for_one_session_and_for_all() {
    let each = PARTITION_BYTES + 1;
    let fixture = Fixture::new(1000, 16 * each);
    let full = |partitions: &[i32]| fixture.fetch(START, &request((0, 0), partitions), |_| quiet(0)).unwrap().0;
    assert_eq!(full(&[0, 1, 2, 3, 4]), NO_SESSION, "more than a quarter");
    let first = full(&[0, 1, 2]);
    let grown = fixture.fetch(START, &request((first, 1), &[3]), |_| quiet(0)).unwrap();
    assert_eq!(grown, (first, vec![3]));
    let refused = fixture.fetch(START, &request((first, 2), &[4]), |_| quiet(0));
    assert!(matches!(refused, Err(Failure::NoSession)));
    assert_eq!(fixture.sessions.count(), 0, "it is gone");
    for _ in 0..4 {
        assert_ne!(full(&[0, 1, 2, 3]), NO_SESSION);
    }
    assert_eq!(full(&[0]), NO_SESSION);
    assert_eq!(lock(&fixture.sessions.table).bytes, 16 * each);
}
