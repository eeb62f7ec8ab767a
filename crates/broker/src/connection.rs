//! One client connection: frames in, answers out in order. The first stop of every walk.
//!
//! The pipelining rule: the produce requests of a connection start in order and run together, bounded by count and bytes, and are
//! answered in order; any other request starts when all earlier ones are answered, and nothing starts beside it. *Starting* a
//! produce means that its batches have their offsets and are on the way to the WAL, so what a client sent first is stored first.
//! While requests run, one more frame is read ahead, which also notices when the peer goes away; behind another request than a produce no
//! more than its first piece, as that request may wait for long.
//!
//! Guarantees: answers leave in request order; an idle connection holds no buffer and no timer; what runs is bounded. Malformed
//! input closes this connection with one log line and harms no other. What a request means is left to `dispatch`.

use crate::Shared;
use crate::answer::{Answer, Held};
use crate::dispatch::{self, Running, Unserved};
use crate::frame::{Frame, FrameError, FrameReader};
use crate::memory::{self, AnswerMemory};
use base::Micros;
use bytes::{Buf, Bytes};
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{FuturesOrdered, StreamExt};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use world::{Clock, ClockExt, Connection};

/// Answers that are ready together are written together, up to so many bytes.
const WRITE_TOGETHER_BYTES_MAX: usize = 1024 * 1024;

/// Pieces handed to one vectored write at the most.
const WRITE_SLICES_MAX: usize = 64;

/// While others wait for the memory of answers, a peer must have begun to take its own after this time,
const GIVE_WAY_AFTER: Duration = Duration::from_secs(2);

/// and take so many bytes in each second from then on. Whoever is slower is cut off, and asks again.
const TAKEN_PER_SECOND_MIN: u64 = 256 * 1024;

/// Since when a connection has nothing to do; read by the listener's sweep, so that idle connections need no timers.
#[derive(Debug)]
pub(crate) struct Activity(AtomicU64);

impl Activity {
    const BUSY: u64 = u64::MAX;

    pub(crate) fn idle_since(now: Micros) -> Activity {
        Activity(AtomicU64::new(now.0))
    }

    /// How long it has been idle; `None` while requests run.
    pub(crate) fn idle(&self, now: Micros) -> Option<Duration> {
        let since = self.0.load(Ordering::Relaxed);
        (since != Activity::BUSY).then(|| now.since(Micros(since)))
    }

    fn set_busy(&self) {
        self.0.store(Activity::BUSY, Ordering::Relaxed);
    }

    fn set_idle(&self, now: Micros) {
        self.0.store(now.0, Ordering::Relaxed);
    }
}

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
enum Ended {
    /// The peer went away or the broker stops.
    #[error("closed")]
    Quietly,
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("{0}")]
    Unserved(#[from] Unserved),
    #[error("the peer takes no answer")]
    Stalled,
    #[error("others wait for the memory of an answer that the peer takes too slowly")]
    GaveWay,
    #[error("{0}")]
    Socket(#[from] io::Error),
}

/// Serves one connection to its end.
pub(crate) async fn serve(
    broker: Arc<Shared>,
    mut socket: Box<dyn Connection>,
    peer: SocketAddr,
    activity: Arc<Activity>,
) {
    let stopping = broker.stopping.subscribe();
    let mut requests = Requests::new(broker.clone(), peer, activity, stopping);
    let ended = requests.run(&mut socket).await;
    match ended {
        Ended::Quietly
        | Ended::Frame(FrameError::Closed | FrameError::Torn | FrameError::Socket(_))
        | Ended::Socket(_) => {
            tracing::debug!(%peer, "connection closed: {ended}");
        }
        Ended::Frame(FrameError::Length { .. } | FrameError::Slow)
        | Ended::Unserved(_)
        | Ended::Stalled
        | Ended::GaveWay => {
            // One client can cause as many of these as it likes.
            match broker.complaints.may_say(broker.clock.now()) {
                Some(0) => tracing::warn!(%peer, "connection closed: {ended}"),
                Some(unsaid) => tracing::warn!(%peer, unsaid, "connection closed: {ended}"),
                None => tracing::debug!(%peer, "connection closed: {ended}"),
            }
        }
    }
}

/// The requests of one connection that are read, starting or running.
struct Requests {
    broker: Arc<Shared>,
    peer: SocketAddr,
    activity: Arc<Activity>,
    stopping: watch::Receiver<bool>,
    reader: FrameReader,
    /// Read and not started.
    next: Option<dispatch::Request>,
    /// The peer sends no more, or the broker stops: what runs is answered, nothing is read.
    draining: bool,
    starting: Option<BoxFuture<'static, Result<Running, Unserved>>>,
    /// Started, oldest first.
    running: FuturesOrdered<Running>,
    /// Frame bytes of each of them.
    running_bytes: VecDeque<usize>,
    /// All that starts and runs are produce requests.
    only_produces: bool,
}

/// What happened next.
enum Step {
    Stop,
    Answered(Result<Option<Answer>, Unserved>),
    Started(Result<Running, Unserved>),
    Frame(Result<Frame, FrameError>),
}

impl Requests {
    fn new(
        broker: Arc<Shared>,
        peer: SocketAddr,
        activity: Arc<Activity>,
        stopping: watch::Receiver<bool>,
    ) -> Requests {
        Requests {
            broker,
            peer,
            activity,
            stopping,
            reader: FrameReader::default(),
            next: None,
            draining: false,
            starting: None,
            running: FuturesOrdered::new(),
            running_bytes: VecDeque::new(),
            only_produces: true,
        }
    }

    async fn run(&mut self, socket: &mut Box<dyn Connection>) -> Ended {
        loop {
            self.start_next();
            if self.is_idle() {
                if self.draining {
                    return Ended::Quietly;
                }
                self.activity.set_idle(self.broker.clock.now());
            }
            let outcome = match self.step(socket).await {
                Step::Stop => self.drain(),
                Step::Answered(answer) => self.answer(socket, answer).await,
                Step::Started(running) => running.map(|it| self.running.push_back(it)).map_err(Ended::from),
                Step::Frame(Ok(frame)) => self.accept(frame),
                // A peer that only closed its sending half still gets its answers.
                Step::Frame(Err(FrameError::Closed)) => self.drain(),
                Step::Frame(Err(error)) => Err(error.into()),
            };
            if let Err(ended) = outcome {
                return ended;
            }
        }
    }

    async fn step(&mut self, socket: &mut Box<dyn Connection>) -> Step {
        let reads = self.next.is_none() && !self.draining;
        self.reader.hold_back(!self.only_produces && !self.is_idle());
        let starting = match &mut self.starting {
            Some(starting) => starting.left_future(),
            None => futures::future::pending().right_future(),
        };
        let step = tokio::select! {
            biased;
            _ = self.stopping.wait_for(|stopping| *stopping), if !self.draining => Step::Stop,
            Some(answer) = self.running.next() => Step::Answered(answer),
            running = starting => Step::Started(running),
            frame = self.reader.next(socket, &self.broker.frames), if reads => Step::Frame(frame),
        };
        if matches!(step, Step::Started(_)) {
            self.starting = None;
        }
        step
    }

    fn is_idle(&self) -> bool {
        self.next.is_none() && self.starting.is_none() && self.running.is_empty()
    }

    #[expect(clippy::unnecessary_wraps, reason = "an arm among others that can fail")]
    fn drain(&mut self) -> Result<(), Ended> {
        self.draining = true;
        if *self.stopping.borrow() {
            // Not started, so nothing of it has happened: the client asks again elsewhere.
            self.next = None;
        }
        Ok(())
    }

    fn accept(&mut self, frame: Frame) -> Result<(), Ended> {
        self.activity.set_busy();
        self.next = Some(dispatch::parse(frame, self.peer)?);
        Ok(())
    }

    /// Starts the request that was read, where the pipelining rule allows.
    fn start_next(&mut self) {
        let Some(next) = &self.next else { return };
        let alone = self.starting.is_none() && self.running.is_empty();
        let joins = next.is_produce()
            && self.only_produces
            && self.starting.is_none()
            && self.running.len() < self.broker.options.pipeline_requests_max
            && self.running_bytes.iter().sum::<usize>() + next.frame_bytes() <= self.broker.options.pipeline_bytes_max;
        if !alone && !joins {
            return;
        }
        if let Some(request) = self.next.take() {
            self.only_produces = request.is_produce();
            self.running_bytes.push_back(request.frame_bytes());
            self.starting = Some(dispatch::start(self.broker.clone(), request));
        }
    }

    /// Writes one answer, and with it those behind it that are ready as well.
    async fn answer(
        &mut self,
        socket: &mut Box<dyn Connection>,
        first: Result<Option<Answer>, Unserved>,
    ) -> Result<(), Ended> {
        let mut rope = VecDeque::new();
        let mut held = Vec::new();
        let mut bytes = 0;
        let mut failed = None;
        let mut ready = Some(first);
        while let Some(answer) = ready {
            self.running_bytes.pop_front();
            match answer {
                Ok(Some(answer)) => {
                    bytes += answer.len();
                    let (pieces, memory) = answer.into_parts();
                    rope.extend(pieces);
                    held.push(memory);
                }
                Ok(None) => {}
                Err(unserved) => {
                    failed = Some(unserved);
                    break;
                }
            }
            let more = bytes < WRITE_TOGETHER_BYTES_MAX && !self.running.is_empty();
            ready = if more { self.running.next().now_or_never().flatten() } else { None };
        }
        let writer = Writer {
            clock: self.broker.clock.as_ref(),
            stall_max: self.broker.options.write_stall_max,
            give_way_after: GIVE_WAY_AFTER,
            memory: &self.broker.answer_memory,
        };
        writer.write_all(socket, rope, held).await?;
        failed.map_or(Ok(()), |unserved| Err(unserved.into()))
    }
}

/// Writes answers to a peer for as long as it takes them.
struct Writer<'a> {
    clock: &'a dyn Clock,
    stall_max: Duration,
    /// [`GIVE_WAY_AFTER`], but for tests.
    give_way_after: Duration,
    memory: &'a AnswerMemory,
}

impl Writer<'_> {
    /// Writes all pieces without copying them, and gives back what they hold as it goes.
    async fn write_all(
        &self,
        socket: &mut (impl AsyncWrite + Unpin + Send + ?Sized),
        mut rope: VecDeque<Bytes>,
        mut held: Vec<Held>,
    ) -> Result<(), Ended> {
        if rope.is_empty() {
            return Ok(());
        }
        let began = self.clock.now();
        let mut taken = 0;
        while let Some(first) = rope.front_mut() {
            if first.is_empty() {
                rope.pop_front();
                continue;
            }
            let slices: Vec<_> = rope.iter().take(WRITE_SLICES_MAX).map(|piece| IoSlice::new(piece)).collect();
            let written = self.write_some(socket, &slices, began, taken).await?;
            if written == 0 {
                return Err(io::Error::from(io::ErrorKind::WriteZero).into());
            }
            drop(slices);
            consume(&mut rope, written);
            give_back(&mut held, written);
            taken += written;
        }
        self.clock.timeout(self.stall_max, socket.flush()).await.ok_or(Ended::Stalled)??;
        Ok(())
    }

    /// Writes what the peer takes next. It may be slow; but it may not stand still for long, nor keep others waiting for memory.
    async fn write_some(
        &self,
        socket: &mut (impl AsyncWrite + Unpin + Send + ?Sized),
        slices: &[IoSlice<'_>],
        began: Micros,
        taken: usize,
    ) -> Result<usize, Ended> {
        // Mostly there is room at once, and then no timer is needed.
        if let Some(written) = socket.write_vectored(slices).now_or_never() {
            return Ok(written?);
        }
        let waits_from = self.clock.now();
        loop {
            let look = self.stall_max.min(self.give_way_after / 4);
            let written = self.clock.timeout(look, socket.write_vectored(slices)).await;
            let now = self.clock.now();
            if self.memory.is_short() && self.is_slow(now.since(began), taken) {
                return Err(Ended::GaveWay);
            }
            match written {
                Some(written) => return Ok(written?),
                None if now.since(waits_from) >= self.stall_max => return Err(Ended::Stalled),
                None => {}
            }
        }
    }

    /// Whether a peer that has taken so many bytes in that time is slower than others need to bear.
    fn is_slow(&self, time: Duration, taken: usize) -> bool {
        let borne = u64::try_from(taken).unwrap_or(u64::MAX) / TAKEN_PER_SECOND_MIN;
        time > self.give_way_after + Duration::from_secs(borne)
    }
}

/// Gives back the memory of so many bytes, the first answer's first.
fn give_back(held: &mut [Held], mut bytes: usize) {
    for permit in held.iter_mut().filter_map(|held| held.answer.as_mut()) {
        bytes -= memory::give_back(permit, bytes);
    }
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

    fn writer<'a>(clock: &'a dyn Clock, memory: &'a AnswerMemory) -> Writer<'a> {
        Writer { clock, stall_max: Duration::from_secs(60), give_way_after: Duration::from_millis(200), memory }
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

    #[tokio::test]
    async fn a_peer_that_takes_nothing_is_cut_off() {
        let (mut near, _far) = tokio::io::duplex(5);
        let rope = VecDeque::from([Bytes::from_static(&[0; 100])]);
        let (clock, memory) = (TestClock::shared(), AnswerMemory::new(100));
        let limits = Writer { stall_max: Duration::from_millis(20), ..writer(clock.as_ref(), &memory) };
        let ended = limits.write_all(&mut near, rope, Vec::new()).await;
        assert!(matches!(ended, Err(Ended::Stalled)));
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
            assert!(matches!(ended, Err(Ended::GaveWay)), "{ended:?}");
            drop(near);
        };
        let (waited, (), ()) = futures::join!(other, dribble, writing);
        assert!(waited >= Duration::from_millis(600) && waited < Duration::from_secs(3), "{waited:?}");
    }

    #[test]
    fn who_takes_enough_in_each_second_is_not_slow() {
        let (clock, memory) = (TestClock::shared(), AnswerMemory::new(100));
        let limits = Writer { give_way_after: GIVE_WAY_AFTER, ..writer(clock.as_ref(), &memory) };
        let rate = usize::try_from(TAKEN_PER_SECOND_MIN).unwrap();
        for (seconds, taken, slow) in [(2, 0, false), (3, 0, true), (12, 10 * rate, false), (13, 10 * rate, true)] {
            assert_eq!(limits.is_slow(Duration::from_secs(seconds), taken), slow, "{taken} bytes in {seconds} s");
        }
    }
}
