//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use serde::Serialize;

/// The Sluice server: a durable queue for calling services that limit your rate.
///
/// Every setting can also be given as a key of the file or as a SLUICED_* variable. A flag goes before a
/// variable, that before the file.
#[derive(Debug, Default, Parser, Serialize)]
#[command(name = "sluiced", version, args_conflicts_with_subcommands = true)]
pub struct Flags {
    /// What to do instead of serving
    #[command(subcommand)]
    #[serde(skip)]
    pub task: Option<Task>,

    /// Read settings from this TOML file
    #[arg(long, value_name = "FILE", env = "SLUICED_CONFIG")]
    #[serde(skip)]
    pub config: Option<PathBuf>,

    /// Serve gRPC here [default: 127.0.0.1:7070]
    #[arg(long, value_name = "ADDR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,

    /// Serve /healthz, /readyz and /stats here [default: 127.0.0.1:7071]
    #[arg(long, value_name = "ADDR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<SocketAddr>,

    /// Keep the queue in this directory [default: ./sluice-data]
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_dir: Option<PathBuf>,

    /// Refuse to lease from, drain or watch a queue that does not exist
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strict_queues: Option<bool>,

    /// Listen beyond this machine though callers need not say who they are
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub insecure_no_auth: Option<bool>,

    /// Let only those call whom this file names (TOML; `sluiced token` makes tokens for it)
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_file: Option<PathBuf>,

    /// Speak TLS with this certificate (PEM)
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_cert: Option<PathBuf>,

    /// The certificate's key (PEM)
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_key: Option<PathBuf>,

    /// Ask clients for certificates that were signed by these (PEM)
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_client_ca: Option<PathBuf>,

    /// Start though a power loss can cost acknowledged jobs, on a system without seccomp filters
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub insecure_no_sync_filter: Option<bool>,
}

/// What `sluiced` does instead of serving.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Task {
    /// Look whether a store is whole, and change nothing in it
    ///
    /// The store must not be in use. What lies in sled is looked at in a copy, made in the directory for
    /// temporary files (TMPDIR). Prints a line for each finding and a summary. Exits 0 when nothing is
    /// wrong, 1 when something is, 2 when the directory cannot be checked.
    Check {
        /// The directory of the store
        #[arg(value_name = "DIR")]
        dir: PathBuf,
    },

    /// Print a new random token, and what to put for it into the file of identities
    ///
    /// The server keeps only the hash: nobody can be told the token again.
    Token,

    /// Make a store of a backup
    ///
    /// The backup must be whole, and the directory empty or not there. The new store holds what the backup
    /// holds, and has an identity of its own.
    Restore {
        /// A backup as `sluice backup` writes it
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// The directory of the new store
        #[arg(value_name = "DIR")]
        dir: PathBuf,
    },
}
