//! Memory for batches that take more than what was sent: message sets that became batches, and what a topic wants less compressed than it
//! came. A frame of 8 KiB may become a batch of 8 MiB, and many of them wait for a full log.
//!
//! It is taken once it is known how much it is, and before others have their turn: where there is none, what was made is dropped, and made
//! anew when there is. It is held until the batch is enqueued, when its log counts it.
//!
//! Who finds no room in the memory of requests waits for a *turn*, which one request has at a time for each log: the memory that it brings is
//! beside all other. The finisher's would not do (docs/adr/0050-request-memory.md): the next frame of the same connection may have that, and
//! starts only after this request. Who has the turn waits for its log alone, so it ends; who waits for it has no place in `checks`.

use crate::error::Failure;
use crate::memory::RequestMemory;
use protocol::record_batch::BatchError;
use tokio::sync::OwnedSemaphorePermit;

/// What the batch that is being looked at takes beyond its request's frame. Given back when dropped.
pub(crate) struct Growth<'a> {
    memory: &'a RequestMemory,
    frame_bytes: usize,
    log: usize,
    shared: Vec<OwnedSemaphorePermit>,
    /// Bytes in `shared`.
    counted: usize,
    turn: Option<OwnedSemaphorePermit>,
    /// Bytes that the turn is used for.
    in_turn: usize,
}

impl<'a> Growth<'a> {
    pub(crate) fn new(memory: &'a RequestMemory, frame_bytes: usize) -> Growth<'a> {
        Growth { memory, frame_bytes, log: 0, shared: Vec::new(), counted: 0, turn: None, in_turn: 0 }
    }

    /// Gives back what the batch before took, and goes on with one for this write-ahead log.
    pub(crate) fn begin(&mut self, log: usize) {
        *self = Growth { log, ..Growth::new(self.memory, self.frame_bytes) };
    }

    /// Counts so many more bytes. False where there is no room for them now.
    pub(crate) fn try_take(&mut self, bytes: usize) -> bool {
        if bytes == 0 {
            return true;
        }
        let length = self.frame_bytes.saturating_add(self.counted).saturating_add(bytes);
        if let Some(permit) = self.memory.try_share(length, bytes) {
            self.shared.push(permit);
            self.counted += bytes;
            return true;
        }
        let fits = self.turn.is_some() && self.in_turn.saturating_add(bytes) <= self.memory.turn_bytes();
        if fits {
            self.in_turn += bytes;
        }
        fits
    }

    /// Waits until [`Growth::try_take`] has room for so many bytes. Cancel-safe.
    ///
    /// # Errors
    /// That is more than the greatest request.
    pub(crate) async fn wait(&mut self, bytes: usize) -> Result<(), Failure> {
        if self.turn.is_none() {
            self.turn = Some(self.memory.turn(self.log).await.ok_or(Failure::TooMuchToCheck)?);
        }
        let max = self.memory.turn_bytes();
        let all = self.in_turn.saturating_add(bytes);
        if all > max { Err(BatchError::TooLarge { bytes: all, max }.into()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use protocol::error_code::ErrorCode;

    const LARGE: usize = 4 << 20;

    /// 420 bytes for large frames, half of what there is for all; a frame, and what grows in its turn, has 1000.
    fn memory() -> RequestMemory {
        RequestMemory::new(960 + 1000, 1000, 2)
    }

    #[tokio::test]
    async fn batches_that_grow_share_the_memory_of_requests_and_then_grow_one_at_a_time() {
        let memory = memory();
        let mut growths: Vec<Growth<'_>> = (0..6).map(|_| Growth::new(&memory, LARGE)).collect();
        let counted: Vec<bool> = growths.iter_mut().map(|growth| growth.try_take(200)).collect();
        assert_eq!(counted, [true, true, false, false, false, false]);
        let mut waiting = growths.split_off(2);
        let mut first = waiting.remove(0);
        first.wait(200).await.unwrap();
        assert!(first.try_take(200) && first.try_take(700) && !first.try_take(200));
        assert_eq!(first.wait(200).await.unwrap_err().code(), ErrorCode::MessageTooLarge);
        let mut second = waiting.remove(0);
        assert!(second.wait(200).now_or_never().is_none(), "one turn at a time");
        waiting[1].begin(1);
        assert!(waiting[1].wait(200).now_or_never().is_some(), "but for another log");
        first.begin(0);
        second.wait(200).now_or_never().unwrap().unwrap();
        assert!(second.try_take(200));
        drop(growths);
        assert!(waiting[0].try_take(400) && waiting[0].turn.is_none(), "there is room again");
    }

    #[tokio::test]
    async fn what_grows_much_takes_nothing_of_what_is_for_small_frames() {
        let memory = memory();
        assert!(!Growth::new(&memory, LARGE).try_take(421));
        assert!(Growth::new(&memory, 10).try_take(420));
    }
}
