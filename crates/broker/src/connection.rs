//! One client connection: frames in, answers out in order. The first stop of every walk.
//!
//! The pipelining rule: the produce requests of a connection start in order and run together, bounded by count and bytes, and are
//! answered in order; any other request starts when all earlier ones are answered, and nothing starts beside it. *Starting* a
//! produce means that its batches have their offsets and are on the way to the WAL, so what a client sent first is stored first.
//! While requests run, one more frame is read ahead, which also notices when the peer goes away; behind another request than a produce no
//! more than its first piece, as that request may wait for long. What runs is answered then, but for fetches of old consumers and of share groups.
//! A client that has used more than its quotas allow (`quota`) gets its answers at once, and then nothing is read for a while, nor started of
//! what has been; but a frame that holds memory which others need is read to its end and served, so that nobody waits for who is throttled.
//!
//! Guarantees: answers leave in request order; an idle connection holds no buffer and no timer; what runs is bounded. Malformed
//! input closes this connection with one log line and harms no other. What a request means is left to `dispatch`.

use crate::Shared;
use crate::answer::Answer;
use crate::answer_writer::{AnswerWriter, WriteError};
use crate::caller::Caller;
use crate::dispatch::{self, Running, Unserved};
use crate::frame::{FIRST_BYTES, Frame, FrameError, FrameReader};
use crate::peer::Peer;
use crate::sasl::{Around, Login, Step as LoginStep};
use crate::uuid;
use base::Micros;
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{FuturesOrdered, StreamExt};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use world::{Clock, Connection};

/// Answers that are ready together are written together, up to so many bytes.
const WRITE_TOGETHER_BYTES_MAX: usize = 1024 * 1024;

/// What others than the connection's own task know of it.
#[derive(Debug)]
pub(crate) struct Activity {
    /// Since when it has nothing to do; read by the listener's sweep, so that idle connections need no timers.
    idle: AtomicU64,
    /// Until when nothing is read from it, because its client has used more than its quotas allow; 0: it never was.
    muted: AtomicU64,
}

impl Activity {
    const BUSY: u64 = u64::MAX;

    pub(crate) fn idle_since(now: Micros) -> Activity {
        Activity { idle: AtomicU64::new(now.0), muted: AtomicU64::new(0) }
    }

    /// How long it has been idle; `None` while requests run.
    pub(crate) fn idle(&self, now: Micros) -> Option<Duration> {
        let since = self.idle.load(Ordering::Relaxed);
        (since != Activity::BUSY).then(|| now.since(Micros(since)))
    }

    fn set_busy(&self) {
        self.idle.store(Activity::BUSY, Ordering::Relaxed);
    }

    fn set_idle(&self, now: Micros) {
        self.idle.store(now.0, Ordering::Relaxed);
    }

    /// Nothing that comes is looked at before that time; what runs is answered.
    pub(crate) fn mute(&self, until: Micros) {
        self.muted.fetch_max(until.0, Ordering::Relaxed);
    }

    /// How long nothing is looked at.
    fn muted(&self, clock: &dyn Clock) -> Option<Duration> {
        let until = self.muted.load(Ordering::Relaxed);
        if until == 0 {
            return None;
        }
        Some(Micros(until).since(clock.now())).filter(|left| !left.is_zero())
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
    #[error("{0}")]
    Write(#[from] WriteError),
}

/// Serves one connection to its end.
pub(crate) async fn serve(
    broker: Arc<Shared>,
    mut socket: Box<dyn Connection>,
    (peer, number): (SocketAddr, u64),
    activity: Arc<Activity>,
) {
    let stopping = broker.stopping.subscribe();
    let mut requests = Requests::new(broker.clone(), (peer, number), activity, stopping);
    let ended = requests.run(&mut socket).await;
    match ended {
        Ended::Quietly
        | Ended::Frame(FrameError::Closed | FrameError::Torn | FrameError::Socket(_))
        | Ended::Write(WriteError::Socket(_)) => {
            tracing::debug!(%peer, "connection closed: {ended}");
        }
        Ended::Frame(FrameError::Length { .. } | FrameError::Slow)
        | Ended::Unserved(_)
        | Ended::Write(WriteError::Stalled | WriteError::GaveWay) => {
            // One client can cause as many of these as it likes.
            broker.complaints.tell(broker.clock.now(), peer, format_args!("closed: {ended}"));
        }
    }
}

/// The requests of one connection that are read, starting or running.
struct Requests {
    broker: Arc<Shared>,
    /// No other connection of this start has it.
    number: u64,
    /// Who sends what is read next.
    caller: Arc<Caller>,
    activity: Arc<Activity>,
    stopping: watch::Receiver<bool>,
    reader: FrameReader,
    /// What it takes until the caller is known, on a listener where callers log in.
    login: Option<Login>,
    /// Read and not started.
    next: Option<Next>,
    /// The peer sends no more, or the broker stops: what runs is answered, nothing is read.
    draining: bool,
    starting: Option<BoxFuture<'static, Result<Running, Unserved>>>,
    /// Started, oldest first.
    running: FuturesOrdered<Running>,
    /// Frame bytes of each of them.
    running_bytes: VecDeque<usize>,
    /// All that starts and runs are produce requests.
    only_produces: bool,
    /// What runs is of no use without the peer.
    ends_with_peer: bool,
}

/// What was read and is to be started.
enum Next {
    Request(dispatch::Request),
    /// A step of a login, whose answers are there.
    Answered(Vec<Running>),
}

impl Next {
    /// Whether it holds no memory that others wait for.
    fn is_small(&self) -> bool {
        match self {
            Next::Request(request) => request.frame_bytes() <= FIRST_BYTES,
            Next::Answered(_) => true,
        }
    }
}

/// What happened next.
enum Step {
    Stop,
    Answered(Result<Option<Answer>, Unserved>),
    Started(Result<Running, Unserved>),
    Frame(Result<Frame, FrameError>),
    /// It was throttled until now.
    Unmuted,
}

impl Requests {
    fn new(
        broker: Arc<Shared>,
        (peer, number): (SocketAddr, u64),
        activity: Arc<Activity>,
        stopping: watch::Receiver<bool>,
    ) -> Requests {
        let login = broker.options.sasl.clone().map(Login::new);
        Requests {
            broker,
            number,
            login,
            caller: Arc::new(Caller::anonymous(Arc::new(Peer::new(peer)))),
            activity,
            stopping,
            reader: FrameReader::default(),
            next: None,
            draining: false,
            starting: None,
            running: FuturesOrdered::new(),
            running_bytes: VecDeque::new(),
            only_produces: true,
            ends_with_peer: false,
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
                Step::Unmuted => Ok(()),
                Step::Started(running) => running.map(|it| self.running.push_back(it)).map_err(Ended::from),
                Step::Frame(Ok(frame)) => self.accept(frame),
                Step::Frame(Err(FrameError::Closed)) if self.ends_with_peer && !self.is_idle() => Err(Ended::Quietly),
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
        let muted = self.activity.muted(self.broker.clock.as_ref());
        let reads = self.next.is_none() && !self.draining && (muted.is_none() || self.reader.holds_memory());
        let unmuted = match muted {
            Some(left) => self.broker.clock.sleep(left).left_future(),
            None => futures::future::pending().right_future(),
        };
        self.reader.bound(self.login.as_ref().and_then(Login::frame_bytes_max));
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
            () = unmuted => Step::Unmuted,
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
        let Some(login) = &mut self.login else {
            self.next = Some(Next::Request(dispatch::parse(frame, self.caller.clone(), self.number)?));
            return Ok(());
        };
        let Frame { bytes, memory } = frame;
        let clock = &self.broker.clock;
        let nonce = || format!("{:032x}{:032x}", uuid::random(|| clock.random()).0, uuid::random(|| clock.random()).0);
        let around = Around {
            image: &self.broker.store.ledger().image(),
            tokens: &self.broker.tokens,
            now: clock.now(),
            wall: &|| clock.wall(),
            nonce: &nonce,
        };
        self.next = Some(match login.take(bytes, &around) {
            LoginStep::Serve(bytes) => {
                Next::Request(dispatch::parse(Frame { bytes, memory }, self.caller.clone(), self.number)?)
            }
            LoginStep::Answer { bytes, known } => {
                if let Some((principal, proof)) = known {
                    self.caller = Arc::new(Caller { principal, proof, peer: self.caller.peer.clone() });
                }
                Next::Answered(dispatch::answered(Some(bytes), memory, None))
            }
            LoginStep::Refuse { bytes, why } => {
                // Nothing more of it is read.
                self.draining = true;
                Next::Answered(dispatch::answered(bytes, memory, Some((self.broker.clone(), why))))
            }
        });
        Ok(())
    }

    /// Starts the request that was read, where the pipelining rule allows.
    fn start_next(&mut self) {
        let Some(next) = &self.next else { return };
        if next.is_small() && self.activity.muted(self.broker.clock.as_ref()).is_some() {
            return;
        }
        let alone = self.starting.is_none() && self.running.is_empty();
        let joins = match next {
            Next::Request(next) => {
                next.is_produce()
                    && self.only_produces
                    && self.starting.is_none()
                    && self.running.len() < self.broker.options.pipeline_requests_max
                    && self.running_bytes.iter().sum::<usize>() + next.frame_bytes()
                        <= self.broker.options.pipeline_bytes_max
            }
            Next::Answered(_) => false,
        };
        if !alone && !joins {
            return;
        }
        match self.next.take() {
            Some(Next::Request(request)) => {
                self.only_produces = request.is_produce();
                self.ends_with_peer = request.ends_with_peer();
                self.running_bytes.push_back(request.frame_bytes());
                self.starting = Some(dispatch::start(self.broker.clone(), request, &self.activity));
            }
            Some(Next::Answered(answers)) => {
                (self.only_produces, self.ends_with_peer) = (false, false);
                for answer in answers {
                    self.running_bytes.push_back(0);
                    self.running.push_back(answer);
                }
            }
            None => {}
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
        AnswerWriter::new(&self.broker).write_all(socket, rope, held).await?;
        failed.map_or(Ok(()), |unserved| Err(unserved.into()))
    }
}
