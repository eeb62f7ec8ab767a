//! Reads length-prefixed request frames from a socket, for `connection`.
//!
//! A reader costs nothing while its connection is idle: the length is read into four bytes on its own, and memory is taken as
//! the frame arrives. Guarantees: never more memory than four times what has arrived plus [`FIRST_BYTES`], whatever the length
//! field claims, or, behind a large frame, than twice that one up to [`EXPECTED_BYTES_MAX`]; all beyond the first piece counted in
//! [`RequestMemory`], so that the smallest frames never wait for memory; cancel-safe, so that the connection can write answers meanwhile.
//! While others wait for memory, who holds some sends fast enough or is closed. What the bytes mean is left to `protocol`.

use crate::memory::{self, FrameMemory, RequestMemory};
use base::Micros;
use bytes::{BufMut, Bytes};
use futures::FutureExt;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use world::{Clock, ClockExt};

/// The first piece of memory that a frame gets: each connection has so much of its own, uncounted.
pub(crate) const FIRST_BYTES: usize = 4 * 1024;

/// A connection whose last frame was large is believed to send another such one, of up to so many bytes.
const EXPECTED_BYTES_MAX: usize = 1024 * 1024;

/// Frames grow to four times what they have until there, and to twice as much from there on.
const GROWS_FAST_UNTIL_BYTES: usize = 1024 * 1024;

/// While others wait for memory, a frame that is half read must not be silent for longer than this,
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(1);

/// nor, once it holds memory that is counted, be behind what so many bytes in each second would have brought by more than that,
const SENT_PER_SECOND_MIN: u64 = 256 * 1024;

/// or, where very many wait, by more than this ([`memory::patience`]): most round trips are shorter,
const BEHIND_IN_A_CROWD_MAX: Duration = Duration::from_millis(150);

/// where it can be ahead by so much: a window of bytes comes at once, and the next one a round trip later,
const AHEAD_MAX: Duration = Duration::from_millis(250);

/// nor keep its reader waiting for longer than this in all.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// What all readers share.
pub(crate) struct FrameLimits {
    pub(crate) memory: RequestMemory,
    pub(crate) bytes_max: usize,
    /// [`SILENCE_MAX`], but for tests.
    pub(crate) silence_max: Duration,
    pub(crate) clock: Arc<dyn Clock>,
}

impl FrameLimits {
    /// How far behind a frame that holds memory may be where memory is short.
    fn patience(&self) -> Duration {
        memory::patience(self.memory.waiting(), self.silence_max, BEHIND_IN_A_CROWD_MAX)
    }
}

/// A whole request frame without its length field.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) bytes: Bytes,
    /// Held until the request is answered.
    pub(crate) memory: FrameMemory,
}

/// Why no frame follows.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    /// The peer closed between two frames, as it may.
    #[error("closed by the peer")]
    Closed,
    /// The peer closed within a frame.
    #[error("closed by the peer within a request")]
    Torn,
    /// The length is negative or above the bound.
    #[error("request of {claimed} bytes; at most {most} are allowed (socket.request.max.bytes){}", other_protocol(*claimed))]
    Length { claimed: i32, most: usize },
    /// Others wait for the memory that this frame holds, and its rest does not come.
    #[error("the rest of a request did not arrive in time while memory is short")]
    Slow,
    /// The socket failed.
    #[error("{0}")]
    Socket(#[from] io::Error),
}

/// What the first four bytes of a connection look like that was meant for something else.
fn other_protocol(length: i32) -> &'static str {
    match &length.to_be_bytes() {
        b"GET " | b"HEAD" | b"POST" | b"PUT " => "; it looks like HTTP, which the broker's --console speaks",
        // The record of a handshake.
        [22, 3, ..] => "; it looks like TLS, which is not served yet: clients connect with security.protocol=PLAINTEXT",
        _ => "",
    }
}

/// The state between two reads; see the module's header.
#[derive(Debug, Default)]
pub(crate) struct FrameReader {
    head: [u8; 4],
    head_len: usize,
    /// Known once the head is complete.
    length: Option<usize>,
    body: Vec<u8>,
    /// What the connection's last frame had.
    last: usize,
    memory: FrameMemory,
    lateness: Lateness,
    holds_back: bool,
    /// Bytes of the next frame at the most, where that is less than others may have.
    bytes_max: Option<usize>,
}

/// How a frame's bytes let their reader wait. Time in which nobody read, as while the frame itself waits for memory, is not in it.
#[derive(Debug, Default, Clone, Copy)]
struct Lateness {
    /// In all.
    waited: Duration,
    /// How far it is behind [`SENT_PER_SECOND_MIN`],
    behind: Duration,
    /// or ahead, by [`AHEAD_MAX`] at the most: much that came at once is no leave to come slowly from then on.
    ahead: Duration,
}

impl Lateness {
    fn came(&mut self, bytes: usize) {
        let nanos = u64::try_from(bytes).unwrap_or(u64::MAX).saturating_mul(1_000_000_000) / SENT_PER_SECOND_MIN;
        let bought = Duration::from_nanos(nanos);
        self.ahead = (self.ahead + bought.saturating_sub(self.behind)).min(AHEAD_MAX);
        self.behind = self.behind.saturating_sub(bought);
    }

    fn waited(&mut self, time: Duration, holds_memory: bool) {
        self.waited += time;
        if holds_memory {
            self.behind += time.saturating_sub(self.ahead);
            self.ahead = self.ahead.saturating_sub(time);
        }
    }

    /// How long it may be silent now where memory is short. What holds none of it keeps nobody waiting.
    fn may_be_silent(&self, limits: &FrameLimits, holds_memory: bool) -> Duration {
        if !holds_memory {
            return limits.silence_max;
        }
        let left = (limits.patience() + self.ahead).saturating_sub(self.behind);
        // Where it has none left memory was not short: it is looked again whether it is.
        left.clamp(BEHIND_IN_A_CROWD_MAX.min(limits.silence_max), limits.silence_max)
    }

    fn is_borne(&self, limits: &FrameLimits) -> bool {
        !limits.memory.is_short() || (self.behind <= limits.patience() && self.waited <= WAIT_MAX)
    }
}

/// Counts a wait however it ends: the call may be dropped.
struct Wait<'a> {
    of: &'a mut Lateness,
    holds_memory: bool,
    began: Micros,
    clock: &'a dyn Clock,
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.of.waited(self.clock.now().since(self.began), self.holds_memory);
    }
}

impl FrameReader {
    /// A frame of a caller that is not known yet may be no greater than this.
    pub(crate) fn bound(&mut self, bytes_max: Option<usize>) {
        self.bytes_max = bytes_max;
    }

    /// Whether to read no further than the first piece: a frame behind a request that waits for others would keep its memory as long.
    pub(crate) fn hold_back(&mut self, holds_back: bool) {
        self.holds_back = holds_back;
    }

    /// Whether it has begun a frame that takes more than its connection's own memory.
    pub(crate) fn holds_memory(&self) -> bool {
        self.body.capacity() > FIRST_BYTES
    }

    /// The next frame. Cancel-safe.
    pub(crate) async fn next(
        &mut self,
        socket: &mut (impl AsyncRead + Unpin + Send),
        limits: &FrameLimits,
    ) -> Result<Frame, FrameError> {
        let length = self
            .read_length(socket, self.bytes_max.map_or(limits.bytes_max, |most| most.min(limits.bytes_max)))
            .await?;
        while self.body.len() < length {
            if self.body.len() == self.body.capacity() {
                let has = self.body.len();
                let target = self.next_piece(has, length, limits);
                if target > FIRST_BYTES {
                    if self.holds_back {
                        return futures::future::pending().await;
                    }
                    limits.memory.grow(&mut self.memory, length, target - has.max(FIRST_BYTES)).await;
                }
                self.body.reserve_exact(target - has);
            }
            let room = (self.body.capacity() - self.body.len()).min(length - self.body.len());
            let read = self.read_piece(socket, limits, room).await?;
            if read == 0 {
                return Err(FrameError::Torn);
            }
        }
        let done = std::mem::replace(self, FrameReader { last: length, ..FrameReader::default() });
        Ok(Frame { bytes: Bytes::from(done.body), memory: done.memory })
    }

    /// How large the body's memory becomes when it has so much. What is there is copied when it grows, which a frame is spared that is about as
    /// large as the one before, where memory is not short.
    fn next_piece(&self, has: usize, length: usize, limits: &FrameLimits) -> usize {
        let factor = if has < GROWS_FAST_UNTIL_BYTES { 4 } else { 2 };
        let grown = (has * factor).max(FIRST_BYTES);
        let is_begun = has >= FIRST_BYTES && !limits.memory.is_short();
        let expected = if is_begun { (2 * self.last).min(EXPECTED_BYTES_MAX) } else { 0 };
        length.min(grown.max(expected))
    }

    /// Reads what has arrived of the body, up to `room` bytes.
    async fn read_piece(
        &mut self,
        socket: &mut (impl AsyncRead + Unpin + Send),
        limits: &FrameLimits,
        room: usize,
    ) -> Result<usize, FrameError> {
        let holds_memory = self.holds_memory();
        let mut piece = (&mut self.body).limit(room);
        // Mostly something is there already, and then no timer is needed.
        if let Some(read) = socket.read_buf(&mut piece).now_or_never() {
            let read = read?;
            self.lateness.came(read);
            return Ok(read);
        }
        // It is looked at before it waits, as a wait may be dropped, and what is there already is taken.
        if !self.lateness.is_borne(limits) {
            return Err(FrameError::Slow);
        }
        let clock = limits.clock.as_ref();
        let silence = self.lateness.may_be_silent(limits, holds_memory);
        let wait = Wait { of: &mut self.lateness, holds_memory, began: clock.now(), clock };
        let read = loop {
            if let Some(read) = clock.timeout(silence, socket.read_buf(&mut piece)).await {
                break read?;
            }
            if limits.memory.is_short() {
                return Err(FrameError::Slow);
            }
        };
        drop(wait);
        self.lateness.came(read);
        Ok(read)
    }

    async fn read_length(
        &mut self,
        socket: &mut (impl AsyncRead + Unpin + Send),
        bytes_max: usize,
    ) -> Result<usize, FrameError> {
        if let Some(length) = self.length {
            return Ok(length);
        }
        while self.head_len < self.head.len() {
            let read = socket.read(&mut self.head[self.head_len..]).await?;
            if read == 0 {
                return Err(if self.head_len == 0 { FrameError::Closed } else { FrameError::Torn });
            }
            self.head_len += read;
        }
        let claimed = i32::from_be_bytes(self.head);
        let length = usize::try_from(claimed).ok().filter(|length| *length <= bytes_max);
        let length = length.ok_or(FrameError::Length { claimed, most: bytes_max })?;
        self.length = Some(length);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_clock::TestClock;
    use tokio::io::AsyncWriteExt;

    fn limits(bytes_max: usize) -> FrameLimits {
        FrameLimits {
            memory: RequestMemory::new(64 << 20, 16 << 20, 1),
            bytes_max,
            silence_max: SILENCE_MAX,
            clock: TestClock::shared(),
        }
    }

    #[tokio::test]
    async fn frames_arrive_whole_however_they_are_cut_and_however_often_the_call_is_dropped() {
        let (mut near, mut far) = tokio::io::duplex(64);
        let limits = limits(16 << 20);
        let mut reader = FrameReader::default();
        let body: Vec<u8> = (0..100_000_u32).map(|i| u8::try_from(i % 251).unwrap()).collect();
        let sent = body.clone();
        let writer = async move {
            far.write_all(&100_000_i32.to_be_bytes()).await.unwrap();
            for piece in sent.chunks(7) {
                far.write_all(piece).await.unwrap();
            }
            far.write_all(&0_i32.to_be_bytes()).await.unwrap();
            drop(far);
        };
        let receiver = async {
            loop {
                // A call that is dropped at its first wait must lose nothing.
                if let Some(frame) = reader.next(&mut near, &limits).now_or_never() {
                    let frame = frame.unwrap();
                    assert_eq!(&frame.bytes[..], &body[..]);
                    break;
                }
                tokio::task::yield_now().await;
            }
            assert!(reader.next(&mut near, &limits).await.unwrap().bytes.is_empty());
            assert!(matches!(reader.next(&mut near, &limits).await, Err(FrameError::Closed)));
        };
        futures::join!(writer, receiver);
    }

    #[tokio::test]
    async fn a_claimed_length_takes_no_memory_before_its_bytes_arrive() {
        let (mut near, mut far) = tokio::io::duplex(1 << 20);
        let limits = limits(16 << 20);
        let mut reader = FrameReader::default();
        far.write_all(&(16_i32 << 20).to_be_bytes()).await.unwrap();
        far.write_all(&[1; 100]).await.unwrap();
        assert!(reader.next(&mut near, &limits).now_or_never().is_none());
        assert!(reader.body.capacity() <= 2 * FIRST_BYTES, "{}", reader.body.capacity());
    }

    #[tokio::test]
    async fn a_frame_as_large_as_the_last_one_gets_its_memory_at_once_and_no_claim_more() {
        let limits = limits(16 << 20);
        for (claimed, least, most) in [(210_000_i32, 210_000, 210_000), (16 << 20, 4 * FIRST_BYTES, 2 * 200_000)] {
            let (mut near, mut far) = tokio::io::duplex(1 << 20);
            let mut reader = FrameReader::default();
            far.write_all(&[&200_000_i32.to_be_bytes()[..], &[1; 200_000]].concat()).await.unwrap();
            assert_eq!(reader.next(&mut near, &limits).await.unwrap().bytes.len(), 200_000);
            far.write_all(&claimed.to_be_bytes()).await.unwrap();
            far.write_all(&[1; 100]).await.unwrap();
            assert!(reader.next(&mut near, &limits).now_or_never().is_none());
            assert!(reader.body.capacity() <= 2 * FIRST_BYTES, "a header alone: {}", reader.body.capacity());
            far.write_all(&[1; FIRST_BYTES]).await.unwrap();
            assert!(reader.next(&mut near, &limits).now_or_never().is_none());
            let has = reader.body.capacity();
            assert!((least..=most).contains(&has), "{claimed}: {has}");
        }
    }

    #[tokio::test]
    async fn negative_and_too_large_lengths_are_refused_at_once() {
        for claimed in [-1, i32::MIN, i32::MAX, (1 << 20) + 1] {
            let (mut near, mut far) = tokio::io::duplex(64);
            far.write_all(&claimed.to_be_bytes()).await.unwrap();
            let refused = FrameReader::default().next(&mut near, &limits(1 << 20)).await;
            assert!(matches!(refused, Err(FrameError::Length { claimed: it, .. }) if it == claimed));
        }
    }

    #[tokio::test]
    async fn a_silent_frame_that_others_wait_for_gives_its_memory_back() {
        // Room for three times the second piece of such frames, beside what parked requests keep, and for a finisher.
        let memory = RequestMemory::new(4 * 3 * FIRST_BYTES * 8 / 7 + 3 * FIRST_BYTES, 3 * FIRST_BYTES, 1);
        let limits = FrameLimits { memory, silence_max: Duration::from_millis(20), ..limits(1 << 20) };
        let mut peers = Vec::new();
        let mut readers = Vec::new();
        for _ in 0..4 {
            let (near, mut far) = tokio::io::duplex(1 << 20);
            far.write_all(&[&(1_i32 << 20).to_be_bytes()[..], &[0; FIRST_BYTES + 100]].concat()).await.unwrap();
            readers.push((FrameReader::default(), near));
            peers.push(far);
        }
        let alone = readers.iter_mut().map(|(reader, near)| reader.next(near, &limits));
        let waited = tokio::time::timeout(Duration::from_millis(100), futures::future::select_all(alone.map(Box::pin)));
        assert!(waited.await.is_err(), "nobody else needs the memory");
        let (mut near, mut far) = tokio::io::duplex(1 << 20);
        far.write_all(&[&100_000_i32.to_be_bytes()[..], &[7; 100_000]].concat()).await.unwrap();
        let mut reader = FrameReader::default();
        let other = reader.next(&mut near, &limits);
        let silent = readers.drain(..).map(|(mut reader, mut near)| {
            let limits = &limits;
            async move { reader.next(&mut near, limits).await }
        });
        // It needs what each of them holds, one after another.
        let silent = futures::future::join_all(silent.map(FutureExt::boxed));
        let other = match futures::future::select(Box::pin(other), silent).await {
            futures::future::Either::Left((other, _)) => other,
            futures::future::Either::Right((_, other)) => other.await,
        };
        assert_eq!(other.unwrap().bytes.len(), 100_000);
    }

    /// Sends a frame's first 70,000 bytes and then few at a time, for at most a second; how it ended, and when.
    async fn dribble(limits: &FrameLimits, interval: Duration, bytes: usize) -> (Option<FrameError>, Duration) {
        let (mut near, mut far) = tokio::io::duplex(1 << 20);
        far.write_all(&[&(1_i32 << 20).to_be_bytes()[..], &[0; 70_000]].concat()).await.unwrap();
        let mut reader = FrameReader::default();
        let began = limits.clock.now();
        while limits.clock.now().since(began) < Duration::from_secs(1) {
            // The call is dropped, as a connection does when something else happens.
            if let Some(ended) = limits.clock.timeout(interval, reader.next(&mut near, limits)).await {
                return (ended.err(), limits.clock.now().since(began));
            }
            far.write_all(&vec![0; bytes]).await.unwrap();
        }
        (None, limits.clock.now().since(began))
    }

    #[tokio::test]
    async fn a_frame_that_comes_in_dribbles_is_borne_only_while_nobody_waits_for_its_memory() {
        // A quarter, which is not open to larger frames, has room for such a one.
        let limits = FrameLimits {
            memory: RequestMemory::new(6 << 20, 1 << 20, 1),
            silence_max: Duration::from_millis(400),
            ..limits(1 << 20)
        };
        let (interval, enough) = (Duration::from_millis(40), 60_000);
        assert!(dribble(&limits, interval, 20).await.0.is_none(), "nobody waits");
        let mut finisher = FrameMemory::default();
        limits.memory.grow(&mut finisher, 4 << 20, 4 << 20).await;
        let mut other = FrameMemory::default();
        let mut waits = Box::pin(limits.memory.grow(&mut other, 4 << 20, 4 << 20));
        assert!(waits.as_mut().now_or_never().is_none() && limits.memory.is_short());
        let (ended, after) = dribble(&limits, interval, 20).await;
        assert!(matches!(ended, Some(FrameError::Slow)), "{ended:?}");
        assert!(after > limits.silence_max, "{after:?}");
        let (ended, after) = dribble(&limits, interval, enough).await;
        assert!(ended.is_none() && after > limits.silence_max, "fast enough, it came whole: {ended:?}, {after:?}");
    }

    #[tokio::test]
    async fn a_frame_that_waits_for_memory_itself_is_not_late() {
        let limits = FrameLimits { memory: RequestMemory::new((1 << 20) + 400_000, 1 << 20, 1), ..limits(1 << 20) };
        let (mut held, mut finisher) = (FrameMemory::default(), FrameMemory::default());
        limits.memory.grow(&mut held, 1 << 20, 150_000).await;
        limits.memory.grow(&mut finisher, 4 << 20, 1 << 20).await;
        let (mut near, mut far) = tokio::io::duplex(1 << 20);
        far.write_all(&[&100_000_i32.to_be_bytes()[..], &[7; 90_000]].concat()).await.unwrap();
        let mut reader = FrameReader::default();
        assert!(limits.clock.timeout(Duration::from_millis(100), reader.next(&mut near, &limits)).await.is_none());
        assert_eq!((reader.lateness.waited, reader.lateness.behind), (Duration::ZERO, Duration::ZERO));
        drop(held);
        far.write_all(&[7; 10_000]).await.unwrap();
        assert_eq!(reader.next(&mut near, &limits).await.unwrap().bytes.len(), 100_000);
    }

    /// Sends a frame's first 70,000 bytes and then few at a time; is there again as soon as it is closed. Never ends.
    async fn dribble_again_and_again(limits: &FrameLimits) {
        loop {
            let (mut near, mut far) = tokio::io::duplex(1 << 20);
            far.write_all(&[&(1_i32 << 20).to_be_bytes()[..], &[0; 70_000]].concat()).await.unwrap();
            let sends = async {
                loop {
                    limits.clock.sleep(Duration::from_millis(300)).await;
                    far.write_all(&[0; 20]).await.unwrap();
                }
            };
            let mut reader = FrameReader::default();
            tokio::select! {
                ended = reader.next(&mut near, limits) => assert!(matches!(ended, Err(FrameError::Slow)), "{ended:?}"),
                () = sends => {}
            }
        }
    }

    /// As over a link with a round trip of 200 ms and a window of 64 KiB.
    #[tokio::test(start_paused = true)]
    async fn who_sends_fast_enough_in_bursts_is_never_cut_off_however_many_wait() {
        let limits = FrameLimits { memory: RequestMemory::new(17_400_000, 8_700_000, 1), ..limits(8 << 20) };
        let one = async || {
            let (mut near, mut far) = tokio::io::duplex(1 << 16);
            let sends = async {
                far.write_all(&900_000_i32.to_be_bytes()).await.unwrap();
                for _ in 0..15 {
                    limits.clock.sleep(Duration::from_millis(200)).await;
                    far.write_all(&[7; 60_000]).await.unwrap();
                }
            };
            let mut reader = FrameReader::default();
            let (read, ()) = futures::join!(reader.next(&mut near, &limits), sends);
            assert_eq!(read.unwrap().bytes.len(), 900_000);
        };
        let all = futures::future::join_all((0..120).map(|_| one()));
        assert!(limits.clock.timeout(Duration::from_mins(5), all).await.is_some(), "they come through");
    }

    /// Who holds nothing keeps nobody waiting.
    #[tokio::test(start_paused = true)]
    async fn a_small_frame_has_a_second_to_come_however_many_wait() {
        let limits = FrameLimits { memory: RequestMemory::new(4 << 20, 2 << 20, 1), ..limits(1 << 20) };
        let mut held: [FrameMemory; 3] = Default::default();
        for held in &mut held {
            limits.memory.grow(held, 2 << 20, 800_000).now_or_never();
        }
        let mut more: Vec<_> = (0..1000).map(|_| FrameMemory::default()).collect();
        let mut waits: Vec<_> = more.iter_mut().map(|it| Box::pin(limits.memory.grow(it, 2 << 20, 800_000))).collect();
        waits.iter_mut().for_each(|wait| assert!(wait.as_mut().now_or_never().is_none()));
        assert_eq!(limits.patience(), BEHIND_IN_A_CROWD_MAX);
        let (mut near, mut far) = tokio::io::duplex(1 << 10);
        let sends = async {
            far.write_all(&100_i32.to_be_bytes()).await.unwrap();
            limits.clock.sleep(Duration::from_millis(900)).await;
            far.write_all(&[7; 100]).await.unwrap();
        };
        let mut reader = FrameReader::default();
        let (read, ()) = futures::join!(reader.next(&mut near, &limits), sends);
        assert_eq!(read.unwrap().bytes.len(), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn two_hundred_that_dribble_and_come_again_keep_nobody_waiting_for_long() {
        // What a broker with 128 MiB gives to requests.
        let limits = FrameLimits { memory: RequestMemory::new(17_400_000, 8_700_000, 1), ..limits(8 << 20) };
        let dribblers = futures::future::join_all((0..200).map(|_| dribble_again_and_again(&limits)));
        let others = async {
            limits.clock.sleep(Duration::from_secs(2)).await;
            let mut waited = Vec::new();
            for length in [100_000, 1_000_000, 100_000, 1_000_000] {
                let (mut near, mut far) = tokio::io::duplex(1 << 20);
                far.write_all(&[&u32::try_from(length).unwrap().to_be_bytes()[..], &vec![7; length]].concat())
                    .await
                    .unwrap();
                let began = limits.clock.now();
                assert_eq!(FrameReader::default().next(&mut near, &limits).await.unwrap().bytes.len(), length);
                waited.push(limits.clock.now().since(began));
            }
            waited
        };
        tokio::select! {
            waited = others => assert!(waited.iter().all(|waited| *waited <= Duration::from_secs(12)), "{waited:?}"),
            _ = dribblers => {}
            () = limits.clock.sleep(Duration::from_secs(60)) => panic!("a minute is not enough"),
        }
    }

    #[tokio::test]
    async fn half_sent_large_frames_do_not_keep_smaller_ones_waiting() {
        let limits = FrameLimits { memory: RequestMemory::new(48 << 20, 16 << 20, 1), ..limits(16 << 20) };
        let mut half_sent = Vec::new();
        for _ in 0..20 {
            let (near, mut far) = tokio::io::duplex(16 << 20);
            far.write_all(&(16_i32 << 20).to_be_bytes()).await.unwrap();
            far.write_all(&vec![0; 15 << 20]).await.unwrap();
            half_sent.push((FrameReader::default(), near, far));
        }
        for (reader, near, _) in &mut half_sent {
            assert!(reader.next(near, &limits).now_or_never().is_none());
        }
        for length in [100, 60_000, 1_000_000] {
            let (mut near, mut far) = tokio::io::duplex(2 << 20);
            far.write_all(&i32::try_from(length).unwrap().to_be_bytes()).await.unwrap();
            far.write_all(&vec![0; length]).await.unwrap();
            let frame = FrameReader::default().next(&mut near, &limits).now_or_never();
            assert_eq!(frame.expect("not kept waiting").unwrap().bytes.len(), length);
        }
    }

    #[tokio::test]
    async fn a_frame_cut_short_is_told_from_a_clean_end() {
        let (mut near, mut far) = tokio::io::duplex(64);
        far.write_all(&[0, 0, 0, 9, 1, 2]).await.unwrap();
        drop(far);
        assert!(matches!(FrameReader::default().next(&mut near, &limits(100)).await, Err(FrameError::Torn)));
    }
}
