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

/// A list that is told whole or not at all, found in several places: what is beyond its greatest size is not taken from them.
#[derive(Debug)]
pub(crate) struct Whole {
    bytes_max: usize,
    told: AtomicUsize,
}

impl Whole {
    pub(crate) fn new(bytes_max: usize) -> Whole {
        Whole { bytes_max, told: AtomicUsize::new(0) }
    }

    /// One of the list, of so many bytes; whether there is room for it.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        self.told.fetch_add(bytes, Ordering::Relaxed) + bytes <= self.bytes_max
    }

    /// Whether all of it was taken.
    ///
    /// # Errors
    /// It is too great.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        if self.told.load(Ordering::Relaxed) > self.bytes_max { Err(Failure::answer_too_great()) } else { Ok(()) }
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
    fn a_list_beyond_its_greatest_size_is_refused_and_one_of_that_size_is_not() {
        let list = Whole::new(10);
        assert!(list.has_room(4) && list.has_room(6) && list.check().is_ok());
        assert!(!list.has_room(1) && !list.has_room(0));
        assert_eq!(list.check().unwrap_err().code(), ErrorCode::InvalidRequest);
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
