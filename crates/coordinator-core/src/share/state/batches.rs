//! Batches of offsets with what has become of their records: a list in order, without overlaps, and two of them laid over each other.

/// Consecutive records that are alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StateBatch {
    pub first_offset: i64,
    /// It is in the batch.
    pub last_offset: i64,
    /// 0: available, 2: acknowledged, 4: archived. Others are passed on as they are.
    pub delivery_state: i8,
    /// How often they were delivered.
    pub delivery_count: i16,
}

impl StateBatch {
    /// Of two that say something of one record, the one with more deliveries is right, and of two alike there the one further on:
    /// Kafka's order, which makes a repeat harmless.
    fn rank(&self) -> (i16, i8) {
        (self.delivery_count, self.delivery_state)
    }

    fn from(self, first_offset: i64) -> StateBatch {
        StateBatch { first_offset, ..self }
    }

    fn to(self, last_offset: i64) -> StateBatch {
        StateBatch { last_offset, ..self }
    }
}

/// What `so_far` and `new` say together of the records from `start` on; -1: of all. Whatever order they come in, the result is in order,
/// without overlaps, and neighbours differ. Batches that hold nothing are left out.
pub(crate) fn combine(so_far: &[StateBatch], new: &[StateBatch], start: i64) -> Vec<StateBatch> {
    let clip = |batches: &[StateBatch]| {
        let kept = batches.iter().filter(|it| it.first_offset <= it.last_offset && it.last_offset >= start);
        kept.map(|it| it.from(it.first_offset.max(start))).collect::<Vec<StateBatch>>()
    };
    overlay(&arranged(clip(so_far)), &arranged(clip(new)))
}

/// In order and without overlaps. What is already so, as nearly all is, is only looked at.
fn arranged(mut batches: Vec<StateBatch>) -> Vec<StateBatch> {
    if batches.windows(2).all(|pair| pair[0].last_offset < pair[1].first_offset) {
        return batches;
    }
    let rest = batches.split_off(batches.len() / 2);
    overlay(&arranged(batches), &arranged(rest))
}

/// Lays two lists over each other, each in order and without overlaps.
fn overlay(left: &[StateBatch], right: &[StateBatch]) -> Vec<StateBatch> {
    let mut all = Vec::with_capacity(left.len() + right.len());
    let (mut left, mut right) = (left.iter().copied(), right.iter().copied());
    let (mut a, mut b) = (left.next(), right.next());
    loop {
        let (one, other) = match (a, b) {
            (None, None) => return all,
            (Some(batch), None) => {
                push(&mut all, batch);
                a = left.next();
                continue;
            }
            (None, Some(batch)) => {
                push(&mut all, batch);
                b = right.next();
                continue;
            }
            (Some(one), Some(other)) => (one, other),
        };
        if one.first_offset < other.first_offset {
            push(&mut all, one.to(one.last_offset.min(other.first_offset - 1)));
            a = if one.last_offset < other.first_offset { left.next() } else { Some(one.from(other.first_offset)) };
        } else if other.first_offset < one.first_offset {
            push(&mut all, other.to(other.last_offset.min(one.first_offset - 1)));
            b = if other.last_offset < one.first_offset { right.next() } else { Some(other.from(one.first_offset)) };
        } else {
            let last = one.last_offset.min(other.last_offset);
            push(&mut all, if one.rank() < other.rank() { other.to(last) } else { one.to(last) });
            // It is below the other one's last offset, so there is a next.
            a = if one.last_offset == last { left.next() } else { Some(one.from(last + 1)) };
            b = if other.last_offset == last { right.next() } else { Some(other.from(last + 1)) };
        }
    }
}

/// Appends a batch, to the last one where they are alike and nothing lies between.
fn push(all: &mut Vec<StateBatch>, batch: StateBatch) {
    match all.last_mut() {
        Some(last) if last.rank() == batch.rank() && last.last_offset.checked_add(1) == Some(batch.first_offset) => {
            last.last_offset = batch.last_offset;
        }
        _ => all.push(batch),
    }
}
