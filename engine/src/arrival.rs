//! How many are before me: the sequence numbers that wait at one priority of a queue, with the rank of
//! each. A B-tree that counts what is below each of its children, over blocks of numbers; nothing walks
//! more than a block and a node a level. It knows nothing of jobs.

mod block;
#[cfg(test)]
mod tests;

use block::Block;

/// Children of a node: three levels reach ten million numbers, and a node is scanned in some 20 ns.
const MAX_CHILDREN: usize = 32;

/// A set of sequence numbers. Eight bytes while it is empty, 4 to 6 a number when they are many.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    root: Option<Box<Child>>,
}

/// A part of the tree. Never empty, but for a moment.
#[derive(Debug)]
struct Child {
    /// No number in it is lower.
    least: u64,
    /// How many numbers are in it.
    count: u64,
    body: Body,
}

#[derive(Debug)]
enum Body {
    Block(Block),
    /// In order, and all of one height.
    Branch(Vec<Child>),
}

/// What came of an insertion.
enum Insertion {
    /// It was there already.
    Present,
    Done,
    /// Done, and the upper part of the child is to stand beside it.
    Split(Child),
}

impl Arrivals {
    /// How many there are.
    pub(crate) fn len(&self) -> u64 {
        self.root.as_ref().map_or(0, |root| root.count)
    }

    /// The lowest.
    pub(crate) fn first(&self) -> Option<u64> {
        let mut child = &**self.root.as_ref()?;
        loop {
            match &child.body {
                Body::Branch(children) => child = children.first()?,
                Body::Block(block) => return block.first(),
            }
        }
    }

    /// How many are lower than `sequence`.
    pub(crate) fn rank(&self, sequence: u64) -> u64 {
        let Some(root) = &self.root else { return 0 };
        let (mut child, mut before) = (&**root, 0);
        loop {
            match &child.body {
                Body::Branch(children) => {
                    let at = position(children, sequence);
                    before += children[..at].iter().map(|child| child.count).sum::<u64>();
                    child = &children[at];
                }
                Body::Block(block) => return before + block.rank(sequence) as u64,
            }
        }
    }

    /// Puts `sequence` in. Whether it is new.
    pub(crate) fn insert(&mut self, sequence: u64) -> bool {
        let Some(root) = &mut self.root else {
            self.root = Some(Box::new(Child::block(Block::new(sequence))));
            return true;
        };
        match root.insert(sequence) {
            Insertion::Present => false,
            Insertion::Done => true,
            Insertion::Split(upper) => {
                let lower = std::mem::replace(&mut **root, Child::branch(Vec::new()));
                **root = Child::branch(vec![lower, upper]);
                true
            }
        }
    }

    /// Takes `sequence` out. Whether it was there.
    pub(crate) fn remove(&mut self, sequence: u64) -> bool {
        let Some(root) = &mut self.root else { return false };
        if !root.remove(sequence) {
            return false;
        }
        if root.count == 0 {
            self.root = None;
            return true;
        }
        while let Body::Branch(children) = &mut root.body
            && children.len() == 1
        {
            let only = children.remove(0);
            **root = only;
        }
        true
    }
}

impl Child {
    fn block(block: Block) -> Child {
        let least = block.first().expect("blocks are made of numbers");
        Child { least, count: block.len() as u64, body: Body::Block(block) }
    }

    fn branch(children: Vec<Child>) -> Child {
        let least = children.first().map_or(0, |child| child.least);
        Child { least, count: children.iter().map(|child| child.count).sum(), body: Body::Branch(children) }
    }

    fn insert(&mut self, sequence: u64) -> Insertion {
        let insertion = match &mut self.body {
            Body::Block(block) => match block.insert(sequence) {
                block::Insertion::Present => Insertion::Present,
                block::Insertion::Done => Insertion::Done,
                block::Insertion::Split(upper) => Insertion::Split(Child::block(upper)),
            },
            Body::Branch(children) => {
                let at = position(children, sequence);
                match children[at].insert(sequence) {
                    Insertion::Split(upper) => {
                        children.insert(at + 1, upper);
                        split(children, at + 1)
                    }
                    insertion => insertion,
                }
            }
        };
        match &insertion {
            Insertion::Present => {}
            Insertion::Done => self.count += 1,
            Insertion::Split(upper) => self.count = self.count + 1 - upper.count,
        }
        if !matches!(insertion, Insertion::Present) {
            self.least = self.least.min(sequence);
        }
        insertion
    }

    fn remove(&mut self, sequence: u64) -> bool {
        let removed = match &mut self.body {
            Body::Block(block) => block.remove(sequence),
            Body::Branch(children) => {
                let at = position(children, sequence);
                let removed = children[at].remove(sequence);
                if children[at].count == 0 {
                    children.remove(at);
                }
                removed
            }
        };
        self.count -= u64::from(removed);
        removed
    }
}

/// Which of `children` holds `sequence`, if any does. Most come to the last and leave from the first.
fn position(children: &[Child], sequence: u64) -> usize {
    match children {
        [.., last] if last.least <= sequence => children.len() - 1,
        [_, second, ..] if sequence < second.least => 0,
        _ => children.partition_point(|child| child.least <= sequence).saturating_sub(1),
    }
}

/// Takes the upper part off `children` if they have become too many by the one at `added`.
fn split(children: &mut Vec<Child>, added: usize) -> Insertion {
    if children.len() <= MAX_CHILDREN {
        return Insertion::Done;
    }
    // They come in order: full nodes stay full.
    let at = if added == MAX_CHILDREN { MAX_CHILDREN } else { MAX_CHILDREN / 2 };
    Insertion::Split(Child::branch(children.split_off(at)))
}
