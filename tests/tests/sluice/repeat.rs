//! One answer for one request id, whatever happens in between.

use sluice_proto::v1::JobSpec;
use sluice_tests::{Sluiced, spec, status};
use tonic::Code;

#[tokio::test]
async fn repeated_request_gets_the_first_answer_and_adds_nothing() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("repeat");
    let first = queue.try_enqueue(spec::jobs("x", 3), "request-1").await.unwrap();
    for _ in 0..3 {
        assert_eq!(queue.try_enqueue(spec::jobs("x", 3), "request-1").await.unwrap(), first);
    }
    assert_eq!(queue.status().await.jobs, 3);

    // Even when its jobs are long done.
    let out = queue.lease(3).await;
    queue.ack(&out).await;
    assert_eq!(queue.try_enqueue(spec::jobs("x", 3), "request-1").await.unwrap(), first);
    assert_eq!(queue.status().await.jobs, 0);
}

#[tokio::test]
async fn request_without_an_id_adds_its_jobs_each_time() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("no-id");
    queue.enqueue(spec::jobs("x", 3)).await;
    queue.enqueue(spec::jobs("x", 3)).await;
    assert_eq!(queue.status().await.jobs, 6);
}

#[tokio::test]
async fn request_id_with_other_content_is_refused() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("reused");
    let first = JobSpec { labels: [("a".to_owned(), "b".to_owned())].into(), ..spec::job("x") };
    queue.try_enqueue(vec![first.clone()], "request-1").await.unwrap();
    let others = [
        vec![JobSpec { payload: "y".into(), ..first.clone() }],
        vec![JobSpec { priority: Some(5), ..first.clone() }],
        vec![JobSpec { key: "k".to_owned(), ..first.clone() }],
        vec![JobSpec { labels: [("a".to_owned(), "c".to_owned())].into(), ..first.clone() }],
        vec![JobSpec { delay: Some(spec::millis(1)), ..first.clone() }],
        vec![first.clone(), first.clone()],
    ];
    for jobs in others {
        let result = queue.try_enqueue(jobs, "request-1").await;
        status::refused(result, Code::InvalidArgument, "REQUEST_ID_REUSED");
    }
    assert_eq!(queue.status().await.jobs, 1);
}

#[tokio::test]
async fn order_of_labels_is_no_content() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("labels");
    let job = || {
        // Each map has its own order of iteration, and so of encoding.
        let labels = (0..16).map(|n| (format!("label-{n}"), n.to_string())).collect();
        JobSpec { labels, ..spec::job("x") }
    };
    let first = queue.try_enqueue(vec![job()], "request-1").await.unwrap();
    for _ in 0..20 {
        assert_eq!(queue.try_enqueue(vec![job()], "request-1").await.unwrap(), first);
    }
}

#[tokio::test]
async fn request_ids_belong_to_their_queue() {
    let server = Sluiced::fresh().await;
    let one = server.queue("one").try_enqueue(spec::jobs("x", 1), "request-1").await.unwrap();
    let two = server.queue("two").try_enqueue(spec::jobs("x", 1), "request-1").await.unwrap();
    assert_ne!(one, two);
}

#[tokio::test]
async fn request_id_is_remembered_across_kill_9() {
    let mut server = Sluiced::fresh().await;
    let first = server.queue("killed").try_enqueue(spec::jobs("x", 3), "request-1").await.unwrap();
    for _ in 0..3 {
        server.kill_and_start().await;
        let queue = server.queue("killed");
        assert_eq!(queue.try_enqueue(spec::jobs("x", 3), "request-1").await.unwrap(), first);
        let result = queue.try_enqueue(spec::jobs("y", 3), "request-1").await;
        status::refused(result, Code::InvalidArgument, "REQUEST_ID_REUSED");
        assert_eq!(queue.status().await.jobs, 3);
    }
}

#[tokio::test]
async fn refused_request_uses_up_no_id() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("refused");
    let result = queue.try_enqueue(vec![spec::urgent(10, "x")], "request-1").await;
    assert_eq!(result.unwrap_err().code(), Code::InvalidArgument);
    queue.try_enqueue(spec::jobs("x", 1), "request-1").await.unwrap();
}
