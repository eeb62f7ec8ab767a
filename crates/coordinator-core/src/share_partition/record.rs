//! One record as its share-partition sees it: available, acquired by a member, or done with, and what it was before the write that is under
//! way.

use super::options::ShareOptions;
use base::Micros;
use std::sync::Arc;

/// A member's id, shared by all the records that it has.
pub(super) type Member = Arc<str>;

/// Kafka's states of a record, by its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum DeliveryState {
    /// To be delivered.
    #[default]
    Available,
    /// A member has it. Never written.
    Acquired,
    /// A member has accepted it.
    Acknowledged,
    /// It goes to another topic before it is archived (KIP-1191).
    Archiving,
    /// It will not be delivered any more, and nobody has accepted it.
    Archived,
}

impl DeliveryState {
    /// In the order of Kafka's numbers.
    const ALL: [DeliveryState; 5] = [
        DeliveryState::Available,
        DeliveryState::Acquired,
        DeliveryState::Acknowledged,
        DeliveryState::Archiving,
        DeliveryState::Archived,
    ];

    /// Kafka's number.
    #[must_use]
    pub fn id(self) -> i8 {
        match self {
            DeliveryState::Available => 0,
            DeliveryState::Acquired => 1,
            DeliveryState::Acknowledged => 2,
            DeliveryState::Archiving => 3,
            DeliveryState::Archived => 4,
        }
    }

    /// The state of that number.
    #[must_use]
    pub fn of_id(id: i8) -> Option<DeliveryState> {
        DeliveryState::ALL.into_iter().find(|state| state.id() == id)
    }

    /// Whether it never changes again.
    #[must_use]
    pub fn is_done(self) -> bool {
        matches!(self, DeliveryState::Acknowledged | DeliveryState::Archived)
    }
}

/// A record, or a batch of records that have all gone the same way.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Record {
    pub(super) state: DeliveryState,
    /// How often it was delivered.
    pub(super) count: i16,
    /// Who has it, while it is acquired.
    pub(super) member: Option<Member>,
    /// Until when somebody has it, also while a write is under way.
    pub(super) locked_until: Option<Micros>,
    /// Who had it before the write that is under way.
    pub(super) before: Option<Member>,
    /// Archived for good, whatever becomes of that write.
    is_final: bool,
}

impl Record {
    pub(super) fn new(state: DeliveryState, count: i16) -> Record {
        Record { state, count, ..Record::default() }
    }

    pub(super) fn acquired(count: i16, member: &Member, until: Micros) -> Record {
        let member = Some(Arc::clone(member));
        Record { state: DeliveryState::Acquired, count, member, locked_until: Some(until), ..Record::default() }
    }

    /// Whether it may be delivered: not, while its release is not confirmed.
    pub(super) fn is_available(&self) -> bool {
        self.state == DeliveryState::Available && super::rule!("hides unconfirmed", self.before.is_none(), true)
    }

    /// Whether the start may pass it: not, while a write of it is under way.
    pub(super) fn is_passed(&self) -> bool {
        self.state.is_done() && super::rule!("start waits", self.before.is_none(), true)
    }

    pub(super) fn acquire(&mut self, member: &Member, until: Micros) {
        self.state = DeliveryState::Acquired;
        self.count = self.count.saturating_add(1);
        self.member = Some(Arc::clone(member));
        self.locked_until = Some(until);
    }

    /// A member gives it back, accepts or rejects it. It is so at once, and confirmed or undone later.
    pub(super) fn begin(&mut self, state: DeliveryState, options: &ShareOptions) {
        self.state = self.after(state, options);
        self.before = self.member.take();
    }

    /// What a release makes of it where it was delivered too often, and a rejection where there is a topic for such records.
    fn after(&self, state: DeliveryState, options: &ShareOptions) -> DeliveryState {
        let is_too_often = self.count >= options.deliveries_max;
        match state {
            DeliveryState::Available if is_too_often && options.dead_letters => DeliveryState::Archiving,
            DeliveryState::Available if super::rule!("archives what is delivered too often", is_too_often, false) => {
                DeliveryState::Archived
            }
            other => other,
        }
    }

    /// Nobody has it any more, and nothing undoes that.
    pub(super) fn expire(&mut self, state: DeliveryState, options: &ShareOptions) {
        self.state = self.after(state, options);
        (self.member, self.before, self.locked_until) = (None, None, None);
    }

    pub(super) fn confirm(&mut self) {
        self.before = None;
        self.locked_until = None;
    }

    /// The write has failed: it is locked again by whoever had it, until when that was to last.
    pub(super) fn undo(&mut self) {
        let member = self.before.take();
        if self.is_final {
            self.locked_until = None;
        } else if super::rule!("rolls back", true, false) {
            self.state = DeliveryState::Acquired;
            self.member = member;
        }
    }

    /// It is not there to be delivered.
    pub(super) fn archive(&mut self) {
        self.state = DeliveryState::Archived;
        self.member = None;
        self.locked_until = None;
        self.is_final = self.before.is_some();
    }
}
