//! What an answer leaves out where a request names very much: words, and what there is no memory for.

use crate::error::Failure;
use protocol::error_code::ErrorCode;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Refusals of one request that are told in words; beyond, the code says enough: a request may name a million things that are not there.
const REASONS_TOLD_MAX: usize = 1000;

/// The reasons that an answer tells.
#[derive(Debug, Default)]
pub(crate) struct Reasons(usize);

impl Reasons {
    /// One refusal more, in words where there is room.
    pub(crate) fn tell(&mut self, failure: &Failure) -> Option<String> {
        self.0 += 1;
        (self.0 <= REASONS_TOLD_MAX).then(|| failure.to_string())
    }

    /// The same where Kafka has no words for a lack of rights beside the code.
    pub(crate) fn tell_unless_denied(&mut self, failure: &Failure) -> Option<String> {
        if matches!(failure, Failure::NotAuthorized(_)) { None } else { self.tell(failure) }
    }

    /// A result's code and words.
    pub(crate) fn of<T>(&mut self, outcome: &Result<T, Failure>) -> (i16, Option<String>) {
        match outcome {
            Ok(_) => (ErrorCode::None.number(), None),
            Err(failure) => (failure.code().number(), self.tell(failure)),
        }
    }
}

/// What an answer may take yet while it is made in several places at once.
#[derive(Debug)]
pub(crate) struct Left(AtomicUsize);

impl Left {
    pub(crate) fn new(bytes: usize) -> Left {
        Left(AtomicUsize::new(bytes))
    }

    /// Whether there is anything left.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        if self.0.load(Ordering::Relaxed) == 0 { Err(Failure::too_much_for_one_answer()) } else { Ok(()) }
    }

    /// So much less. Only one request has it, and does one thing at a time.
    pub(crate) fn spend(&self, bytes: usize) {
        self.0.store(self.0.load(Ordering::Relaxed).saturating_sub(bytes), Ordering::Relaxed);
    }
}

/// What becomes of what a request names, where only the first of it was looked for.
pub(crate) fn rest_too_much<T>(first: Vec<Result<T, Failure>>) -> impl Iterator<Item = Result<T, Failure>> {
    first.into_iter().chain(std::iter::repeat_with(|| Err(Failure::too_much_for_one_answer())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_refusals_have_words_and_all_have_codes() {
        let mut reasons = Reasons::default();
        let refused: Result<(), Failure> = Err(Failure::UnknownPartition);
        let told: Vec<(i16, Option<String>)> = (0..=REASONS_TOLD_MAX).map(|_| reasons.of(&refused)).collect();
        assert_eq!(told.iter().filter(|(_, words)| words.is_some()).count(), REASONS_TOLD_MAX);
        assert!(told.iter().all(|(code, _)| *code == ErrorCode::UnknownTopicOrPartition.number()));
    }

    #[test]
    fn what_there_is_no_memory_for_is_refused() {
        let left = Left::new(10);
        left.spend(9);
        assert!(left.check().is_ok());
        left.spend(9);
        assert!(left.check().is_err());
    }
}
