//! The texts of keys, each kept once however many jobs have it.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::name::Key;

/// A key's number while some job has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyId(u32);

/// Texts and how many jobs have each.
#[derive(Default)]
pub(crate) struct Keys {
    entries: Vec<Entry>,
    free: Vec<u32>,
    by_text: HashTable<u32>,
    hasher: DefaultHashBuilder,
    none: Key,
}

struct Entry {
    text: Key,
    jobs: u32,
}

impl KeyId {
    /// No key: most jobs'.
    pub(crate) const NONE: KeyId = KeyId(u32::MAX);
}

impl Keys {
    /// The number of `text`, for one job more.
    pub(crate) fn retain(&mut self, text: &Key) -> KeyId {
        if text.is_empty() {
            return KeyId::NONE;
        }
        let hash = self.hasher.hash_one(&**text);
        if let Some(&index) = self.by_text.find(hash, |i| self.entries[*i as usize].text == *text) {
            self.entries[index as usize].jobs += 1;
            return KeyId(index);
        }
        let entry = Entry { text: text.clone(), jobs: 1 };
        let index = match self.free.pop() {
            Some(index) => {
                self.entries[index as usize] = entry;
                index
            }
            None => {
                self.entries.push(entry);
                u32::try_from(self.entries.len() - 1).expect("memory ends before keys do")
            }
        };
        let (entries, hasher) = (&self.entries, &self.hasher);
        self.by_text.insert_unique(hash, index, |i| hasher.hash_one(&*entries[*i as usize].text));
        KeyId(index)
    }

    /// One job less has the key.
    pub(crate) fn release(&mut self, id: KeyId) {
        if id == KeyId::NONE {
            return;
        }
        let entry = &mut self.entries[id.0 as usize];
        entry.jobs -= 1;
        if entry.jobs == 0 {
            let hash = self.hasher.hash_one(&*entry.text);
            entry.text = Key::default();
            if let Ok(found) = self.by_text.find_entry(hash, |i| *i == id.0) {
                found.remove();
            }
            self.free.push(id.0);
        }
    }

    pub(crate) fn text(&self, id: KeyId) -> &Key {
        if id == KeyId::NONE { &self.none } else { &self.entries[id.0 as usize].text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_kept_while_a_job_has_it() {
        let mut keys = Keys::default();
        let text = Key::new("bot1/chat2".to_owned()).unwrap();
        let a = keys.retain(&text);
        assert_eq!(keys.retain(&text), a);
        keys.release(a);
        assert_eq!(keys.text(a), &text);
        keys.release(a);
        let b = keys.retain(&Key::new("other".to_owned()).unwrap());
        assert_eq!(b, a, "its number is used again");
        assert_eq!(&**keys.text(b), "other");
        assert_eq!(keys.retain(&Key::default()), KeyId::NONE);
    }
}
