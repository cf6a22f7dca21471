//! Bad input, driven by the contract's descriptor: every field of every request has a row that says
//! what it refuses, and a field without a row fails the test. Whatever is refused is refused with the
//! right code and the field's name, and changes nothing.

mod field;
pub(crate) mod row;

use std::collections::BTreeSet;

use prost_reflect::{DynamicMessage, MethodDescriptor, ReflectMessage};
use sluice_proto::v1::{Limit, ListLimitsRequest, NackReason, PutLimitRequest};
use sluice_tests::{Queue, Sluiced, spec, status, wire};
use tonic::{Code, Status};

use row::{Case, Expect, Row};

/// What rows are built from: things that exist.
pub(crate) struct World {
    /// A queue with jobs in it.
    pub(crate) queue: String,
    /// A leased job and its token.
    pub(crate) leased: (String, u64),
    /// A job that waits.
    pub(crate) ready: String,
    /// A batch.
    pub(crate) batch: String,
    /// A shared limit that no queue hangs under.
    pub(crate) limit: String,
}

#[test]
fn every_field_of_every_request_has_a_row() {
    let expected: BTreeSet<String> = wire::methods()
        .iter()
        .flat_map(|method| {
            field::paths(&method.input()).into_iter().map(|path| format!("{} {path}", method.name()))
        })
        .collect();
    let rows = row::rows();
    let covered: BTreeSet<String> =
        rows.iter().map(|row| format!("{} {}", row.rpc, field::without_indices(&row.field))).collect();
    assert_eq!(covered.len(), rows.len(), "a field has two rows");
    let missing: Vec<_> = expected.difference(&covered).collect();
    assert!(missing.is_empty(), "fields without a row: {missing:#?}");
    let stale: Vec<_> = covered.difference(&expected).collect();
    assert!(stale.is_empty(), "rows without a field: {stale:#?}");
}

#[tokio::test]
async fn good_requests_that_the_rows_start_from_are_accepted() {
    let server = Sluiced::fresh().await;
    for method in wire::methods() {
        let world = world(&server.queue(&format!("good-{}", method.name()))).await;
        let request = row::good(&method, &world);
        if method.name() == "Work" {
            // It says nothing until there is something to say.
            let credit = row::good_work(&method, &world, "credit");
            let answer = wire::converse(server.channel(), &method, &[request, credit]).await;
            assert!(answer.unwrap().get_field_by_name("jobs").is_some());
            continue;
        }
        let answer = wire::call(server.channel(), &method, &request).await;
        let answer = answer.unwrap_or_else(|status| panic!("{}: {status:?}", method.name()));
        assert_eq!(refusal(&answer), None, "{}", method.name());
    }
}

#[tokio::test]
async fn bad_input_is_refused_by_name_and_changes_nothing() {
    let mut server = Sluiced::fresh().await;
    let queue = server.queue("input");
    let world = world(&queue).await;
    let methods = wire::methods();
    let mut wrong = Vec::new();
    for row in row::rows() {
        let method = methods.iter().find(|method| method.name() == row.rpc).expect("rows name rpcs");
        for case in &row.cases {
            let before = snapshot(&queue).await;
            let answer = answer(&server, method, &row, case, &world).await;
            if let Err(problem) = judge(&row, case, &answer) {
                wrong.push(format!("{} {} = {}: {problem}", row.rpc, row.field, case.name));
            }
            if snapshot(&queue).await != before {
                wrong.push(format!("{} {} = {}: something changed", row.rpc, row.field, case.name));
            }
            assert!(server.is_running(), "{} {} = {}: sluiced is gone", row.rpc, row.field, case.name);
        }
    }
    assert!(wrong.is_empty(), "{} cases:\n{}", wrong.len(), wrong.join("\n"));
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

#[tokio::test]
async fn all_bad_fields_are_named_at_once_but_at_most_16() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("many");
    let bad = |_| spec::urgent(10, "x");
    let refused = queue.try_enqueue((0..3).map(bad).collect(), &"r".repeat(37)).await.unwrap_err();
    let mut fields = status::fields(&refused);
    fields.sort();
    assert_eq!(fields, ["jobs[0].priority", "jobs[1].priority", "jobs[2].priority", "request_id"]);

    let refused = queue.try_enqueue((0..1_000).map(bad).collect(), "").await.unwrap_err();
    assert_eq!(status::fields(&refused).len(), 16);
    assert!(refused.details().len() <= 4_096, "{} bytes of details", refused.details().len());
}

#[tokio::test]
async fn bytes_that_are_no_message_are_refused() {
    let mut server = Sluiced::fresh().await;
    let queue = server.queue("garbage");
    let before = snapshot(&queue).await;
    for method in wire::methods() {
        // A field of a wire type it does not have, and a length that runs past the end.
        for garbage in [&b"\x0a\xff\xff\xff\xff\x0f"[..], b"\x0b\x0b\x0b", b"\xff"] {
            let refused = wire::send(server.channel(), &method, garbage.to_vec().into()).await.unwrap_err();
            assert!(
                matches!(refused.code(), Code::InvalidArgument | Code::Internal),
                "{}: {refused:?}",
                method.name()
            );
        }
    }
    assert_eq!(snapshot(&queue).await, before);
    assert!(server.is_running());
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

pub(crate) async fn world(queue: &Queue) -> World {
    let mut jobs = spec::jobs("x", 4);
    jobs.iter_mut().for_each(|job| job.batch_id = "batch".to_owned());
    let ids = queue.enqueue(jobs).await;
    let mut out = queue.lease(3).await;
    queue.ack(&out[1..2]).await;
    queue.nack(&out[2], NackReason::Rejected).await;
    let held = out.remove(0);
    let limit = format!("limit-{}", queue.name());
    let put = Limit { name: limit.clone(), ..Limit::default() };
    let put = PutLimitRequest { limit: Some(put), update_mask: None };
    queue.admin.clone().put_limit(put).await.unwrap();
    World {
        queue: queue.name().to_owned(),
        leased: (spec::id(&held), held.lease_token),
        ready: ids[3].clone(),
        batch: "batch".to_owned(),
        limit,
    }
}

/// All that a client can see and bad input must not change.
async fn snapshot(queue: &Queue) -> impl PartialEq + std::fmt::Debug + use<> {
    let status = queue.status().await;
    let queues = queue.admin.clone().list_queues(sluice_proto::v1::ListQueuesRequest::default()).await;
    let limits = queue.admin.clone().list_limits(ListLimitsRequest::default()).await.unwrap().into_inner();
    let mut jobs = queue.list(&[], 100).await;
    for job in &mut jobs {
        // Kept by a clock of the server's own; as the wall's shows it, it is never twice quite the same.
        job.lease_expire_time = None;
    }
    let queues = queues.unwrap().into_inner();
    (status.counts, status.totals, status.bytes, status.ready_by_priority, queues, limits, jobs)
}

async fn answer(
    server: &Sluiced,
    method: &MethodDescriptor,
    row: &Row,
    case: &Case,
    world: &World,
) -> Result<DynamicMessage, Status> {
    let is_later = method.name() == "Work" && !row.field.starts_with("start");
    let mut request =
        if is_later { row::good_work(method, world, &row.field) } else { row::good(method, world) };
    case.apply(&mut request, &row.field);
    match method.name() {
        "Work" if is_later => {
            wire::converse(server.channel(), method, &[row::good(method, world), request]).await
        }
        "Work" => wire::converse(server.channel(), method, &[request]).await,
        _ => wire::call(server.channel(), method, &request).await,
    }
}

fn judge(row: &Row, case: &Case, answer: &Result<DynamicMessage, Status>) -> Result<(), String> {
    let by_item = |answer: &DynamicMessage| refusal(answer).ok_or_else(|| "was accepted".to_owned());
    match (&case.expect, answer) {
        (Expect::Named, Err(status)) if status.code() == Code::InvalidArgument => {
            let fields = status::fields(status);
            assert!(!status::reason(status).is_empty());
            // What a worker's message holds is named as in the rpc of its own.
            let inner = row
                .field
                .split_once('.')
                .filter(|(message, _)| row.rpc == "Work" && ["acks", "nacks", "extends"].contains(message));
            let named = inner.map_or(&*row.field, |(_, inner)| inner);
            if fields.iter().any(|field| field.starts_with(named)) {
                Ok(())
            } else {
                Err(format!("it named {fields:?}"))
            }
        }
        // A refused request does not end a stream: there the field is named in a sentence.
        (Expect::Named, Ok(answer)) => {
            let (code, _, message) = by_item(answer)?;
            let field = row.field.trim_start_matches("request").trim_start_matches('.');
            if code == Code::InvalidArgument as i32 && message.contains(field) {
                Ok(())
            } else {
                Err(format!("it said {code} {message:?}"))
            }
        }
        (Expect::Refused(code, reason), Err(status)) => {
            if status.code() == *code && status::reason(status) == *reason {
                Ok(())
            } else {
                Err(format!("{status:?}"))
            }
        }
        (Expect::Refused(code, reason), Ok(answer)) => {
            let (got, why, _) = by_item(answer)?;
            if got == *code as i32 && why == *reason { Ok(()) } else { Err(format!("{got} {why}")) }
        }
        (_, Err(status)) => Err(format!("{status:?}")),
    }
}

/// The refusal inside an answer that is OK: of its first item, or of one request of a stream.
fn refusal(answer: &DynamicMessage) -> Option<(i32, String, String)> {
    let parts = |error: &DynamicMessage| {
        let code = error.get_field_by_name("code")?.as_i32()?;
        let reason = error.get_field_by_name("reason")?.as_str()?.to_owned();
        let message = error.get_field_by_name("message")?.as_str()?.to_owned();
        Some((code, reason, message))
    };
    let inside = |message: &DynamicMessage| {
        let error = message.descriptor().get_field_by_name("error")?;
        if !message.has_field(&error) {
            return None;
        }
        message.get_field(&error).as_message().and_then(parts)
    };
    for answer_of in ["acks", "nacks", "extends"] {
        if answer.has_field_by_name(answer_of)
            && let Some(inner) = answer.get_field_by_name(answer_of)
            && let Some(inner) = inner.as_message()
        {
            return refusal(inner);
        }
    }
    if let Some(results) = answer.get_field_by_name("results") {
        return results.as_list()?.first()?.as_message().and_then(inside);
    }
    inside(answer)
}
