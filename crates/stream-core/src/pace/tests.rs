//! Driven by the second and by the thousand: what a store would be asked, under loads and weathers that the tests make up.

use super::*;
use base::Seed;

const MS: u64 = 1000;
const SECOND: u64 = 1000 * MS;
const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// What went out under a load.
struct Spent {
    groups: Vec<(u64, usize)>,
    copies: Vec<u64>,
}

impl Spent {
    fn all(&self) -> Vec<u64> {
        let mut all: Vec<u64> = self.groups.iter().map(|(at, _)| *at).chain(self.copies.iter().copied()).collect();
        all.sort_unstable();
        all
    }

    fn bytes(&self) -> usize {
        self.groups.iter().map(|(_, bytes)| bytes).sum()
    }
}

/// Pieces of `piece` bytes come `per_second` times a second, for so many seconds, and are put as the appender does it, on a store whose puts take
/// what `takes` says. Puts that count as slow are sent again where they may.
fn run(pace: &mut Pace, seconds: u64, per_second: u64, piece: usize, mut takes: impl FnMut(u64) -> u64) -> Spent {
    let mut spent = Spent { groups: Vec::new(), copies: Vec::new() };
    let (mut waiting, mut since) = (0, 0);
    let mut flying: Vec<(u64, u64, usize)> = Vec::new();
    let mut came = 0;
    for now in (0..seconds * SECOND).step_by(500) {
        flying.retain(|&(ends, began, bytes)| {
            let slow = pace.slow_after(bytes).map(|after| began + u64::try_from(after.as_micros()).unwrap());
            if slow.is_some_and(|at| (at..at + 500).contains(&now)) && pace.may_copy(Micros(now), bytes) {
                spent.copies.push(now);
            }
            if ends <= now {
                pace.done(bytes, Some(Duration::from_micros(ends - began)));
            }
            ends > now
        });
        while came * SECOND <= now * per_second {
            came += 1;
            if waiting == 0 {
                since = now;
            }
            waiting += piece;
        }
        let terms = pace.terms(Micros(now));
        let lingered = if flying.is_empty() { Micros(0) } else { Micros(since).plus(terms.linger) };
        let due =
            if waiting >= terms.full_bytes { terms.allowed } else { lingered.max(terms.spaced).max(terms.allowed) };
        if waiting > 0 && flying.len() < terms.in_flight_max && Micros(now) >= due {
            let bytes = waiting.min(terms.group_bytes_max);
            waiting -= bytes;
            since = now;
            pace.sent(Micros(now), bytes);
            flying.push((now + takes(now), now, bytes));
            spent.groups.push((now, bytes));
        }
    }
    spent
}

fn s3_like(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut random = Seed::new(seed);
    // About 30 ms, one in a hundred five times as long.
    move |_| {
        let spread = random.below(1000);
        (10 + spread * 30 / 1000 + if spread > 900 { (spread - 900) * 12 / 10 } else { 0 }) * MS
    }
}

/// Once the rate is known.
fn puts_per_gib(spent: &Spent) -> usize {
    let settled = spent.groups.iter().filter(|(at, _)| *at >= 3 * SECOND);
    settled.clone().count() * 1024 * MIB / settled.map(|(_, bytes)| bytes).sum::<usize>()
}

#[test]
fn light_load_goes_at_once_and_lingers_a_quarter_of_a_put() {
    let mut pace = Pace::new(PaceLimits::default());
    assert_eq!(pace.terms(Micros(0)).linger, Duration::from_millis(20), "nothing is known yet");
    let spent = run(&mut pace, 60, 10, KIB, |_| 30 * MS);
    assert_eq!(spent.groups.len(), 600, "each record by itself");
    let terms = pace.terms(Micros(60 * SECOND));
    assert_eq!(terms.linger, Duration::from_micros(7500));
    assert!(terms.spaced <= Micros(60 * SECOND) && terms.allowed <= Micros(60 * SECOND));
}

#[test]
fn heavy_load_costs_so_many_puts_a_gib_and_objects_grow_with_the_rate() {
    let mut last = 0;
    for (mib_per_second, from, to) in [(5, 3000, 3900), (21, 180, 230), (41, 98, 115), (60, 98, 106), (150, 98, 106)] {
        let mut pace = Pace::new(PaceLimits::default());
        let spent = run(&mut pace, 30, mib_per_second * 16, 64 * KIB, s3_like(1));
        let cost = puts_per_gib(&spent);
        assert!((from..=to).contains(&cost), "{mib_per_second} MiB/s: {cost} puts a GiB");
        let size = spent.bytes() / spent.groups.len();
        assert!(size + 64 * KIB >= last, "{mib_per_second} MiB/s: objects of {size} bytes");
        last = size;
    }
    // More than the puts a second allow at that size.
    let mut pace = Pace::new(PaceLimits::default());
    let spent = run(&mut pace, 30, 300 * 4, 256 * KIB, s3_like(1));
    let size = spent.bytes() / spent.groups.len();
    assert!(size > 15 * MIB, "objects of {size} bytes");
    assert!(spent.bytes() > 28 * 300 * MIB, "and nothing is held up: {} bytes", spent.bytes());
}

#[test]
fn the_budget_is_kept_whatever_comes_copies_and_repeats_included() {
    for seed in 0..20 {
        let mut random = Seed::new(seed);
        let limits =
            PaceLimits { puts_per_second: u32::try_from(random.between(1, 40)).unwrap(), ..PaceLimits::default() };
        let budget = u64::from(limits.puts_per_second);
        let mut pace = Pace::new(limits);
        let per_second = random.between(1, 2000);
        let piece = usize::try_from(random.between(100, 20_000)).unwrap();
        let mut repeats = Vec::new();
        let mut spent = run(&mut pace, 20, per_second, piece, s3_like(seed));
        // An outage: what was in flight is tried again and again.
        let mut now = 20 * SECOND;
        for _ in 0..100 {
            pace.trouble(Micros(now));
            let wait = u64::try_from(pace.repeat_after(Micros(now)).as_micros()).unwrap();
            repeats.push(now + wait);
            now += random.below(50 * MS);
        }
        spent.copies.extend(repeats);
        let all = spent.all();
        for (index, at) in all.iter().enumerate() {
            for seconds in [1, 5, 15] {
                let within = all[index..].iter().take_while(|later| **later < at + seconds * SECOND).count() as u64;
                // Two seconds' worth may have been saved up; one permit of each kind is under way at either end.
                assert!(within <= (seconds + 2) * budget + 4, "seed {seed}: {within} in {seconds} s, {budget} allowed");
            }
        }
    }
}

#[test]
fn a_tenth_is_slow_and_sent_twice_but_not_in_trouble_and_not_beyond_its_share_of_bytes() {
    let mut pace = Pace::new(PaceLimits::default());
    assert_eq!(pace.slow_after(KIB), None);
    let spent = run(&mut pace, 60, 8, KIB, s3_like(3));
    let (puts, copies) = (spent.groups.len(), spent.copies.len());
    assert!((puts / 25..=puts / 7).contains(&copies), "{copies} copies of {puts}");
    let slow = pace.slow_after(KIB).unwrap();
    assert!((Duration::from_millis(30)..Duration::from_millis(60)).contains(&slow), "{slow:?}");
    assert_eq!(pace.slow_after(8 * MIB), None, "large ones take another time, which is not known");
    let now = 60 * SECOND;
    pace.trouble(Micros(now));
    assert!(!pace.may_copy(Micros(now + 900 * MS), KIB));
    assert!(pace.may_copy(Micros(now + 1100 * MS), KIB));
    assert!(!pace.may_copy(Micros(now + 2000 * MS), 20 * MIB), "one in eight bytes");
    let silent = PaceLimits { copy_samples_min: None, ..PaceLimits::default() };
    let mut pace = Pace::new(silent);
    assert!(run(&mut pace, 60, 8, KIB, s3_like(3)).copies.is_empty());
}

#[test]
fn the_window_grows_while_puts_are_fast_and_shrinks_where_they_wait_for_one_another() {
    let full = |pace: &mut Pace, now: u64, took: u64| {
        let window = pace.terms(Micros(now)).in_flight_max;
        for _ in 0..window {
            pace.sent(Micros(now), MIB);
        }
        for _ in 0..window {
            pace.done(MIB, Some(Duration::from_millis(took)));
        }
        pace.terms(Micros(now)).in_flight_max
    };
    let mut pace = Pace::new(PaceLimits::default());
    let first = pace.terms(Micros(0)).in_flight_max;
    let mut grown = first;
    for now in 0..200 {
        grown = full(&mut pace, now * SECOND, 50);
    }
    assert_eq!((first, grown), (4, 16));
    pace.trouble(Micros(200 * SECOND));
    pace.trouble(Micros(200 * SECOND + 1));
    let halved = pace.terms(Micros(0)).in_flight_max;
    assert_eq!(halved, 8, "all tell of the same trouble");
    let mut shrunk = halved;
    for now in 300..330 {
        shrunk = full(&mut pace, now * SECOND, 200);
    }
    assert!(shrunk < halved, "{shrunk}");
    // A store that has become slower for good is believed in the end.
    for now in 400..2000 {
        grown = full(&mut pace, now * SECOND, 200);
    }
    assert_eq!(grown, 16);
}

#[test]
fn where_puts_are_free_nothing_holds_a_group_up() {
    let mut pace = Pace::new(PaceLimits::default().without_price());
    let spent = run(&mut pace, 5, 1000, 10 * KIB, |_| MS);
    assert!(spent.groups.len() > 4000, "{}", spent.groups.len());
}
