//! The simulated disk must lose what the contract lets it lose, and nothing else.

use super::*;
use crate::world::Universe;
use std::collections::BTreeSet;

const WRITE: OpenMode = OpenMode { create_new: true, write: true, direct: false, exclusive: false, bulk: false };

fn run<F: Future<Output = ()>>(seed: u64, test: impl FnOnce(Universe) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let universe = Universe::new(&mut Seed::new(seed), Trace::new(None));
        test(universe.clone()).await;
        universe.end();
    });
}

fn filled(byte: u8, len: usize) -> AlignedBuf {
    AlignedBuf::copy_of(&vec![byte; len])
}

#[test]
fn synced_bytes_under_a_synced_name_survive_a_power_loss() {
    for seed in 0..20 {
        run(seed, |universe| async move {
            let (_process, world) = universe.process(HostId(1), "test");
            let folder = Path::new("/data");
            world.disk.create_dir_all(folder).await.unwrap();
            world.disk.sync_dir(Path::new("/")).await.unwrap();
            let file = world.disk.open(Path::new("/data/a"), WRITE).await.unwrap();
            file.write_at(0, filled(7, 8192)).await.unwrap();
            file.sync().await.unwrap();
            world.disk.sync_dir(folder).await.unwrap();
            universe.power_loss(HostId(1));
            let contents = universe.disk(HostId(1)).contents(folder);
            assert_eq!(contents, vec![(PathBuf::from("/data/a"), Bytes::from(vec![7; 8192]))]);
        });
    }
}

#[test]
fn unsynced_sectors_are_lost_one_by_one_and_unsynced_names_too() {
    let mut outcomes = BTreeSet::new();
    let mut names = BTreeSet::new();
    for seed in 0..40 {
        let (report, reported) = std::sync::mpsc::sync_channel(1);
        run(seed, |universe| async move {
            let (_process, world) = universe.process(HostId(1), "test");
            let file = world.disk.open(Path::new("/a"), WRITE).await.unwrap();
            file.write_at(0, filled(1, 2048)).await.unwrap();
            file.sync().await.unwrap();
            world.disk.sync_dir(Path::new("/")).await.unwrap();
            file.write_at(0, filled(2, 2048)).await.unwrap();
            world.disk.link(Path::new("/a"), Path::new("/b")).await.unwrap();
            universe.power_loss(HostId(1));
            let contents = universe.disk(HostId(1)).contents(Path::new("/"));
            let sectors: Vec<u8> = contents[0].1.chunks(512).map(|sector| sector[0]).collect();
            report.send((sectors, contents.len())).unwrap();
        });
        let (sectors, files) = reported.recv().unwrap();
        outcomes.insert(sectors);
        names.insert(files);
    }
    assert!(outcomes.contains(&vec![1, 1, 1, 1]) && outcomes.contains(&vec![2, 2, 2, 2]), "{outcomes:?}");
    assert!(outcomes.len() > 5, "sectors must be lost independently: {outcomes:?}");
    assert_eq!(names, BTreeSet::from([1, 2]));
}

#[test]
fn a_kill_loses_nothing_written_frees_locks_and_tears_the_write_in_flight() {
    let mut torn = 0;
    for seed in 0..40 {
        let (report, reported) = std::sync::mpsc::sync_channel(1);
        run(seed, |universe| async move {
            let (process, world) = universe.process(HostId(1), "test");
            let file = world.disk.open(Path::new("/a"), WRITE).await.unwrap();
            file.write_at(0, filled(1, 4096)).await.unwrap();
            file.lock().await.unwrap();
            let (_other, second) = universe.process(HostId(1), "other");
            let again = second.disk.open(Path::new("/a"), OpenMode { create_new: false, ..WRITE }).await.unwrap();
            assert!(matches!(again.lock().await, Err(DiskError::Locked(_))));
            let writer = Arc::clone(&file);
            process.spawn("writer", Box::pin(async move { drop(writer.write_at(0, filled(2, 4096)).await) }));
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
            process.kill("test");
            again.lock().await.unwrap();
            let contents = universe.disk(HostId(1)).contents(Path::new("/"));
            report.send(contents[0].1.clone()).unwrap();
        });
        let bytes = reported.recv().unwrap();
        assert_eq!(bytes.len(), 4096);
        let ends = (bytes[0], bytes[4095]);
        torn += u32::from(ends == (2, 1));
        assert_ne!(ends, (1, 2), "a kill tears in order");
    }
    assert!(torn > 5, "{torn}");
}

#[test]
fn a_failed_sync_is_not_made_good_by_the_next() {
    let mut lost = false;
    for seed in 0..20 {
        let (report, reported) = std::sync::mpsc::sync_channel(1);
        run(seed, |universe| async move {
            let (_process, world) = universe.process(HostId(1), "test");
            let file = world.disk.open(Path::new("/a"), WRITE).await.unwrap();
            world.disk.sync_dir(Path::new("/")).await.unwrap();
            file.write_at(0, filled(1, 2048)).await.unwrap();
            let disk = universe.disk(HostId(1));
            disk.set_weather(DiskWeather { fail: 1000, ..DiskWeather::FAIR });
            assert!(file.sync().await.is_err());
            disk.set_weather(DiskWeather::FAIR);
            assert!(file.sync().await.is_err(), "it is not trusted again");
            world
                .disk
                .open(Path::new("/a"), OpenMode { create_new: false, ..WRITE })
                .await
                .unwrap()
                .sync()
                .await
                .unwrap();
            universe.power_loss(HostId(1));
            report.send(disk.contents(Path::new("/"))[0].1.clone()).unwrap();
        });
        lost |= reported.recv().unwrap() != vec![1; 2048];
    }
    assert!(lost);
}
