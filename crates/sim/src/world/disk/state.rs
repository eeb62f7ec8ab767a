//! What a simulated disk holds: as its host sees it (written) and as a power loss would leave it (durable).
//!
//! Data: a write marks its 512-byte sectors dirty; a sync makes the file's dirty sectors and its length durable; a power
//! loss keeps or loses each dirty sector for itself. Names: each change of a folder waits in a journal until that folder is
//! synced; a power loss keeps or loses each waiting change for itself (a rename as a whole).

use base::Seed;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use world::DiskError;

/// What a disk writes or loses as a whole.
pub(super) const SECTOR_BYTES: usize = 512;

/// All of a simulated disk.
const CAPACITY_BYTES: u64 = 64 << 20;

/// Identifies a file's contents, whatever its names.
pub(super) type Inode = u64;

/// What a power loss did.
#[derive(Debug, Default)]
pub(super) struct Losses {
    /// Dirty sectors lost.
    pub(super) sectors: u64,
    /// Dirty sectors that survived.
    pub(super) survivors: u64,
    /// Changes of names lost.
    pub(super) names: u64,
}

#[derive(Default)]
pub(super) struct State {
    files: BTreeMap<Inode, FileState>,
    names: BTreeMap<PathBuf, Name>,
    durable_names: BTreeMap<PathBuf, Name>,
    journal: Journal,
    writes: BTreeMap<u64, Write>,
    next_id: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Name {
    Dir,
    File(Inode),
}

/// Changes of names that no sync has made durable yet, oldest first.
#[derive(Default)]
struct Journal {
    changes: BTreeMap<u64, NameChange>,
    /// By folder whose sync makes them durable: folders that nobody syncs collect thousands, which the others must not walk.
    by_folder: BTreeMap<PathBuf, BTreeSet<u64>>,
    next: u64,
}

enum NameChange {
    Add { path: PathBuf, name: Name },
    Remove { path: PathBuf },
    Rename { from: PathBuf, to: PathBuf, name: Name },
}

#[derive(Default)]
struct FileState {
    written: Vec<u8>,
    durable: Vec<u8>,
    dirty: BTreeSet<usize>,
    lock: Option<(u64, u64)>,
    /// A raw device: its name lasts, and its size.
    device: bool,
}

/// A write that has been issued and has not returned.
struct Write {
    process: u64,
    inode: Inode,
    position: usize,
    bytes: Bytes,
}

impl State {
    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    pub(super) fn open(&mut self, path: &Path, create_new: bool) -> Result<(Inode, u64), DiskError> {
        let handle = self.id();
        match self.names.get(path).copied() {
            Some(_) if create_new => Err(DiskError::Exists(path.to_owned())),
            Some(Name::File(inode)) => Ok((inode, handle)),
            Some(Name::Dir) => Err(DiskError::Failed { path: path.to_owned(), message: "is a directory".to_owned() }),
            None if create_new => {
                self.check_parent(path)?;
                let inode = self.id();
                self.files.insert(inode, FileState::default());
                self.add_name(path, Name::File(inode));
                Ok((inode, handle))
            }
            None => Err(DiskError::NotFound(path.to_owned())),
        }
    }

    pub(super) fn add_device(&mut self, path: &Path, bytes: u64) {
        if self.names.contains_key(path) {
            return;
        }
        let inode = self.id();
        let zeroes = vec![0; index(bytes)];
        let file = FileState { written: zeroes.clone(), durable: zeroes, device: true, ..FileState::default() };
        self.files.insert(inode, file);
        for names in [&mut self.names, &mut self.durable_names] {
            for folder in path.ancestors().skip(1).filter(|it| it.parent().is_some()) {
                names.insert(folder.to_owned(), Name::Dir);
            }
            names.insert(path.to_owned(), Name::File(inode));
        }
    }

    /// The folder that a file system is mounted at: there before anything else is.
    pub(super) fn add_mount_point(&mut self, path: &Path) {
        for names in [&mut self.names, &mut self.durable_names] {
            names.insert(path.to_owned(), Name::Dir);
        }
    }

    pub(super) fn is_device(&self, inode: Inode) -> bool {
        self.files.get(&inode).is_some_and(|file| file.device)
    }

    pub(super) fn create_dir_all(&mut self, path: &Path) -> Result<(), DiskError> {
        let mut folders: Vec<_> = path.ancestors().filter(|it| it.parent().is_some()).collect();
        folders.reverse();
        for folder in folders {
            match self.names.get(folder) {
                Some(Name::Dir) => {}
                Some(Name::File(_)) => return Err(DiskError::Exists(folder.to_owned())),
                None => self.add_name(folder, Name::Dir),
            }
        }
        Ok(())
    }

    pub(super) fn sync_dir(&mut self, path: &Path) -> Result<(), DiskError> {
        if path.parent().is_some() && self.names.get(path) != Some(&Name::Dir) {
            return Err(DiskError::NotFound(path.to_owned()));
        }
        for change in self.journal.take(path) {
            change.apply(&mut self.durable_names);
        }
        Ok(())
    }

    pub(super) fn link(&mut self, from: &Path, to: &Path) -> Result<(), DiskError> {
        let name = self.file_name(from)?;
        if self.names.contains_key(to) {
            return Err(DiskError::Exists(to.to_owned()));
        }
        self.check_parent(to)?;
        self.add_name(to, name);
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> Result<(), DiskError> {
        let name = self.file_name(from)?;
        self.check_parent(to)?;
        self.names.remove(from);
        self.names.insert(to.to_owned(), name);
        self.journal.push(NameChange::Rename { from: from.to_owned(), to: to.to_owned(), name });
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &Path) -> Result<(), DiskError> {
        if self.names.get(path) == Some(&Name::Dir) {
            return Err(DiskError::Failed { path: path.to_owned(), message: "is a directory".to_owned() });
        }
        if self.names.remove(path).is_some() {
            self.journal.push(NameChange::Remove { path: path.to_owned() });
        }
        Ok(())
    }

    pub(super) fn list(&self, path: &Path) -> Result<Vec<(String, bool)>, DiskError> {
        if path.parent().is_some() && self.names.get(path) != Some(&Name::Dir) {
            return Err(DiskError::NotFound(path.to_owned()));
        }
        let children = self.below(path).filter(|(name, _)| name.parent() == Some(path));
        Ok(children
            .filter_map(|(name, kind)| Some((name.file_name()?.to_str()?.to_owned(), *kind == Name::Dir)))
            .collect())
    }

    /// That name and all names below it: paths are sorted by their components, so they stand side by side.
    fn below(&self, path: &Path) -> impl Iterator<Item = (&PathBuf, &Name)> {
        self.names.range(path.to_owned()..).take_while(move |(name, _)| name.starts_with(path))
    }

    pub(super) fn contents(&self, below: &Path) -> Vec<(PathBuf, Bytes)> {
        self.below(below)
            .filter_map(|(name, kind)| match kind {
                Name::File(inode) => {
                    let file = self.files.get(inode)?;
                    Some((name.clone(), Bytes::copy_from_slice(&file.written)))
                }
                Name::Dir => None,
            })
            .collect()
    }

    pub(super) fn free_bytes(&self) -> u64 {
        let used: u64 = self.files.values().map(|file| file.written.len() as u64).sum();
        CAPACITY_BYTES.saturating_sub(used)
    }

    pub(super) fn size(&self, inode: Inode) -> u64 {
        self.files.get(&inode).map_or(0, |file| file.written.len() as u64)
    }

    pub(super) fn read(&self, inode: Inode, position: u64, len: usize) -> Bytes {
        let Some(file) = self.files.get(&inode) else { return Bytes::new() };
        let start = index(position).min(file.written.len());
        let end = start.saturating_add(len).min(file.written.len());
        Bytes::copy_from_slice(&file.written[start..end])
    }

    pub(super) fn grows(&self, inode: Inode, position: u64, len: usize) -> bool {
        self.files.get(&inode).is_some_and(|file| index(position) + len > file.written.len())
    }

    pub(super) fn begin_write(&mut self, process: u64, inode: Inode, position: u64, bytes: Bytes) -> u64 {
        let id = self.id();
        self.writes.insert(id, Write { process, inode, position: index(position), bytes });
        id
    }

    pub(super) fn end_write(&mut self, id: u64) {
        let Some(write) = self.writes.remove(&id) else { return };
        let Some(file) = self.files.get_mut(&write.inode) else { return };
        file.write(write.position, &write.bytes);
    }

    /// Leaves some sectors of a write in flight written, and returns whether it left only a part of them.
    /// In order (what a kill does to a system call) or in any order (what a device does without power).
    pub(super) fn tear(&mut self, id: u64, seed: &mut Seed, in_order: bool) -> bool {
        let Some(write) = self.writes.remove(&id) else { return false };
        let Some(file) = self.files.get_mut(&write.inode) else { return false };
        let pieces = write.bytes.len().div_ceil(SECTOR_BYTES);
        let stop = index(seed.below(pieces as u64 + 1));
        let mut left = 0;
        for piece in 0..pieces {
            let keep = if in_order { piece < stop } else { seed.chance(500) };
            if keep {
                let start = piece * SECTOR_BYTES;
                let end = (start + SECTOR_BYTES).min(write.bytes.len());
                file.write(write.position + start, &write.bytes[start..end]);
                left += 1;
            }
        }
        0 < left && left < pieces
    }

    pub(super) fn sync(&mut self, inode: Inode) {
        let Some(file) = self.files.get_mut(&inode) else { return };
        file.durable.resize(file.written.len(), 0);
        for sector in std::mem::take(&mut file.dirty) {
            file.make_durable(sector);
        }
    }

    /// A failed sync forgets what it could not write: the pages look clean, and the next sync has nothing to do for them.
    pub(super) fn failed_sync(&mut self, inode: Inode, seed: &mut Seed) {
        let Some(file) = self.files.get_mut(&inode) else { return };
        for sector in std::mem::take(&mut file.dirty) {
            if seed.chance(500) {
                file.durable.resize(file.written.len(), 0);
                file.make_durable(sector);
            }
        }
    }

    pub(super) fn allocate(&mut self, inode: Inode, len: u64, path: &Path) -> Result<(), DiskError> {
        let grows_by = len.saturating_sub(self.size(inode));
        if self.is_device(inode) {
            return if grows_by == 0 { Ok(()) } else { Err(DiskError::Full(path.to_owned())) };
        }
        if grows_by > self.free_bytes() {
            return Err(DiskError::Full(path.to_owned()));
        }
        if let Some(file) = self.files.get_mut(&inode) {
            file.written.resize(index(len), 0);
        }
        Ok(())
    }

    pub(super) fn take_lock(&mut self, inode: Inode, process: u64, handle: u64, path: &Path) -> Result<(), DiskError> {
        let Some(file) = self.files.get_mut(&inode) else { return Err(DiskError::NotFound(path.to_owned())) };
        match file.lock {
            Some(holder) if holder != (process, handle) => Err(DiskError::Locked(path.to_owned())),
            Some(_) | None => {
                file.lock = Some((process, handle));
                Ok(())
            }
        }
    }

    pub(super) fn unlock(&mut self, inode: Inode, handle: u64) {
        if let Some(file) = self.files.get_mut(&inode)
            && file.lock.is_some_and(|(_, holder)| holder == handle)
        {
            file.lock = None;
        }
    }

    /// Tears the writes that a dead process had in flight and frees its locks. Returns how many were torn.
    pub(super) fn process_died(&mut self, process: u64, seed: &mut Seed) -> u64 {
        let ids: Vec<_> = self.writes.iter().filter(|(_, it)| it.process == process).map(|(id, _)| *id).collect();
        let mut torn = 0;
        for id in ids {
            torn += u64::from(self.tear(id, seed, true));
        }
        for file in self.files.values_mut() {
            if file.lock.is_some_and(|(holder, _)| holder == process) {
                file.lock = None;
            }
        }
        torn
    }

    pub(super) fn power_loss(&mut self, seed: &mut Seed) -> Losses {
        let mut losses = Losses::default();
        for id in self.writes.keys().copied().collect::<Vec<_>>() {
            self.tear(id, seed, false);
        }
        // A device either had little in its cache or much.
        let keep_per_mille = [0, 200, 500, 800, 1000][index(seed.below(5))];
        for file in self.files.values_mut() {
            if file.written.len() != file.durable.len() && seed.chance(keep_per_mille) {
                file.durable.resize(file.written.len(), 0);
            }
            for sector in std::mem::take(&mut file.dirty) {
                if seed.chance(keep_per_mille) && sector * SECTOR_BYTES < file.durable.len() {
                    file.make_durable(sector);
                    losses.survivors += 1;
                } else {
                    losses.sectors += 1;
                }
            }
            file.written.clone_from(&file.durable);
        }
        for change in std::mem::take(&mut self.journal).changes.into_values() {
            if seed.chance(keep_per_mille) {
                change.apply(&mut self.durable_names);
            } else {
                losses.names += 1;
            }
        }
        self.drop_orphaned_names();
        self.names.clone_from(&self.durable_names);
        let linked: BTreeSet<_> =
            self.names.values().filter_map(|it| if let Name::File(i) = it { Some(*i) } else { None }).collect();
        self.files.retain(|inode, _| linked.contains(inode));
        losses
    }

    /// A name in a folder whose own name was lost is lost.
    fn drop_orphaned_names(&mut self) {
        loop {
            let names = &self.durable_names;
            let orphan = names.keys().find(|path| {
                path.parent().is_some_and(|parent| parent.parent().is_some() && names.get(parent) != Some(&Name::Dir))
            });
            let Some(orphan) = orphan.cloned() else { return };
            self.durable_names.remove(&orphan);
        }
    }

    fn add_name(&mut self, path: &Path, name: Name) {
        self.names.insert(path.to_owned(), name);
        self.journal.push(NameChange::Add { path: path.to_owned(), name });
    }

    fn file_name(&self, path: &Path) -> Result<Name, DiskError> {
        match self.names.get(path) {
            Some(name @ Name::File(_)) => Ok(*name),
            Some(Name::Dir) => Err(DiskError::Failed { path: path.to_owned(), message: "is a directory".to_owned() }),
            None => Err(DiskError::NotFound(path.to_owned())),
        }
    }

    fn check_parent(&self, path: &Path) -> Result<(), DiskError> {
        match path.parent() {
            Some(parent) if parent.parent().is_some() && self.names.get(parent) != Some(&Name::Dir) => {
                Err(DiskError::NotFound(parent.to_owned()))
            }
            Some(_) | None => Ok(()),
        }
    }
}

impl FileState {
    fn write(&mut self, position: usize, bytes: &[u8]) {
        let end = position + bytes.len();
        if self.written.len() < end {
            self.written.resize(end, 0);
        }
        self.written[position..end].copy_from_slice(bytes);
        self.dirty.extend(sectors(position, bytes.len()));
    }

    fn make_durable(&mut self, sector: usize) {
        let start = sector * SECTOR_BYTES;
        let end = (start + SECTOR_BYTES).min(self.written.len()).min(self.durable.len());
        if start < end {
            self.durable[start..end].copy_from_slice(&self.written[start..end]);
        }
        self.dirty.remove(&sector);
    }
}

impl Journal {
    fn push(&mut self, change: NameChange) {
        self.next += 1;
        for folder in change.folders() {
            self.by_folder.entry(folder.to_owned()).or_default().insert(self.next);
        }
        self.changes.insert(self.next, change);
    }

    /// What waits for a sync of that folder.
    fn take(&mut self, folder: &Path) -> Vec<NameChange> {
        let waiting = self.by_folder.remove(folder).unwrap_or_default();
        let taken: Vec<_> = waiting.iter().filter_map(|id| Some((*id, self.changes.remove(id)?))).collect();
        for (id, change) in &taken {
            for other in change.folders() {
                if let Some(ids) = self.by_folder.get_mut(other) {
                    ids.remove(id);
                }
            }
        }
        taken.into_iter().map(|(_, change)| change).collect()
    }
}

impl NameChange {
    /// The folders either of whose syncs makes it durable.
    fn folders(&self) -> impl Iterator<Item = &Path> {
        let (one, other) = match self {
            NameChange::Add { path, .. } | NameChange::Remove { path } => (path.parent(), None),
            NameChange::Rename { from, to, .. } => (from.parent(), to.parent()),
        };
        one.into_iter().chain(other)
    }

    fn apply(self, names: &mut BTreeMap<PathBuf, Name>) {
        match self {
            NameChange::Add { path, name } => {
                names.insert(path, name);
            }
            NameChange::Remove { path } => {
                names.remove(&path);
            }
            NameChange::Rename { from, to, name } => {
                names.remove(&from);
                names.insert(to, name);
            }
        }
    }
}

fn sectors(position: usize, len: usize) -> std::ops::Range<usize> {
    position / SECTOR_BYTES..(position + len).div_ceil(SECTOR_BYTES)
}

fn index(position: u64) -> usize {
    usize::try_from(position).expect("simulated files are small")
}
