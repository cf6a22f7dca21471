//! A real `sluiced`: its process, its data directory and its addresses.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use sluice_proto::v1::admin_service_client::AdminServiceClient;
use sluice_proto::v1::queue_service_client::QueueServiceClient;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tonic::transport::{Channel, Endpoint};

use crate::binary;
use crate::queue::Queue;

/// How long a start or a stop may take before the test fails: far more than either ever needs.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a server is started.
#[derive(Clone, Debug)]
pub struct Setup {
    program: &'static Path,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    /// A command that runs the program: it comes before it.
    under: Vec<String>,
}

/// A running server. Dropped, it is killed and its data is removed.
pub struct Sluiced {
    setup: Setup,
    directory: TempDir,
    data: PathBuf,
    listen: SocketAddr,
    http: SocketAddr,
    child: Option<Child>,
    starts: u32,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup {
            program: binary::sluiced(),
            arguments: Vec::new(),
            environment: Vec::new(),
            under: Vec::new(),
        }
    }
}

impl Setup {
    /// A log so small that jobs soon move home into sled's trees.
    #[must_use]
    pub fn small_segments() -> Setup {
        Setup::default()
            .environment("SLUICED_LOG_SEGMENT_BYTES", "1048576")
            .environment("SLUICED_LOG_BUDGET_BYTES", "4194304")
    }

    /// Another program in place of `sluiced`.
    #[must_use]
    pub fn program(mut self, program: &'static Path) -> Setup {
        self.program = program;
        self
    }

    /// The server with this bug built in (`server/src/planted.rs`).
    #[must_use]
    pub fn planted(self, bug: &str) -> Setup {
        self.program(binary::sluiced_planted()).environment("SLUICE_PLANTED", bug)
    }

    /// With one more argument.
    #[must_use]
    pub fn argument(mut self, argument: &str) -> Setup {
        self.arguments.push(argument.to_owned());
        self
    }

    /// With one more variable in its environment.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Setup {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A server on an empty directory that was not started yet.
    #[must_use]
    pub fn at_rest(self) -> Sluiced {
        let directory = TempDir::new().unwrap();
        Sluiced {
            setup: self,
            data: directory.path().join("data"),
            directory,
            listen: SocketAddr::from(([127, 0, 0, 1], port())),
            http: SocketAddr::from(([127, 0, 0, 1], port())),
            child: None,
            starts: 0,
        }
    }

    /// A server that was not started yet, on a directory `data` that is somebody else's to keep.
    #[must_use]
    pub fn at_rest_on(self, data: &Path) -> Sluiced {
        let mut server = self.at_rest();
        server.data = data.to_owned();
        server
    }

    /// Starts it on an empty directory.
    pub async fn start(self) -> Sluiced {
        self.start_on(|_| std::future::ready(())).await
    }

    /// Starts it on what `make` leaves in the data directory that it is told.
    pub async fn start_on<F: Future<Output = ()>>(self, make: impl FnOnce(PathBuf) -> F) -> Sluiced {
        let mut server = self.at_rest();
        make(server.data()).await;
        server.start().await;
        server
    }
}

impl Sluiced {
    /// A server with default settings, on an empty directory.
    pub async fn fresh() -> Sluiced {
        Setup::default().start().await
    }

    /// Starts it, again on the same directory and port, and waits until it says `listening on`.
    ///
    /// # Panics
    /// When it runs already, or does not come up.
    pub async fn start(&mut self) {
        assert!(self.try_start().await, "sluiced did not come up");
    }

    /// Starts it likewise, and says whether it came up: else it has ended, or is about to.
    ///
    /// # Panics
    /// When it runs already, or does neither.
    pub async fn try_start(&mut self) -> bool {
        self.launch();
        let stdout = self.child.as_mut().and_then(|child| child.stdout.take()).expect("it is piped");
        let mut lines = BufReader::new(stdout).lines();
        let first = tokio::time::timeout(PATIENCE, lines.next_line()).await;
        let Some(line) = first.expect("sluiced comes up or ends").unwrap() else { return false };
        assert_eq!(line, format!("listening on {}", self.listen));
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        true
    }

    /// From its next start on it has one more variable in its environment.
    pub fn set(&mut self, name: &str, value: &str) {
        self.setup.environment.push((name.to_owned(), value.to_owned()));
    }

    /// From its next start on it runs under this command, whose process it must be; nothing: by itself.
    pub fn run_under(&mut self, command: Vec<String>) {
        self.setup.under = command;
    }

    /// Starts it and does not wait until it is up.
    ///
    /// # Panics
    /// When it runs already.
    pub fn launch(&mut self) {
        assert!(self.child.is_none(), "sluiced runs already");
        self.starts += 1;
        let program = self.setup.program.as_os_str();
        let mut words = self.setup.under.iter().map(OsStr::new).chain([program]);
        let child = Command::new(words.next().expect("the program at least"))
            .args(words)
            .arg("--listen")
            .arg(self.listen.to_string())
            .arg("--http")
            .arg(self.http.to_string())
            .arg("--data-dir")
            .arg(self.data())
            .args(&self.setup.arguments)
            .envs(self.setup.environment.iter().map(|(n, v)| (n, v)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(self.log_file()).unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    /// `kill -9`: nothing is finished, nothing is flushed. Returns when the process is gone.
    pub async fn kill(&mut self) {
        let mut child = self.child.take().expect("sluiced runs");
        child.kill().await.unwrap();
    }

    /// `kill -9`, and a start on what that left.
    pub async fn kill_and_start(&mut self) {
        self.kill().await;
        self.start().await;
    }

    /// Asks it to stop, as an operator's system does.
    pub fn terminate(&self) {
        kill_process(self.pid(), Signal::TERM).unwrap();
    }

    /// Asks it to stop, as Ctrl-C does.
    pub fn interrupt(&self) {
        kill_process(self.pid(), Signal::INT).unwrap();
    }

    /// SIGHUP: it is to read its files of identities and certificates again.
    pub fn hang_up(&self) {
        kill_process(self.pid(), Signal::HUP).unwrap();
    }

    /// Waits until it has stopped by itself.
    pub async fn stopped(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("sluiced runs");
        let status = tokio::time::timeout(PATIENCE, child.wait()).await;
        status.expect("sluiced stops when told to").unwrap()
    }

    /// SIGTERM; waits for the end, which must be exit 0.
    pub async fn stop(&mut self) {
        self.terminate();
        let status = self.stopped().await;
        assert_eq!(status.code(), Some(0), "signal {:?}\n{}", status.signal(), self.log());
    }

    /// Whether the process is still there.
    pub fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| child.try_wait().unwrap().is_none())
    }

    /// A client for producers, workers and watchers, with a connection of its own.
    #[must_use]
    pub fn client(&self) -> QueueServiceClient<Channel> {
        QueueServiceClient::new(self.channel())
    }

    /// A client for operators, with a connection of its own.
    #[must_use]
    pub fn admin(&self) -> AdminServiceClient<Channel> {
        AdminServiceClient::new(self.channel())
    }

    /// One queue of it, whether it exists yet or not.
    #[must_use]
    pub fn queue(&self, name: &str) -> Queue {
        Queue::new(name, self.channel())
    }

    /// A new connection, made when it is first used, and made again when it breaks.
    #[must_use]
    pub fn channel(&self) -> Channel {
        Endpoint::from_shared(self.url()).unwrap().tcp_nodelay(true).connect_lazy()
    }

    /// A connection with a window of few messages: what does not fit, the server has to keep back.
    #[must_use]
    pub fn narrow_channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(self.url()).unwrap();
        endpoint.initial_stream_window_size(512).initial_connection_window_size(65_535).connect_lazy()
    }

    /// Where it speaks gRPC.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.listen)
    }

    /// Where it answers HTTP.
    #[must_use]
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// Its data directory.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.data.clone()
    }

    /// What it has logged since it was last started.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// The memory it holds, in bytes.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// The most memory it ever held, in bytes.
    #[must_use]
    pub fn most_resident_bytes(&self) -> u64 {
        self.memory("VmHWM:")
    }

    fn memory(&self, field: &str) -> u64 {
        let pid = self.pid().as_raw_nonzero();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1_024
    }

    /// The time that its threads have spent on processors.
    #[must_use]
    pub fn processor_time(&self) -> Duration {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid().as_raw_nonzero())).unwrap();
        let times = tasks.filter_map(|task| {
            // One may end meanwhile.
            let stat = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
            let nanos = stat.split(' ').next().expect("a split gives something").parse().unwrap();
            Some(Duration::from_nanos(nanos))
        });
        times.sum()
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.listen
    }

    /// Its process, which runs.
    #[must_use]
    pub fn pid(&self) -> Pid {
        let id = self.child.as_ref().and_then(Child::id).expect("sluiced runs");
        Pid::from_raw(i32::try_from(id).unwrap()).unwrap()
    }

    fn log_file(&self) -> PathBuf {
        self.directory.path().join(format!("stderr-{}", self.starts))
    }
}

impl Drop for Sluiced {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let tail = log.len().saturating_sub(8 << 10);
            let tail = (tail..log.len()).find(|at| log.is_char_boundary(*at)).unwrap_or(log.len());
            eprintln!("--- the end of sluiced's log ---\n{}", &log[tail..]);
        }
    }
}

/// A port nobody listens on, below those that the system gives to outgoing connections: a server that
/// is killed finds it free again, and no client of another test can be given it meanwhile.
pub(crate) fn port() -> u16 {
    const FIRST: u16 = 10_000;
    const COUNT: u16 = 20_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let own = u16::try_from(std::process::id() % 200).expect("under 200") * 100;
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + (own + step % COUNT) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port");
}
