//! What must hold at any time, and what when all is quiet.

use super::super::bench::GROUP;
use super::members::key;
use super::{CLIENTS, Outcome, Place, World};
use std::collections::BTreeSet;

fn must(holds: bool, what: &'static str) -> Outcome {
    if holds { Ok(()) } else { Err(what) }
}

impl World {
    pub(super) fn judge(&mut self) -> Outcome {
        let groups = &self.bench.groups;
        must(groups.bytes() == groups.count(), "what is counted of groups is not what is there")?;
        must(self.bench.states.bytes() == self.bench.states.count(), "what is counted of states is not what is there")?;
        let has_members = groups.list_shares().any(|it| it.state.name() == "Stable");
        must(!has_members || groups.next_deadline().is_some(), "members without a deadline stay for ever")?;
        for (place, start) in self.progress.clone() {
            let read = self.bench.read(&key(place), -1);
            must(read.is_ok_and(|read| read.start_offset >= start), "progress is lost")?;
        }
        let leaders: Vec<Place> = self.leaders.keys().copied().filter(|place| self.is_counted(*place)).collect();
        for place in leaders {
            let (Ok(read), Some(leader)) = (self.bench.read(&key(place), -1), self.leaders[&place].present.clone())
            else {
                continue;
            };
            if read.state_epoch == leader.state_epoch {
                let is_same = read.start_offset == leader.start && read.batches == leader.batches;
                must(is_same, "a leader's idea is not what is kept")?;
            }
        }
        Ok(())
    }

    /// Once those who are gone are fenced, everything comes to somebody within a few heartbeats.
    pub(super) fn settle(&mut self) -> Outcome {
        self.bench.hear_of_topics();
        for _ in 0..18 {
            self.quiet_round()?;
            self.judge()?;
        }
        let (log, state_log) = (self.bench.log.len(), self.bench.state_log.len());
        self.quiet_round()?;
        must((self.bench.log.len(), self.bench.state_log.len()) == (log, state_log), "something is appended for ever")?;
        let share = self.bench.groups.find(GROUP).ok().and_then(|group| group.share.as_ref());
        let share = share.ok_or("there is no group")?;
        must(share.members().len() == CLIENTS, "somebody is in who is gone, or out who is there")?;
        must(share.epoch == share.target_epoch, "there is no target")?;
        let mut had = BTreeSet::new();
        for client in &self.clients {
            must(client.is_in && client.epoch == share.epoch, "somebody does not know of the last epoch")?;
            must(
                share.targets().get(&client.member_id) == Some(&client.told),
                "somebody has something else than its own",
            )?;
            had.extend(client.told.iter().flat_map(|(topic, all)| all.iter().map(move |it| (*topic, *it))));
        }
        for (name, topic) in &self.bench.topics {
            let is_subscribed = self.clients.iter().any(|client| client.names().contains(&name.as_str()));
            let mut all = (0..topic.partitions).map(|partition| (topic.id, partition));
            must(!is_subscribed || all.all(|place| had.contains(&place)), "a partition is nobody's")?;
        }
        self.crash()
    }
}
