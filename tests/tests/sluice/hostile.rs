//! Peers that abuse HTTP/2: floods of frames that cost them nothing. Each is hung up on or costs the server nothing that
//! grows; whoever behaves is served all the while.

use std::time::{Duration, Instant};

use sluice_proto::v1::EnqueueRequest;
use sluice_tests::flood::Flood;
use sluice_tests::peer::{self, PING, PREFACE};
use sluice_tests::{Setup, Sluiced, spec};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long a flood goes on, if it is not hung up on.
const FLOOD: Duration = Duration::from_millis(1_500);
/// Peers of a kind at a time.
const PEERS: usize = 3;
/// What it all may take, calls that are open at the end among it,
const MAX_HELD: u64 = 128 << 20;
/// and how much more it may be when all of it comes once more.
const MAX_GROWTH: u64 = 24 << 20;
/// A peer that begins and then says nothing is hung up on before that.
const PATIENCE: Duration = Duration::from_secs(90);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_frames_cost_the_server_no_memory_and_nobody_a_call() {
    let mut server = Setup::default().start().await;
    let queue = server.queue("healthy");
    queue.enqueue(spec::jobs("x", 10)).await;
    let address = server.address();
    let mut memory = vec![server.resident_bytes()];
    for _ in 0..2 {
        for flood in Flood::ALL {
            let peers = (0..PEERS).map(|peer| tokio::spawn(flood.run(address, peer > 0, FLOOD)));
            let peers: Vec<_> = peers.collect();
            while !peers.iter().all(tokio::task::JoinHandle::is_finished) {
                queue.enqueue_one(spec::job("healthy")).await;
                let job = queue.lease_next().await;
                queue.ack(&[job]).await;
            }
            assert!(server.is_running(), "{flood:?}");
        }
        memory.push(server.resident_bytes());
    }
    let [at_first, warm, after] = memory[..] else { unreachable!() };
    assert!(warm.saturating_sub(at_first) < MAX_HELD, "{at_first} {warm} bytes");
    assert!(after.saturating_sub(warm) < MAX_GROWTH, "{warm} {after} bytes");
    assert!(!server.log().contains("panicked"), "{}", server.log());
    assert_eq!(queue.status().await.totals.unwrap().failed_attempts, 0);
}

#[tokio::test]
async fn peer_that_begins_and_says_no_more_is_hung_up_on() {
    let server = Sluiced::fresh().await;
    let beginnings: [&[u8]; 4] = [b"", b"P", &PREFACE[..20], PREFACE];
    let peers = beginnings.map(|beginning| {
        let address = server.address();
        async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(beginning).await.unwrap();
            let mut answer = Vec::new();
            let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
            (beginning.len(), ended.is_ok())
        }
    });
    for (bytes, is_ended) in futures::future::join_all(peers).await {
        assert!(is_ended, "a peer that sent {bytes} bytes still holds its place after {PATIENCE:?}");
    }
}

/// Answers come no faster than the frames are read, whatever the machine.
#[tokio::test]
async fn frames_that_carry_nothing_are_read_at_a_rate() {
    /// More than a connection may say at once, and what it may say more in a second.
    const PINGS: usize = 40_000;
    const AT_ONCE: usize = 8_192;
    const PER_SECOND: usize = 20_000;
    /// More than the server reads at a time, which it looks at only then.
    const READ_AT_A_TIME: usize = 4_096;
    let server = Sluiced::fresh().await;
    let mut stream = peer::connect(server.address(), [127, 0, 0, 10], &[]).await.unwrap();
    peer::greet(&mut stream).await.unwrap();
    let mut pings = Vec::new();
    (1..PINGS).for_each(|_| peer::frame(&mut pings, PING, 0, 0, b"anybody?"));
    peer::frame(&mut pings, PING, 0, 0, b"the last");

    let begun = Instant::now();
    let (mut from, mut to) = stream.into_split();
    let asking = tokio::spawn(async move {
        to.write_all(&pings).await.unwrap();
        to
    });
    let mut answers = Vec::new();
    while !answers.ends_with(b"the last") {
        assert!(from.read_buf(&mut answers).await.unwrap() > 0, "it hung up");
    }
    let took = begun.elapsed();
    assert!(answers.len() >= PINGS * (9 + 8));
    let at_least = (PINGS - AT_ONCE - READ_AT_A_TIME) as f64 / PER_SECOND as f64;
    assert!(took.as_secs_f64() > at_least, "{took:?}");
    asking.await.unwrap();
}

/// It is refused before its messages are there, and what still comes of them is no mistake of its.
#[tokio::test]
async fn caller_over_its_rate_keeps_its_connection() {
    /// At a time: more than the server remembers as refused. In all: more than it would forgive.
    const CALLS: u32 = 100;
    const ROUNDS: u32 = 20;
    let server = Setup::default().environment("SLUICED_REQUEST_RATE", "1").start().await;
    let request =
        EnqueueRequest { queue: "q".to_owned(), jobs: vec![spec::job("late")], ..EnqueueRequest::default() };
    let mut stream = peer::connect(server.address(), [127, 0, 0, 9], &[]).await.unwrap();
    peer::greet(&mut stream).await.unwrap();
    for round in 0..ROUNDS {
        let streams = || (0..CALLS).map(|call| 2 * (round * CALLS + call) + 1);
        let (mut headers, mut messages) = (Vec::new(), Vec::new());
        for stream in streams() {
            peer::begin_call(&mut headers, stream, "/sluice.v1.QueueService/Enqueue", &request, 0);
            peer::end_call(&mut messages, stream, &request);
        }
        stream.write_all(&headers).await.unwrap();
        tokio::time::sleep(Duration::from_millis(3)).await;
        stream.write_all(&messages).await.unwrap();
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    let ended = tokio::time::timeout(Duration::from_secs(2), peer::keep(stream)).await;
    assert!(ended.is_err(), "hung up on: {ended:?}");
}
