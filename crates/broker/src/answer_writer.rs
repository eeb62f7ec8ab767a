//! Answers on their way into a socket. Last stop of every walk.
//!
//! Guarantees: what an answer holds is given back as it is written, behind what of it is not counted; a peer that takes nothing, or too
//! little while others wait for the memory, is cut off; what is not taken soon keeps nothing in memory but itself (`detach`); and long
//! answers leave the others their turn. For the kernel copies what it is handed as long as the socket has room, megabytes on a fast
//! network, and nobody else runs on that thread meanwhile. So a long answer is written in pieces, others run between them, and there is
//! a thread that never writes one (docs/adr/0172-long-answers-leave-others-their-turn.md).

use crate::Shared;
use crate::answer::Held;
use crate::detach::{SHARED_FOR_MAX, detached};
use crate::memory::{self, AnswerMemory};
use base::Micros;
use bytes::{Buf, Bytes};
use futures::FutureExt;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::time::Duration;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use world::{Clock, ClockExt};

/// Pieces handed to one vectored write at the most,
const WRITE_SLICES_MAX: usize = 64;

/// and bytes; an answer that is longer is a long one.
const WRITE_AT_ONCE_BYTES_MAX: usize = 256 * 1024;

/// A long answer that has waited for the socket goes on with so little: what comes when there is room again has waited for no turn.
const WRITE_AFTER_WAIT_BYTES_MAX: usize = 4096;

/// While others wait for the memory of answers, a peer must have begun to take its own after this time,
const GIVE_WAY_AFTER: Duration = Duration::from_secs(2);

/// and take so many bytes in each second from then on. Whoever is slower is cut off, and asks again.
const TAKEN_PER_SECOND_MIN: u64 = 256 * 1024;

/// A peer that takes nothing has this time at the least, however many wait ([`memory::patience`]): most round trips are shorter.
const GIVE_WAY_AFTER_MIN: Duration = Duration::from_millis(200);

/// Why an answer could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    #[error("the peer takes no answer")]
    Stalled,
    #[error("others wait for the memory of an answer that the peer takes too slowly")]
    GaveWay,
    #[error("{0}")]
    Socket(#[from] io::Error),
}

/// How a peer takes what is written together.
struct Pace {
    began: Micros,
    /// Bytes.
    taken: usize,
    /// When its socket had no room first, and how much it had taken then.
    full: Option<(Micros, usize)>,
}

/// Writes answers to a peer for as long as it takes them.
pub(crate) struct AnswerWriter<'a> {
    clock: &'a dyn Clock,
    stall_max: Duration,
    /// [`GIVE_WAY_AFTER`], but for tests.
    give_way_after: Duration,
    memory: &'a AnswerMemory,
    /// Taken for each piece of a long answer.
    turns: &'a Semaphore,
}

impl<'a> AnswerWriter<'a> {
    pub(crate) fn new(broker: &'a Shared) -> AnswerWriter<'a> {
        AnswerWriter {
            clock: broker.clock.as_ref(),
            stall_max: broker.options.write_stall_max,
            give_way_after: GIVE_WAY_AFTER,
            memory: &broker.answer_memory,
            turns: &broker.long_answers,
        }
    }

    /// Writes all pieces without copying them, unless the peer is slow to take them, and gives back what they hold as it goes.
    pub(crate) async fn write_all(
        &self,
        socket: &mut (impl AsyncWrite + Unpin + Send + ?Sized),
        mut rope: VecDeque<Bytes>,
        mut held: Vec<Held>,
    ) -> Result<(), WriteError> {
        if rope.is_empty() {
            return Ok(());
        }
        let length: usize = rope.iter().map(Bytes::len).sum();
        let is_long = length > WRITE_AT_ONCE_BYTES_MAX;
        // What is counted is given back last: else what stays uncounted of answers that nobody takes to their ends would have no bound.
        let mut uncounted = length.saturating_sub(counted(&held));
        let mut pace = Pace { began: self.clock.now(), taken: 0, full: None };
        let mut is_detached = held.iter().all(|held| held.is_detached);
        while let Some(first) = rope.front_mut() {
            if first.is_empty() {
                rope.pop_front();
                continue;
            }
            let written = match self.write_at_once(socket, &rope, is_long).await {
                Some(written) => written?,
                None => {
                    let shares = SHARED_FOR_MAX.saturating_sub(self.clock.now().since(pace.began));
                    if !is_detached && shares.is_zero() {
                        rope = detached(rope).await;
                        is_detached = true;
                        continue;
                    }
                    let pause = if is_detached { Duration::MAX } else { shares };
                    match self.write_later(socket, &rope, is_long, &mut pace, pause).await? {
                        Some(written) => written,
                        None => continue,
                    }
                }
            };
            if written == 0 {
                return Err(io::Error::from(io::ErrorKind::WriteZero).into());
            }
            consume(&mut rope, written);
            let of_uncounted = written.min(uncounted);
            uncounted -= of_uncounted;
            give_back(&mut held, written - of_uncounted);
            pace.taken += written;
            if is_long {
                tokio::task::yield_now().await;
            }
        }
        self.clock.timeout(self.stall_max, socket.flush()).await.ok_or(WriteError::Stalled)??;
        Ok(())
    }

    /// Writes what there is room for; `None` where there is none. Mostly there is, and then no timer is needed.
    async fn write_at_once(
        &self,
        socket: &mut (impl AsyncWrite + Unpin + Send + ?Sized),
        rope: &VecDeque<Bytes>,
        is_long: bool,
    ) -> Option<io::Result<usize>> {
        let _turn = if is_long { self.turns.acquire().await.ok() } else { None };
        socket.write_vectored(&front(rope, WRITE_AT_ONCE_BYTES_MAX)).now_or_never()
    }

    /// Writes what the peer takes next. It may be slow; but it may not stand still for long, nor keep others waiting for memory. `None`: it
    /// has taken nothing for `pause`.
    async fn write_later(
        &self,
        socket: &mut (impl AsyncWrite + Unpin + Send + ?Sized),
        rope: &VecDeque<Bytes>,
        is_long: bool,
        pace: &mut Pace,
        pause: Duration,
    ) -> Result<Option<usize>, WriteError> {
        let slices = front(rope, if is_long { WRITE_AFTER_WAIT_BYTES_MAX } else { WRITE_AT_ONCE_BYTES_MAX });
        let waits_from = self.clock.now();
        let full = *pace.full.get_or_insert((waits_from, pace.taken));
        loop {
            let look = self.stall_max.min(self.give_way_after / 4).min(self.patience() / 2).min(pause);
            let written = self.clock.timeout(look, socket.write_vectored(&slices)).await;
            let now = self.clock.now();
            let is_slow = self.is_slow(now.since(pace.began), pace.taken)
                || (written.is_none() && self.stands_still(now.since(full.0), pace.taken - full.1));
            if self.memory.is_short() && is_slow {
                return Err(WriteError::GaveWay);
            }
            match written {
                Some(written) => return Ok(Some(written?)),
                None if now.since(waits_from) >= self.stall_max => return Err(WriteError::Stalled),
                None if now.since(waits_from) >= pause => return Ok(None),
                None => {}
            }
        }
    }

    /// How long a peer may take nothing where memory is short.
    fn patience(&self) -> Duration {
        memory::patience(self.memory.waiting(), self.give_way_after, GIVE_WAY_AFTER_MIN)
    }

    /// Whether a peer that takes nothing now has had its time, and that which its bytes bought it, since its socket had no room first.
    fn stands_still(&self, time: Duration, taken: usize) -> bool {
        let borne = u64::try_from(taken).unwrap_or(u64::MAX).saturating_mul(1000) / TAKEN_PER_SECOND_MIN;
        time >= self.patience() + Duration::from_millis(borne)
    }

    /// Whether a peer that has taken so many bytes in that time is slower than others need to bear.
    fn is_slow(&self, time: Duration, taken: usize) -> bool {
        let borne = u64::try_from(taken).unwrap_or(u64::MAX) / TAKEN_PER_SECOND_MIN;
        time > self.give_way_after + Duration::from_secs(borne)
    }
}

/// How many bytes are counted for these answers.
fn counted(held: &[Held]) -> usize {
    held.iter().filter_map(|held| held.answer.as_ref()).map(OwnedSemaphorePermit::num_permits).sum()
}

/// Gives back the memory of so many bytes, the first answer's first.
fn give_back(held: &mut [Held], mut bytes: usize) {
    for permit in held.iter_mut().filter_map(|held| held.answer.as_mut()) {
        bytes -= memory::give_back(permit, bytes);
    }
}

/// What one write is handed of a rope.
fn front(rope: &VecDeque<Bytes>, bytes_max: usize) -> Vec<IoSlice<'_>> {
    let mut room = bytes_max;
    let mut slices = Vec::new();
    for piece in rope.iter().take(WRITE_SLICES_MAX) {
        let len = piece.len().min(room);
        slices.push(IoSlice::new(&piece[..len]));
        room -= len;
        if room == 0 {
            break;
        }
    }
    slices
}

fn consume(rope: &mut VecDeque<Bytes>, mut written: usize) {
    while written > 0 {
        let Some(first) = rope.front_mut() else { return };
        if first.len() > written {
            first.advance(written);
            return;
        }
        written -= first.len();
        rope.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_clock::TestClock;
    use tokio::io::AsyncReadExt;

    static ONE_TURN: Semaphore = Semaphore::const_new(1);

    fn writer<'a>(clock: &'a dyn Clock, memory: &'a AnswerMemory) -> AnswerWriter<'a> {
        AnswerWriter {
            clock,
            stall_max: Duration::from_secs(60),
            give_way_after: Duration::from_millis(200),
            memory,
            turns: &ONE_TURN,
        }
    }

    #[tokio::test]
    async fn a_rope_of_odd_pieces_arrives_whole_through_a_narrow_pipe_and_gives_its_memory_back_on_the_way() {
        let (mut near, mut far) = tokio::io::duplex(5);
        let pieces: Vec<Bytes> = (0..200_u8).map(|i| Bytes::from(vec![i; usize::from(i % 13)])).collect();
        let expected: Vec<u8> = pieces.iter().flat_map(|piece| piece.to_vec()).collect();
        let clock = TestClock::shared();
        let memory = AnswerMemory::new(expected.len());
        let held = vec![Held { answer: memory.try_take(expected.len()), ..Held::default() }];
        let writing = async {
            writer(clock.as_ref(), &memory).write_all(&mut near, pieces.into(), held).await.unwrap();
            drop(near);
        };
        let mut received = vec![0; expected.len() / 2];
        let reading = async {
            far.read_exact(&mut received).await.unwrap();
            assert!(memory.try_take(received.len() / 2).is_some(), "what is written is free");
            far.read_to_end(&mut received).await.unwrap();
        };
        futures::join!(writing, reading);
        assert_eq!(received, expected);
    }

    /// Of an answer that is greater than the memory for all.
    #[tokio::test]
    async fn what_is_counted_is_given_back_behind_what_is_not() {
        let (mut near, mut far) = tokio::io::duplex(10);
        let (clock, memory) = (TestClock::shared(), AnswerMemory::new(100));
        let held = vec![Held { answer: Some(memory.take(300).await), ..Held::default() }];
        let rope = VecDeque::from([Bytes::from_static(&[0; 300])]);
        let writing = async {
            writer(clock.as_ref(), &memory).write_all(&mut near, rope, held).await.unwrap();
        };
        let reading = async {
            far.read_exact(&mut [0; 180]).await.unwrap();
            assert!(memory.try_take(1).is_none(), "as much is there still as is counted");
            far.read_exact(&mut [0; 70]).await.unwrap();
            assert!(memory.try_take(40).is_some() && memory.try_take(70).is_none());
            far.read_exact(&mut [0; 50]).await.unwrap();
        };
        futures::join!(writing, reading);
    }

    #[tokio::test]
    async fn a_long_answer_arrives_whole_and_holds_no_turn_while_it_waits() {
        let (mut near, mut far) = tokio::io::duplex(100_000);
        let pieces: Vec<Bytes> = (0..=40_u8).map(|i| Bytes::from(vec![i; 25_000])).collect();
        let expected: Vec<u8> = pieces.iter().flat_map(|piece| piece.to_vec()).collect();
        assert!(expected.len() > 3 * WRITE_AT_ONCE_BYTES_MAX);
        let (clock, memory, turns) = (TestClock::shared(), AnswerMemory::new(1), Semaphore::new(1));
        let limits = AnswerWriter { turns: &turns, ..writer(clock.as_ref(), &memory) };
        let taken = turns.acquire().await.unwrap();
        let mut writing = Box::pin(limits.write_all(&mut near, pieces.into(), Vec::new()));
        assert!(futures::poll!(writing.as_mut()).is_pending());
        assert!(far.read_u8().now_or_never().is_none(), "another one has the turn");
        drop(taken);
        for _ in 0..10 {
            assert!(futures::poll!(writing.as_mut()).is_pending());
            tokio::task::yield_now().await;
        }
        assert_eq!(turns.available_permits(), 1, "the peer takes nothing");
        let mut received = vec![0; expected.len()];
        let (written, read) = futures::join!(writing, far.read_exact(&mut received));
        written.unwrap();
        read.unwrap();
        assert_eq!(received, expected);
        assert_eq!(turns.available_permits(), 1);
    }

    #[tokio::test]
    async fn a_peer_that_takes_nothing_is_cut_off() {
        let (mut near, _far) = tokio::io::duplex(5);
        let rope = VecDeque::from([Bytes::from_static(&[0; 100])]);
        let (clock, memory) = (TestClock::shared(), AnswerMemory::new(100));
        let limits = AnswerWriter { stall_max: Duration::from_millis(20), ..writer(clock.as_ref(), &memory) };
        let ended = limits.write_all(&mut near, rope, Vec::new()).await;
        assert!(matches!(ended, Err(WriteError::Stalled)));
    }

    #[tokio::test]
    async fn a_peer_that_dribbles_is_borne_until_others_wait_for_its_memory() {
        let (mut near, mut far) = tokio::io::duplex(100);
        let (clock, memory) = (TestClock::shared(), AnswerMemory::new(2000));
        let held = vec![Held { answer: memory.try_take(2000), ..Held::default() }];
        let began = clock.now();
        let other = async {
            clock.sleep(Duration::from_millis(600)).await;
            let _permit = memory.take(2000).await;
            clock.now().since(began)
        };
        let dribble = async {
            let mut piece = [0; 10];
            while far.read(&mut piece).await.is_ok_and(|read| read > 0) {
                clock.sleep(Duration::from_millis(20)).await;
            }
        };
        let writing = async {
            let rope = VecDeque::from([Bytes::from_static(&[0; 2000])]);
            let ended = writer(clock.as_ref(), &memory).write_all(&mut near, rope, held).await;
            assert!(matches!(ended, Err(WriteError::GaveWay)), "{ended:?}");
            drop(near);
        };
        let (waited, (), ()) = futures::join!(other, dribble, writing);
        assert!(waited >= Duration::from_millis(600) && waited < Duration::from_secs(3), "{waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_more_wait_for_memory_the_sooner_gives_way_who_takes_nothing_but_not_who_takes_enough() {
        for (others, least, most) in [(1, 2000, 2600), (40, 330, 500), (1000, 200, 320)] {
            let (clock, memory) = (TestClock::shared(), AnswerMemory::new(2000));
            let limits = AnswerWriter { give_way_after: GIVE_WAY_AFTER, ..writer(clock.as_ref(), &memory) };
            let _held = memory.take(2000).await;
            let mut waits: Vec<_> = (0..others).map(|_| Box::pin(memory.take(1000))).collect();
            assert!(waits.iter_mut().all(|wait| wait.as_mut().now_or_never().is_none()));
            let (mut near, _far) = tokio::io::duplex(1000);
            let began = clock.now();
            let ended = limits.write_all(&mut near, VecDeque::from([Bytes::from_static(&[0; 2000])]), Vec::new()).await;
            assert!(matches!(ended, Err(WriteError::GaveWay)), "{ended:?}");
            let after = clock.now().since(began).as_millis();
            assert!((least..=most).contains(&after), "{others} wait: after {after} ms");

            let (mut near, mut far) = tokio::io::duplex(1000);
            let rope = VecDeque::from([Bytes::from(vec![0; 600_000])]);
            let writing = async {
                limits.write_all(&mut near, rope, Vec::new()).await.unwrap();
                drop(near);
            };
            let reading = async {
                // 500 KB a second, with rests.
                let mut piece = vec![0; 10_000];
                while far.read_exact(&mut piece).await.is_ok() {
                    clock.sleep(Duration::from_millis(20)).await;
                }
            };
            futures::join!(writing, reading);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn four_hundred_that_take_nothing_and_come_again_keep_nobody_waiting_for_long() {
        const MIB: usize = 1 << 20;
        let (clock, memory) = (TestClock::shared(), AnswerMemory::new(16 * MIB));
        let limits = AnswerWriter { give_way_after: GIVE_WAY_AFTER, ..writer(clock.as_ref(), &memory) };
        let answer = Bytes::from(vec![0; MIB]);
        let write = async |socket: &mut tokio::io::DuplexStream| {
            let held = vec![Held { answer: Some(memory.take(MIB).await), ..Held::default() }];
            limits.write_all(socket, VecDeque::from([answer.clone()]), held).await
        };
        let silent = async || loop {
            let (mut near, _far) = tokio::io::duplex(100_000);
            assert!(matches!(write(&mut near).await, Err(WriteError::GaveWay)));
        };
        let silent = futures::future::join_all((0..400).map(|_| silent()));
        let others = async {
            clock.sleep(Duration::from_secs(5)).await;
            let mut waited = Vec::new();
            for _ in 0..5 {
                let (mut near, mut far) = tokio::io::duplex(100_000);
                let began = clock.now();
                let mut received = vec![0; MIB];
                let (written, read) = futures::join!(write(&mut near), far.read_exact(&mut received));
                written.unwrap();
                read.unwrap();
                waited.push(clock.now().since(began));
            }
            waited
        };
        tokio::select! {
            waited = others => assert!(waited.iter().all(|waited| *waited <= Duration::from_secs(6)), "{waited:?}"),
            _ = silent => {}
        }
    }

    #[tokio::test]
    async fn a_peer_that_takes_its_answer_slowly_keeps_nothing_of_the_rest_in_memory() {
        let (mut near, mut far) = tokio::io::duplex(10);
        let (clock, memory) = (TestClock::shared(), AnswerMemory::new(1));
        let frame: Bytes = (0..=255).collect();
        let rope = VecDeque::from([frame.slice(1..20), frame.slice(30..50)]);
        let writer = writer(clock.as_ref(), &memory);
        let writing = writer.write_all(&mut near, rope, vec![Held::default()]);
        let reading = async {
            assert!(!frame.is_unique());
            let mut read = Vec::new();
            // It never stands still.
            while !frame.is_unique() {
                read.push(far.read_u8().await.unwrap());
                clock.sleep(SHARED_FOR_MAX / 8).await;
            }
            let mut rest = [0; 39];
            far.read_exact(&mut rest[read.len()..]).await.unwrap();
            rest[..read.len()].copy_from_slice(&read);
            assert!(read.len() < 20, "{} bytes of it were taken", read.len());
            assert_eq!(rest[..], [&frame[1..20], &frame[30..50]].concat());
        };
        let (written, ()) = futures::join!(writing, reading);
        written.unwrap();
    }

    #[tokio::test]
    async fn an_answer_in_memory_of_its_own_is_not_copied_for_a_slow_peer() {
        let (mut near, mut far) = tokio::io::duplex(10);
        let (clock, memory) = (TestClock::shared(), AnswerMemory::new(1));
        let own: Bytes = (0..=255).collect();
        let rope = VecDeque::from([own.slice(1..20), own.slice(20..50)]);
        let held = vec![Held { is_detached: true, ..Held::default() }];
        let writer = writer(clock.as_ref(), &memory);
        let writing = writer.write_all(&mut near, rope, held);
        let reading = async {
            let mut read = [0; 49];
            for byte in &mut read[..24] {
                *byte = far.read_u8().await.unwrap();
                clock.sleep(SHARED_FOR_MAX / 8).await;
            }
            assert!(!own.is_unique(), "a copy was made");
            far.read_exact(&mut read[24..]).await.unwrap();
            assert_eq!(read[..], own[1..50]);
        };
        let (written, ()) = futures::join!(writing, reading);
        written.unwrap();
    }

    #[test]
    fn who_takes_enough_in_each_second_is_not_slow() {
        let (clock, memory) = (TestClock::shared(), AnswerMemory::new(100));
        let limits = AnswerWriter { give_way_after: GIVE_WAY_AFTER, ..writer(clock.as_ref(), &memory) };
        let rate = usize::try_from(TAKEN_PER_SECOND_MIN).unwrap();
        for (seconds, taken, slow) in [(2, 0, false), (3, 0, true), (12, 10 * rate, false), (13, 10 * rate, true)] {
            assert_eq!(limits.is_slow(Duration::from_secs(seconds), taken), slow, "{taken} bytes in {seconds} s");
        }
    }
}
