//! A disk in memory that loses power, fails and lies when it is told to.
//!
//! Power loss leaves any subset of the blocks written since the last completed sync, and any number of
//! the first unsynced changes of names. What was lost is drawn from a seed.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use super::{Disk, DiskFile};

/// A disk in memory. A clone is the same disk.
#[derive(Clone, Debug)]
pub(crate) struct SimDisk {
    world: Arc<Mutex<World>>,
}

/// What goes wrong, and when. Operations that change something are counted from 0.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Plan {
    /// Everything stops before this operation.
    pub crash_at: Option<u64>,
    /// This operation fails. A failed sync leaves the cache saying what the disk does not hold.
    pub fail_at: Option<u64>,
    /// Syncs of data do nothing and say that all is well.
    pub lie_about_sync: bool,
}

#[derive(Clone, Debug, Default)]
struct World {
    plan: Plan,
    operations: u64,
    reads: u64,
    crashed: bool,
    chance: u64,
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    unsynced_names: Vec<NameChange>,
}

#[derive(Clone, Debug, Default)]
struct Inode {
    /// What readers see.
    cached: Vec<u8>,
    /// What a loss of power leaves at least.
    durable: Vec<u8>,
    /// What was written since.
    unsynced: Vec<(u64, Vec<u8>)>,
}

#[derive(Clone, Debug)]
enum NameChange {
    Create(PathBuf, usize),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

struct SimFile {
    world: Arc<Mutex<World>>,
    inode: usize,
}

/// Blocks survive or vanish whole: a disk's smallest sector.
const BLOCK_BYTES: usize = 512;

impl SimDisk {
    /// An empty disk.
    pub(crate) fn new(plan: Plan) -> SimDisk {
        SimDisk { world: Arc::new(Mutex::new(World { plan, ..World::default() })) }
    }

    /// Changes what goes wrong from now on; operations are counted on.
    pub(crate) fn set_plan(&self, plan: Plan) {
        self.lock().plan = plan;
    }

    /// Whether everything has stopped.
    pub(crate) fn is_dead(&self) -> bool {
        self.lock().crashed
    }

    /// Operations so far that changed something.
    pub(crate) fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// Reads so far.
    pub(crate) fn reads(&self) -> u64 {
        self.lock().reads
    }

    /// The disk after the process was killed: nothing is lost, and nothing is more durable than before.
    pub(crate) fn after_kill(&self, plan: Plan) -> SimDisk {
        let world = World { plan, operations: 0, crashed: false, ..self.lock().clone() };
        SimDisk { world: Arc::new(Mutex::new(world)) }
    }

    /// The disk after a loss of power.
    pub(crate) fn after_power_loss(&self, seed: u64, plan: Plan) -> SimDisk {
        let mut world = World { plan, operations: 0, crashed: false, chance: seed, ..self.lock().clone() };
        world.lose_power();
        SimDisk { world: Arc::new(Mutex::new(world)) }
    }

    /// Changes bytes behind everyone's back.
    pub(crate) fn damage(&self, path: &Path, offset: u64, change: impl FnOnce(&mut [u8])) {
        self.damage_under_cache(path, offset, change);
        let mut world = self.lock();
        let inode = world.names[path];
        world.inodes[inode].cached = world.inodes[inode].durable.clone();
    }

    /// As [`SimDisk::damage`], but the cache says what was there before.
    pub(crate) fn damage_under_cache(&self, path: &Path, offset: u64, change: impl FnOnce(&mut [u8])) {
        let mut world = self.lock();
        let inode = world.names[path];
        change(&mut world.inodes[inode].durable[offset as usize..]);
    }

    /// The names of all files, in order.
    pub(crate) fn names(&self) -> Vec<PathBuf> {
        self.lock().names.keys().cloned().collect()
    }

    /// A hash of every byte that was ever durable, and of the names.
    pub(crate) fn digest(&self) -> u64 {
        let world = self.lock();
        let mut hasher = DefaultHasher::new();
        world.durable_names.hash(&mut hasher);
        world.inodes.iter().for_each(|inode| inode.durable.hash(&mut hasher));
        hasher.finish()
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    fn handle(&self, inode: usize) -> Arc<dyn DiskFile> {
        Arc::new(SimFile { world: Arc::clone(&self.world), inode })
    }
}

impl Disk for SimDisk {
    fn create_dir(&self, _path: &Path) -> io::Result<()> {
        self.lock().alive()
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let world = self.lock();
        world.alive()?;
        let inside = world.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut world = self.lock();
        world.begin()?;
        if world.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = world.inodes.len();
        world.inodes.push(Inode::default());
        world.change_name(NameChange::Create(path.to_owned(), inode))?;
        drop(world);
        Ok(self.handle(inode))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let world = self.lock();
        world.alive()?;
        let inode = *world.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        drop(world);
        Ok(self.handle(inode))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.lock();
        world.begin()?;
        world.change_name(NameChange::Rename(from.to_owned(), to.to_owned()))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut world = self.lock();
        world.begin()?;
        world.change_name(NameChange::Remove(path.to_owned()))
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        let mut world = self.lock();
        world.begin()?;
        world.unsynced_names.clear();
        world.durable_names = world.names.clone();
        Ok(())
    }
}

impl DiskFile for SimFile {
    fn bytes(&self) -> io::Result<u64> {
        let world = self.lock();
        world.alive()?;
        Ok(world.inodes[self.inode].cached.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let mut world = self.lock();
        world.alive()?;
        world.reads += 1;
        let cached = world.inodes[self.inode].cached.get(offset as usize..).unwrap_or_default();
        let bytes = cached.get(..buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut world = self.lock();
        world.begin()?;
        let inode = &mut world.inodes[self.inode];
        put(&mut inode.cached, offset, bytes);
        inode.unsynced.push((offset, bytes.to_owned()));
        Ok(())
    }

    fn zero(&self, range: Range<u64>) -> io::Result<()> {
        self.write_at(&vec![0; (range.end - range.start) as usize], range.start)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut world = self.lock();
        let result = world.begin();
        world.alive()?;
        if result.is_err() {
            world.lose_blocks(self.inode);
        } else if !world.plan.lie_about_sync {
            let inode = &mut world.inodes[self.inode];
            for (offset, bytes) in inode.unsynced.drain(..) {
                put(&mut inode.durable, offset, &bytes);
            }
        }
        result
    }

    fn forget_cache(&self) -> io::Result<()> {
        let mut world = self.lock();
        world.alive()?;
        let inode = &mut world.inodes[self.inode];
        if inode.unsynced.is_empty() {
            inode.cached.clone_from(&inode.durable);
        }
        Ok(())
    }
}

impl SimFile {
    fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }
}

impl World {
    fn alive(&self) -> io::Result<()> {
        if self.crashed { Err(io::Error::other("simulated crash")) } else { Ok(()) }
    }

    /// Counts an operation; the error is what the plan has for it.
    fn begin(&mut self) -> io::Result<()> {
        self.alive()?;
        let operation = self.operations;
        if self.plan.crash_at == Some(operation) {
            self.crashed = true;
            return self.alive();
        }
        self.operations += 1;
        if self.plan.fail_at == Some(operation) {
            return Err(io::Error::other("simulated failure"));
        }
        Ok(())
    }

    fn change_name(&mut self, change: NameChange) -> io::Result<()> {
        change.apply(&mut self.names)?;
        self.unsynced_names.push(change);
        Ok(())
    }

    fn lose_power(&mut self) {
        let kept = self.below(self.unsynced_names.len() + 1);
        for change in self.unsynced_names.drain(..).take(kept) {
            change.apply(&mut self.durable_names).unwrap();
        }
        self.names = self.durable_names.clone();
        for inode in 0..self.inodes.len() {
            self.lose_blocks(inode);
            self.inodes[inode].cached = self.inodes[inode].durable.clone();
        }
    }

    /// Of the unsynced blocks of a file, any subset reaches the disk.
    fn lose_blocks(&mut self, inode: usize) {
        for (offset, bytes) in std::mem::take(&mut self.inodes[inode].unsynced) {
            // All, none and a few are as likely as any other part.
            let odds = self.below(5);
            let mut at = 0;
            while at < bytes.len() {
                let block = BLOCK_BYTES - (offset as usize + at) % BLOCK_BYTES;
                let end = bytes.len().min(at + block);
                if self.below(4) < odds {
                    put(&mut self.inodes[inode].durable, offset + at as u64, &bytes[at..end]);
                }
                at = end;
            }
        }
    }

    /// A number below `end`, by splitmix64.
    fn below(&mut self, end: usize) -> usize {
        self.chance = self.chance.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.chance;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (x ^ (x >> 31)) as usize % end
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) -> io::Result<()> {
        match self {
            NameChange::Create(path, inode) => {
                names.insert(path.clone(), *inode);
            }
            NameChange::Rename(from, to) => {
                let inode = names.remove(from).ok_or(io::ErrorKind::NotFound)?;
                names.insert(to.clone(), inode);
            }
            NameChange::Remove(path) => {
                names.remove(path).ok_or(io::ErrorKind::NotFound)?;
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for SimFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "simulated file {}", self.inode)
    }
}

fn put(content: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let (start, end) = (offset as usize, offset as usize + bytes.len());
    if content.len() < end {
        content.resize(end, 0);
    }
    content[start..end].copy_from_slice(bytes);
}
