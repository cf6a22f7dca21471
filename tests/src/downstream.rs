//! An HTTP service that `sluice work --http` posts to: it keeps what came, and answers, dawdles and breaks off as a
//! test wants it. Written out byte by byte, because no well-bred server would do most of that.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// How long something may take that has to come: far more than it ever needs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A request that came.
#[derive(Clone, Debug)]
pub struct Call {
    /// Its first line.
    pub line: String,
    /// Its headers, names in small letters; of a name that comes twice the last.
    pub headers: BTreeMap<String, String>,
    /// Its body.
    pub body: Vec<u8>,
    /// When all of it was there.
    pub time: SystemTime,
    /// How many came before with the same `idempotency-key`.
    pub before: usize,
}

/// What is answered.
#[derive(Clone, Debug)]
pub struct Answer {
    status: u16,
    headers: String,
    body: Vec<u8>,
    when: When,
    end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    AtOnce,
    After(Duration),
    OnRelease,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Whole,
    /// The connection ends before a word is said.
    Wordless,
    /// The connection ends in the middle of the body.
    InTheMiddle,
    /// The middle of the body is where it stops, and the connection stays.
    Never,
}

/// The service. Dropped, it is gone, with every connection.
pub struct Downstream {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

struct Shared {
    decide: Box<dyn Fn(&Call) -> Answer + Send + Sync>,
    seen: watch::Sender<Seen>,
    released: watch::Sender<bool>,
}

#[derive(Default)]
struct Seen {
    calls: Vec<Call>,
    connections: usize,
    given_up: usize,
}

impl Answer {
    /// At once, with this status and no more.
    #[must_use]
    pub fn new(status: u16) -> Answer {
        Answer { status, headers: String::new(), body: Vec::new(), when: When::AtOnce, end: End::Whole }
    }

    /// With a body.
    #[must_use]
    pub fn body(self, body: impl Into<Vec<u8>>) -> Answer {
        Answer { body: body.into(), ..self }
    }

    /// With one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Answer {
        self.headers.push_str(&format!("{name}: {value}\r\n"));
        self
    }

    /// Not before this has passed.
    #[must_use]
    pub fn after(self, wait: Duration) -> Answer {
        Answer { when: When::After(wait), ..self }
    }

    /// Not before [`Downstream::release`].
    #[must_use]
    pub fn held(self) -> Answer {
        Answer { when: When::OnRelease, ..self }
    }

    /// None: the connection ends.
    #[must_use]
    pub fn wordless() -> Answer {
        Answer { end: End::Wordless, ..Answer::new(200) }
    }

    /// The connection ends in the middle of the body.
    #[must_use]
    pub fn cut(self) -> Answer {
        Answer { end: End::InTheMiddle, ..self }
    }

    /// In the middle of the body nothing more comes.
    #[must_use]
    pub fn endless(self) -> Answer {
        Answer { end: End::Never, ..self }
    }
}

impl Downstream {
    /// A service that answers as `decide` says.
    pub async fn start(decide: impl Fn(&Call) -> Answer + Send + Sync + 'static) -> Downstream {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            decide: Box::new(decide),
            seen: watch::Sender::default(),
            released: watch::Sender::new(false),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Downstream { address, shared, accepting }
    }

    /// Where to post to.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/hook?from=sluice", self.address)
    }

    /// Every call so far, in the order of arrival.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.shared.seen.borrow().calls.clone()
    }

    /// How many connections were made.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.seen.borrow().connections
    }

    /// Waits until so many calls have come.
    pub async fn until_calls(&self, count: usize) {
        self.until(|seen| seen.calls.len() >= count).await;
    }

    /// Waits until so many callers have gone without waiting for their answer.
    pub async fn until_given_up(&self, count: usize) {
        self.until(|seen| seen.given_up >= count).await;
    }

    /// Lets go of every answer that is held, now and later.
    pub fn release(&self) {
        self.shared.released.send_replace(true);
    }

    async fn until(&self, reached: impl Fn(&Seen) -> bool) {
        let mut seen = self.shared.seen.subscribe();
        let reached = tokio::time::timeout(PATIENCE, seen.wait_for(|seen| reached(seen))).await;
        reached.expect("it comes there").unwrap();
    }
}

impl Drop for Downstream {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        shared.seen.send_modify(|seen| seen.connections += 1);
        connections.spawn(serve(BufReader::new(stream), Arc::clone(&shared)));
    }
}

/// One connection, call after call. It ends with the caller's.
async fn serve(mut stream: BufReader<TcpStream>, shared: Arc<Shared>) -> Option<()> {
    loop {
        let mut call = read(&mut stream).await?;
        shared.seen.send_modify(|seen| {
            let key = call.headers.get("idempotency-key");
            let same = |other: &&Call| other.headers.get("idempotency-key") == key;
            call.before = seen.calls.iter().filter(same).count();
            seen.calls.push(call.clone());
        });
        let answer = (shared.decide)(&call);
        let mut released = shared.released.subscribe();
        let time_has_come = async {
            match answer.when {
                When::AtOnce => {}
                When::After(wait) => tokio::time::sleep(wait).await,
                When::OnRelease => drop(released.wait_for(|released| *released).await),
            }
        };
        let is_there = tokio::select! {
            () = time_has_come => true,
            // A caller says no more before it is answered: this is its end.
            _ = stream.fill_buf() => false,
        };
        if !is_there || !write(&mut stream, &answer).await? {
            shared
                .seen
                .send_modify(|seen| seen.given_up += usize::from(!is_there || answer.end == End::Never));
            return None;
        }
    }
}

async fn read(stream: &mut BufReader<TcpStream>) -> Option<Call> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok().filter(|length| *length > 0)?;
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let line = lines.remove(0);
    let header = |line: &String| {
        let (name, value) = line.split_once(": ").expect("a header has a name and a value");
        (name.to_ascii_lowercase(), value.to_owned())
    };
    let headers: BTreeMap<_, _> = lines.iter().map(header).collect();
    let mut body = vec![0; headers["content-length"].parse().expect("a length is a number")];
    stream.read_exact(&mut body).await.ok()?;
    Some(Call { line, headers, body, time: SystemTime::now(), before: 0 })
}

/// Whether the connection goes on.
async fn write(stream: &mut BufReader<TcpStream>, answer: &Answer) -> Option<bool> {
    if answer.end == End::Wordless {
        return Some(false);
    }
    let Answer { status, headers, body, .. } = answer;
    let length = body.len();
    let mut text = format!("HTTP/1.1 {status} So\r\ncontent-length: {length}\r\n{headers}\r\n").into_bytes();
    let said = if answer.end == End::Whole { length } else { length / 2 };
    text.extend_from_slice(&body[..said]);
    stream.write_all(&text).await.ok()?;
    if answer.end == End::Never {
        // Until the caller has enough of it.
        let _ = stream.fill_buf().await;
    }
    Some(answer.end == End::Whole)
}
