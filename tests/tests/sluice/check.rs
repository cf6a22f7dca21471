//! `sluiced check` says whether a store is whole, and where it is not.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sluice_proto::v1::NackReason;
use sluice_tests::{Setup, Sluiced, spec, task};

/// What a payload says that is looked for in the files.
const MARK: &str = "the mark of a dead job ";

/// A stopped server with jobs in the log and at home.
async fn stopped() -> Sluiced {
    let mut server = Setup::small_segments().start().await;
    let queue = server.queue("checked");
    queue.put(spec::retrying(5, Duration::from_secs(3_600))).await;
    queue.enqueue(spec::jobs(&MARK.repeat(40), 50)).await;
    for leased in queue.lease(40).await {
        queue.nack(&leased, NackReason::Rejected).await;
    }
    // More than the log's budget, so that the first segments move home.
    for _ in 0..30 {
        queue.enqueue(spec::jobs(&"x".repeat(2_000), 100)).await;
    }
    let log = server.data().join("log/00000001.log");
    tokio::time::timeout(Duration::from_secs(60), async {
        while log.exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("the first segment moves home");
    server.stop().await;
    server
}

/// Flips a bit wherever `mark` begins in a file; says how often.
fn flip(path: &Path, mark: &[u8]) -> usize {
    let mut bytes = fs::read(path).unwrap();
    let places: Vec<usize> =
        (0..bytes.len() - mark.len()).filter(|at| bytes[*at..].starts_with(mark)).collect();
    places.iter().for_each(|at| bytes[*at] ^= 1);
    fs::write(path, bytes).unwrap();
    places.len()
}

fn segments(server: &Sluiced) -> Vec<PathBuf> {
    let entries = fs::read_dir(server.data().join("log")).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "log"));
    paths.sort();
    paths
}

#[tokio::test]
async fn sound_store_is_ok_after_a_stop_and_after_a_kill() {
    let mut server = stopped().await;
    let said = task::check(&server.data()).await;
    assert!(said.stdout.starts_with("ok: 3050 jobs in 1 queues"), "{}", said.stdout);
    assert_eq!(said.code, 0);
    server.start().await;
    let refused = task::check(&server.data()).await;
    assert_eq!(refused.code, 2, "a store in use cannot be checked");
    assert!(refused.stderr.contains("in use"), "{}", refused.stderr);
    server.queue("checked").enqueue(spec::jobs("last", 3)).await;
    server.kill().await;
    let said = task::check(&server.data()).await;
    assert!(said.stdout.contains("ok: 3053 jobs in 1 queues"), "{}", said.stdout);
    assert_eq!(said.code, 0);
}

#[tokio::test]
async fn flipped_byte_in_the_middle_of_a_segment_is_named() {
    let server = stopped().await;
    let segment = segments(&server).remove(0);
    let mut bytes = fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let said = task::check(&server.data()).await;
    assert_eq!(said.code, 1);
    let number: u64 = segment.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    assert!(said.stdout.starts_with(&format!("segment {number}, offset ")), "{}", said.stdout);
    assert!(said.stdout.contains(&segment.display().to_string()), "{}", said.stdout);
    assert!(said.stdout.ends_with("damaged: 1 findings\n"), "{}", said.stdout);
}

#[tokio::test]
async fn flipped_byte_in_a_file_of_sled_is_named() {
    let server = stopped().await;
    let db = server.data().join("sled/db");
    assert!(flip(&db, MARK.as_bytes()) > 0, "bodies of dead jobs lie in sled");
    let said = task::check(&server.data()).await;
    assert_eq!(said.code, 1);
    assert!(said.stdout.contains(&server.data().join("sled").display().to_string()), "{}", said.stdout);
    let last = said.stdout.lines().last().unwrap();
    assert!(last.starts_with("damaged: "), "{last}");
}

#[tokio::test]
async fn what_is_no_store_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let said = task::check(dir.path()).await;
    assert_eq!(said.code, 2, "{}", said.stderr);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}
