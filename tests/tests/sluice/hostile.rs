//! Peers that abuse HTTP/2: floods of frames that cost them nothing. Each is hung up on or costs the server nothing that
//! grows; whoever behaves is served all the while.

use std::time::{Duration, Instant};

use sluice_tests::{Setup, Sluiced, spec};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// How long a flood goes on, if it is not hung up on.
const FLOOD: Duration = Duration::from_millis(1_500);
/// Peers of a kind at a time.
const PEERS: usize = 3;
/// How much more memory the server may hold after all of it.
const MAX_GROWTH: u64 = 48 << 20;
/// A peer that begins and then says nothing is hung up on before that.
const PATIENCE: Duration = Duration::from_secs(90);

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// The headers of a call, in HPACK without tables.
fn headers(path: &str) -> Vec<u8> {
    let mut block = vec![0x83, 0x86, 0x04, path.len() as u8];
    block.extend_from_slice(path.as_bytes());
    block.extend_from_slice(b"\x01\x06sluice");
    block.extend_from_slice(b"\x0f\x10\x10application/grpc");
    block.extend_from_slice(b"\x00\x02te\x08trailers");
    block
}

/// One frame after another, for ever.
#[derive(Clone, Copy, Debug)]
enum Flood {
    /// Calls that are given up as soon as they begin.
    Resets,
    /// Headers that never end.
    Continuations,
    /// A body of nothing, for ever.
    EmptyData,
    Pings,
    Settings,
    Priorities,
    WindowUpdates,
    /// Calls that begin and never go on.
    Starts,
}

const FLOODS: [Flood; 8] = [
    Flood::Resets,
    Flood::Continuations,
    Flood::EmptyData,
    Flood::Pings,
    Flood::Settings,
    Flood::Priorities,
    Flood::WindowUpdates,
    Flood::Starts,
];

impl Flood {
    /// What comes before it.
    fn begin(self, out: &mut Vec<u8>) {
        match self {
            Flood::Continuations => frame(out, HEADERS, 0, 1, &headers("/sluice.v1.QueueService/Enqueue")),
            Flood::EmptyData => {
                frame(out, HEADERS, END_HEADERS, 1, &headers("/sluice.v1.QueueService/EnqueueStream"));
            }
            _ => {}
        }
    }

    /// Some hundreds of frames, the first of this number.
    fn next(self, out: &mut Vec<u8>, number: u32) {
        for number in number..number + 256 {
            let stream = 2 * number + 1;
            match self {
                Flood::Resets => {
                    let block = headers("/sluice.v1.QueueService/Enqueue");
                    frame(out, HEADERS, END_HEADERS, stream, &block);
                    frame(out, RST_STREAM, 0, stream, &8_u32.to_be_bytes());
                }
                Flood::Continuations => frame(out, CONTINUATION, 0, 1, b"\x00\x01x\x01y"),
                Flood::EmptyData => frame(out, DATA, 0, 1, b""),
                Flood::Pings => frame(out, PING, 0, 0, &[0; 8]),
                Flood::Settings => frame(out, SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]),
                Flood::Priorities => frame(out, PRIORITY, 0, stream, &[0, 0, 0, 0, 1]),
                Flood::WindowUpdates => frame(out, WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes()),
                Flood::Starts => {
                    let block = headers("/sluice.v1.QueueService/EnqueueStream");
                    frame(out, HEADERS, END_HEADERS, stream, &block);
                }
            }
        }
    }

    /// Floods the server from one connection. Its answers are read only where `reads`.
    async fn run(self, server: std::net::SocketAddr, reads: bool) {
        let Ok(stream) = TcpStream::connect(server).await else { return };
        let (mut from, mut to) = stream.into_split();
        let reading = tokio::spawn(async move {
            let mut buffer = vec![0; 64 << 10];
            while reads && from.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
            from
        });
        let mut out = PREFACE.to_vec();
        frame(&mut out, SETTINGS, 0, 0, b"");
        self.begin(&mut out);
        let end = Instant::now() + FLOOD;
        let mut number = 0;
        while Instant::now() < end {
            let left = end.saturating_duration_since(Instant::now());
            match tokio::time::timeout(left, to.write_all(&out)).await {
                Ok(Ok(())) => {}
                // It was hung up on, or the server takes no more.
                _ => break,
            }
            out.clear();
            self.next(&mut out, number);
            number += 256;
        }
        reading.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_frames_cost_the_server_no_memory_and_nobody_a_call() {
    let mut server = Setup::default().start().await;
    let queue = server.queue("healthy");
    queue.enqueue(spec::jobs("x", 10)).await;
    let address = server.address();
    let mut before = None;
    // Once to warm up, then what it grows by is looked at.
    for round in 0..2 {
        for flood in FLOODS {
            let peers = (0..PEERS).map(|peer| tokio::spawn(flood.run(address, peer > 0)));
            let peers: Vec<_> = peers.collect();
            while !peers.iter().all(tokio::task::JoinHandle::is_finished) {
                queue.enqueue_one(spec::job("healthy")).await;
                let job = queue.lease_next().await;
                queue.ack(&[job]).await;
            }
            assert!(server.is_running(), "{flood:?}");
            if round == 0 && before.is_none() {
                before = Some(server.resident_bytes());
            }
        }
    }
    let growth = server.resident_bytes().saturating_sub(before.unwrap());
    assert!(growth < MAX_GROWTH, "{growth} bytes more");
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
