//! One broker as the sender sees it: which lanes wait to go to it, and when it may be sent the next request.

use base::Micros;
use std::collections::VecDeque;

/// Requests of one producer that wait for one broker's answer: with more, batches would leave before they are full and wait there
/// (Kafka's `max.in.flight.requests.per.connection`).
const REQUESTS_IN_FLIGHT_MAX: usize = 5;

/// A broker that leads partitions of the topic.
#[derive(Default)]
pub(crate) struct Leader {
    /// Lanes that have something to send, each once, in turn.
    queue: VecDeque<usize>,
    /// When the first of them has to go. The others go with it.
    due: Option<Micros>,
    in_flight: usize,
    /// A request is on its way into the connection's queue: the next one waits, so that they keep their order.
    is_beginning: bool,
    /// The broker has asked to be sent nothing before then.
    muted_until: Micros,
}

impl Leader {
    /// A lane that is not in the queue yet.
    pub(crate) fn enqueue(&mut self, lane: usize) {
        self.queue.push_back(lane);
    }

    /// A lane in the queue has to go by then.
    pub(crate) fn hurry(&mut self, due: Micros) {
        self.due = Some(self.due.map_or(due, |earlier| earlier.min(due)));
    }

    /// When the next request has to go; `None` while there is nothing to send, or no room for it.
    pub(crate) fn next_at(&self) -> Option<Micros> {
        let has_room = self.in_flight < REQUESTS_IN_FLIGHT_MAX && !self.is_beginning;
        self.due.filter(|_| has_room).map(|due| due.max(self.muted_until))
    }

    /// All lanes in the queue, which is empty after it.
    pub(crate) fn take(&mut self) -> VecDeque<usize> {
        self.due = None;
        std::mem::take(&mut self.queue)
    }

    /// Lanes that found no room in a request come first in the next one, which goes at once.
    pub(crate) fn put_back(&mut self, lanes: VecDeque<usize>) {
        if lanes.is_empty() {
            return;
        }
        let behind = std::mem::replace(&mut self.queue, lanes);
        self.queue.extend(behind);
        self.hurry(Micros(0));
    }

    /// A request is on its way.
    pub(crate) fn begin(&mut self) {
        self.in_flight += 1;
        self.is_beginning = true;
    }

    /// The request has its place in the connection's queue, or will never have one.
    pub(crate) fn has_begun(&mut self) {
        self.is_beginning = false;
    }

    /// A request was answered, or lost.
    pub(crate) fn end(&mut self, muted_until: Micros) {
        self.in_flight -= 1;
        self.muted_until = self.muted_until.max(muted_until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_request_waits_for_its_time_for_room_and_for_the_broker() {
        let mut leader = Leader::default();
        assert_eq!(leader.next_at(), None, "there is nothing to send");
        leader.enqueue(3);
        leader.hurry(Micros(50));
        leader.enqueue(4);
        leader.hurry(Micros(70));
        assert_eq!(leader.next_at(), Some(Micros(50)));
        leader.begin();
        assert_eq!(leader.next_at(), None, "the one before has no place yet");
        leader.has_begun();
        leader.end(Micros(60));
        assert_eq!(leader.next_at(), Some(Micros(60)), "the broker wants a rest");
        for _ in 0..REQUESTS_IN_FLIGHT_MAX {
            leader.begin();
            leader.has_begun();
        }
        assert_eq!(leader.next_at(), None, "enough is under way");
    }

    #[test]
    fn who_found_no_room_comes_first_and_at_once() {
        let mut leader = Leader::default();
        for lane in 0..3 {
            leader.enqueue(lane);
        }
        leader.hurry(Micros(9));
        let mut taken = leader.take();
        taken.pop_front();
        leader.enqueue(0);
        leader.hurry(Micros(20));
        leader.put_back(taken);
        assert_eq!((leader.next_at(), leader.take()), (Some(Micros(0)), VecDeque::from([1, 2, 0])));
    }
}
