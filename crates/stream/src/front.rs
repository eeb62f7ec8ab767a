//! The append path before the WAL: what is accepted and in no group yet. Under one lock, in offset order; `Stream::append` adds to it, the
//! driver takes groups from it.

use std::collections::VecDeque;
use stream_core::append::{AppendLimits, Appender};
use tokio::sync::oneshot;

/// What `Stream::append` has accepted.
pub(crate) struct Front {
    pub(crate) appender: Appender,
    /// One for each accepted batch that is in no group yet, in the same order.
    pub(crate) confirmations: VecDeque<oneshot::Sender<()>>,
    /// Nothing more is accepted: a clean stop, or the end of this start.
    pub(crate) closed: bool,
    /// The largest batch refused for want of room since there last was room.
    pub(crate) refused_bytes: usize,
}

impl Front {
    pub(crate) fn new(limits: AppendLimits) -> Front {
        Front { appender: Appender::new(limits), confirmations: VecDeque::new(), closed: false, refused_bytes: 0 }
    }

    /// The log takes nothing more: nothing is accepted, nothing waits, and what was on the way into it is given up.
    pub(crate) fn give_up(&mut self) {
        *self = Front { closed: true, ..Front::new(self.appender.limits()) };
    }

    /// Whether what was refused last would be refused again.
    pub(crate) fn is_busy(&mut self) -> bool {
        let busy = self.appender.held_bytes() > 0 && !self.appender.has_room_for(self.refused_bytes);
        if !busy {
            self.refused_bytes = 0;
        }
        busy
    }
}
