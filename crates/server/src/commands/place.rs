//! Whether a folder may be a bucket or a log's, looked at before a start makes anything in it: a name that is mistaken by one folder would
//! else be a new and empty cluster without a word.
//!
//! A folder that has a cluster is taken. One that has none must hold nothing that no Millstream puts into a bucket, and must not lie within
//! another one. A log's folder may hold other things, as nothing but its own rings is looked at there, but is no bucket's: all that lies
//! there is a cluster's objects. Left to others: what the cluster in it is.

use super::CommandError;
use crate::config::{StorageTarget, WalChoice};
use std::path::Path;
use world::{DiskError, OpenMode, World};

/// The object that every cluster's bucket has.
const FORMAT: &str = "format";
/// How it begins.
const TITLE: &[u8] = b"millstream bucket";
/// What else there is at the top of a bucket: whoever lost `format` alone is told of `millstream restore` by the ledger.
const OURS: [&str; 6] = [".tmp", "probe", "ledger", "data", "wal", "abandoned"];
/// What file systems and desktops leave in each folder.
const ANYBODYS: [&str; 3] = ["lost+found", ".DS_Store", ".snapshot"];

/// Refuses a folder that is something else.
///
/// # Errors
/// It holds what is not Millstream's, lies in another cluster's bucket, or can't be looked at; one line that says what to do.
pub(super) async fn check(world: &World, storage: &StorageTarget) -> Result<(), CommandError> {
    let StorageTarget::Folder(dir) = storage else { return Ok(()) };
    let refused = |why: String| Err(CommandError::wrong(format!("{} can't be a bucket: {why}", dir.display())));
    if let Some(file) = file_in_the_way(dir) {
        return refused(format!("{} is no folder: name another with --data or --storage", file.display()));
    }
    keeps_names(world, dir).await?;
    let found = match world.disk.list(dir).await {
        Ok(found) => found,
        Err(DiskError::NotFound(_)) => Vec::new(),
        // Whoever opens the bucket finds the same, and knows more to say.
        Err(_) => return Ok(()),
    };
    if found.iter().any(|(name, _)| name == FORMAT) {
        return Ok(());
    }
    let is_strange = |name: &str| !OURS.contains(&name) && !ANYBODYS.contains(&name);
    if let Some((name, _)) = found.iter().find(|(name, _)| is_strange(name)) {
        // What `--data` makes lies in two folders of these names.
        let hint = match found.iter().any(|(name, is_folder)| name == "bucket" && *is_folder) {
            true => format!("; did you mean {}?", dir.join("bucket").display()),
            false => String::new(),
        };
        return refused(format!(
            "it has no cluster, and holds {name:?}, which Millstream did not put there: name an empty or a new folder{hint}"
        ));
    }
    for above in dir.ancestors().skip(1) {
        if holds_cluster(world, above).await {
            return refused(format!(
                "it lies within the bucket {}: name that one, or a folder outside of it",
                above.display()
            ));
        }
    }
    Ok(())
}

/// Refuses a folder of `--wal` that can't have a log, or must not.
///
/// # Errors
/// A file is in its way, it does not outlast the machine, or it lies in a bucket, this cluster's or another's; one line that says what to do.
pub(super) async fn check_log(
    world: &World,
    (choice, dir): (&WalChoice, &Path),
    storage: &StorageTarget,
) -> Result<(), CommandError> {
    let refused = |why: String| Err(CommandError::wrong(format!("--wal {choice}: {why}")));
    if let Some(file) = file_in_the_way(dir) {
        return refused(format!("{} is no folder: name another", file.display()));
    }
    keeps_names(world, dir).await?;
    for above in dir.ancestors() {
        // A new one has no cluster yet.
        let is_own = matches!(storage, StorageTarget::Folder(bucket) if bucket == above);
        if is_own || holds_cluster(world, above).await {
            return refused(format!("it lies within the bucket {}: name a folder outside of it", above.display()));
        }
    }
    Ok(())
}

/// What there is of a path: itself, or the nearest that it would be made in.
pub(super) fn nearest(path: &Path) -> Option<&Path> {
    path.ancestors().find(|above| above.exists())
}

/// What stands where a folder is, or is to be made, and is none.
pub(super) fn file_in_the_way(dir: &Path) -> Option<&Path> {
    nearest(dir).filter(|above| !above.is_dir())
}

/// Whether a folder can be made there that outlasts the machine: not in /proc and its like.
///
/// # Errors
/// It can't; one line that says what to do.
async fn keeps_names(world: &World, dir: &Path) -> Result<(), CommandError> {
    let Some(above) = nearest(dir) else { return Ok(()) };
    match world.disk.sync_dir(above).await {
        // Whoever may not open it learns that where it is made.
        Err(error @ DiskError::Failed { .. }) => {
            Err(CommandError::failed(format!("{} can't be used ({error}): name a folder on a disk", dir.display())))
        }
        _ => Ok(()),
    }
}

/// Whether a folder is a bucket with a cluster in it.
async fn holds_cluster(world: &World, dir: &Path) -> bool {
    let Ok(file) = world.disk.open(&dir.join(FORMAT), OpenMode::default()).await else { return false };
    file.read_at(0, TITLE.len()).await.is_ok_and(|begin| begin == TITLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn refusal(dir: &Path) -> Option<String> {
        let checked = check(&World::system(), &StorageTarget::Folder(dir.to_owned())).await;
        checked.err().map(|error| error.line)
    }

    #[tokio::test]
    async fn a_folder_is_taken_where_it_is_new_empty_or_a_bucket() {
        let outside = tempfile::tempdir().unwrap();
        assert_eq!(refusal(&outside.path().join("not/there")).await, None);
        assert_eq!(refusal(outside.path()).await, None);
        // As a start leaves it that ended before there was a cluster.
        std::fs::create_dir_all(outside.path().join(".tmp")).unwrap();
        std::fs::create_dir_all(outside.path().join("probe/1")).unwrap();
        assert_eq!(refusal(outside.path()).await, None);
        std::fs::write(outside.path().join("notes"), "of somebody's").unwrap();
        std::fs::write(outside.path().join(FORMAT), [TITLE, b"\nlayout 1\n"].concat()).unwrap();
        assert_eq!(refusal(outside.path()).await, None, "it has a cluster");
    }

    #[tokio::test]
    async fn a_file_in_its_way_is_named() {
        let outside = tempfile::tempdir().unwrap();
        let file = outside.path().join("data");
        std::fs::write(&file, "of somebody's").unwrap();
        for dir in [file.clone(), file.join("bucket"), file.join("more/bucket")] {
            let told = refusal(&dir).await.expect("refused");
            assert!(told.contains(&format!("{} is no folder", file.display())), "{told}");
        }
    }

    #[tokio::test]
    async fn a_folder_that_is_something_else_is_refused() {
        let outside = tempfile::tempdir().unwrap();
        let data = outside.path();
        std::fs::create_dir_all(data.join("bucket")).unwrap();
        std::fs::write(data.join("bucket").join(FORMAT), [TITLE, b"\nlayout 1\n"].concat()).unwrap();
        let too_high = refusal(data).await.expect("refused");
        assert!(too_high.contains("did you mean") && too_high.contains("bucket?"), "{too_high}");
        let too_deep = refusal(&data.join("bucket/more/bucket")).await.expect("refused");
        assert!(too_deep.contains("lies within the bucket"), "{too_deep}");
        let log = data.join("bucket/wal");
        let choice = WalChoice::File { dir: log.clone(), bytes: None };
        // Of a bucket that is still to be made, and of one that is there.
        for bucket in ["bucket", "other"] {
            let own = StorageTarget::Folder(data.join(bucket));
            for inside in [data.join(bucket), data.join(bucket).join("a/b")] {
                let told = check_log(&World::system(), (&choice, &inside), &own).await.expect_err("refused");
                assert!(
                    told.line.contains("lies within the bucket") && told.line.contains("--wal file://"),
                    "{}",
                    told.line
                );
            }
            assert!(
                check_log(&World::system(), (&choice, &log), &own).await.is_err(),
                "another cluster's, if not its own"
            );
            assert!(check_log(&World::system(), (&choice, &data.join("wal")), &own).await.is_ok());
        }
        let kafkas = tempfile::tempdir().unwrap();
        std::fs::write(kafkas.path().join("meta.properties"), "version=1").unwrap();
        let strange = refusal(kafkas.path()).await.expect("refused");
        assert!(strange.contains("meta.properties") && strange.contains("empty or a new folder"), "{strange}");
    }
}
