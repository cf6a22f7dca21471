//! Ten thousand callers wait for room in one queue. By itself, for it needs the machine: a call waits for 60 s at
//! most, and each of these begins only when the one before it is known to wait.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed, and says where")]
#![allow(clippy::print_stderr, reason = "what a failed test has to say")]

use std::collections::{BTreeMap, BTreeSet};

use sluice_proto::v1::{EnqueueRequest, OverflowPolicy, Queue as Settings};
use sluice_tests::{Queue, Setup, Sluiced, spec};
use tokio::task::JoinHandle;
use tonic::Status;

const CALLERS: usize = 10_000;
/// A connection has at most 1,024 calls at a time.
const CONNECTIONS: usize = 16;
const CAPACITY: u64 = 100;

/// How many jobs the caller `n` brings: what comes in by halves would be seen.
fn jobs_of(n: usize) -> usize {
    1 + n % 3
}

/// Enqueues the jobs of the caller `n`, and waits for room; gives their ids.
async fn call(queue: Queue, n: usize) -> Result<Vec<String>, Status> {
    let request = queue.enqueue_request(vec![spec::job(&n.to_string()); jobs_of(n)]);
    let wait_timeout = Some(spec::millis(60_000));
    let answer = queue.enqueue_by(EnqueueRequest { wait_timeout, ..request }).await?;
    Ok(answer.jobs.into_iter().map(|job| job.job_id).collect())
}

/// Callers one after another, each once the one before it waits.
async fn line_up(server: &Sluiced, queue: &Queue) -> Vec<JoinHandle<Result<Vec<String>, Status>>> {
    let connections: Vec<Queue> = (0..CONNECTIONS).map(|_| server.queue(queue.name())).collect();
    let mut callers = Vec::new();
    for n in 0..CALLERS {
        callers.push(tokio::spawn(call(connections[n % CONNECTIONS].clone(), n)));
        while queue.status().await.waiting_enqueues <= n as u64 {
            assert!(!callers[n].is_finished(), "{:?}", callers.pop().unwrap().await);
        }
    }
    callers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s4_1_ten_thousand_callers_wait_for_room_and_half_of_them_give_up() {
    let seed = fastrand::u64(..1_000_000);
    eprintln!("seed {seed}");
    let mut chance = fastrand::Rng::with_seed(seed);
    let setup = Setup::default().environment("SLUICED_MAX_CALLS_PER_CALLER", "16384");
    let mut server = setup.start().await;
    let queue = server.queue("crowd");
    let settings =
        Settings { retention_bytes: Some(1 << 30), ..spec::bounded(CAPACITY, OverflowPolicy::Wait) };
    queue.put(settings).await;
    queue.enqueue(spec::jobs("first", CAPACITY as usize)).await;
    let callers = line_up(&server, &queue).await;

    // A quarter gives up before there is any room, a quarter about when its turn comes.
    let mut order: Vec<usize> = (0..CALLERS).collect();
    chance.shuffle(&mut order);
    let (early, late) = order[..CALLERS / 2].split_at(CALLERS / 4);
    let given_up: BTreeSet<usize> = order[..CALLERS / 2].iter().copied().collect();
    early.iter().for_each(|n| callers[*n].abort());
    let waiting = (CALLERS - early.len()) as u64;
    queue.until(|status| status.waiting_enqueues == waiting).await;
    assert_eq!(queue.status().await.jobs, CAPACITY, "who gave up left no trace");
    let mut late: Vec<usize> = late.to_vec();
    late.sort_unstable_by(|one, other| other.cmp(one));

    let mut delivered: Vec<(String, usize)> = Vec::new();
    loop {
        let leased = queue.lease(chance.u32(1..=60)).await;
        if !leased.is_empty() {
            queue.ack(&leased).await;
        }
        let numbers = leased.iter().filter_map(|job| Some((spec::id(job), spec::text(job).parse().ok()?)));
        delivered.extend(numbers);
        // Who comes next and will not wait for it: while it may be served just now.
        let front = delivered.last().map_or(0, |(_, n)| *n) + CAPACITY as usize + chance.usize(..50);
        while late.last().is_some_and(|n| *n < front) {
            callers[late.pop().unwrap()].abort();
        }
        let status = queue.status().await;
        if leased.is_empty() && status.waiting_enqueues == 0 && status.jobs == 0 && late.is_empty() {
            break;
        }
    }

    let numbers: Vec<usize> = delivered.iter().map(|(_, n)| *n).collect();
    assert!(numbers.is_sorted(), "served in order of arrival");
    let mut ids = BTreeMap::<usize, Vec<&String>>::new();
    for (id, n) in &delivered {
        ids.entry(*n).or_default().push(id);
    }
    for (n, ids) in &ids {
        assert_eq!(ids.len(), jobs_of(*n), "a call is wholly in or not at all, and not twice: {n}");
    }
    let (mut answered, mut in_though_given_up) = (0, 0);
    for (n, caller) in callers.into_iter().enumerate() {
        match caller.await {
            Ok(answer) => {
                let answer = answer.unwrap();
                assert!(ids.get(&n).is_some_and(|ids| ids.iter().copied().eq(&answer)), "it is there: {n}");
                answered += 1;
            }
            Err(_) => {
                assert!(given_up.contains(&n));
                in_though_given_up += usize::from(ids.contains_key(&n));
            }
        }
    }
    assert!(answered >= CALLERS - given_up.len());
    assert_eq!(answered + in_though_given_up, ids.len(), "nothing came in for nobody");
    eprintln!("{answered} answered, {in_though_given_up} in though their callers had gone");
    let totals = queue.status().await.totals.unwrap();
    assert_eq!((totals.enqueued, totals.completed), (CAPACITY + delivered.len() as u64, totals.enqueued));
    server.kill_and_start().await;
    let status = server.queue("crowd").status().await;
    assert_eq!((status.totals.unwrap(), status.jobs, status.waiting_enqueues), (totals, 0, 0));
}
