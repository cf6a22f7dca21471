//! Things that live side by side and know each other by number: half the size of a pointer, and no
//! borrow stands in the way.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Index, IndexMut};

/// The number of a `T` in its [`Slab`], or [`Id::NONE`].
pub(crate) struct Id<T> {
    number: u32,
    of: PhantomData<fn() -> T>,
}

/// Holds `T`s. The numbers of those that left are given again, the latest first.
pub(super) struct Slab<T> {
    items: Vec<T>,
    free: Vec<u32>,
}

impl<T> Id<T> {
    /// No `T` at all.
    pub(super) const NONE: Id<T> = Id::at(u32::MAX);

    pub(super) const fn at(number: u32) -> Id<T> {
        Id { number, of: PhantomData }
    }

    pub(super) const fn number(self) -> u32 {
        self.number
    }
}

impl<T> Slab<T> {
    pub(super) const fn new() -> Slab<T> {
        Slab { items: Vec::new(), free: Vec::new() }
    }

    pub(super) fn insert(&mut self, item: T) -> Id<T> {
        if let Some(number) = self.free.pop() {
            self.items[number as usize] = item;
            return Id::at(number);
        }
        let number = u32::try_from(self.items.len()).expect("memory ends before four billion items do");
        self.items.push(item);
        Id::at(number)
    }

    /// Takes a `T` out. Its number may be given again.
    pub(super) fn remove(&mut self, id: Id<T>) -> T
    where
        T: Default,
    {
        self.free.push(id.number);
        std::mem::take(&mut self[id])
    }

    /// Every number that was ever given is below it; who left may be among them.
    pub(super) fn end(&self) -> u32 {
        self.items.len() as u32
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.items.len() - self.free.len()
    }
}

impl<T> Index<Id<T>> for Slab<T> {
    type Output = T;
    fn index(&self, id: Id<T>) -> &T {
        &self.items[id.number as usize]
    }
}

impl<T> IndexMut<Id<T>> for Slab<T> {
    fn index_mut(&mut self, id: Id<T>) -> &mut T {
        &mut self.items[id.number as usize]
    }
}

// Derived, these would ask the same of `T`.

impl<T> Clone for Id<T> {
    fn clone(&self) -> Id<T> {
        *self
    }
}

impl<T> Copy for Id<T> {}

impl<T> Default for Id<T> {
    fn default() -> Id<T> {
        Id::NONE
    }
}

impl<T> PartialEq for Id<T> {
    fn eq(&self, other: &Id<T>) -> bool {
        self.number == other.number
    }
}

impl<T> Eq for Id<T> {}

impl<T> fmt::Debug for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Id::NONE { f.write_str("none") } else { self.number.fmt(f) }
    }
}
