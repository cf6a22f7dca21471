//! A backup that is not as it was written, and a restore that cannot be: refused, and no store is left to serve.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use sluice_proto::v1::{JobSpec, NackReason};
use sluice_tests::{Setup, Sluiced, binary, cli, spec, task};
use tempfile::TempDir;
use tokio::process::Command;

use crate::backup::back_up;

/// A directory with a backup of a queue with jobs in some states.
async fn backed_up() -> (TempDir, PathBuf) {
    let server = Sluiced::fresh().await;
    let queue = server.queue("q");
    queue.put(spec::retrying(5, Duration::from_secs(3_600))).await;
    queue.enqueue(spec::jobs("x", 40)).await;
    let out = queue.lease(4).await;
    queue.ack(&out[..1]).await;
    queue.nack(&out[1], NackReason::Rejected).await;
    queue.nack(&out[2], NackReason::Failed).await;
    queue.enqueue_one(JobSpec { delay: Some(spec::millis(3_600_000)), ..spec::job("later") }).await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("backup");
    back_up(&server, &file).await;
    (directory, file)
}

/// Asserts that these bytes are refused with a word why, and that nothing is left of them.
async fn assert_refused(directory: &Path, bytes: &[u8], what: &str) {
    let (file, store) = (directory.join("spoiled"), directory.join("store"));
    fs::write(&file, bytes).unwrap();
    let said = task::restore(&file, &store).await;
    assert_eq!(said.code, 1, "{what}: {}{}", said.stdout, said.stderr);
    // Changed at its very beginning it is no backup, or one of a version yet to come.
    let words = ["the backup is ", "it is no backup of Sluice", "it is of layout "];
    let says = words.iter().any(|words| said.stderr.contains(&format!("cannot restore: {words}")));
    assert!(says, "{what}: {}", said.stderr);
    assert!(!said.stderr.contains("panicked"), "{what}: {}", said.stderr);
    assert!(!store.exists(), "{what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backup_cut_short_anywhere_is_refused() {
    let (directory, file) = backed_up().await;
    let whole = fs::read(&file).unwrap();
    let seed = fastrand::u64(..1_000_000);
    eprintln!("seed {seed}");
    let mut chance = fastrand::Rng::with_seed(seed);
    let edges = [0, 1, 7, 8, 9, whole.len() - 40, whole.len() - 4, whole.len() - 1];
    let random = (0..30).map(|_| chance.usize(..whole.len())).collect::<Vec<_>>();
    for length in edges.into_iter().chain(random) {
        let what = format!("cut to {length} of {}", whole.len());
        assert_refused(directory.path(), &whole[..length], &what).await;
    }
    assert_refused(directory.path(), &[&whole[..], b"x"].concat(), "with more behind").await;
    assert_refused(directory.path(), &[&whole[..], &whole[..]].concat(), "twice").await;
    let middle = [&whole[..whole.len() / 3], &whole[whole.len() / 3 + 1..]].concat();
    assert_refused(directory.path(), &middle, "with a byte missing").await;
    assert_refused(directory.path(), &vec![0; whole.len()], "zeros").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backup_with_any_byte_changed_is_refused() {
    let (directory, file) = backed_up().await;
    let whole = fs::read(&file).unwrap();
    let seed = fastrand::u64(..1_000_000);
    eprintln!("seed {seed}");
    let mut chance = fastrand::Rng::with_seed(seed);
    let edges = (0..24).chain(whole.len() - 24..whole.len());
    let random = (0..80).map(|_| chance.usize(..whole.len())).collect::<Vec<_>>();
    for at in edges.chain(random) {
        let mut changed = whole.clone();
        changed[at] ^= 1 << chance.u8(..8);
        assert_refused(directory.path(), &changed, &format!("byte {at} of {}", whole.len())).await;
    }
    let said = task::restore(&file, &directory.path().join("store")).await;
    assert_eq!(said.code, 0, "as it was it is restored: {}", said.stderr);
}

#[tokio::test]
async fn restore_leaves_alone_what_is_in_its_way() {
    let (directory, file) = backed_up().await;
    // Somebody's file.
    let taken = directory.path().join("taken");
    fs::create_dir(&taken).unwrap();
    fs::write(taken.join("letter"), "dear").unwrap();
    let said = task::restore(&file, &taken).await;
    assert_eq!((said.code, said.stderr.contains("is not empty")), (1, true), "{}", said.stderr);
    assert_eq!(fs::read(taken.join("letter")).unwrap(), b"dear");
    assert_eq!(fs::read_dir(&taken).unwrap().count(), 1);
    // A directory that is there and empty, which a spoiled backup leaves as it is.
    let ready = directory.path().join("ready");
    fs::create_dir(&ready).unwrap();
    let spoiled = directory.path().join("spoiled");
    fs::write(&spoiled, &fs::read(&file).unwrap()[1..]).unwrap();
    assert_eq!(task::restore(&spoiled, &ready).await.code, 1);
    assert_eq!(fs::read_dir(&ready).unwrap().count(), 0);
    assert_eq!(task::restore(&file, &ready).await.code, 0);
    // A store, by the same backup a second time.
    let said = task::restore(&file, &ready).await;
    assert_eq!((said.code, said.stderr.contains("is not empty")), (1, true), "{}", said.stderr);
    let checked = task::check(&ready).await;
    assert!(checked.stdout.contains("ok: 41 jobs in 1 queues"), "{}", checked.stdout);
    // No backup at all, and none that can be read.
    for nothing in [directory.path().join("nowhere"), directory.path().to_owned()] {
        let said = task::restore(&nothing, &directory.path().join("store")).await;
        assert_eq!(said.code, 1, "{}", said.stdout);
        assert!(said.stderr.contains("cannot restore: "), "{}", said.stderr);
        assert!(!directory.path().join("store").exists());
    }
}

/// A restore that dies half-way has written a part of a store. Served, it would be a store that lost jobs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restore_that_is_killed_leaves_no_store_that_passes_for_whole() {
    let server = Setup::small_segments().start().await;
    for _ in 0..20 {
        server.queue("q").enqueue(spec::jobs(&"x".repeat(2_000), 500)).await;
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("backup");
    assert_eq!(cli::run(&server, &["backup", file.to_str().unwrap()]).await.code, 0);
    let mut cut = 0;
    for round in 0..6 {
        let store = directory.path().join(format!("store-{round}"));
        let mut restore = Command::new(binary::sluiced())
            .arg("restore")
            .args([&file, &store])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        // From the first file of the store on, a bit later each time.
        while !store.join("log").exists() {
            assert!(restore.try_wait().unwrap().is_none(), "there is a store when a restore is done");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_millis(round * 15)).await;
        if restore.try_wait().unwrap().is_some_and(|status| status.success()) {
            continue;
        }
        restore.kill().await.unwrap();
        cut += 1;
        let said = task::restore(&file, &store).await;
        assert_eq!((said.code, said.stderr.contains("is not empty")), (1, true), "{}", said.stderr);
        if let Some(jobs) = served(&store).await {
            assert_eq!(jobs, 10_000, "round {round}: a part of the backup is served as if it were all");
        }
    }
    assert!(cut > 0, "no restore was slow enough to be killed");
}

/// The jobs that a server on `store` says there are; none when none would start there.
async fn served(store: &Path) -> Option<u64> {
    use tokio::io::{AsyncBufReadExt, BufReader};
    let mut child = Command::new(binary::sluiced())
        .args(["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--data-dir"])
        .arg(store)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = tokio::time::timeout(Duration::from_secs(60), lines.next_line()).await.unwrap().unwrap()?;
    let url = format!("http://{}", line.strip_prefix("listening on ").unwrap());
    let channel = tonic::transport::Endpoint::from_shared(url).unwrap().connect_lazy();
    let jobs = sluice_tests::Queue::new("q", channel).status().await.jobs;
    child.kill().await.unwrap();
    Some(jobs)
}
