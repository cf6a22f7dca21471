//! A disk that is really full: a small file system of its own, and somebody who fills it.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::fs::statvfs;

use super::clock;
use super::script::{self, Client, QUEUE};
use crate::{Setup, Sluiced};

/// A file system in memory, until it is dropped.
pub struct Mount(PathBuf);

/// What came of the rounds.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Rounds that were gone through.
    pub rounds: usize,
    /// Calls that were refused with `STORAGE_FULL`.
    pub refused: usize,
    /// Jobs that were leased and acked while nothing could be enqueued.
    pub acked: usize,
    /// What was wrong.
    pub wrong: Vec<String>,
}

/// Enough for the ballast, the reserve and a few segments.
const MIB: u64 = 1 << 20;
const SIZE: u64 = 192 * MIB;
/// What whoever fills the disk leaves once the ballast was given up: less than enqueues need, more than leases do.
const LEFT: u64 = 7 * MIB;
/// What is left until the ballast is given up.
const SLACK: u64 = 0;
/// Between requests on a full disk: what comes before the server looks again must not take what is left.
const PAUSE: Duration = Duration::from_millis(20);
/// How long the server may take to see that the disk is full, or is not any more: it looks four times a second.
const PATIENCE: Duration = Duration::from_secs(30);
/// Jobs of one lease.
const MAX_LEASES: usize = 200;
/// Requests of a round at most: they are refused long before.
const MAX_REQUESTS: usize = 400;

impl Mount {
    /// Mounts it; none when that is not permitted.
    #[must_use]
    pub fn on(directory: &Path) -> Option<Mount> {
        fs::create_dir_all(directory).unwrap();
        let size = format!("size={SIZE}");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "sluice-full"]).arg(directory).status();
        mounted.is_ok_and(|status| status.success()).then(|| Mount(directory.to_owned()))
    }

    fn free(&self) -> u64 {
        let stat = statvfs(&self.0).unwrap();
        stat.f_bavail * stat.f_frsize
    }

    /// Somebody's file, which leaves so many bytes.
    fn fill(&self, left: u64) {
        let mut file = File::options().create(true).append(true).open(self.0.join("somebody")).unwrap();
        let block = [0xEE; 64 << 10];
        while self.free() > left {
            let length = (self.free() - left).min(block.len() as u64);
            // The server may have been quicker.
            if file.write_all(&block[..usize::try_from(length).unwrap()]).is_err() {
                break;
            }
        }
    }

    fn clear(&self) {
        fs::remove_file(self.0.join("somebody")).unwrap();
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Fills the disk of a server and clears it, again and again; none when nothing may be mounted here.
pub async fn go_through(setup: Setup, rounds: usize) -> Option<Verdict> {
    let mut server = setup.at_rest();
    let mount = Mount::on(&server.data())?;
    server.start().await;
    let mut client = Client::new(server.queue(QUEUE), 0);
    client.put().await.unwrap();
    let mut verdict = Verdict::default();
    let mut number = 0;
    for round in 0..rounds {
        let gone = one(&mut server, &mount, &mut client, &mut number, &mut verdict).await;
        if let Err(why) = gone {
            verdict.wrong.push(format!("round {round}: {why}\n{}", server.log()));
            break;
        }
        verdict.rounds += 1;
    }
    verdict.refused = client.refused;
    if verdict.wrong.is_empty() {
        server.kill_and_start().await;
        verdict.wrong = client.told.judge(&script::shown(&server).await, clock::now());
    }
    if server.is_running() {
        server.kill().await;
    }
    Some(verdict)
}

async fn one(
    server: &mut Sluiced,
    mount: &Mount,
    client: &mut Client,
    number: &mut usize,
    verdict: &mut Verdict,
) -> Result<(), String> {
    // There is room.
    until_accepted(client, number).await?;
    for _ in 0..3 {
        enqueue(client, number).await?;
    }
    // There is next to none: the ballast goes.
    mount.fill(SLACK);
    let ballast = server.data().join("ballast");
    let given_up = tokio::time::timeout(PATIENCE, async {
        while ballast.exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    given_up.await.map_err(|_| "the ballast is not given up".to_owned())?;
    // What it was is filled too, but for a bit; again and again, for one that was just being made is given up as well.
    let mut requests = 0;
    loop {
        mount.fill(LEFT);
        if enqueue(client, number).await? {
            break;
        }
        requests += 1;
        tokio::time::sleep(PAUSE).await;
        if requests > MAX_REQUESTS {
            return Err("nothing is refused on a full disk".to_owned());
        }
    }
    // What is there is worked off.
    let names = client.lease(24).await.map_err(|error| format!("{error:?}"))?;
    if names.is_empty() {
        return Err("nothing is leased on a full disk".to_owned());
    }
    client.ack(&names).await.map_err(|error| format!("{error:?}"))?;
    verdict.acked += names.len();
    if !server.is_running() {
        return Err("the server ended".to_owned());
    }
    mount.clear();
    until_accepted(client, number).await?;
    work_off(client).await
}

/// Does all that is ready: else the rounds would fill the disk with what they leave behind.
async fn work_off(client: &mut Client) -> Result<(), String> {
    loop {
        let names = client.lease(MAX_LEASES).await.map_err(|error| format!("{error:?}"))?;
        if names.is_empty() {
            return Ok(());
        }
        client.ack(&names).await.map_err(|error| format!("{error:?}"))?;
    }
}

/// Enqueues a round's jobs; whether that was refused.
async fn enqueue(client: &mut Client, number: &mut usize) -> Result<bool, String> {
    let before = client.refused;
    client.enqueue(*number).await.map_err(|error| format!("{error:?}"))?;
    *number += 1;
    Ok(client.refused > before)
}

async fn until_accepted(client: &mut Client, number: &mut usize) -> Result<(), String> {
    let accepted = tokio::time::timeout(PATIENCE, async {
        while enqueue(client, number).await? {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    });
    accepted.await.unwrap_or_else(|_| Err("nothing is accepted though there is room".to_owned()))
}
