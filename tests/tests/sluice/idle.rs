//! A server at rest takes next to nothing, however many jobs limits hold back.

use std::time::Duration;

use sluice_tests::Sluiced;
use sluice_tests::idle::Idle;

#[tokio::test]
async fn n3_hundred_thousand_parked_keys_cost_nothing_while_a_lease_waits() {
    let idle = Idle::reach(Sluiced::fresh().await, 100_000, Duration::from_secs(60)).await;
    let share = idle.share(Duration::from_secs(4)).await;
    assert!(share < 0.005, "{:.2} % of a processor", 100.0 * share);
}
