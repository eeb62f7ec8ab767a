//! The two processes of the small world: each begins, writes, ends, and now and then starts over.

use super::{Ask, Message, Outcome, Phase, Process, Reply, Txn, World};
use crate::transactions::Producer;

impl World {
    pub(super) fn send(&mut self, who: usize) {
        let Process { phase, attempt, producer, txn, .. } = self.processes[who].clone();
        let ask = |ask| Message::Ask { who, attempt, ask };
        match (phase, producer) {
            (Phase::Beginning, expected) => self.network.push(ask(Ask::Init(expected))),
            (Phase::Writing, Some(producer)) => {
                for partition in self.processes[who].waits.clone() {
                    self.network.push(ask(Ask::Write { txn, partition, producer }));
                }
            }
            (Phase::Ending(commit), Some(producer)) => {
                self.network.push(ask(Ask::End { txn, producer, commit }));
            }
            (Phase::Writing | Phase::Ending(_), None) => {}
        }
    }

    /// A process sends (again) what it waits for.
    pub(super) fn go_on(&mut self) {
        let who = usize::from(self.seed.chance(500));
        // The second one comes later, and seldom.
        if who == 0 || self.seed.chance(300) {
            self.send(who);
        }
    }

    /// It starts over: as one that remembers its epoch, or as one that remembers nothing.
    pub(super) fn lose_patience(&mut self) {
        let who = usize::from(self.seed.chance(400));
        if self.seed.chance(500) {
            self.processes[who].producer = None;
        }
        self.start_over(who);
    }

    fn start_over(&mut self, who: usize) {
        let process = &mut self.processes[who];
        (process.phase, process.attempt) = (Phase::Beginning, process.attempt + 1);
        process.waits.clear();
    }

    pub(super) fn heard(&mut self, who: usize, reply: Reply) -> Outcome {
        match (self.processes[who].phase, reply) {
            (_, Reply::Again) => {}
            (Phase::Beginning, Reply::Is(producer)) => self.began(who, producer)?,
            (Phase::Writing, Reply::Written(partition)) => {
                let Process { txn, .. } = self.processes[who];
                self.txns[txn].acknowledged[usize::try_from(partition).unwrap()] = true;
                self.processes[who].waits.retain(|it| *it != partition);
                if self.processes[who].waits.is_empty() {
                    let commit = self.seed.chance(800);
                    self.txns[txn].asked = Some(commit);
                    let process = &mut self.processes[who];
                    (process.phase, process.attempt) = (Phase::Ending(commit), process.attempt + 1);
                    self.send(who);
                }
            }
            (Phase::Ending(commit), Reply::Ended(producer)) => {
                let txn = self.processes[who].txn;
                self.txns[txn].told = Some(commit);
                self.begin_transaction(who, producer);
            }
            (Phase::Beginning, Reply::Refused) => {
                self.processes[who].producer = None;
                self.start_over(who);
            }
            (_, Reply::Refused) => self.start_over(who),
            _ => {}
        }
        Ok(())
    }

    fn began(&mut self, who: usize, producer: Producer) -> Outcome {
        if self.told.iter().any(|(told, other)| *told == producer && *other != who) {
            return Err("two producers are told the same epoch");
        }
        self.told.push((producer, who));
        if self.holder.is_none_or(|(highest, _)| highest <= producer) {
            self.holder = Some((producer, who));
        }
        self.begin_transaction(who, producer);
        Ok(())
    }

    fn begin_transaction(&mut self, who: usize, producer: Producer) {
        let process = &mut self.processes[who];
        process.producer = Some(producer);
        (process.phase, process.attempt) = (Phase::Writing, process.attempt + 1);
        process.txn = self.txns.len();
        process.waits = if self.seed.chance(700) { vec![0, 1] } else { vec![0] };
        self.txns.push(Txn { who, asked: None, told: None, acknowledged: [false; 2] });
        self.send(who);
    }
}
