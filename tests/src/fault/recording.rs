//! What a process did to the files of its directory, as `sluice-recorder` wrote it down; and, step by step, what of it a
//! loss of power leaves for sure and what may be there besides.

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

/// Everything, in order.
pub struct Recording {
    root: String,
    entries: Vec<Entry>,
}

/// One change, or one sync.
struct Entry {
    time: Duration,
    what: What,
}

enum What {
    Opened {
        inode: u64,
        path: String,
    },
    Written {
        inode: u64,
        offset: u64,
        bytes: Rc<[u8]>,
    },
    Cut {
        inode: u64,
        length: u64,
    },
    SyncBegun {
        token: u64,
    },
    SyncDone {
        inode: u64,
        token: u64,
    },
    Renamed {
        from: String,
        to: String,
    },
    Removed {
        path: String,
    },
    DirectoryMade {
        path: String,
    },
    /// It makes nothing sure.
    RangeSynced,
}

/// A file or a directory, whatever its names.
pub type Node = usize;
/// The directory of the process.
pub const ROOT: Node = 0;

/// The disk at one moment.
pub struct Disk<'a> {
    recording: &'a Recording,
    /// Entries that have happened.
    pub at: usize,
    /// By inode: a number may be given again.
    nodes: BTreeMap<u64, Node>,
    /// What each file is.
    pub files: BTreeMap<Node, File>,
    /// What each directory is.
    pub directories: BTreeMap<Node, Directory>,
    next_node: Node,
    /// When each sync began.
    syncs: BTreeMap<u64, usize>,
}

/// A file.
#[derive(Default)]
pub struct File {
    /// What it holds for sure.
    pub durable: Vec<u8>,
    /// What was done since, and when.
    pub pending: Vec<(usize, Change)>,
}

/// What was done to a file.
#[derive(Clone)]
pub enum Change {
    /// Bytes at an offset.
    Write(u64, Rc<[u8]>),
    /// It was cut to a length.
    Cut(u64),
}

/// A directory.
#[derive(Default)]
pub struct Directory {
    /// The names that it has for sure.
    pub durable: BTreeMap<String, Node>,
    /// What was done since, and when.
    pub pending: Vec<(usize, NameChange)>,
    /// The names that the process sees.
    live: BTreeMap<String, Node>,
}

/// What was done to the names of a directory.
#[derive(Clone, Debug)]
pub enum NameChange {
    /// It has a new one.
    Made(String, Node),
    /// What had one name has another.
    Renamed(String, String, Node),
    /// It has one less.
    Removed(String, Node),
}

const HEADER_BYTES: usize = 29;

impl Recording {
    /// Reads what was recorded in `file` of the directory `root`.
    #[must_use]
    pub fn read(file: &Path, root: &Path) -> Recording {
        let bytes = std::fs::read(file).unwrap();
        let mut entries = Vec::new();
        let mut rest = &bytes[..];
        // The last entry of a process that was killed may be a part.
        while rest.len() >= HEADER_BYTES {
            let number = |at: usize| u64::from_le_bytes(rest[at..at + 8].try_into().unwrap());
            let (kind, time, inode, value) = (rest[0], number(1), number(9), number(17));
            let length = u32::from_le_bytes(rest[25..HEADER_BYTES].try_into().unwrap()) as usize;
            let Some(bytes) = rest.get(HEADER_BYTES..HEADER_BYTES + length) else { break };
            let text = || String::from_utf8(bytes.to_vec()).unwrap();
            let what = match kind {
                1 => What::Opened { inode, path: text() },
                2 => What::Written { inode, offset: value, bytes: bytes.into() },
                3 => What::Cut { inode, length: value },
                4 => What::SyncBegun { token: value },
                5 => What::SyncDone { inode, token: value },
                6 => {
                    let both = text();
                    let (from, to) = both.split_once('\0').unwrap();
                    What::Renamed { from: from.to_owned(), to: to.to_owned() }
                }
                7 => What::Removed { path: text() },
                8 => What::DirectoryMade { path: text() },
                9 => What::RangeSynced,
                other => panic!("an entry of kind {other}"),
            };
            entries.push(Entry { time: Duration::from_nanos(time), what });
            rest = &rest[HEADER_BYTES + length..];
        }
        Recording { root: root.to_str().unwrap().to_owned(), entries }
    }

    /// How much there is.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// When the entry before `at` was made.
    #[must_use]
    pub fn time_before(&self, at: usize) -> Duration {
        self.entries[at - 1].time
    }

    /// How often something was synced.
    #[must_use]
    pub fn syncs(&self) -> usize {
        self.entries.iter().filter(|entry| matches!(entry.what, What::SyncDone { .. })).count()
    }

    /// How often a range was synced: with a call that makes nothing sure.
    #[must_use]
    pub fn range_syncs(&self) -> usize {
        self.entries.iter().filter(|entry| matches!(entry.what, What::RangeSynced)).count()
    }

    /// The disk before anything happened.
    #[must_use]
    pub fn begin(&self) -> Disk<'_> {
        Disk {
            recording: self,
            at: 0,
            nodes: BTreeMap::new(),
            files: BTreeMap::new(),
            directories: BTreeMap::from([(ROOT, Directory::default())]),
            next_node: ROOT + 1,
            syncs: BTreeMap::new(),
        }
    }
}

impl Disk<'_> {
    /// Lets everything happen up to `at`.
    pub fn go_to(&mut self, at: usize) {
        let recording = self.recording;
        while self.at < at {
            match &recording.entries[self.at].what {
                What::Opened { inode, path } => self.open(*inode, path),
                What::Written { inode, offset, bytes } => {
                    self.change(*inode, Change::Write(*offset, bytes.clone()));
                }
                What::Cut { inode, length } => self.change(*inode, Change::Cut(*length)),
                What::SyncBegun { token } => _ = self.syncs.insert(*token, self.at),
                What::SyncDone { inode, token } => self.sync(*inode, *token),
                What::RangeSynced => {}
                What::Renamed { from, to } => self.rename(from, to),
                What::Removed { path } => {
                    if let Some((directory, name)) = self.place(path)
                        && let Some(node) = self.names(directory).live.remove(&name)
                    {
                        self.name_change(directory, NameChange::Removed(name, node));
                    }
                }
                What::DirectoryMade { path } => {
                    if let Some((directory, name)) = self.place(path) {
                        let node = self.new_node();
                        self.directories.insert(node, Directory::default());
                        self.make(directory, name, node);
                    }
                }
            }
            self.at += 1;
        }
    }

    /// What every file holds that the process sees, by its path below the root.
    #[must_use]
    pub fn seen(&self) -> BTreeMap<String, Vec<u8>> {
        let mut seen = BTreeMap::new();
        self.collect(ROOT, "", &mut seen);
        seen
    }

    fn collect(&self, directory: Node, path: &str, seen: &mut BTreeMap<String, Vec<u8>>) {
        for (name, node) in &self.directories[&directory].live {
            let path = format!("{path}/{name}");
            match self.files.get(node) {
                Some(file) => {
                    let mut bytes = file.durable.clone();
                    file.pending.iter().for_each(|(_, change)| change.apply(&mut bytes));
                    seen.insert(path, bytes);
                }
                None => self.collect(*node, &path, seen),
            }
        }
    }

    fn open(&mut self, inode: u64, path: &str) {
        let Some((directory, name)) = self.place(path) else {
            self.nodes.insert(inode, ROOT);
            return;
        };
        let node = match self.names(directory).live.get(&name) {
            Some(node) => *node,
            None => {
                let node = self.new_node();
                self.files.insert(node, File::default());
                self.make(directory, name, node);
                node
            }
        };
        self.nodes.insert(inode, node);
    }

    fn change(&mut self, inode: u64, change: Change) {
        let node = self.nodes[&inode];
        let at = self.at;
        self.files.get_mut(&node).expect("files are written").pending.push((at, change));
    }

    /// What was done before the sync began is there for sure. A directory's sync is about its names.
    fn sync(&mut self, inode: u64, token: u64) {
        let begun = self.syncs.remove(&token).expect("a sync begins before it ends");
        let node = self.nodes[&inode];
        if let Some(file) = self.files.get_mut(&node) {
            let rest = file.pending.partition_point(|(at, _)| *at < begun);
            for (_, change) in file.pending.drain(..rest) {
                change.apply(&mut file.durable);
            }
        } else {
            let names = self.directories.get_mut(&node).expect("a node is a file or a directory");
            let rest = names.pending.partition_point(|(at, _)| *at < begun);
            for (_, change) in names.pending.drain(..rest) {
                change.apply(&mut names.durable);
            }
        }
    }

    fn rename(&mut self, from: &str, to: &str) {
        let (Some((directory, from)), Some((other, to))) = (self.place(from), self.place(to)) else {
            panic!("the root is renamed");
        };
        assert_eq!(directory, other, "names change within their directory");
        let names = self.names(directory);
        let node = names.live.remove(&from).expect("what is renamed is there");
        names.live.insert(to.clone(), node);
        self.name_change(directory, NameChange::Renamed(from, to, node));
    }

    fn make(&mut self, directory: Node, name: String, node: Node) {
        self.names(directory).live.insert(name.clone(), node);
        self.name_change(directory, NameChange::Made(name, node));
    }

    fn name_change(&mut self, directory: Node, change: NameChange) {
        let at = self.at;
        self.names(directory).pending.push((at, change));
    }

    fn names(&mut self, directory: Node) -> &mut Directory {
        self.directories.get_mut(&directory).expect("a directory")
    }

    fn new_node(&mut self) -> Node {
        self.next_node += 1;
        self.next_node - 1
    }

    /// The directory and the name of a path; none: it is the root.
    fn place(&self, path: &str) -> Option<(Node, String)> {
        let below = path.strip_prefix(&self.recording.root).expect("only what is below the root is recorded");
        let mut names: Vec<&str> = below.split('/').filter(|name| !name.is_empty() && *name != ".").collect();
        let last = names.pop()?;
        let directory = names.iter().fold(ROOT, |node, name| self.directories[&node].live[*name]);
        Some((directory, last.to_owned()))
    }
}

impl Change {
    /// Does it.
    pub fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Change::Write(offset, bytes) => {
                let (begin, end) = (*offset as usize, *offset as usize + bytes.len());
                if to.len() < end {
                    to.resize(end, 0);
                }
                to[begin..end].copy_from_slice(bytes);
            }
            Change::Cut(length) => to.resize(*length as usize, 0),
        }
    }
}

impl NameChange {
    /// Does it, if what it is about is there.
    pub fn apply(&self, names: &mut BTreeMap<String, Node>) {
        match self {
            NameChange::Made(name, node) => _ = names.insert(name.clone(), *node),
            NameChange::Renamed(from, to, node) => {
                if names.get(from) == Some(node) {
                    names.remove(from);
                    names.insert(to.clone(), *node);
                }
            }
            NameChange::Removed(name, node) => {
                if names.get(name) == Some(node) {
                    names.remove(name);
                }
            }
        }
    }
}
