//! What an operator can set: a flag goes before a `SLUICED_*` variable, that before the file, that before
//! the default. A [`Config`] that was loaded is within its bounds.
//!
//! Knows nothing of what the settings do.

mod flag;
mod load;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sluice_engine::bound::{DEFAULT_IDEMPOTENCY_KEYS, DEFAULT_PAYLOAD_BYTES, MAX_PAYLOAD_BYTES};

pub use flag::{Flags, Task};
pub use load::{ConfigError, Loaded};

use crate::bound::{DEFAULT_MAILBOX_BYTES, DEFAULT_MAILBOX_CALLS};

/// Every setting of `sluiced`. The name of a field is its key in the file; in capitals, after `SLUICED_`,
/// its variable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where gRPC is served. Port 0 takes any that is free. Default `127.0.0.1:7070`.
    pub listen: SocketAddr,
    /// Where `/healthz`, `/readyz` and `/stats` are served. Port 0 takes any that is free. Default `127.0.0.1:7071`.
    pub http: SocketAddr,
    /// The directory of the store, made if it is not there. Default `./sluice-data`.
    pub data_dir: PathBuf,
    /// Whether Lease, Drain, watches and status answer `NOT_FOUND` for a queue that does not exist; else
    /// it is an empty queue. Default false.
    pub strict_queues: bool,
    /// Whether to listen beyond this machine though callers need not say who they are. Default false.
    pub insecure_no_auth: bool,
    /// The file that says who may call and what they may do; none, the default: nobody is asked. It is read again
    /// when it changes.
    pub auth_file: Option<PathBuf>,
    /// The server's certificate and those that lead to it, as PEM; none, the default: no TLS. Read again when
    /// it changes, as the two below are.
    pub tls_cert: Option<PathBuf>,
    /// The key of the certificate, as PEM.
    pub tls_key: Option<PathBuf>,
    /// Certificates of who signs those of clients, as PEM; none, the default: clients need none.
    pub tls_client_ca: Option<PathBuf>,
    /// Whether to start though sled cannot be made to sync for real, so that a power loss can cost
    /// acknowledged jobs. Default false.
    pub insecure_no_sync_filter: bool,

    /// Bytes of a segment of the log. 1 MiB to 1 GiB, default 64 MiB.
    pub log_segment_bytes: u64,
    /// Bytes that the log may use before what lives long moves home. At least four segments, at most
    /// 1 TiB; 0, the default, is 1 GiB or a tenth of the disk, whichever is less.
    pub log_budget_bytes: u64,

    /// Bytes of a payload. 1 to 3 MiB, default 1 MiB.
    pub max_payload_bytes: usize,
    /// Idempotency keys that are remembered, over all queues; each costs some 60 bytes of memory. 1 to
    /// 1,000,000,000, default 10,000,000.
    pub max_idempotency_keys: u64,
    /// Calls and jobs a second that one caller may make. At most 1,000,000,000; 0, the default, is no limit.
    pub request_rate: u32,
    /// Calls and jobs that one caller may make at once under `request_rate`. At most 1,000,000,000; 0, the
    /// default, is one second's worth.
    pub request_burst: u32,
    /// Connections. 1 to 1,000,000, default 4,096.
    pub max_connections: usize,
    /// Connections from one address. 1 to 1,000,000, default 1,024.
    pub max_connections_per_address: usize,
    /// Calls at work at a time; those that wait, for a job or a change, do not count. 1 to 1,000,000,
    /// default 8,192.
    pub max_in_flight: usize,
    /// Calls that one caller may have open, those that wait among them. 1 to 1,000,000, default 4,096.
    pub max_calls_per_caller: usize,
    /// Calls that may wait for the writer. 1 to 1,000,000, default 16,384.
    pub mailbox_calls: usize,
    /// Bytes of calls that may wait for the writer. 1 MiB to 16 GiB, default 64 MiB.
    pub mailbox_bytes: usize,
    /// Threads that serve calls. At most 1,024; 0, the default, is one for each processor.
    pub worker_threads: usize,
    /// Seconds that calls may take to finish when the server stops. At most 3,600, default 10.
    pub stop_grace_seconds: u64,

    /// How log lines look: `text` or `json`. Default `text`.
    pub log_format: LogFormat,
    /// What is logged: `error`, `warn`, `info`, `debug`, `trace`, or directives such as
    /// `info,sluice_server=debug`. Default `info`.
    pub log_level: String,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs: an object a line.
    Json,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 7070)),
            http: SocketAddr::from((Ipv4Addr::LOCALHOST, 7071)),
            data_dir: PathBuf::from("./sluice-data"),
            strict_queues: false,
            insecure_no_auth: false,
            auth_file: None,
            tls_cert: None,
            tls_key: None,
            tls_client_ca: None,
            insecure_no_sync_filter: false,
            log_segment_bytes: 64 << 20,
            log_budget_bytes: 0,
            max_payload_bytes: DEFAULT_PAYLOAD_BYTES,
            max_idempotency_keys: DEFAULT_IDEMPOTENCY_KEYS,
            request_rate: 0,
            request_burst: 0,
            max_connections: 4_096,
            max_connections_per_address: 1_024,
            max_in_flight: 8_192,
            max_calls_per_caller: 4_096,
            mailbox_calls: DEFAULT_MAILBOX_CALLS,
            mailbox_bytes: DEFAULT_MAILBOX_BYTES,
            worker_threads: 0,
            stop_grace_seconds: 10,
            log_format: LogFormat::Text,
            log_level: "info".to_owned(),
        }
    }
}

impl Config {
    /// What is out of bounds, all at once; nothing when it may be used.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        const MIB: u64 = 1 << 20;
        let mut problems = Vec::new();
        let mut bound = |name: &str, value: u64, low: u64, high: u64| {
            if !(low..=high).contains(&value) {
                problems.push(format!("{name} is {value}, and must be {low} to {high}"));
            }
        };
        bound("log_segment_bytes", self.log_segment_bytes, MIB, 1 << 30);
        if self.log_budget_bytes != 0 {
            let least = self.log_segment_bytes.saturating_mul(MIN_BUDGET_SEGMENTS);
            bound("log_budget_bytes", self.log_budget_bytes, least, 1 << 40);
        }
        bound("max_payload_bytes", self.max_payload_bytes as u64, 1, MAX_PAYLOAD_BYTES as u64);
        bound("max_idempotency_keys", self.max_idempotency_keys, 1, 1_000_000_000);
        bound("request_rate", self.request_rate.into(), 0, 1_000_000_000);
        bound("request_burst", self.request_burst.into(), 0, 1_000_000_000);
        bound("max_connections", self.max_connections as u64, 1, 1_000_000);
        bound("max_connections_per_address", self.max_connections_per_address as u64, 1, 1_000_000);
        bound("max_in_flight", self.max_in_flight as u64, 1, 1_000_000);
        bound("max_calls_per_caller", self.max_calls_per_caller as u64, 1, 1_000_000);
        bound("mailbox_calls", self.mailbox_calls as u64, 1, 1_000_000);
        bound("mailbox_bytes", self.mailbox_bytes as u64, MIB, 16 << 30);
        bound("worker_threads", self.worker_threads as u64, 0, 1_024);
        bound("stop_grace_seconds", self.stop_grace_seconds, 0, 3_600);

        for (name, address) in [("listen", self.listen), ("http", self.http)] {
            if !address.ip().is_loopback() && self.auth_file.is_none() && !self.insecure_no_auth {
                problems.push(format!(
                    "{name} is {address}, which others can reach, and callers need not say who they are: \
                     name them with --auth-file, listen on 127.0.0.1, or say --insecure-no-auth if something \
                     else keeps strangers out"
                ));
            }
        }
        if self.tls_cert.is_some() != self.tls_key.is_some() {
            problems.push("tls_cert and tls_key need each other: one is missing".to_owned());
        }
        if self.tls_client_ca.is_some() && self.tls_cert.is_none() {
            problems.push("tls_client_ca needs tls_cert and tls_key".to_owned());
        }
        problems
    }
}

/// One segment is written, one is ready, one moves home, and one is in reserve.
const MIN_BUDGET_SEGMENTS: u64 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_is_in_the_documentation() {
        let page = include_str!("../../docs/CONFIGURATION.md");
        let settings = serde_json::to_value(Config::default()).unwrap();
        let settings = settings.as_object().unwrap();
        for (name, default) in settings {
            let row = page.lines().find(|line| line.starts_with(&format!("| `{name}` |")));
            let row = row.unwrap_or_else(|| panic!("{name} is missing"));
            let default = match default {
                serde_json::Value::Null => "none".to_owned(),
                other => other.as_str().map_or_else(|| other.to_string(), str::to_owned),
            };
            assert!(row.replace('`', "").contains(&format!("| {default} |")), "{name}: {default} in {row}");
        }
        let rows = page.split("## ").next().unwrap().lines().filter(|line| line.starts_with("| `")).count();
        assert_eq!(rows, settings.len(), "a row for what is no setting");
    }

    #[test]
    fn defaults_are_within_their_bounds() {
        assert_eq!(Config::default().problems(), Vec::<String>::new());
    }

    #[test]
    fn every_setting_out_of_bounds_is_named_at_once() {
        let config = Config {
            log_segment_bytes: 1,
            max_payload_bytes: MAX_PAYLOAD_BYTES + 1,
            mailbox_calls: 0,
            stop_grace_seconds: 3_601,
            ..Config::default()
        };
        let problems = config.problems().join("\n");
        for name in ["log_segment_bytes", "max_payload_bytes", "mailbox_calls", "stop_grace_seconds"] {
            assert!(problems.contains(name), "{name} is missing in {problems}");
        }
        assert_eq!(config.problems().len(), 4);
    }

    #[test]
    fn budget_of_the_log_holds_four_segments() {
        let config =
            |log_budget_bytes| Config { log_segment_bytes: 1 << 20, log_budget_bytes, ..Config::default() };
        assert_eq!(config(4 << 20).problems().len(), 0);
        assert_eq!(config((4 << 20) - 1).problems().len(), 1);
        assert_eq!(config(0).problems().len(), 0);
    }

    #[test]
    fn certificate_and_key_need_each_other() {
        let file = || Some(PathBuf::from("f.pem"));
        assert_eq!(Config { tls_cert: file(), ..Config::default() }.problems().len(), 1);
        assert_eq!(Config { tls_key: file(), ..Config::default() }.problems().len(), 1);
        assert_eq!(Config { tls_client_ca: file(), ..Config::default() }.problems().len(), 1);
        let whole = Config { tls_cert: file(), tls_key: file(), tls_client_ca: file(), ..Config::default() };
        assert_eq!(whole.problems().len(), 0);
    }

    #[test]
    fn strangers_are_kept_out_unless_told_otherwise() {
        let mut config = Config { listen: "0.0.0.0:7070".parse().unwrap(), ..Config::default() };
        assert_eq!(config.problems().len(), 1);
        config.http = "[::]:7071".parse().unwrap();
        assert_eq!(config.problems().len(), 2);
        let known = Config { auth_file: Some("auth.toml".into()), ..config.clone() };
        assert_eq!(known.problems().len(), 0);
        config.insecure_no_auth = true;
        assert_eq!(config.problems().len(), 0);
        let local = Config { listen: "[::1]:7070".parse().unwrap(), ..Config::default() };
        assert_eq!(local.problems().len(), 0);
    }
}
