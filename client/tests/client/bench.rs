//! The benchmark, only that it runs and counts: a fake has no speed.

use sluice_client::bench::{self, Mode, Settings};

use crate::fake::Fake;

async fn report(fake: &Fake, mode: Mode, stream: bool) -> serde_json::Value {
    let settings = Settings {
        mode,
        queue: "q".to_owned(),
        in_flight: 4,
        batch: 3,
        stream,
        payload_bytes: 8,
        jobs: 50,
        keys: 2,
        segments: 1,
        batches: 0,
        idempotency_keys: false,
        request_ids: false,
        rounds: 2,
        data_dir: None,
    };
    serde_json::to_value(bench::run(&fake.client(), settings).await.unwrap()).unwrap()
}

#[tokio::test]
async fn every_mode_counts_each_job_once() {
    let fake = Fake::start().await;
    for (mode, stream) in
        [(Mode::Enqueue, false), (Mode::Enqueue, true), (Mode::Consume, false), (Mode::Cycle, false)]
    {
        let report = report(&fake, mode, stream).await;
        assert_eq!(report["jobs"], 50, "{report}");
        assert!(report["jobs_per_second"].as_f64().unwrap() > 0.0);
        assert!(report["ratio_to_check"].as_f64().unwrap() > 0.0);
        assert!(report["latency_us"]["p999"].as_f64() >= report["latency_us"]["p50"].as_f64());
    }
    // Two runs of 50 and their warm-ups of 12 went in, and one of 50 went out.
    assert_eq!(fake.state().ready.len(), 2 * (50 + 12) - 50);
    assert!(fake.state().leased.is_empty());
}
