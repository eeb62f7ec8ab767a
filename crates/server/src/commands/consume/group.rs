//! `millstream consume --group`: a member of a consumer group.
//!
//! It commits what it has written, now and then, before its partitions may go to others, and when it ends. So what it has written
//! and not yet committed is read again by somebody after a crash: at least once. Where the group's partitions are dealt out
//! anew it commits, joins, and goes on with what it is given.

use super::super::CommandError;
use super::super::cluster::asked_to_end;
use super::{From, write};
use crate::args::client::Consume;
use base::Micros;
use client::{AT_END, Cluster, Consumer, ConsumerOptions, Fetched, GroupConsumer, HEARTBEAT_PERIOD, Standing};
use protocol::record_batch::Record;
use std::collections::BTreeMap;
use std::time::Duration;

/// What was written is committed so often, as Kafka's consumers do.
const COMMIT_PERIOD: Duration = Duration::from_secs(5);

/// A member at work.
struct Member<'a> {
    args: &'a Consume,
    cluster: &'a Cluster,
    from: &'a From,
    me: GroupConsumer,
    /// Behind what was written, where it is not committed yet.
    uncommitted: BTreeMap<i32, i64>,
    commit_at: Micros,
    /// Records that are still wanted.
    left: u64,
}

/// Why a member stopped reading.
enum Stop {
    /// Join again.
    Rebalance,
    /// It has read what it wanted, or nobody reads what it writes.
    Done,
}

/// Reads as a member of `group`, whose coordinator is spoken to over `members`.
pub(super) async fn read(
    cluster: &Cluster,
    members: Cluster,
    group: &str,
    args: &Consume,
    from: &From,
) -> Result<(), CommandError> {
    let mut asked = std::pin::pin!(asked_to_end()?);
    // That it is there, before anybody waits for it.
    cluster.topic(&args.topic).await?;
    let mut member = Member {
        args,
        cluster,
        from,
        me: GroupConsumer::new(members, group, &args.topic),
        uncommitted: BTreeMap::new(),
        commit_at: Micros(0),
        left: args.max.unwrap_or(u64::MAX),
    };
    let ends = if args.follow { None } else { Some(cluster.offsets(&args.topic, AT_END).await?) };
    let outcome = tokio::select! {
        biased;
        () = &mut asked => Ok(()),
        outcome = member.work(group, ends.as_ref()) => outcome,
    };
    // Whatever ended it: what was written is committed, and the others need not wait.
    let committed = member.commit().await;
    let left = member.me.leave().await;
    outcome?;
    if committed? == Standing::JoinsAgain {
        return Err(CommandError::failed(format!(
            "group {group} was dealing its partitions out anew at the end: what was read last is not committed and will be read again"
        )));
    }
    left?;
    Ok(())
}

impl Member<'_> {
    async fn work(&mut self, group: &str, ends: Option<&BTreeMap<i32, i64>>) -> Result<(), CommandError> {
        while self.left > 0 {
            let partitions = self.me.join().await?;
            let positions = self.positions(group, &partitions).await?;
            if let Stop::Done = self.consume(positions, ends).await? {
                return Ok(());
            }
            // As the group takes commits of the last generation until the next has begun.
            self.commit().await?;
            // What it did not take is somebody's who reads it again.
            self.uncommitted.clear();
        }
        Ok(())
    }

    /// Where to go on: where the group has come, else where the command line says. The latter is committed like what is read, as
    /// Kafka's consumers do: the group then has a place in every partition, also where there is nothing to read yet.
    async fn positions(&mut self, group: &str, partitions: &[i32]) -> Result<BTreeMap<i32, i64>, CommandError> {
        let committed = self.cluster.committed(group).await?;
        let mut positions = BTreeMap::new();
        let mut fresh = None;
        for partition in partitions {
            let offset = match committed.get(&(self.args.topic.clone(), *partition)) {
                Some(offset) => *offset,
                None => {
                    if fresh.is_none() {
                        fresh = Some(self.from.positions(self.cluster, self.args).await?);
                    }
                    let from = fresh.iter().flatten().find(|(index, _)| *index == partition);
                    let offset = from.map_or(0, |(_, offset)| *offset);
                    self.uncommitted.insert(*partition, offset);
                    offset
                }
            };
            positions.insert(*partition, offset);
        }
        Ok(positions)
    }

    async fn consume(
        &mut self,
        mut positions: BTreeMap<i32, i64>,
        ends: Option<&BTreeMap<i32, i64>>,
    ) -> Result<Stop, CommandError> {
        let clock = self.cluster.world().clock.clone();
        let end_of = |index: &i32| ends.map_or(i64::MAX, |ends| ends.get(index).copied().unwrap_or(0));
        positions.retain(|index, offset| *offset < end_of(index));
        let mut open = positions.len();
        if ends.is_some() && open == 0 {
            return Ok(Stop::Done);
        }
        let mut consumer = Consumer::new(self.cluster.clone(), &self.args.topic, positions, ConsumerOptions::default());
        let mut beat_at = clock.now().plus(HEARTBEAT_PERIOD);
        self.commit_at = clock.now().plus(COMMIT_PERIOD);
        loop {
            let now = clock.now();
            if now >= beat_at {
                beat_at = now.plus(HEARTBEAT_PERIOD);
                if self.me.heartbeat().await? == Standing::JoinsAgain {
                    return Ok(Stop::Rebalance);
                }
            }
            if now >= self.commit_at {
                self.commit_at = now.plus(COMMIT_PERIOD);
                if self.commit().await? == Standing::JoinsAgain {
                    return Ok(Stop::Rebalance);
                }
            }
            let next_deed = beat_at.min(self.commit_at);
            // One that is assigned nothing waits for the others to go.
            let fetched = tokio::select! {
                biased;
                fetched = consumer.next(), if open > 0 => fetched?,
                () = clock.sleep(next_deed.since(now)) => continue,
            };
            let end = end_of(&fetched.partition);
            if !self.take(&fetched, end)? || self.left == 0 {
                return Ok(Stop::Done);
            }
            if fetched.next_offset >= end {
                consumer.leave(fetched.partition);
                open -= 1;
                if open == 0 {
                    return Ok(Stop::Done);
                }
            }
        }
    }

    /// Writes what came; false: nobody reads it.
    fn take(&mut self, fetched: &Fetched, end: i64) -> Result<bool, CommandError> {
        let wanted = fetched.records.iter().filter(|record| record.offset < end);
        let wanted: Vec<&Record> = wanted.take(usize::try_from(self.left).unwrap_or(usize::MAX)).collect();
        if !write(&wanted, fetched.partition, self.args)? {
            return Ok(false);
        }
        self.left -= u64::try_from(wanted.len()).unwrap_or(u64::MAX);
        let behind = wanted.last().map(|record| record.offset + 1);
        // All that came was wanted: then offsets without records are behind it, too.
        let all = wanted.len() == fetched.records.len();
        if let Some(offset) = if all { Some(fetched.next_offset) } else { behind } {
            self.uncommitted.insert(fetched.partition, offset);
        }
        Ok(true)
    }

    async fn commit(&mut self) -> Result<Standing, CommandError> {
        if self.uncommitted.is_empty() {
            return Ok(Standing::Stays);
        }
        let standing = self.me.commit(&self.uncommitted).await?;
        if standing == Standing::Stays {
            self.uncommitted.clear();
        }
        Ok(standing)
    }
}
