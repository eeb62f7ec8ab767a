//! Who is to be taken for dead, by what was heard of whom: pure, and the time comes in.
//!
//! Stands between the questions to other brokers (`watch` asks them) and the command to the ledger. Nothing here is about safety: whoever
//! is declared dead is fenced, so that a mistake costs a living broker its life and nobody a record. What it guarantees is that this
//! broker's own troubles are held against nobody: only time counts in which this process ran, and in which a question was out.

use crate::options::WatchTimes;
use base::{Micros, NodeEpoch};
use std::collections::BTreeMap;
use std::time::Duration;

/// So many times as patient with a broker whose logs nobody else can read: its death helps nobody, and it may be back.
const UNREADABLE_FACTOR: u32 = 10;
/// And with one that has never answered this start: it may just begin, or its address be of no use from here.
const STRANGER_FACTOR: u32 = 10;
/// And where all of several are silent: then it may be this broker that is cut off, so that the others declare it dead first.
const LONELY_FACTOR: u32 = 3;
/// A look that comes so many intervals after the last one says that this process was held up.
const LATE_INTERVALS: u32 = 2;

/// What was heard of a broker since the last look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    /// It has answered.
    Answer,
    /// It was asked and has not answered.
    Silence,
    /// It could not be asked, for a reason that lies here.
    NotAsked,
}

/// One of those that are watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Watched {
    pub(crate) heard: Heard,
    /// Whether somebody else can take over what it has.
    pub(crate) can_be_followed: bool,
}

/// What a look comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Look {
    /// This process did not look for so long: it was stopped, or waited for the store. What others did meanwhile is not known, so all begin anew.
    Slept(Duration),
    /// Who has been silent for too long, and how long.
    Suspects(Vec<(NodeEpoch, Duration)>),
}

#[derive(Debug, Default)]
struct Peer {
    silent: Duration,
    has_answered: bool,
}

/// What is remembered from look to look.
#[derive(Debug)]
pub(crate) struct Suspicion {
    times: WatchTimes,
    last: Option<Micros>,
    peers: BTreeMap<NodeEpoch, Peer>,
}

impl Suspicion {
    /// To be shown every interval what was heard.
    pub(crate) fn new(times: WatchTimes) -> Suspicion {
        Suspicion { times, last: None, peers: BTreeMap::new() }
    }

    /// Nobody was watched until now, so that nobody looked.
    pub(crate) fn rests(&mut self) {
        self.last = None;
    }

    /// Takes in what was heard of those that are watched now. Others are forgotten.
    pub(crate) fn look(&mut self, now: Micros, heard: &BTreeMap<NodeEpoch, Watched>) -> Look {
        let passed = self.last.replace(now).map_or(Duration::ZERO, |last| now.since(last));
        self.peers.retain(|peer, _| heard.contains_key(peer));
        if passed >= self.times.timeout.max(self.times.interval * (LATE_INTERVALS + 1)) {
            self.peers.values_mut().for_each(|peer| peer.silent = Duration::ZERO);
            return Look::Slept(passed);
        }
        let counted = if passed > self.times.interval * LATE_INTERVALS {
            Duration::ZERO
        } else {
            passed.min(self.times.interval)
        };
        for (epoch, watched) in heard {
            let peer = self.peers.entry(*epoch).or_default();
            match watched.heard {
                Heard::Answer => *peer = Peer { silent: Duration::ZERO, has_answered: true },
                Heard::Silence => peer.silent += counted,
                Heard::NotAsked => {}
            }
        }
        let is_lonely = heard.len() > 1 && heard.keys().all(|epoch| self.is_silent(*epoch));
        let patience = |epoch: &NodeEpoch, peer: &Peer| {
            let unreadable = heard.get(epoch).is_some_and(|watched| !watched.can_be_followed);
            let factors =
                [(unreadable, UNREADABLE_FACTOR), (!peer.has_answered, STRANGER_FACTOR), (is_lonely, LONELY_FACTOR)];
            self.times.timeout
                * factors.into_iter().filter(|(holds, _)| *holds).map(|(_, factor)| factor).max().unwrap_or(1)
        };
        let suspects = self.peers.iter().filter(|(epoch, peer)| peer.silent >= patience(epoch, peer));
        Look::Suspects(suspects.map(|(epoch, peer)| (*epoch, peer.silent)).collect())
    }

    /// Whether it has not been heard of for half of what it may: nothing new is given to it.
    pub(crate) fn is_silent(&self, epoch: NodeEpoch) -> bool {
        self.peers.get(&epoch).is_some_and(|peer| peer.silent * 2 >= self.times.timeout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(200);
    const TIMEOUT: Duration = Duration::from_secs(1);
    const A: NodeEpoch = NodeEpoch(1);
    const B: NodeEpoch = NodeEpoch(2);

    struct Story {
        suspicion: Suspicion,
        now: Micros,
        last: Look,
    }

    impl Story {
        /// Both have answered once.
        fn new() -> Story {
            let mut story = Story {
                suspicion: Suspicion::new(WatchTimes { interval: INTERVAL, timeout: TIMEOUT }),
                now: Micros(5_000_000),
                last: Look::Suspects(Vec::new()),
            };
            story.look(INTERVAL, Heard::Answer, Heard::Answer);
            story
        }

        fn look(&mut self, after: Duration, a: Heard, b: Heard) {
            self.look_at(after, (a, true), (b, true));
        }

        fn look_at(&mut self, after: Duration, a: (Heard, bool), b: (Heard, bool)) {
            self.now = self.now.plus(after);
            let watched = |(heard, can_be_followed)| Watched { heard, can_be_followed };
            let heard = BTreeMap::from([(A, watched(a)), (B, watched(b))]);
            self.last = self.suspicion.look(self.now, &heard);
        }

        fn suspects(&self) -> Vec<NodeEpoch> {
            match &self.last {
                Look::Suspects(suspects) => suspects.iter().map(|(epoch, _)| *epoch).collect(),
                Look::Slept(_) => Vec::new(),
            }
        }

        /// How long until somebody is suspected; `None`: not within so many looks.
        fn until_suspected(&mut self, looks: u32, a: (Heard, bool), b: (Heard, bool)) -> Option<Duration> {
            for look in 1..=looks {
                self.look_at(INTERVAL, a, b);
                if !self.suspects().is_empty() {
                    return Some(INTERVAL * look);
                }
            }
            None
        }
    }

    #[test]
    fn silence_for_the_timeout_is_suspicious_and_an_answer_begins_anew() {
        let mut story = Story::new();
        for _ in 0..4 {
            story.look(INTERVAL, Heard::Silence, Heard::Answer);
        }
        assert_eq!(story.suspects(), []);
        story.look(INTERVAL, Heard::Answer, Heard::Answer);
        let took = story.until_suspected(10, (Heard::Silence, true), (Heard::Answer, true));
        assert_eq!((took, story.suspects()), (Some(TIMEOUT), vec![A]));
        assert!(story.suspicion.is_silent(A) && !story.suspicion.is_silent(B));
    }

    #[test]
    fn the_own_sleep_is_held_against_nobody() {
        let mut story = Story::new();
        for _ in 0..4 {
            story.look(INTERVAL, Heard::Silence, Heard::Answer);
        }
        // Stopped for ten minutes just before the last look.
        story.look(Duration::from_mins(10), Heard::Silence, Heard::Silence);
        assert_eq!(story.last, Look::Slept(Duration::from_mins(10)));
        let took = story.until_suspected(10, (Heard::Silence, true), (Heard::Answer, true));
        assert_eq!(took, Some(TIMEOUT), "all of it anew");
    }

    #[test]
    fn a_broker_that_hardly_runs_suspects_nobody() {
        let mut story = Story::new();
        for _ in 0..100 {
            story.look(INTERVAL * 2 + Duration::from_millis(1), Heard::Silence, Heard::Answer);
            assert_eq!(story.suspects(), []);
        }
        // A look that is a little late counts for one.
        let mut story = Story::new();
        for look in 1..=5 {
            story.look(INTERVAL + INTERVAL / 2, Heard::Silence, Heard::Answer);
            assert_eq!(!story.suspects().is_empty(), look == 5, "{look}");
        }
    }

    #[test]
    fn who_could_not_be_asked_is_not_silent() {
        let mut story = Story::new();
        assert_eq!(story.until_suspected(100, (Heard::NotAsked, true), (Heard::Answer, true)), None);
    }

    #[test]
    fn patience_is_long_where_a_death_helps_nobody_or_its_sign_is_weak() {
        let answers = (Heard::Answer, true);
        assert_eq!(Story::new().until_suspected(100, (Heard::Silence, false), answers), Some(TIMEOUT * 10));
        let all = Story::new().until_suspected(100, (Heard::Silence, true), (Heard::Silence, true));
        assert_eq!(all, Some(TIMEOUT * 3), "cut off, or the last one");
        let mut story = Story::new();
        story.suspicion.peers.clear();
        assert_eq!(story.until_suspected(100, (Heard::Silence, true), answers), Some(TIMEOUT * 10), "never heard of");
    }

    #[test]
    fn who_watched_nobody_was_not_asleep() {
        let mut story = Story::new();
        story.suspicion.rests();
        story.look(Duration::from_mins(10), Heard::Answer, Heard::Answer);
        assert_eq!(story.last, Look::Suspects(Vec::new()));
    }

    #[test]
    fn who_is_watched_no_more_is_forgotten() {
        let mut story = Story::new();
        for _ in 0..4 {
            story.look(INTERVAL, Heard::Silence, Heard::Answer);
        }
        story.now = story.now.plus(INTERVAL);
        story.suspicion.look(story.now, &BTreeMap::new());
        assert!(!story.suspicion.is_silent(A));
    }
}
