use std::fs;
use std::path::Path;

use sluice_engine::bound::REQUEST_ID_WINDOW;
use sluice_engine::{Attributes, Besides, JobRecord, Loader, QueueId, Span, Timestamp};

use super::job::tests::full_record;
use super::*;

fn open(dir: &Path) -> Home {
    Home::open(&dir.join("sled")).unwrap()
}

fn body(bytes: usize) -> Body {
    Body {
        payload: Some(vec![b'p'; bytes].into()),
        attributes: Attributes {
            labels: vec![("event".into(), "push".into())],
            content_type: "text".into(),
            ..Attributes::default()
        },
        detail: None,
    }
}

fn record(id: u64, state: JobState) -> JobRecord {
    JobRecord { id: JobId(id), state, detail: None, ..full_record() }
}

fn moving(record: JobRecord, as_of: u64) -> MovingJob {
    MovingJob { record, as_of, may_be_home: true, detail_at_rest: false }
}

/// Moves one job in, as the maintenance does.
fn put(home: &Home, job: &MovingJob, body: Option<&Body>) {
    let mut moving = home.moving();
    moving.put_job(job, body).unwrap();
    home.flush().unwrap();
    moving.remove_stale(Timestamp(0)).unwrap();
    home.flush().unwrap();
}

fn rows(home: &Home) -> Vec<(StateTree, u64)> {
    StateTree::ALL
        .into_iter()
        .flat_map(|tree| home.states[tree as usize].iter().keys().map(move |key| (tree, key)))
        .map(|(tree, key)| (tree, job::id(&key.unwrap()).unwrap().0))
        .collect()
}

#[test]
fn job_stands_in_the_tree_of_its_state_alone() {
    let dir = tempfile::tempdir().unwrap();
    let home = open(dir.path());
    let places = [
        (JobState::Scheduled, StateTree::Scheduled),
        (JobState::Ready, StateTree::Ready),
        (JobState::Leased, StateTree::Ready),
        (JobState::Retrying, StateTree::Retry),
        (JobState::Dead, StateTree::Dead),
        (JobState::Drained, StateTree::Dead),
        (JobState::Completed, StateTree::Done),
        (JobState::Cancelled, StateTree::Done),
        (JobState::Expired, StateTree::Done),
        (JobState::Dropped, StateTree::Done),
    ];
    for (as_of, (state, tree)) in (1..).zip(places) {
        put(&home, &moving(record(1, state), as_of), None);
        assert_eq!(rows(&home), [(tree, 1)]);
        let stored = home.stored(tree, JobId(1)).unwrap().unwrap();
        assert_eq!((stored.as_of, stored.record), (as_of, record(1, state)));
    }
}

#[test]
fn until_the_old_row_is_removed_both_are_there() {
    let dir = tempfile::tempdir().unwrap();
    let home = open(dir.path());
    put(&home, &moving(record(1, JobState::Ready), 1), None);
    let mut unfinished = home.moving();
    unfinished.put_job(&moving(record(1, JobState::Dead), 2), None).unwrap();
    assert_eq!(rows(&home), [(StateTree::Ready, 1), (StateTree::Dead, 1)]);
}

#[test]
fn bodies_of_every_size_are_found_again_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let sizes = [0, 1, 7_000, 8_000, 1 << 20, 3 << 20];
    let home = open(dir.path());
    for (id, size) in (1..).zip(sizes) {
        put(&home, &moving(record(id, JobState::Ready), 1), Some(&body(size)));
    }
    home.check_no_blobs().unwrap();
    drop(home);
    let home = open(dir.path());
    for (id, size) in (1..).zip(sizes) {
        assert_eq!(home.body(JobId(id)).unwrap(), body(size));
        assert!(home.has_body(JobId(id)).unwrap());
    }
    assert_eq!(home.body(JobId(99)).unwrap(), Body::default());
}

#[test]
fn finished_job_keeps_its_attributes_and_not_its_payload() {
    let dir = tempfile::tempdir().unwrap();
    let home = open(dir.path());
    let bare = Body { payload: None, ..body(0) };
    put(&home, &moving(record(1, JobState::Completed), 1), Some(&body(20_000)));
    assert_eq!(home.body(JobId(1)).unwrap(), bare);
    put(&home, &moving(record(2, JobState::Ready), 1), Some(&body(20_000)));
    put(&home, &moving(record(2, JobState::Completed), 2), None);
    assert_eq!(home.body(JobId(2)).unwrap(), bare);
    assert_eq!(home.body.len(), 2, "one row each");
    let plain = Body { attributes: Attributes::default(), ..body(20_000) };
    put(&home, &moving(record(3, JobState::Ready), 1), Some(&plain));
    put(&home, &moving(record(3, JobState::Completed), 2), None);
    assert_eq!(home.body.len(), 2, "nothing to keep of it");
}

#[test]
fn detail_at_rest_is_read_with_its_long_result_and_outlives_its_release() {
    let dir = tempfile::tempdir().unwrap();
    let home = open(dir.path());
    let mut done = JobRecord { id: JobId(1), state: JobState::Completed, ..full_record() };
    done.detail.as_mut().unwrap().result = Some(vec![b'r'; 60_000].into());
    put(&home, &moving(done.clone(), 1), None);
    assert_eq!(home.detail(JobId(1)).unwrap(), done.detail);

    let dead = JobRecord { id: JobId(2), ..full_record() };
    put(&home, &moving(dead.clone(), 1), None);
    let released = JobRecord { detail: None, ..dead.clone() };
    let at_rest = MovingJob { detail_at_rest: true, ..moving(released, 5) };
    put(&home, &at_rest, None);
    assert_eq!(home.detail(JobId(2)).unwrap(), dead.detail);
    assert_eq!(home.detail(JobId(3)).unwrap(), None);

    let later = JobRecord { requeues: 9, ..dead };
    let lost = MovingJob { detail_at_rest: true, ..moving(later, 6) };
    assert!(matches!(home.moving().put_job(&lost, None), Err(StoreError::Damaged(_))));
}

#[test]
fn dropped_job_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let home = open(dir.path());
    for id in 1..=3 {
        let mut record = JobRecord { id: JobId(id), ..full_record() };
        record.detail.as_mut().unwrap().result = Some(vec![b'r'; 9_000].into());
        put(&home, &moving(record, 1), Some(&body(9_000)));
    }
    let mut gone = home.moving();
    gone.drop_job(JobId(2));
    gone.drop_job(JobId(77));
    gone.remove_stale(Timestamp(0)).unwrap();
    assert_eq!(rows(&home), [(StateTree::Dead, 1), (StateTree::Dead, 3)]);
    assert_eq!(home.body.len(), 8);
}

#[test]
fn newest_complete_record_of_a_queue_counts() {
    let dir = tempfile::tempdir().unwrap();
    let home = open(dir.path());
    let old = queue::tests::record(1, 64);
    let new = sluice_engine::QueueRecord { version: 4, ..old.clone() };
    let mut first = home.moving();
    first.put_queue(&old, 10).unwrap();
    let mut second = home.moving();
    second.put_queue(&new, 20).unwrap();
    assert_eq!(home.queues().unwrap(), [(new.clone(), 20)]);
    home.queue.remove(queue::key(old.id, 20, 0)).unwrap();
    assert_eq!(home.queues().unwrap(), [(old, 10)], "its last row is not there yet: it does not count");
    let mut again = home.moving();
    again.put_queue(&new, 20).unwrap();
    again.remove_stale(Timestamp(0)).unwrap();
    assert_eq!(home.queues().unwrap(), [(new, 20)]);
    assert_eq!(home.queue.len(), 2, "the older one is gone");
}

#[test]
fn drained_set_is_there_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let home = open(dir.path());
    let set = drain::tests::record(2_000);
    let id = set.request.id;
    for (key, value) in drain::rows(&set, 3).take(2) {
        home.drain.insert(key, value).unwrap();
    }
    assert_eq!(home.drains().unwrap(), []);
    home.moving().put_drain(&set, 3).unwrap();
    assert_eq!(home.drains().unwrap(), [(set.clone(), 3)]);
    home.drain.remove(drain::key(id, 2)).unwrap();
    assert!(matches!(home.drains(), Err(StoreError::Damaged(_))), "a page is missing");
    let mut gone = home.moving();
    gone.drop_drain(id);
    gone.remove_stale(Timestamp(0)).unwrap();
    assert!(home.drain.is_empty());
}

#[test]
fn requests_go_by_the_page_when_their_window_has_passed() {
    let dir = tempfile::tempdir().unwrap();
    let home = open(dir.path());
    let mut moving = home.moving();
    let requests = request::tests::records(400);
    moving.put_requests(7, &requests).unwrap();
    moving.remove_stale(Timestamp(170) + REQUEST_ID_WINDOW).unwrap();
    let pages: Vec<_> = home.request.iter().keys().map(Result::unwrap).collect();
    assert_eq!(pages, [request::key(7, 1), request::key(7, 2)]);
}

#[test]
fn changed_byte_is_damage_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let home = open(dir.path());
    put(&home, &moving(record(1, JobState::Ready), 1), Some(&body(10)));
    let key = job::key(JobId(1));
    let mut value = home.states[0].get(key).unwrap().unwrap().to_vec();
    value[5] ^= 1;
    home.states[0].insert(key, value).unwrap();
    let error = home.stored(StateTree::Ready, JobId(1)).unwrap_err().to_string();
    assert!(error.contains("tree ready, key 0000000000000001: the crc is wrong"), "{error}");
}

#[test]
fn leftover_of_a_snapshot_does_not_keep_it_from_opening() {
    let dir = tempfile::tempdir().unwrap();
    let home = open(dir.path());
    put(&home, &moving(record(1, JobState::Ready), 1), None);
    drop(home);
    fs::write(dir.path().join("sled/snap.00000000000000AA.generating"), b"torn").unwrap();
    let home = open(dir.path());
    assert_eq!(rows(&home), [(StateTree::Ready, 1)]);
    assert!(!dir.path().join("sled/snap.00000000000000AA.generating").exists());
}

#[test]
fn spilled_value_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    fs::write(dir.path().join("sled/blobs/1"), b"never synced").unwrap();
    assert!(matches!(Home::open(&dir.path().join("sled")), Err(StoreError::Damaged(_))));
}

#[test]
fn meta_is_none_until_it_is_put() {
    let dir = tempfile::tempdir().unwrap();
    let home = open(dir.path());
    assert_eq!(home.meta().unwrap(), None);
    let meta = Meta { store: 5, moved_through: 2, serial: 99, last_queue: QueueId(3) };
    home.put_meta(&meta).unwrap();
    home.flush().unwrap();
    assert_eq!(home.meta().unwrap(), Some(meta));
    assert!(home.size_on_disk().unwrap() > 0);
}

#[test]
fn job_that_went_and_came_back_keeps_its_newest_record() {
    let dir = tempfile::tempdir().unwrap();
    let home = open(dir.path());
    put(&home, &moving(record(1, JobState::Ready), 1), None);
    let mut both = home.moving();
    both.put_job(&moving(record(1, JobState::Dead), 2), None).unwrap();
    both.put_job(&moving(record(1, JobState::Ready), 3), None).unwrap();
    both.remove_stale(Timestamp(0)).unwrap();
    assert_eq!(rows(&home), [(StateTree::Ready, 1)]);
    assert_eq!(home.stored(StateTree::Ready, JobId(1)).unwrap().unwrap().as_of, 3);
}

#[test]
fn dropped_job_keeps_its_payload_and_other_finished_ones_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let home = open(dir.path());
    for (id, state) in [(1, JobState::Dropped), (2, JobState::Cancelled), (3, JobState::Expired)] {
        put(&home, &moving(record(id, JobState::Ready), 1), Some(&body(9_000)));
        put(&home, &moving(record(id, state), 2), None);
        let kept = if state == JobState::Dropped { body(9_000) } else { Body { payload: None, ..body(0) } };
        assert_eq!(home.body(JobId(id)).unwrap(), kept);
    }
}

#[test]
fn long_history_belongs_to_its_record_and_goes_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let home = open(dir.path());
    let with = |attempts| {
        let detail = Box::new(detail::tests::largest_detail(attempts));
        JobRecord { detail: Some(detail), ..record(1, JobState::Dead) }
    };
    put(&home, &moving(with(4), 1), None);
    let mut unfinished = home.moving();
    unfinished.put_job(&moving(with(5), 2), None).unwrap();
    assert_eq!(home.detail(JobId(1)).unwrap(), with(5).detail);
    assert_eq!(home.body.len(), 2);
    // As if the crash came before the record: the older one finds the history that it had.
    let old = job::encode(&with(4), 1);
    home.states[StateTree::Dead as usize].insert(job::key(JobId(1)), old).unwrap();
    assert_eq!(home.detail(JobId(1)).unwrap(), with(4).detail);
    put(&home, &moving(with(6), 3), None);
    assert_eq!(home.detail(JobId(1)).unwrap(), with(6).detail);
    assert_eq!(home.body.len(), 1, "older ones are gone");
    put(&home, &moving(with(0), 4), None);
    assert_eq!(home.body.len(), 0);
    put(&home, &moving(with(7), 5), None);
    home.body.remove(body::history_key(JobId(1), 5)).unwrap();
    assert!(matches!(home.detail(JobId(1)), Err(StoreError::Damaged(_))));
}

#[test]
fn batches_come_and_go() {
    let dir = tempfile::tempdir().unwrap();
    let home = open(dir.path());
    let record = batch::tests::record("import");
    let mut moving = home.moving();
    moving.put_batch(&record, 3).unwrap();
    moving.put_batch(&batch::tests::record("import2"), 3).unwrap();
    moving.drop_batch(record.queue, record.name);
    assert_eq!(home.batch.len(), 2);
    moving.remove_stale(Timestamp(0)).unwrap();
    assert_eq!(home.batch.len(), 1);
}

#[test]
fn idempotency_keys_go_by_the_page_when_nobody_remembers_them() {
    let dir = tempfile::tempdir().unwrap();
    let home = open(dir.path());
    let records = idempotency::tests::records(400);
    home.moving().put_idempotency(7, &records).unwrap();
    let mut cursor = Vec::new();
    let window = |_: QueueId| Some(Span(10));
    home.remove_past_idempotency(&mut cursor, window, Timestamp(197 + 9)).unwrap();
    assert_eq!(home.idempotency.len(), 3);
    home.remove_past_idempotency(&mut cursor, window, Timestamp(197 + 10)).unwrap();
    assert_eq!(home.idempotency.len(), 2);
    home.remove_past_idempotency(&mut cursor, |_| None, Timestamp(0)).unwrap();
    assert_eq!(home.idempotency.len(), 0, "their queues are gone");
}

#[test]
fn what_is_besides_an_answer_goes_with_its_page_also_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let home = open(dir.path());
    let mut requests = request::tests::records(400);
    let besides = Besides { duplicates: vec![(0, JobId(1)); 2_000], dropped: vec![JobId(2)] };
    for at in [3, 399] {
        requests[at].answer.besides = Some(besides.clone().into());
    }
    home.moving().put_requests(7, &requests).unwrap();
    let mut loader = Loader::new(sluice_engine::EngineConfig::default());
    home.load(&mut loader).unwrap();
    let rows = home.request.len();
    assert!(rows > 3 + 2);
    // A crash after the first page went.
    home.request.remove(request::key(7, 0)).unwrap();
    home.load(&mut loader).unwrap();
    home.moving().remove_stale(Timestamp(0)).unwrap();
    let left: Vec<_> = home.request.iter().keys().map(|key| key.unwrap().to_vec()).collect();
    assert!(left.iter().all(|key| key[..12] > request::key(7, 0)[..]), "{left:?}");
    let place = (399 - 2 * request::PAGE_REQUESTS) as u8;
    home.request.remove(request::besides_key(&request::key(7, 2), place, 0)).unwrap();
    assert!(matches!(home.load(&mut loader), Err(StoreError::Damaged(_))));
}
