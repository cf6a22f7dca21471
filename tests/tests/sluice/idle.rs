//! A server at rest takes next to nothing, however many jobs limits hold back.

use std::time::Duration;

use sluice_tests::Sluiced;
use sluice_tests::idle::Idle;

const SPAN: Duration = Duration::from_secs(4);
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn n3_hundred_thousand_parked_keys_cost_nothing_while_a_lease_waits() {
    let few = Idle::reach(Sluiced::fresh().await, 1, PATIENCE).await;
    let many = Idle::reach(Sluiced::fresh().await, 100_000, PATIENCE).await;
    // Both at the same time: to wake a few times a second costs more on one machine than on another. To look at each
    // key once a second would take 1 % and more.
    let (few, many) = tokio::join!(few.share(SPAN), many.share(SPAN));
    assert!(many < few + 0.01, "{:.2} % of a processor; with one key {:.2} %", 100.0 * many, 100.0 * few);
}
