//! What one caller may hold: open calls, requests that it does not finish, answers that it does not read. Each is bounded,
//! and nobody else notices.

use std::net::SocketAddr;
use std::time::Duration;

use sluice_proto::v1::{EnqueueRequest, JobFilter, JobSpec, ListJobsRequest, WatchQueueRequest};
use sluice_tests::guarded::{Guarded, by, identity};
use sluice_tests::{Setup, Sluiced, peer, spec, status};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tonic::Code;

/// What one caller may have under way, and as much again, and half, for what was refused and is not given back yet.
const MAX_GROWTH: u64 = 320 << 20;
/// And what is made of it while it is written.
const MAX_PEAK: u64 = 448 << 20;
/// Memory that comes and goes while nothing happens.
const STIR: u64 = 1 << 20;
/// Seconds that memory may take to be given back.
const MAX_LOOKS: u32 = 30;
/// A setting: bytes of each stream that the server may send ahead.
const INITIAL_WINDOW_SIZE: u16 = 4;

#[tokio::test]
async fn caller_has_so_many_calls_open_and_no_more_and_others_are_none_the_worse() {
    let identities =
        [identity("greedy", "token-1", "*", &["read"]), identity("other", "token-2", "*", &["read"])];
    let setup = Setup::default().environment("SLUICED_MAX_CALLS_PER_CALLER", "20");
    let guarded = Guarded::start_as(setup, &identities.concat()).await;
    let watch = || WatchQueueRequest { queue: "q".to_owned(), min_interval: None };
    // Over however many connections.
    let mut connections = [guarded.server.client(), guarded.server.client()];
    let mut open = Vec::new();
    for number in 0..20 {
        open.push(connections[number % 2].watch_queue(by("token-1", watch())).await.unwrap());
    }
    for client in &mut connections {
        let refused = client.watch_queue(by("token-1", watch())).await;
        status::refused(refused.map(drop), Code::ResourceExhausted, "TOO_MANY_CALLS");
    }
    let other = connections[0].watch_queue(by("token-2", watch())).await;
    assert!(other.is_ok(), "{other:?}");
    // A place is free again once its stream is gone.
    open.pop();
    let again = tokio::time::timeout(Duration::from_secs(30), async {
        while connections[0].watch_queue(by("token-1", watch())).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    again.await.unwrap();
}

#[tokio::test]
async fn one_address_has_so_many_connections_and_no_more() {
    let setup = Setup::default().environment("SLUICED_MAX_CONNECTIONS_PER_ADDRESS", "5");
    let server = setup.start().await;
    let connect = |last: u8| peer::connect(server.address(), [127, 0, 0, last], &[]);
    let mut kept = Vec::new();
    for _ in 0..5 {
        kept.push(tokio::spawn(peer::keep(connect(7).await.unwrap())));
    }
    // It may be reset before all of the preface is written.
    if let Ok(stream) = connect(7).await {
        let ended = tokio::time::timeout(Duration::from_secs(30), peer::keep(stream)).await;
        assert!(ended.is_ok(), "the sixth is hung up on");
    }
    server.queue("q").enqueue_one(spec::job("from another address")).await;
    assert!(kept.iter().all(|kept| !kept.is_finished()));
}

/// A server, and somebody's connections to it.
struct Siege {
    server: Sluiced,
    connections: Vec<tokio::task::JoinHandle<std::io::Result<()>>>,
}

impl Siege {
    async fn start(setup: Setup) -> Siege {
        let server = setup.start().await;
        // What serving costs by itself is not counted.
        Siege::serve(&server).await;
        Siege { server, connections: Vec::new() }
    }

    async fn serve(server: &Sluiced) {
        let queue = server.queue("healthy");
        for _ in 0..20 {
            queue.enqueue_one(spec::job("healthy")).await;
            let job = queue.lease_next().await;
            queue.ack(&[job]).await;
        }
    }

    /// Memory that the server has taken since, once it has read and done what it will. What it answered and could not keep
    /// is given back to the system a while later, as others are served.
    async fn growth_since(&self, before: u64) -> u64 {
        let mut last = 0;
        for _ in 0..MAX_LOOKS {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Siege::serve(&self.server).await;
            let now = self.server.resident_bytes();
            if now.abs_diff(last) < STIR && now.saturating_sub(before) < MAX_GROWTH {
                break;
            }
            last = now;
        }
        self.server.resident_bytes().saturating_sub(before)
    }

    /// One more connection, over which this is said once; so many bytes of each stream may come ahead.
    async fn say(&mut self, frames: Vec<u8>, window: u32) {
        let mut stream = connect(self.server.address(), window).await;
        peer::greet(&mut stream).await.unwrap();
        // Who goes on to write where it was refused may be hung up on.
        let _ = stream.write_all(&frames).await;
        self.connections.push(tokio::spawn(peer::keep(stream)));
    }
}

/// From an address of its own: others have another.
async fn connect(server: SocketAddr, window: u32) -> TcpStream {
    peer::connect(server, [127, 0, 0, 9], &[(INITIAL_WINDOW_SIZE, window)]).await.unwrap()
}

#[tokio::test]
async fn answers_that_nobody_reads_are_bounded() {
    const PAYLOAD: usize = 500_000;
    let mut siege = Siege::start(Setup::default()).await;
    let queue = siege.server.queue("large");
    for number in 0..7 {
        queue.enqueue_one(JobSpec { payload: vec![number; PAYLOAD].into(), ..spec::job("") }).await;
    }
    let request = ListJobsRequest {
        filter: Some(JobFilter { queue: "large".to_owned(), ..JobFilter::default() }),
        page_size: 7,
        include_payload: true,
        ..ListJobsRequest::default()
    };
    let memory = siege.server.resident_bytes();
    // A thousand megabytes and more, if each were made. Some are begun, and some not even that.
    for window in (0..10).map(|number| number % 2) {
        let mut frames = Vec::new();
        for call in 0..40 {
            peer::begin_call(
                &mut frames,
                2 * call + 1,
                "/sluice.v1.AdminService/ListJobs",
                &request,
                usize::MAX,
            );
        }
        siege.say(frames, window).await;
    }
    let growth = siege.growth_since(memory).await;
    assert!(growth < MAX_GROWTH, "{} MiB more", growth >> 20);
    let most = siege.server.most_resident_bytes() - memory;
    assert!(most < MAX_PEAK, "{} MiB more at most", most >> 20);
}

#[tokio::test]
async fn requests_that_are_never_finished_are_bounded() {
    /// What a stream may send ahead, less a bit; all of a connection's together too.
    const SENT: usize = (1 << 20) - 100;
    let mut siege = Siege::start(Setup::default()).await;
    let payload = vec![7; 2 << 20].into();
    let request = EnqueueRequest {
        queue: "large".to_owned(),
        jobs: vec![JobSpec { payload, ..spec::job("") }],
        ..EnqueueRequest::default()
    };
    let memory = siege.server.resident_bytes();
    // Half a thousand megabytes, if each were kept.
    for _ in 0..34 {
        let mut frames = Vec::new();
        for call in 0..15 {
            peer::begin_call(&mut frames, 2 * call + 1, "/sluice.v1.QueueService/Enqueue", &request, SENT);
        }
        siege.say(frames, 1).await;
    }
    let growth = siege.growth_since(memory).await;
    assert!(growth < MAX_GROWTH, "{} MiB more", growth >> 20);
}

#[tokio::test]
async fn slow_writers_of_one_caller_do_not_take_all_places() {
    let setup = Setup::default()
        .environment("SLUICED_MAX_IN_FLIGHT", "64")
        .environment("SLUICED_MAX_CALLS_PER_CALLER", "32");
    let mut siege = Siege::start(setup).await;
    let request = EnqueueRequest {
        queue: "slow".to_owned(),
        jobs: vec![spec::job("never finished")],
        ..EnqueueRequest::default()
    };
    let mut frames = Vec::new();
    for call in 0..100 {
        peer::begin_call(&mut frames, 2 * call + 1, "/sluice.v1.QueueService/Enqueue", &request, 10);
    }
    siege.say(frames, 1).await;
    siege.growth_since(0).await;
}
