//! An answer on its way to the socket: pieces of bytes, record data among them uncopied, and the memory it holds until written.

use crate::memory::FrameMemory;
use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

/// A whole response frame.
#[derive(Debug)]
pub(crate) struct Answer {
    pieces: Vec<Bytes>,
    held: Held,
}

/// Given back when the answer has been written.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// The request's frame, or what is kept of it.
    pub(crate) frame: FrameMemory,
    /// What the answer itself takes.
    pub(crate) answer: Option<OwnedSemaphorePermit>,
    /// All of the answer is in memory of its own already (`detach`), not the caches'.
    pub(crate) is_detached: bool,
}

impl Answer {
    pub(crate) fn new(pieces: Vec<Bytes>, held: Held) -> Answer {
        Answer { pieces, held }
    }

    /// Takes over memory that was got for it.
    pub(crate) fn hold(&mut self, memory: Option<OwnedSemaphorePermit>) {
        self.held.answer = memory;
    }

    /// What was got for it while it was made.
    pub(crate) fn held(&mut self) -> Option<OwnedSemaphorePermit> {
        self.held.answer.take()
    }

    pub(crate) fn len(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum()
    }

    pub(crate) fn into_parts(self) -> (Vec<Bytes>, Held) {
        (self.pieces, self.held)
    }
}
