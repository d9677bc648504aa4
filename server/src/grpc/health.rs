//! `grpc.health.v1`: each service serves while the stores it needs answer.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::ops::health::{Readiness, Report};

/// How often the stores are asked.
const LOOK: Duration = Duration::from_secs(1);
/// Every service with the stores it needs; the empty name is the daemon as a whole.
const SERVICES: &[(&str, &[&str])] = &[
    ("", &["metadata", "blobs"]),
    ("cloakroom.v1.SessionService", &["metadata"]),
    ("cloakroom.v1.InvalidationService", &["metadata"]),
    ("cloakroom.v1.ProfileService", &["metadata", "blobs"]),
    ("cloakroom.v1.AdminService", &[]),
];

/// Tells the health service how the services are.
pub struct Health {
    reporter: HealthReporter,
    told: HashMap<&'static str, ServingStatus>,
}

impl Health {
    /// Nothing serves until the stores were asked.
    pub async fn new(reporter: HealthReporter) -> Self {
        let mut health = Self { reporter, told: HashMap::new() };
        for (service, _) in SERVICES {
            health.tell(service, ServingStatus::NotServing).await;
        }
        health
    }

    /// Tells what follows from how the stores are.
    pub async fn follow(&mut self, report: &Report) {
        for (service, needs) in SERVICES {
            // A store that this daemon does not have is needed by nobody.
            let serves = needs.iter().all(|need| report.store(need).is_none_or(|store| store.ok));
            self.tell(service, if serves { ServingStatus::Serving } else { ServingStatus::NotServing }).await;
        }
    }

    /// Asks the stores every second until `stop`; then nothing serves any more.
    pub async fn watch(mut self, readiness: Arc<Readiness>, stop: CancellationToken) {
        while stop.run_until_cancelled(sleep(LOOK)).await.is_some() {
            if let Some(report) = stop.run_until_cancelled(readiness.check()).await {
                self.follow(&report).await;
            }
        }
        for (service, _) in SERVICES {
            self.tell(service, ServingStatus::NotServing).await;
        }
    }

    /// Tells only what is new, for every word wakes those who watch.
    async fn tell(&mut self, service: &'static str, status: ServingStatus) {
        if self.told.insert(service, status) != Some(status) {
            self.reporter.set_service_status(service, status).await;
        }
    }
}

impl std::fmt::Debug for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Health").field("told", &self.told).finish_non_exhaustive()
    }
}
