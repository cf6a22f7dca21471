//! Floods of frames that cost a peer nothing.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::peer::{
    CONTINUATION, DATA, END_HEADERS, HEADERS, PING, PREFACE, PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE,
    frame, headers,
};

/// One frame after another, for ever.
#[derive(Clone, Copy, Debug)]
pub enum Flood {
    /// Calls that are given up as soon as they begin.
    Resets,
    /// Headers that never end.
    Continuations,
    /// A body of nothing, for ever.
    EmptyData,
    /// Is anybody there?
    Pings,
    /// Other settings each time.
    Settings,
    /// Of streams that there are not.
    Priorities,
    /// A byte more each time.
    WindowUpdates,
    /// Calls that begin and never go on.
    Starts,
}

impl Flood {
    /// All of them.
    pub const ALL: [Flood; 8] = [
        Flood::Resets,
        Flood::Continuations,
        Flood::EmptyData,
        Flood::Pings,
        Flood::Settings,
        Flood::Priorities,
        Flood::WindowUpdates,
        Flood::Starts,
    ];

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

    /// Floods the server for so long from one connection, if it is not hung up on. Its answers are read only where `reads`.
    pub async fn run(self, server: SocketAddr, reads: bool, span: Duration) {
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
        let end = Instant::now() + span;
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
