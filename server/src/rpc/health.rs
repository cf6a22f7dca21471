//! Whether the server serves, as `grpc.health.v1` tells it, for the server and for each service.

use sluice_proto::v1::admin_service_server::SERVICE_NAME as ADMIN_SERVICE;
use sluice_proto::v1::queue_service_server::SERVICE_NAME as QUEUE_SERVICE;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server;
use tonic_health::server::HealthReporter;

/// Tells clients whether the server serves.
#[derive(Clone, Debug)]
pub struct Health {
    reporter: HealthReporter,
}

impl Health {
    /// Not serving yet.
    pub(super) async fn new() -> (Health, health_server::HealthServer<impl health_server::Health>) {
        let (reporter, server) = tonic_health::server::health_reporter();
        let health = Health { reporter };
        // The reporter begins with SERVING.
        health.set_serving(false).await;
        (health, server)
    }

    /// From now on the server serves, or serves no more.
    pub async fn set_serving(&self, serving: bool) {
        let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        for service in ["", QUEUE_SERVICE, ADMIN_SERVICE] {
            self.reporter.set_service_status(service, status).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use tonic::Request;
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_server::Health as _;

    use super::*;

    #[tokio::test]
    async fn nothing_serves_before_it_is_said() {
        let health = Health { reporter: HealthReporter::new() };
        let service = tonic_health::server::HealthService::from_health_reporter(health.reporter.clone());
        for serving in [false, true, false] {
            health.set_serving(serving).await;
            for name in ["", "sluice.v1.QueueService", "sluice.v1.AdminService"] {
                let request = Request::new(HealthCheckRequest { service: name.to_owned() });
                let status = service.check(request).await.unwrap().into_inner().status;
                assert_eq!(status == 1, serving, "{name}");
            }
        }
    }
}
