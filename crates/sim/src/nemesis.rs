//! The nemesis: strikes the cluster with the faults of its plan, each kind at least twice, at random moments, and heals
//! everything in the end.

use crate::cluster::Cluster;
use crate::plan::{Fault, Plan, Storage};
use crate::world::{BUCKET_HOST, DiskWeather, FILER, Fuse, StoreWeather, now, spawn, wait};
use base::Seed;
use std::time::Duration;

/// How often each kind of fault of the plan strikes at the least.
const STRIKES_MIN: usize = 2;
/// How many more there are, of any kind of the plan, per ten seconds.
const EXTRA_PER_TEN_SECONDS: u64 = 2;
/// Crashes (of any kind) of a run at the least.
const CRASHES_MIN: usize = 3;

/// Strikes until the plan's time is over, then heals.
pub async fn storm(cluster: &Cluster, mut seed: Seed) {
    let plan = cluster.plan();
    let start = now();
    for (at, fault) in schedule(plan, &mut seed) {
        wait(start.plus(at).since(now())).await;
        cluster.universe().trace.event("nemesis", format_args!("{fault:?}"));
        cluster.universe().trace.count(fault.counter());
        strike(cluster, fault, &mut seed);
    }
    wait(start.plus(plan.stormy).since(now())).await;
    heal(cluster);
}

fn schedule(plan: &Plan, seed: &mut Seed) -> Vec<(Duration, Fault)> {
    let kinds: Vec<_> = plan.faults.iter().copied().collect();
    let mut strikes: Vec<Fault> = kinds.iter().flat_map(|kind| [*kind; STRIKES_MIN]).collect();
    strikes.extend([Fault::Kill; CRASHES_MIN]);
    for _ in 0..plan.stormy.as_secs() / 10 * EXTRA_PER_TEN_SECONDS {
        strikes.push(kinds[below(seed, kinds.len())]);
    }
    // The first seconds are for the first topics to come into being, the last for what is under way to be noticed.
    let (first, last) = (3_000, u64::try_from(plan.stormy.as_millis()).unwrap_or(u64::MAX) - 3_000);
    let mut schedule: Vec<_> =
        strikes.into_iter().map(|fault| (Duration::from_millis(seed.between(first, last)), fault)).collect();
    schedule.sort();
    schedule
}

fn strike(cluster: &Cluster, fault: Fault, seed: &mut Seed) {
    let brokers = usize::from(cluster.plan().brokers);
    let drawn = below(seed, brokers);
    // Somebody who is awake, where anybody is: trouble that nobody meets is no trouble.
    let awake = |broker: &usize| cluster.process(*broker).is_some_and(|process| !process.is_paused());
    let broker = (drawn..brokers).chain(0..drawn).find(awake).unwrap_or(drawn);
    match fault {
        Fault::Kill => {
            // Sometimes it stays away for a while, so that others take over what they can.
            let away = if seed.chance(300) { seed.between(2_000, 8_000) } else { seed.between(20, 1_000) };
            cluster.kill(broker, Duration::from_millis(away), "kill -9");
        }
        Fault::Fuse => {
            cluster.light_fuse(broker, Fuse { calls: seed.below(60), pause: None });
        }
        Fault::SlowDeath => slow_death(cluster, broker, seed),
        Fault::Blackout => {
            for broker in 0..brokers {
                cluster.kill(broker, Duration::from_millis(seed.below(400)), "kill -9 of all");
            }
            if cluster.plan().storage == Storage::SharedWal {
                // Nobody is left to whom it would have promised anything.
                cluster.universe().disk(FILER).power_loss();
            }
        }
        Fault::PowerLoss => {
            cluster.power_loss(broker, Duration::from_millis(seed.between(50, 3_000)));
        }
        Fault::CleanStop => {
            cluster.stop(broker);
        }
        Fault::MoveHost => {
            cluster.move_host(broker, Duration::from_millis(seed.between(20, 2_000)));
        }
        Fault::Pause => {
            pause(cluster, broker, Duration::from_millis(seed.between(300, 6_000)), seed);
            start_another(cluster, broker, seed);
        }
        Fault::LongPause => {
            pause(cluster, broker, Duration::from_secs(seed.between(12, 40)), seed);
            start_another(cluster, broker, seed);
        }
        Fault::CutClients | Fault::CutBucket | Fault::CutBrokers | Fault::Reset => cut(cluster, fault, broker, seed),
        Fault::StoreTrouble | Fault::StoreSlow => store_weather(cluster, fault, seed),
        Fault::DiskTrouble | Fault::DiskSlow | Fault::DiskStall | Fault::DiskFull => {
            disk_weather(cluster, fault, broker, seed)
        }
        Fault::ClockStep => {
            let step = i64::try_from(seed.below(7_200_000)).unwrap_or(0) - 3_600_000;
            cluster.universe().skew(cluster.host(broker)).set(step);
        }
    }
}

/// Ends every fault that lasts.
fn heal(cluster: &Cluster) {
    let universe = cluster.universe();
    universe.trace.event("nemesis", format_args!("heals everything"));
    universe.net.heal();
    universe.bucket.set_weather(StoreWeather::FAIR);
    for broker in 0..usize::from(cluster.plan().brokers) {
        cluster.wal_disk(broker).set_weather(DiskWeather::FAIR);
        cluster.resume(broker);
        cluster.snuff_fuse(broker);
    }
}

/// Kills a broker whose log has not answered for a while: whoever was told of what was not durable was told too early.
fn slow_death(cluster: &Cluster, broker: usize, seed: &mut Seed) {
    let universe = cluster.universe();
    let (net, disk, here) = (universe.net.clone(), cluster.wal_disk(broker), cluster.host(broker));
    if cluster.plan().storage == Storage::ObjectWal {
        net.cut(here, BUCKET_HOST);
        net.cut(BUCKET_HOST, here);
    } else {
        disk.set_weather(DiskWeather { slow: 1000, slow_ms_max: 4_000, ..DiskWeather::FAIR });
    }
    let (cluster, length) = (cluster.clone(), Duration::from_millis(seed.between(200, 2_500)));
    let away = Duration::from_millis(seed.between(20, 3_000));
    spawn(async move {
        wait(length).await;
        cluster.kill(broker, away, "kill -9 while its log does not answer");
        disk.set_weather(DiskWeather::FAIR);
        net.heal();
    });
}

/// Now, when it is mostly idle, or in the middle of something.
fn pause(cluster: &Cluster, broker: usize, length: Duration, seed: &mut Seed) {
    if seed.chance(500) {
        cluster.light_fuse(broker, Fuse { calls: seed.below(60), pause: Some(length) });
    } else if let Some(process) = cluster.process(broker) {
        process.pause_for(length);
    }
}

/// Makes the next broker start while this one does not answer, most of the time: that is when the living are taken for dead.
fn start_another(cluster: &Cluster, broker: usize, seed: &mut Seed) {
    let other = (broker + 1) % usize::from(cluster.plan().brokers);
    if other == broker || !seed.chance(700) {
        return;
    }
    let (cluster, soon) = (cluster.clone(), Duration::from_millis(seed.between(10, 1_500)));
    spawn(async move {
        wait(soon).await;
        cluster.kill(other, Duration::ZERO, "kill -9 while another does not answer");
    });
}

fn cut(cluster: &Cluster, fault: Fault, broker: usize, seed: &mut Seed) {
    let universe = cluster.universe();
    let here = cluster.host(broker);
    let other = match fault {
        Fault::Reset => {
            universe.net.reset(here, seed.between(100, 1000));
            return;
        }
        Fault::CutBucket => BUCKET_HOST,
        Fault::CutBrokers => {
            start_another(cluster, broker, seed);
            cluster.host((broker + 1) % usize::from(cluster.plan().brokers))
        }
        _ => crate::workload::CLIENT_HOST,
    };
    let directions = seed.below(3);
    if directions != 0 {
        universe.net.cut(here, other);
    }
    if directions != 1 {
        universe.net.cut(other, here);
    }
    let (net, length) = (universe.net.clone(), Duration::from_millis(seed.between(500, 8_000)));
    spawn(async move {
        wait(length).await;
        net.heal();
    });
}

fn store_weather(cluster: &Cluster, fault: Fault, seed: &mut Seed) {
    let bucket = cluster.universe().bucket.clone();
    let weather = if fault == Fault::StoreSlow {
        StoreWeather { slow: 300, slow_ms_max: 1_500, ..StoreWeather::FAIR }
    } else {
        StoreWeather {
            refuse: seed.below(300),
            lose_answer: seed.below(200),
            late: seed.below(200),
            late_ms_max: 40_000,
            ..StoreWeather::FAIR
        }
    };
    bucket.set_weather(weather);
    // Where two spells overlap, the first to end ends both.
    let length = Duration::from_millis(seed.between(1_000, 10_000));
    spawn(async move {
        wait(length).await;
        bucket.set_weather(StoreWeather::FAIR);
    });
}

fn disk_weather(cluster: &Cluster, fault: Fault, broker: usize, seed: &mut Seed) {
    let disk = cluster.wal_disk(broker);
    let weather = match fault {
        Fault::DiskSlow => DiskWeather { slow: 300, slow_ms_max: 400, ..DiskWeather::FAIR },
        Fault::DiskStall => DiskWeather { slow: 30, slow_ms_max: 8_000, ..DiskWeather::FAIR },
        Fault::DiskFull => DiskWeather { full: 1000, ..DiskWeather::FAIR },
        _ => DiskWeather { fail: seed.between(20, 100), ..DiskWeather::FAIR },
    };
    disk.set_weather(weather);
    let length = Duration::from_millis(seed.between(500, 5_000));
    spawn(async move {
        wait(length).await;
        disk.set_weather(DiskWeather::FAIR);
    });
}

fn below(seed: &mut Seed, bound: usize) -> usize {
    usize::try_from(seed.below(bound as u64)).expect("a small number")
}
