//! Reads length-prefixed request frames from a socket, for `connection`.
//!
//! A reader costs nothing while its connection is idle: the length is read into four bytes on its own, and memory is taken as
//! the frame arrives. Guarantees: never more memory than four times what has arrived plus [`FIRST_BYTES`], whatever the length
//! field claims, and all of it counted in [`RequestMemory`]; cancel-safe, so that the connection can write answers meanwhile.
//! What the bytes mean is left to `protocol`.

use crate::memory::{FrameMemory, RequestMemory};
use base::Micros;
use bytes::{BufMut, Bytes};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use world::{Clock, ClockExt};

/// The first piece of memory that a frame gets.
pub(crate) const FIRST_BYTES: usize = 16 * 1024;

/// A frame that runs on the reserve keeps others waiting: the rest of it must arrive within this time.
const RESERVE_HOLD_MAX: Duration = Duration::from_secs(30);

/// What all readers share.
pub(crate) struct FrameLimits {
    pub(crate) memory: RequestMemory,
    pub(crate) bytes_max: usize,
    pub(crate) clock: Arc<dyn Clock>,
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
    #[error("request of {claimed} bytes; at most {most} are allowed (socket.request.max.bytes)")]
    Length { claimed: i32, most: usize },
    /// Memory is short, this frame holds the reserve, and its rest does not come.
    #[error("the rest of a request did not arrive in time while memory is short")]
    Slow,
    /// The socket failed.
    #[error("{0}")]
    Socket(#[from] io::Error),
}

/// The state between two reads; see the module's header.
#[derive(Debug, Default)]
pub(crate) struct FrameReader {
    head: [u8; 4],
    head_len: usize,
    /// Known once the head is complete.
    length: Option<usize>,
    body: Vec<u8>,
    memory: FrameMemory,
    /// Set while the frame runs on the reserve.
    deadline: Option<Micros>,
}

impl FrameReader {
    /// The next frame. Cancel-safe.
    pub(crate) async fn next(
        &mut self,
        socket: &mut (impl AsyncRead + Unpin + Send),
        limits: &FrameLimits,
    ) -> Result<Frame, FrameError> {
        let length = self.read_length(socket, limits.bytes_max).await?;
        while self.body.len() < length {
            if self.body.len() == self.body.capacity() {
                let target = length.min((self.body.len() * 4).max(FIRST_BYTES));
                limits.memory.grow(&mut self.memory, target - self.body.len()).await;
                self.body.reserve_exact(target - self.body.len());
                if self.memory.is_finisher() && self.deadline.is_none() {
                    self.deadline = Some(limits.clock.now().plus(RESERVE_HOLD_MAX));
                }
            }
            let room = (self.body.capacity() - self.body.len()).min(length - self.body.len());
            let mut piece = (&mut self.body).limit(room);
            let read = match self.deadline {
                None => socket.read_buf(&mut piece).await?,
                Some(deadline) => {
                    let left = deadline.since(limits.clock.now());
                    limits.clock.timeout(left, socket.read_buf(&mut piece)).await.ok_or(FrameError::Slow)??
                }
            };
            if read == 0 {
                return Err(FrameError::Torn);
            }
        }
        let done = std::mem::take(self);
        Ok(Frame { bytes: Bytes::from(done.body), memory: done.memory })
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
    use futures::FutureExt;
    use tokio::io::AsyncWriteExt;

    fn limits(bytes_max: usize) -> FrameLimits {
        FrameLimits { memory: RequestMemory::new(64 << 20, 16 << 20), bytes_max, clock: TestClock::shared() }
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
    async fn negative_and_too_large_lengths_are_refused_at_once() {
        for claimed in [-1, i32::MIN, i32::MAX, (1 << 20) + 1] {
            let (mut near, mut far) = tokio::io::duplex(64);
            far.write_all(&claimed.to_be_bytes()).await.unwrap();
            let refused = FrameReader::default().next(&mut near, &limits(1 << 20)).await;
            assert!(matches!(refused, Err(FrameError::Length { claimed: it, .. }) if it == claimed));
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
