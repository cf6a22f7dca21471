//! Nodes: a queue, the keys of it, and what was set on them.

use sluice_engine::*;

/// A queue and a key of it; the empty one: the queue itself.
pub(crate) type Spot = (QueueId, Key);

pub(crate) fn key(text: &str) -> Key {
    Key::new(text.to_owned()).unwrap()
}

/// The nodes that a job of this key goes through, the deepest first.
pub(crate) fn way(queue: QueueId, key: &Key) -> Vec<Spot> {
    let keys = std::iter::successors((!key.is_empty()).then(|| key.clone()), Key::outer);
    keys.chain([Key::default()]).map(|key| (queue, key)).collect()
}

/// What was set on a node, if anything was.
pub(crate) fn settings_of<'a>(settings: &'a QueueSettings, key: &Key) -> Option<&'a NodeSettings> {
    if key.is_empty() {
        return Some(&settings.node);
    }
    settings.key_rules.iter().find(|rule| rule.pattern.matches(key)).map(|rule| &rule.node)
}
