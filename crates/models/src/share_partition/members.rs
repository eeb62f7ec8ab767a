//! The members of the group: they acknowledge what they were given, once, as late as they like, or forget it.

use super::{Ack, MEMBERS, SharePartition, State, short};
use crate::explore::Step;

impl SharePartition {
    pub(super) fn members_acknowledge(&self, state: &State, all: &mut Vec<(Step, State)>) {
        each_believed(state, |leader, record, member| {
            if state.acks.iter().any(|ack| (ack.leader, ack.member) == (leader, member)) {
                return;
            }
            for accepts in [true, false] {
                let mut next = state.clone();
                let holds = &mut next.leaders[leader];
                holds.believed[record][member] = false;
                let state_epoch = holds.state_epoch;
                if accepts && state_epoch == next.confirmed.state_epoch {
                    next.accepted[record] += 1;
                }
                next.acks.push(Ack { leader, member, record, accepts, state_epoch });
                next.acks.sort_unstable();
                all.push((Step(if accepts { "accept" } else { "release" }, place(leader, record, member)), next));
            }
        });
    }

    pub(super) fn members_forget(&self, state: &State, all: &mut Vec<(Step, State)>) {
        if state.left.forgotten == 0 {
            return;
        }
        each_believed(state, |leader, record, member| {
            let mut next = state.clone();
            next.left.forgotten -= 1;
            next.leaders[leader].believed[record][member] = false;
            all.push((Step("forget", place(leader, record, member)), next));
        });
    }
}

fn place(leader: usize, record: usize, member: usize) -> [i8; 3] {
    [short(leader), short(record), short(member)]
}

fn each_believed(state: &State, mut then: impl FnMut(usize, usize, usize)) {
    for (number, leader) in state.leaders.iter().enumerate() {
        for (record, members) in leader.believed.iter().enumerate() {
            (0..MEMBERS).filter(|member| members[*member]).for_each(|member| then(number, record, member));
        }
    }
}
