//! nginx as a vendor: it counts requests by its own rules and answers 429 to those that are too many.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::sluiced::port;

/// A running nginx.
pub struct Nginx {
    directory: TempDir,
    port: u16,
    _child: Child,
}

/// A request as nginx saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// When it was answered, in seconds.
    pub time: f64,
    /// How.
    pub status: u16,
    /// The job's key.
    pub key: String,
    /// The job.
    pub job_id: u64,
}

impl Nginx {
    /// Keys that begin so are told 429 whatever they do; nobody else is held up by them.
    pub const BANNED: &'static str = "banned";

    /// Starts one that admits `30r/s` in all, `burst=5 nodelay`, and for each key `20r/m`, `burst=2 nodelay`.
    pub async fn start() -> Nginx {
        let directory = tempfile::tempdir().unwrap();
        let (port, behind) = (port(), port());
        let at = directory.path().display();
        let banned = Nginx::BANNED;
        let configuration = format!(
            "daemon off; master_process off; pid {at}/pid; error_log {at}/error;
             events {{ worker_connections 1024; }}
             http {{
               client_body_temp_path {at}/body; proxy_temp_path {at}/proxy; fastcgi_temp_path {at}/fastcgi;
               uwsgi_temp_path {at}/uwsgi; scgi_temp_path {at}/scgi;
               log_format referee '$msec $status $http_x_sluice_key $http_idempotency_key';
               limit_req_zone all zone=all:1m rate=30r/s;
               limit_req_zone $http_x_sluice_key zone=key:10m rate=20r/m;
               limit_req_status 429;
               server {{
                 listen 127.0.0.1:{port};
                 access_log {at}/access referee;
                 if ($http_x_sluice_key ~ ^{banned}) {{ return 429; }}
                 location / {{
                   limit_req zone=all burst=5 nodelay;
                   limit_req zone=key burst=2 nodelay;
                   proxy_pass http://127.0.0.1:{behind};
                 }}
               }}
               server {{ listen 127.0.0.1:{behind}; access_log off; return 200 sent; }}
             }}"
        );
        let file = directory.path().join("nginx.conf");
        fs::write(&file, configuration).unwrap();
        let child = Command::new("nginx")
            .arg("-c")
            .arg(&file)
            .args(["-e", "stderr"])
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("nginx is installed: ./test does it");
        let nginx = Nginx { directory, port, _child: child };
        for _ in 0..200 {
            if tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                return nginx;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("nginx does not listen: {}", fs::read_to_string(nginx.path("error")).unwrap_or_default());
    }

    /// Where to post.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// Every request so far, in the order of their answers.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        let log = fs::read_to_string(self.path("access")).unwrap();
        log.lines()
            .map(|line| {
                let [time, status, key, job_id] = line.split(' ').collect::<Vec<_>>()[..] else {
                    panic!("not of the referee's format: {line}")
                };
                let key = key.to_owned();
                Seen {
                    time: time.parse().unwrap(),
                    status: status.parse().unwrap(),
                    key,
                    job_id: job_id.parse().unwrap(),
                }
            })
            .collect()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}
