//! A run of sequence numbers that share their upper half, so that each costs four bytes.

use std::collections::VecDeque;

/// Numbers of a block: one that is put into the middle moves at most half of them, 1 KiB.
const MAX_NUMBERS: usize = 512;

/// Numbers in order. A queue at both ends: most come at the end and leave at the front.
#[derive(Debug)]
pub(super) struct Block {
    upper: u32,
    lower: VecDeque<u32>,
}

/// What came of an insertion.
pub(super) enum Insertion {
    /// It was there already.
    Present,
    Done,
    /// Done, and these belong after the block.
    Split(Block),
}

impl Block {
    /// A block of one number.
    pub(super) fn new(sequence: u64) -> Block {
        let (upper, lower) = halves(sequence);
        Block { upper, lower: VecDeque::from([lower]) }
    }

    pub(super) fn len(&self) -> usize {
        self.lower.len()
    }

    /// What it holds besides itself.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.lower.capacity() * size_of::<u32>()
    }

    /// The lowest.
    pub(super) fn first(&self) -> Option<u64> {
        self.lower.front().map(|lower| u64::from(self.upper) << 32 | u64::from(*lower))
    }

    /// How many are lower than `sequence`.
    pub(super) fn rank(&self, sequence: u64) -> usize {
        let (upper, lower) = halves(sequence);
        match upper.cmp(&self.upper) {
            std::cmp::Ordering::Less => 0,
            std::cmp::Ordering::Equal => self.lower.partition_point(|other| *other < lower),
            std::cmp::Ordering::Greater => self.len(),
        }
    }

    /// Puts `sequence` in.
    pub(super) fn insert(&mut self, sequence: u64) -> Insertion {
        let (upper, lower) = halves(sequence);
        if upper > self.upper {
            return Insertion::Split(Block::new(sequence));
        }
        if upper < self.upper {
            return Insertion::Split(std::mem::replace(self, Block::new(sequence)));
        }
        let at = match self.lower.back() {
            Some(last) if *last < lower => self.len(),
            _ => match self.lower.binary_search(&lower) {
                Ok(_) => return Insertion::Present,
                Err(at) => at,
            },
        };
        if self.len() < MAX_NUMBERS {
            self.lower.insert(at, lower);
            return Insertion::Done;
        }
        if at == self.len() {
            // They come in order: full blocks stay full.
            return Insertion::Split(Block::new(sequence));
        }
        let mut after = Block { upper, lower: self.lower.split_off(MAX_NUMBERS / 2) };
        if at <= MAX_NUMBERS / 2 {
            self.lower.insert(at, lower);
        } else {
            after.lower.insert(at - MAX_NUMBERS / 2, lower);
        }
        Insertion::Split(after)
    }

    /// Takes `sequence` out. Whether it was there.
    pub(super) fn remove(&mut self, sequence: u64) -> bool {
        let (upper, lower) = halves(sequence);
        if upper != self.upper {
            return false;
        }
        let at = match self.lower.front() {
            Some(first) if *first == lower => 0,
            _ => match self.lower.binary_search(&lower) {
                Ok(at) => at,
                Err(_) => return false,
            },
        };
        self.lower.remove(at);
        // What is left of a block may stay for long: it must not hold the room of a full one.
        if self.lower.capacity() >= 4 * self.len().max(4) {
            self.lower.shrink_to(2 * self.len());
        }
        true
    }
}

fn halves(sequence: u64) -> (u32, u32) {
    ((sequence >> 32) as u32, sequence as u32)
}
