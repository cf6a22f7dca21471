//! In which order jobs come out: priority, then order of arrival within a key, keys in turns, and
//! nothing before its time.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use sluice_proto::v1::{JobSpec, JobState, NackReason, NodeSettings, Queue, Window};
use sluice_tests::{Sluiced, http, spec};

#[tokio::test]
async fn s0_1_jobs_come_out_in_the_order_they_went_in() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("messages");
    for batch in 0..4 {
        queue.enqueue(spec::jobs(&format!("batch-{batch}"), 25)).await;
    }
    assert_eq!(queue.status().await.counts.unwrap().ready, 100);

    let mut out = Vec::new();
    while out.len() < 100 {
        let jobs = queue.lease(7).await;
        out.extend(spec::texts(&jobs));
        queue.ack(&jobs).await;
    }
    let expected: Vec<String> =
        (0..4).flat_map(|batch| (0..25).map(move |n| format!("batch-{batch}-{n}"))).collect();
    assert_eq!(out, expected);
}

#[tokio::test]
async fn higher_priorities_come_out_first() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("priorities");
    let mixed = [3, 9, 0, 4, 7, 1, 9, 2, 8, 5, 6, 0];
    queue.enqueue(mixed.iter().map(|p| spec::urgent(*p, "x")).collect()).await;
    queue.enqueue_one(spec::job("no priority said")).await;

    let status = queue.status().await;
    assert_eq!(status.ready_by_priority, [2, 1, 1, 1, 2, 1, 1, 1, 1, 2]);
    let out: Vec<u32> =
        queue.lease(100).await.into_iter().map(|leased| leased.job.unwrap().priority).collect();
    assert_eq!(out, [9, 9, 8, 7, 6, 5, 4, 4, 3, 2, 1, 0, 0]);
}

#[tokio::test]
async fn keys_take_turns_and_each_stays_first_in_first_out() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("turns");
    let noisy: Vec<JobSpec> = (0..50).map(|n| spec::keyed("noisy", &format!("{n}"))).collect();
    queue.enqueue(noisy).await;
    for key in ["a", "b", "c"] {
        queue.enqueue((0..10).map(|n| spec::keyed(key, &format!("{n}"))).collect()).await;
    }

    let out = queue.lease(80).await;
    assert_eq!(out.len(), 80);
    let mut next: BTreeMap<String, usize> = BTreeMap::new();
    for (turn, leased) in out.iter().enumerate() {
        let key = leased.job.as_ref().unwrap().key.clone();
        let served = next.entry(key.clone()).or_default();
        assert_eq!(spec::text(leased), served.to_string(), "{key} is first in, first out");
        *served += 1;
        if turn < 40 {
            let (least, most) = (next.values().min().unwrap(), next.values().max().unwrap());
            assert!(turn < 4 || most - least <= 1, "after {turn} deliveries: {next:?}");
        }
    }
}

#[tokio::test]
async fn keys_within_a_key_take_turns_too() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("nested");
    let jobs = |key: &str, count: usize| (0..count).map(|_| spec::keyed(key, "x")).collect::<Vec<_>>();
    queue.enqueue(jobs("bot1/group/a", 20)).await;
    queue.enqueue(jobs("bot1/group/b", 20)).await;
    queue.enqueue(jobs("bot2/group/a", 20)).await;

    let mut served: BTreeMap<String, usize> = BTreeMap::new();
    for leased in queue.lease(20).await {
        *served.entry(leased.job.unwrap().key).or_default() += 1;
    }
    assert_eq!(served["bot2/group/a"], 10, "two bots share equally: {served:?}");
    assert_eq!(served["bot1/group/a"], 5, "and so do one bot's chats: {served:?}");
}

#[tokio::test]
async fn nothing_is_delivered_before_its_delay_is_over() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("delayed");
    let delay = Duration::from_millis(400);
    let later = JobSpec { delay: Some(spec::span(delay)), ..spec::job("later") };
    let id = queue.enqueue_one(later).await;

    assert!(queue.lease(1).await.is_empty());
    let job = queue.job(&id).await;
    assert_eq!(job.state(), JobState::Scheduled);
    assert!(spec::moment(job.run_time) + spec::TICK >= spec::moment(job.create_time) + delay);

    let leased = queue.lease_next().await.job.unwrap();
    assert_eq!(leased.job_id, id);
    assert!(spec::moment(leased.start_time) + spec::TICK >= spec::moment(leased.create_time) + delay);
}

#[tokio::test]
async fn nothing_is_delivered_before_its_run_time() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("timed");
    let past = JobSpec { run_time: Some(spec::time(SystemTime::UNIX_EPOCH)), ..spec::job("past means now") };
    let run_time = SystemTime::now() + Duration::from_millis(1_500);
    let future = JobSpec { run_time: Some(spec::time(run_time)), ..spec::job("in a moment") };
    let ids = queue.enqueue(vec![future, past]).await;
    assert_eq!(queue.state(&ids[0]).await, JobState::Scheduled);

    assert_eq!(spec::texts(&queue.lease(2).await), ["past means now"]);
    let leased = queue.lease_next().await.job.unwrap();
    assert_eq!(leased.job_id, ids[0]);
    assert!(spec::moment(leased.start_time) >= run_time);
}

#[tokio::test]
async fn scheduled_job_holds_nobody_up() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("mixed");
    let far = JobSpec { delay: Some(spec::millis(3_600_000)), priority: Some(9), ..spec::keyed("k", "far") };
    queue.enqueue(vec![far, spec::keyed("k", "near")]).await;
    assert_eq!(spec::texts(&queue.lease(2).await), ["near"]);
    let counts = queue.status().await.counts.unwrap();
    assert_eq!((counts.scheduled, counts.leased), (1, 1));
}

#[tokio::test]
async fn queue_position_counts_higher_priorities_and_earlier_arrivals() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("positions");
    let mut ids = queue.enqueue(spec::jobs("normal", 5)).await;
    ids.push(queue.enqueue_one(spec::urgent(9, "urgent")).await);
    ids.push(queue.enqueue_one(spec::urgent(0, "low")).await);

    let positions = async || {
        let mut positions = Vec::new();
        for id in &ids {
            positions.push(queue.job(id).await.queue_position);
        }
        positions
    };
    assert_eq!(positions().await, [2, 3, 4, 5, 6, 1, 7].map(Some));

    let out = queue.lease(3).await;
    assert_eq!(positions().await, [None, None, Some(1), Some(2), Some(3), None, Some(4)]);
    // A job that is given back stands where it stood.
    queue.nack(&out[1], NackReason::Released).await;
    assert_eq!(positions().await, [Some(1), None, Some(2), Some(3), Some(4), None, Some(5)]);
}

#[tokio::test]
async fn released_and_retried_jobs_keep_their_place() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("places");
    queue.put(spec::retrying(5, Duration::ZERO)).await;
    queue.enqueue(spec::jobs("job", 4)).await;
    let out = queue.lease(2).await;
    queue.nack(&out[0], NackReason::Released).await;
    queue.nack(&out[1], NackReason::Failed).await;
    queue.until(|status| status.counts.as_ref().unwrap().ready == 4).await;
    assert_eq!(spec::texts(&queue.lease(4).await), ["job-0", "job-1", "job-2", "job-3"]);
}

#[tokio::test]
async fn low_priority_that_waited_long_enough_goes_first() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("ageing");
    let step = Duration::from_millis(20);
    let settings = sluice_proto::v1::Queue {
        priority_ageing: Some(spec::span(step)),
        ..sluice_proto::v1::Queue::default()
    };
    queue.put(settings).await;
    queue.enqueue_one(spec::urgent(0, "old")).await;
    // Nine steps and more make a priority 0 the equal of a fresh 9, whose turn it then is.
    tokio::time::sleep(step * 20).await;
    queue.enqueue_one(spec::urgent(9, "new")).await;
    assert_eq!(spec::texts(&queue.lease(2).await), ["old", "new"]);
}

#[tokio::test]
async fn s3_3_high_normal_and_low_share_a_rate_by_their_age() {
    /// As the mission calls them.
    const HIGH: u32 = 7;
    const NORMAL: u32 = 4;
    const LOW: u32 = 2;
    const AGEING: Duration = Duration::from_millis(100);
    /// A second, and at once.
    const RATE: usize = 25;
    const BURST: usize = 2;
    let server = Sluiced::fresh().await;
    let queue = server.queue("levels");
    let window = Window {
        amount: RATE as u32,
        period: Some(spec::millis(1_000)),
        burst: Some(BURST as u32),
        ..Window::default()
    };
    queue
        .put(Queue {
            settings: Some(NodeSettings { windows: vec![window], ..NodeSettings::default() }),
            priority_ageing: Some(spec::span(AGEING)),
            ..Queue::default()
        })
        .await;
    // Of each as many as a rate of their own would let through in the time that the others take, and many more urgent ones.
    let counts = [(LOW, 5), (NORMAL, 5), (HIGH, 70)];
    let jobs = counts.iter().flat_map(|(priority, count)| vec![spec::urgent(*priority, "x"); *count]);
    queue.enqueue(jobs.collect()).await;
    let page = http::json(server.http(), "/stats?queue=levels").await;
    for (name, (_, count)) in ["low", "normal", "high"].into_iter().zip(counts) {
        assert_eq!(page["queues"][0][name], count, "{name}");
    }

    let mut went = Vec::new();
    for _ in 0..counts.iter().map(|(_, count)| count).sum() {
        let leased = queue.lease_next().await;
        let job = leased.job.as_ref().unwrap();
        went.push((job.priority, spec::moment(job.start_time)));
        queue.ack(&[leased]).await;
    }
    assert_eq!(went[0].0, HIGH, "the most urgent first");
    for (priority, _) in &counts[..2] {
        let steps = AGEING * (HIGH - priority);
        // Within that time, by the rate; one that is passed, and those of the third level.
        let most = BURST + (RATE as f64 * steps.as_secs_f64()).ceil() as usize + 4;
        let turns: Vec<usize> = (0..went.len()).filter(|at| went[*at].0 == *priority).collect();
        assert!(turns[0] <= most, "nothing of {priority} until {}", turns[0]);
        for turn in turns.windows(2) {
            let (passed, took) =
                (turn[1] - turn[0], went[turn[1]].1.duration_since(went[turn[0]].1).unwrap());
            assert!(passed <= most, "{passed} went between two of {priority}: low ones are not starved");
            let is_alone = went[turn[1]..].iter().all(|(other, _)| *other != HIGH);
            assert!(is_alone || took + spec::TICK >= steps, "two of {priority} within {took:?}");
        }
    }
    assert_eq!(went.last().unwrap().0, HIGH, "all others went before the high ones were at their end");
}
