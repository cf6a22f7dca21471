//! The program `sluice`: a command line over the library. Results go to stdout, all else to stderr.
//! One file a command; knows nothing of connections.

mod ack;
mod argument;
mod backup;
mod batch;
mod bench;
mod cancel;
mod completion;
mod dead;
mod drain;
mod enqueue;
mod error;
mod explain;
mod extend;
mod get;
mod jobs;
mod keys;
mod lease;
mod limit;
mod log;
mod nack;
mod output;
mod queue;
mod signal;
mod stats;
mod update;
mod view;
mod watch;
mod work;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::{Args, Parser, Subcommand};

use self::{
    argument::span,
    error::CliError,
    output::{Format, Output},
};
use crate::Client;

/// The heading of the options that every command takes.
const GLOBAL: &str = "Global options";
/// Connections of every command but `bench`, which says its own.
const CONNECTIONS: usize = 4;

/// Sluice, a durable queue for calling services that limit your rate.
///
/// Results go to stdout, all else to stderr. Exit codes: 0 ok, 2 wrong usage, 3 nothing there (an empty
/// lease, or not found), otherwise 64 and the gRPC code, such as 78 when there is no server. A command
/// with many items exits with the first item's error.
#[derive(Debug, Parser)]
#[command(name = "sluice", version, max_term_width = 100)]
#[command(after_help = "Example:\n  sluice enqueue --queue mail --payload hello --priority 7")]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Global {
    /// The server.
    #[arg(
        long,
        env = "SLUICE_ADDR",
        default_value = "http://127.0.0.1:7070",
        global = true,
        help_heading = GLOBAL,
        value_name = "URL"
    )]
    addr: String,
    /// A file whose first line is the bearer token to send. The variable SLUICE_TOKEN holds the token
    /// itself and goes before. Default: none.
    #[arg(long, env = "SLUICE_TOKEN_FILE", global = true, help_heading = GLOBAL, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Certificates of who signed the server's, as PEM, for an address that begins with https. Default: whom
    /// the system trusts.
    #[arg(long, env = "SLUICE_CA_FILE", global = true, help_heading = GLOBAL, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// The certificate to show to servers that ask for one, as PEM; goes with --key-file. Default: none.
    #[arg(long, env = "SLUICE_CERT_FILE", global = true, help_heading = GLOBAL, value_name = "FILE")]
    cert_file: Option<PathBuf>,
    /// The key of that certificate, as PEM.
    #[arg(long, env = "SLUICE_KEY_FILE", global = true, help_heading = GLOBAL, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// How results are printed: for people, as one JSON value, or as a JSON value a line.
    #[arg(short, long, value_enum, default_value = "table", global = true, help_heading = GLOBAL)]
    output: Format,
    /// How long a call may take with all its repetitions, such as 500ms, 30s or 2m.
    #[arg(long, default_value = "30s", value_parser = span, global = true, help_heading = GLOBAL, value_name = "SPAN")]
    timeout: Duration,
}

#[derive(Debug, Subcommand)]
enum Command {
    Enqueue(Box<enqueue::Enqueue>),
    Get(get::Get),
    Explain(explain::Explain),
    Lease(lease::Lease),
    Ack(ack::Ack),
    Nack(nack::Nack),
    Extend(extend::Extend),
    Cancel(cancel::Cancel),
    Update(update::Update),
    /// Jobs that belong together.
    #[command(subcommand)]
    Batch(batch::Batch),
    Work(work::Work),
    Watch(watch::Watch),
    Drain(drain::Drain),
    /// Settings and capacity of queues.
    #[command(subcommand)]
    Queue(queue::Queue),
    /// Limits that queues share, and tokens without a job.
    #[command(subcommand)]
    Limit(limit::Limit),
    Keys(keys::Keys),
    /// The dead-letter tree.
    #[command(subcommand)]
    Dead(dead::Dead),
    /// Jobs in any state.
    #[command(subcommand)]
    Jobs(jobs::Jobs),
    Stats(stats::Stats),
    Backup(backup::Backup),
    /// Measure a server, beside what its machine could do.
    #[command(subcommand)]
    Bench(bench::Bench),
    Completion(completion::Completion),
}

/// What every command works with.
struct Session {
    client: Client,
    output: Output,
    global: Global,
}

/// Runs the command that the arguments name.
pub async fn main() -> ExitCode {
    let cli = Cli::parse();
    log::init();
    match run(cli).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error.print();
            ExitCode::from(error.exit_code())
        }
    }
}

async fn run(cli: Cli) -> Result<(), CliError> {
    let output = Output::new(cli.global.output);
    let client = client(&cli.global, CONNECTIONS)?;
    let session = Session { client, output, global: cli.global };
    match cli.command {
        Command::Enqueue(command) => command.run(&session).await,
        Command::Get(command) => command.run(&session).await,
        Command::Explain(command) => command.run(&session).await,
        Command::Lease(command) => command.run(&session).await,
        Command::Ack(command) => command.run(&session).await,
        Command::Nack(command) => command.run(&session).await,
        Command::Extend(command) => command.run(&session).await,
        Command::Cancel(command) => command.run(&session).await,
        Command::Update(command) => command.run(&session).await,
        Command::Batch(command) => command.run(&session).await,
        Command::Keys(command) => command.run(&session).await,
        Command::Work(command) => command.run(&session).await,
        Command::Watch(command) => command.run(&session).await,
        Command::Drain(command) => command.run(&session).await,
        Command::Queue(command) => command.run(&session).await,
        Command::Limit(command) => command.run(&session).await,
        Command::Dead(command) => command.run(&session).await,
        Command::Jobs(command) => command.run(&session).await,
        Command::Stats(command) => command.run(&session).await,
        Command::Backup(command) => command.run(&session).await,
        Command::Bench(command) => command.run(&session).await,
        Command::Completion(command) => command.run(),
    }
}

fn client(global: &Global, connections: usize) -> Result<Client, CliError> {
    let builder = Client::builder(&global.addr).call_timeout(global.timeout).connections(connections);
    let builder = match token(global)? {
        Some(token) => builder.token(token),
        None => builder,
    };
    let builder = match &global.ca_file {
        Some(path) => builder.ca_certificate(read(path)?),
        None => builder,
    };
    let builder = match (&global.cert_file, &global.key_file) {
        (Some(cert), Some(key)) => builder.client_certificate(read(cert)?, read(key)?),
        (None, None) => builder,
        _ => return Err(CliError::usage("--cert-file and --key-file need each other: one is missing")),
    };
    Ok(builder.build()?)
}

/// Never an argument: those can be read by everybody on the machine.
fn token(global: &Global) -> Result<Option<String>, CliError> {
    if let Some(token) = std::env::var("SLUICE_TOKEN").ok().filter(|token| !token.is_empty()) {
        return Ok(Some(token));
    }
    let Some(path) = &global.token_file else { return Ok(None) };
    let text = read(path)?;
    Ok(text.lines().next().map(str::to_owned))
}

fn read(path: &Path) -> Result<String, CliError> {
    fs::read_to_string(path)
        .map_err(|error| CliError::usage(format!("cannot read {}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_shows_an_example() {
        fn check(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            if command.has_subcommands() {
                command.get_subcommands().for_each(|sub| check(sub, &path));
            } else {
                let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.contains("Example"), "{path}");
            }
        }
        check(&Cli::command(), "");
    }
}
