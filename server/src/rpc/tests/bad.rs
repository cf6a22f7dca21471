//! What no client of ours would send, and what everybody may ask.

use http::Request;
use http_body_util::Full;
use tonic::body::Body;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tower::ServiceExt;

use super::*;

/// Posts raw bytes, and tells how they are refused.
async fn post(server: &Server, path: &str, body: Vec<u8>) -> (Code, String) {
    let request = Request::post(path)
        .header("content-type", "application/grpc")
        .body(Body::new(Full::new(body.into())))
        .unwrap();
    let response = server.service.clone().oneshot(request).await.unwrap();
    reason(Err::<(), _>(Status::from_header_map(response.headers()).expect("a refusal without a body")))
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_in_the_contracts_words() {
    let server = Server::start().await;
    let path = "/sluice.v1.QueueService/Enqueue";
    let malformed = (Code::InvalidArgument, "REQUEST_MALFORMED".to_owned());
    assert_eq!(post(&server, path, vec![0, 0, 0, 0, 2, 0xff, 0xff]).await, malformed);
    assert_eq!(post(&server, path, Vec::new()).await, malformed);
    let mut large = vec![0, 0, 0x50, 0, 0];
    large.resize(5 << 20, 0);
    let too_large = (Code::InvalidArgument, "REQUEST_TOO_LARGE".to_owned());
    assert_eq!(post(&server, path, large).await, too_large);
    let unknown = (Code::Unimplemented, "UNKNOWN_METHOD".to_owned());
    assert_eq!(post(&server, "/sluice.v1.QueueService/Nonsense", Vec::new()).await, unknown);
    assert_eq!(post(&server, "/nonsense", Vec::new()).await, unknown);
}

#[tokio::test]
async fn stream_that_cannot_be_read_ends() {
    let server = Server::start().await;
    let request = Request::post("/sluice.v1.QueueService/EnqueueStream")
        .header("content-type", "application/grpc")
        .body(Body::new(Full::new(vec![0, 0, 0, 0, 2, 0xff, 0xff].into())))
        .unwrap();
    let body = server.service.clone().oneshot(request).await.unwrap().into_body();
    let end = http_body_util::BodyExt::collect(body).await.unwrap();
    let status = Status::from_header_map(end.trailers().unwrap()).unwrap();
    let malformed = (Code::InvalidArgument, "REQUEST_MALFORMED".to_owned());
    assert_eq!(reason(Err::<(), _>(status)), malformed);
}

#[tokio::test]
async fn refused_request_names_its_fields_and_changes_nothing() {
    let mut server = Server::start().await;
    let bad = v1::JobSpec { priority: Some(10), ..spec("a") };
    let refused = server.queues.enqueue(enqueue(vec![spec("good"), bad])).await.unwrap_err();
    let fields = refused.get_details_bad_request().unwrap().field_violations;
    assert_eq!((fields.len(), &*fields[0].field), (1, "jobs[1].priority"));
    assert_eq!(refused.message(), "jobs[1].priority must be 0 to 9");
    let list = server.admin.list_queues(v1::ListQueuesRequest::default()).await.unwrap().into_inner();
    assert!(list.queues.is_empty(), "not even a queue came into being");
}

#[tokio::test]
async fn job_that_never_was_is_not_found() {
    let mut server = Server::start().await;
    for job_id in ["1", "nobody", "18446744073709551615"] {
        let request =
            v1::GetJobRequest { job_id: job_id.to_owned(), include_payload: true, ..Default::default() };
        let status = server.queues.get_job(request).await.unwrap_err();
        assert_eq!(status.get_details_resource_info().unwrap().resource_name, job_id);
        assert_eq!(reason(Err::<(), _>(status)), (Code::NotFound, "JOB_NOT_FOUND".to_owned()));
    }
}

#[tokio::test]
async fn health_says_nothing_serves_until_it_does() {
    let server = Server::start().await;
    let mut client = HealthClient::new(server.service.clone());
    for serving in [false, true, false] {
        server.health.set_serving(serving).await;
        for service in ["", "sluice.v1.QueueService", "sluice.v1.AdminService"] {
            let request = HealthCheckRequest { service: service.to_owned() };
            let status = client.check(request).await.unwrap().into_inner().status;
            assert_eq!(status == 1, serving, "{service}");
        }
    }
}

#[tokio::test]
async fn reflection_lists_every_service() {
    let server = Server::start().await;
    let mut client = ServerReflectionClient::new(server.service.clone());
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = client.server_reflection_info(tokio_stream::once(request)).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(list) = answer else { panic!("not a list") };
    let mut names: Vec<&str> = list.service.iter().map(|service| &*service.name).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "grpc.health.v1.Health",
            "grpc.reflection.v1.ServerReflection",
            "sluice.v1.AdminService",
            "sluice.v1.QueueService",
        ]
    );
}
