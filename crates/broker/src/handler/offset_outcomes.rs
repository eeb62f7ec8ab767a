//! What OffsetCommit and TxnOffsetCommit have in common: some partitions are refused as they are named, of the others the group decides,
//! and each is answered at its place.

use crate::error::Failure;
use coordinator_core::{GroupError, NewOffset};
use protocol::error_code::ErrorCode;

/// What becomes of each partition of a request.
#[derive(Default)]
pub(super) struct OffsetOutcomes {
    /// Those that the group is to be asked about.
    pub(super) offsets: Vec<NewOffset>,
    /// By place; none yet where the group is asked.
    refused: Vec<Option<Failure>>,
}

impl OffsetOutcomes {
    /// The next partition.
    pub(super) fn add(&mut self, found: Result<NewOffset, Failure>) {
        match found {
            Ok(offset) => {
                self.offsets.push(offset);
                self.refused.push(None);
            }
            Err(failure) => self.refused.push(Some(failure)),
        }
    }

    /// The code of each, with what the group has said: of each that it was asked about, or of all.
    pub(super) fn codes(
        self,
        committed: Result<Vec<Result<(), GroupError>>, Failure>,
        code_of: impl Fn(&Failure) -> ErrorCode,
    ) -> impl Iterator<Item = i16> {
        let mut committed = committed.map(Vec::into_iter);
        let code = move |refused: Option<Failure>| match (refused, &mut committed) {
            (Some(failure), _) => failure.code(),
            (None, Err(failure)) => code_of(failure),
            (None, Ok(committed)) => match committed.next() {
                Some(Err(error)) => Failure::Group(error).code(),
                Some(Ok(())) | None => ErrorCode::None,
            },
        };
        self.refused.into_iter().map(code).map(ErrorCode::number)
    }
}
