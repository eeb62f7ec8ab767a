//! Memory of its own for an answer that lasts.
//!
//! Records on their way to a client are slices of what the caches have: of a request's frame, of a run, of a block. A slice keeps all of it in
//! memory, and is counted as long as it is. That is near enough while the caches have the rest anyway, and an answer is gone in milliseconds.
//! One that lasts longer, as its peer takes nothing or its fetch waits for more, is copied out: then it holds what is counted for it, and
//! who is answered at once pays nothing (docs/adr/0197-what-lasts-holds-no-more-than-is-counted.md).

use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::collections::VecDeque;
use std::time::Duration;

/// So long an answer may share the caches' memory.
pub(crate) const SHARED_FOR_MAX: Duration = Duration::from_millis(250);

/// Copied at once: others run in between. What is written of the copy is free in steps of this as well.
const PIECE_BYTES_MAX: usize = 256 * 1024;

/// The same bytes in memory of their own. What was shared is let go as it is copied.
pub(crate) async fn detached(mut shared: VecDeque<Bytes>) -> VecDeque<Bytes> {
    let mut own = VecDeque::new();
    while let Some(piece) = next_piece(&mut shared) {
        own.push_back(piece);
        tokio::task::yield_now().await;
    }
    own
}

fn next_piece(shared: &mut VecDeque<Bytes>) -> Option<Bytes> {
    let mut left = 0;
    for bytes in shared.iter() {
        left = PIECE_BYTES_MAX.min(left + bytes.len());
        if left == PIECE_BYTES_MAX {
            break;
        }
    }
    let mut piece = BytesMut::with_capacity(left);
    while left > 0 {
        let first = shared.front_mut()?;
        let len = first.len().min(left);
        piece.put_slice(&first[..len]);
        first.advance(len);
        left -= len;
        if first.is_empty() {
            shared.pop_front();
        }
    }
    (!piece.is_empty()).then(|| piece.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[tokio::test]
    async fn the_copy_is_the_same_and_what_was_shared_is_free() {
        let frame = Arc::new(vec![7_u8; 3 * PIECE_BYTES_MAX]);
        struct Frame(Arc<Vec<u8>>);
        impl AsRef<[u8]> for Frame {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
        let bytes = Bytes::from_owner(Frame(frame.clone()));
        let shared = VecDeque::from([bytes.slice(..16), Bytes::new(), bytes.slice(16..PIECE_BYTES_MAX + 100)]);
        drop(bytes);
        assert_eq!(Arc::strong_count(&frame), 2);
        let own = detached(shared).await;
        assert_eq!(Arc::strong_count(&frame), 1);
        assert_eq!(own.iter().map(Bytes::len).collect::<Vec<_>>(), [PIECE_BYTES_MAX, 100]);
        assert!(own.iter().flatten().all(|byte| *byte == 7));
        assert!(detached(VecDeque::from([Bytes::new()])).await.is_empty());
    }
}
