//! `sluice backup`.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, IsTerminal, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::{Session, error::CliError, output::remark};

/// Take a backup of everything, while the server serves: for `sluiced restore FILE DIR`. It holds every job
/// that was acknowledged before it began, with its payload. The file gets its name only when it is whole;
/// until then it is FILE.part.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  sluice backup sluice-2026-01-31.backup")]
pub(super) struct Backup {
    /// Where to write it; - is stdout. A file that is there is replaced when the backup is whole.
    #[arg(value_name = "FILE|-")]
    file: PathBuf,
}

/// How often progress is drawn on a terminal.
const DRAW_EVERY: Duration = Duration::from_millis(200);

impl Backup {
    pub(super) async fn run(self, session: &Session) -> Result<(), CliError> {
        if self.file == Path::new("-") {
            let bytes = copy(session, &mut io::stdout()).await?;
            remark(&format!("{bytes} bytes"));
            return Ok(());
        }
        let part = part_of(&self.file);
        // Payloads are for their owner alone.
        let opened = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part);
        let mut file =
            opened.map_err(|error| CliError::usage(format!("cannot write {}: {error}", part.display())))?;
        let copied = match copy(session, &mut file).await {
            Ok(bytes) => finish(&file, &part, &self.file).map(|()| bytes).map_err(CliError::from),
            Err(error) => Err(error),
        };
        match copied {
            Ok(bytes) => {
                remark(&format!("{bytes} bytes in {}", self.file.display()));
                Ok(())
            }
            Err(error) => {
                // Half a backup is of no use. If it cannot be removed, its name still says what it is.
                let _ = fs::remove_file(&part);
                Err(error)
            }
        }
    }
}

/// Writes the backup to `out` as it comes; says how long it is.
async fn copy(session: &Session, out: &mut impl Write) -> Result<u64, CliError> {
    let mut chunks = session.client.backup().await?;
    let bar = progress();
    let mut bytes = 0;
    while let Some(answer) = chunks.message().await.map_err(crate::Error::from)? {
        out.write_all(&answer.chunk)?;
        bytes += answer.chunk.len() as u64;
        bar.set_position(bytes);
    }
    out.flush()?;
    bar.finish_and_clear();
    Ok(bytes)
}

/// On disk before it has its name.
fn finish(file: &File, part: &Path, path: &Path) -> io::Result<()> {
    file.sync_all()?;
    fs::rename(part, path)?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

fn part_of(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".part");
    name.into()
}

fn progress() -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bytes} {binary_bytes_per_sec} {elapsed}");
    let bar = ProgressBar::no_length().with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(DRAW_EVERY);
    bar
}
