//! Fence and recovery of a dead start's object WAL (rules B-1 and B-2), and its deletion.
use super::*;
use std::sync::Arc;
use world::{ObjectStore, World, StoreError};

/// Fences the dead start's object WAL and reads what it holds from `from` on: its trim point in an image that contains its death
/// (rule B-1). Trouble of the store is waited out.
///
/// # Errors
/// [`RecoverError::Damaged`].
pub async fn recover_objects(world: &World, store: &Arc<dyn ObjectStore>, wal: WalId, from: WalPosition) -> Result<Recovered, RecoverError> { todo!() }

/// Deletes a dead, sealed and wholly committed object WAL but for its fence, leftovers above the fence included. To be called
/// before `ForgetWal`, and again whenever leftovers of a dead WAL turn up in a listing.
///
/// # Errors
/// The store's; ask again later.
pub async fn delete_dead_objects(store: &Arc<dyn ObjectStore>, wal: WalId, end: WalPosition) -> Result<(), StoreError> { todo!() }
