//! The keys that jobs have, and what those begin with: each kept once, with what waits and is held under it.

use std::cell::Cell;
use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::id::QueueId;
use crate::job::JobState;
use crate::ledger::flow::{Answers, GateId};
use crate::name::Key;
use crate::queue::StateCounts;
use crate::settings::KeyRule;

/// A key's number while some job has it, or a key that begins with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct KeyId(u32);

/// The keys of all queues.
#[derive(Default)]
pub(crate) struct Keys {
    nodes: Vec<KeyNode>,
    free: Vec<u32>,
    by_text: HashTable<u32>,
    hasher: DefaultHashBuilder,
    none: Key,
}

/// What waits and is held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Load {
    scheduled: u32,
    ready: u32,
    leased: u32,
    retrying: u32,
    pub(crate) bytes: u64,
    /// Of those the ones that are held.
    pub(crate) leased_bytes: u64,
}

struct KeyNode {
    queue: QueueId,
    text: Key,
    /// The key without its last segment.
    outer: KeyId,
    /// Jobs that have it, and keys that begin with it.
    users: u32,
    load: Load,
    rule: Cell<Ruled>,
    /// What is known of it as a node.
    gate: GateId,
    answers: Cell<Answers>,
}

/// The version of the queue's settings whose rules were held against a key, and the first that matched.
#[derive(Clone, Copy)]
struct Ruled {
    version: u32,
    rule: u16,
}

impl Default for KeyId {
    fn default() -> KeyId {
        KeyId::NONE
    }
}

impl KeyId {
    /// No key: most jobs'.
    pub(crate) const NONE: KeyId = KeyId(u32::MAX);

    /// The key of a number.
    #[cfg(test)]
    pub(crate) fn at(number: usize) -> KeyId {
        KeyId(number as u32)
    }
}

/// No rule.
const NO_RULE: u16 = u16::MAX;

impl Load {
    /// Jobs that wait or are held.
    pub(crate) fn jobs(&self) -> u64 {
        u64::from(self.scheduled) + u64::from(self.ready) + u64::from(self.leased) + u64::from(self.retrying)
    }

    /// Jobs that are held.
    pub(crate) fn leased(&self) -> u64 {
        self.leased.into()
    }

    /// Jobs that wait for their next attempt.
    pub(crate) fn retrying(&self) -> u64 {
        self.retrying.into()
    }

    pub(crate) fn counts(&self) -> StateCounts {
        StateCounts::default()
            .with(JobState::Scheduled, self.scheduled.into())
            .with(JobState::Ready, self.ready.into())
            .with(JobState::Leased, self.leased.into())
            .with(JobState::Retrying, self.retrying.into())
    }

    fn of(&mut self, state: JobState) -> Option<&mut u32> {
        match state {
            JobState::Scheduled => Some(&mut self.scheduled),
            JobState::Ready => Some(&mut self.ready),
            JobState::Leased => Some(&mut self.leased),
            JobState::Retrying => Some(&mut self.retrying),
            _ => None,
        }
    }
}

impl Keys {
    /// The number of `text` in `queue`, for one user more.
    pub(crate) fn retain(&mut self, queue: QueueId, text: &Key) -> KeyId {
        if text.is_empty() {
            return KeyId::NONE;
        }
        if let Some(id) = self.find(queue, text) {
            self.nodes[id.0 as usize].users += 1;
            return id;
        }
        let outer = text.outer().map_or(KeyId::NONE, |outer| self.retain(queue, &outer));
        let node = KeyNode {
            queue,
            text: text.clone(),
            outer,
            users: 1,
            load: Load::default(),
            rule: Cell::new(Ruled { version: 0, rule: NO_RULE }),
            gate: GateId::NONE,
            answers: Cell::default(),
        };
        let index = match self.free.pop() {
            Some(index) => {
                self.nodes[index as usize] = node;
                index
            }
            None => {
                self.nodes.push(node);
                u32::try_from(self.nodes.len() - 1).expect("memory ends before keys do")
            }
        };
        let (nodes, hasher) = (&self.nodes, &self.hasher);
        let hash_of = |index: u32| {
            let node = &nodes[index as usize];
            hasher.hash_one((node.queue.0, &*node.text))
        };
        self.by_text.insert_unique(hash_of(index), index, |i| hash_of(*i));
        KeyId(index)
    }

    /// One user more of a key that is there.
    pub(crate) fn keep(&mut self, id: KeyId) {
        if id != KeyId::NONE {
            self.nodes[id.0 as usize].users += 1;
        }
    }

    /// One user less.
    pub(crate) fn release(&mut self, mut id: KeyId) {
        while id != KeyId::NONE {
            let node = &mut self.nodes[id.0 as usize];
            node.users -= 1;
            if node.users > 0 {
                return;
            }
            debug_assert_eq!(
                node.load,
                Load::default(),
                "nobody has the key, and still something waits under it"
            );
            let hash = self.hasher.hash_one((node.queue.0, &*node.text));
            let outer = node.outer;
            node.text = Key::default();
            if let Ok(found) = self.by_text.find_entry(hash, |i| *i == id.0) {
                found.remove();
            }
            self.free.push(id.0);
            id = outer;
        }
    }

    pub(crate) fn find(&self, queue: QueueId, text: &str) -> Option<KeyId> {
        let hash = self.hasher.hash_one((queue.0, text));
        let is_it = |index: &u32| {
            let node = &self.nodes[*index as usize];
            node.queue == queue && &*node.text == text
        };
        self.by_text.find(hash, is_it).map(|index| KeyId(*index))
    }

    pub(crate) fn text(&self, id: KeyId) -> &Key {
        if id == KeyId::NONE { &self.none } else { &self.nodes[id.0 as usize].text }
    }

    /// The key without its last segment.
    pub(crate) fn outer(&self, id: KeyId) -> KeyId {
        self.nodes[id.0 as usize].outer
    }

    pub(crate) fn gate(&self, id: KeyId) -> GateId {
        self.nodes[id.0 as usize].gate
    }

    pub(crate) fn set_gate(&mut self, id: KeyId, gate: GateId) {
        if id != KeyId::NONE {
            self.nodes[id.0 as usize].gate = gate;
        }
    }

    /// What came back of late.
    pub(crate) fn answers(&self, id: KeyId) -> &Cell<Answers> {
        &self.nodes[id.0 as usize].answers
    }

    /// Where a table by key has its entry.
    pub(crate) fn index(id: KeyId) -> usize {
        id.0 as usize
    }

    pub(crate) fn queue(&self, id: KeyId) -> QueueId {
        self.nodes[id.0 as usize].queue
    }

    pub(crate) fn load(&self, id: KeyId) -> Load {
        self.nodes[id.0 as usize].load
    }

    /// The key and what it begins with, the longest first.
    pub(crate) fn chain(&self, id: KeyId) -> impl Iterator<Item = KeyId> + '_ {
        let some = |id: KeyId| (id != KeyId::NONE).then_some(id);
        std::iter::successors(some(id), move |id| some(self.nodes[id.0 as usize].outer))
    }

    /// The keys of `queue` from number `from` on, by number, with those looked at in between.
    pub(crate) fn of_queue(
        &self,
        queue: QueueId,
        from: u32,
    ) -> impl Iterator<Item = (u32, Option<(&Key, Load)>)> + '_ {
        let nodes = self.nodes.iter().enumerate().skip(from as usize);
        nodes.map(move |(index, node)| {
            let is_there = node.queue == queue && node.users > 0;
            (index as u32, is_there.then_some((&node.text, node.load)))
        })
    }

    /// The first of `rules` that holds for a key. `version` is that of the rules: while it stays the answer is
    /// remembered.
    pub(crate) fn rule<'r>(&self, id: KeyId, rules: &'r [KeyRule], version: u64) -> Option<&'r KeyRule> {
        let node = &self.nodes[id.0 as usize];
        let version = version as u32;
        if node.rule.get().version != version {
            let first = rules.iter().position(|rule| rule.pattern.matches(&node.text));
            let rule = first.and_then(|at| u16::try_from(at).ok()).unwrap_or(NO_RULE);
            node.rule.set(Ruled { version, rule });
        }
        rules.get(node.rule.get().rule as usize)
    }

    /// A job of this key came into `state`.
    pub(crate) fn enter(&mut self, id: KeyId, state: JobState, bytes: u32) {
        self.each_load(id, |load| {
            if let Some(count) = load.of(state) {
                *count += 1;
                load.bytes += u64::from(bytes);
            }
            if state == JobState::Leased {
                load.leased_bytes += u64::from(bytes);
            }
        });
    }

    /// A job of this key left `state`.
    pub(crate) fn leave(&mut self, id: KeyId, state: JobState, bytes: u32) {
        self.each_load(id, |load| {
            if let Some(count) = load.of(state) {
                *count -= 1;
                load.bytes -= u64::from(bytes);
            }
            if state == JobState::Leased {
                load.leased_bytes -= u64::from(bytes);
            }
        });
    }

    fn each_load(&mut self, mut id: KeyId, change: impl Fn(&mut Load)) {
        while id != KeyId::NONE {
            let node = &mut self.nodes[id.0 as usize];
            change(&mut node.load);
            id = node.outer;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const Q: QueueId = QueueId(1);

    fn key(text: &str) -> Key {
        Key::new(text.to_owned()).unwrap()
    }

    #[test]
    fn key_is_kept_while_a_job_has_it_or_a_longer_one() {
        let mut keys = Keys::default();
        let long = keys.retain(Q, &key("bot1/chat2"));
        assert_eq!(keys.retain(Q, &key("bot1/chat2")), long);
        assert_ne!(keys.retain(QueueId(2), &key("bot1/chat2")), long, "another queue's is another");
        let short = keys.find(Q, "bot1").unwrap();
        keys.release(long);
        assert_eq!(keys.text(long), &key("bot1/chat2"));
        assert_eq!(keys.retain(Q, &key("bot1")), short);
        keys.release(long);
        assert_eq!((keys.find(Q, "bot1/chat2"), keys.find(Q, "bot1")), (None, Some(short)));
        keys.release(short);
        assert_eq!(keys.find(Q, "bot1"), None);
        assert_eq!(keys.retain(Q, &Key::default()), KeyId::NONE);
    }

    #[test]
    fn load_is_counted_at_every_level() {
        let mut keys = Keys::default();
        let (a, b) = (keys.retain(Q, &key("x/a")), keys.retain(Q, &key("x/b")));
        keys.enter(a, JobState::Ready, 10);
        keys.enter(b, JobState::Leased, 5);
        keys.enter(b, JobState::Completed, 7);
        let x = keys.load(keys.find(Q, "x").unwrap());
        assert_eq!((x.jobs(), x.leased(), x.bytes), (2, 1, 15));
        assert_eq!(keys.load(a).jobs(), 1);
        keys.leave(a, JobState::Ready, 10);
        assert_eq!(keys.load(keys.find(Q, "x").unwrap()).jobs(), 1);
        assert_eq!(keys.chain(a).map(|id| keys.text(id).to_string()).collect::<Vec<_>>(), ["x/a", "x"]);
    }
}
