//! Reads what a data object says of itself: its tail, and the rest of its index where the tail is too short for it.
//!
//! For the read path, which has a budget of requests and its own idea of trouble, and for `fsck` and `inspect`, which ask the store.

use crate::keys::data_key;
use base::ObjectId;
use bytes::Bytes;
use std::sync::Arc;
use stream_core::object::{Footer, ObjectIndex, ObjectTail, TAIL_BYTES, decode_index, decode_tail};
use world::{GetRange, ObjectStore, StoreError};

/// An object's index and its size in bytes; or what is wrong with its bytes.
pub type IndexRead = Result<(ObjectIndex, u64), String>;

/// Reads an object's index from the store.
///
/// # Errors
/// The store's.
pub async fn read_index(store: &Arc<dyn ObjectStore>, object: ObjectId) -> Result<IndexRead, StoreError> {
    let key = data_key(object);
    read_index_by(object, |range| store.get(&key, range)).await
}

/// The same by `get`, which answers the bytes of a range and the object's size. Its errors are handed on.
pub(crate) async fn read_index_by<E, F>(object: ObjectId, get: impl Fn(GetRange) -> F) -> Result<IndexRead, E>
where
    F: Future<Output = Result<(Bytes, u64), E>>,
{
    Ok(read_tail_by(object, get).await?.map(|(_, index, size)| (index, size)))
}

/// The same with the footer.
pub(crate) async fn read_tail_by<E, F>(
    object: ObjectId,
    get: impl Fn(GetRange) -> F,
) -> Result<Result<(Footer, ObjectIndex, u64), String>, E>
where
    F: Future<Output = Result<(Bytes, u64), E>>,
{
    let (tail, size) = get(GetRange::Suffix(TAIL_BYTES)).await?;
    let decoded = match decode_tail(&tail, size) {
        Ok(ObjectTail::Whole(footer, index)) => Ok((footer, index)),
        Ok(ObjectTail::IndexAt(footer)) => {
            let end = footer.index_position + u64::from(footer.index_len);
            let (bytes, _) = get(GetRange::Span { start: footer.index_position, end }).await?;
            decode_index(&bytes, &footer).map(|index| (footer, index))
        }
        Err(error) => Err(error),
    };
    Ok(match decoded {
        Ok((footer, _)) if footer.object != object => Err(format!("it says that it is object {}", footer.object)),
        Ok((footer, index)) => Ok((footer, index, size)),
        Err(error) => Err(error.to_string()),
    })
}
