//! What the engine says of when a window opens is true: at that time a job may go, and a nanosecond before it may not.

use sluice_engine::*;

use crate::node::Spot;
use crate::tally::Tally;

/// Of the windows of a node, of which all that the engine says is closed to a job of this cost is among `blocks`.
pub(crate) fn untils_are_true(spot: &Spot, cost: u64, tallies: &[Tally], blocks: &[Block], now: Now) {
    let is_its =
        |block: &&Block| block.key == spot.1 && matches!(block.kind, BlockKind::Rate | BlockKind::Quota);
    let mut last = None;
    for block in blocks.iter().filter(is_its) {
        let until = block.until.expect("a window opens by time alone");
        let opens = now.engine + until.since(now.wall);
        assert!(opens > now.engine, "{block:?} is open");
        let before = Timestamp(opens.0 - 1);
        let opens_then =
            |tally: &Tally| !tally.would_exceed(cost, opens) && tally.may_hold_back(cost, before);
        assert!(
            tallies.iter().any(opens_then),
            "no window opens at {opens:?} for {cost}: {block:?} of {tallies:?}"
        );
        last = last.max(Some(opens));
    }
    if let Some(opens) = last {
        let closed = tallies.iter().find(|tally| tally.would_exceed(cost, opens));
        assert!(
            closed.is_none(),
            "{spot:?} is said to be open for {cost} at {opens:?}, and {closed:?} is not"
        );
    }
}
