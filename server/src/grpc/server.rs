//! The gRPC server: which services it has, and how it speaks HTTP/2.

use std::{fmt, time::Duration};

use futures::Stream;
use tokio::net::TcpStream;
use tonic::{service::Routes, transport::Server};
use tonic_health::{
    ServingStatus,
    server::{HealthReporter, health_reporter},
};
use tonic_reflection::server::Builder as Reflection;

use crate::{
    config::Limits,
    model::error::{Error, Reason, Result},
};

/// Largest HTTP/2 frame the daemon accepts. On a fast link the default of 16 KiB costs half the throughput of an upload; more than this brings nothing.
const FRAME: u32 = 256 << 10;
/// How often an idle connection is asked whether it still lives …
const KEEPALIVE: Duration = Duration::from_secs(20);
/// … and how long it may take to answer.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// The services of a daemon.
pub struct Services {
    routes: Routes,
    health: HealthReporter,
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Services").finish_non_exhaustive()
    }
}

impl Services {
    /// Health and reflection; the others are added to them.
    ///
    /// # Errors
    /// `INTERNAL` when the contract's descriptors are damaged.
    pub fn new() -> Result<Self> {
        let (reporter, health) = health_reporter();
        let damaged = |error| Error::new(Reason::Internal, "the contract's descriptors are damaged").with_source(error);
        let reflection = || {
            Reflection::configure()
                .register_encoded_file_descriptor_set(cloakroom_api::FILE_DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        // Both versions: older tools ask for v1alpha only.
        let v1 = reflection().build_v1().map_err(damaged)?;
        let v1alpha = reflection().build_v1alpha().map_err(damaged)?;
        Ok(Self { routes: Routes::new(health).add_service(v1).add_service(v1alpha), health: reporter })
    }

    /// What tells `grpc.health.v1` how a service is.
    #[must_use]
    pub fn health(&self) -> HealthReporter {
        self.health.clone()
    }

    /// Serves until `shutdown`, then until running calls are done.
    ///
    /// # Errors
    /// `INTERNAL` when the transport fails as a whole.
    pub async fn serve(self, limits: &Limits, incoming: impl Stream<Item = std::io::Result<TcpStream>>, shutdown: impl Future<Output = ()>) -> Result<()> {
        let draining = async {
            shutdown.await;
            self.health.set_service_status("", ServingStatus::NotServing).await;
        };
        Server::builder()
            .max_frame_size(FRAME)
            .http2_adaptive_window(Some(true))
            .http2_keepalive_interval(Some(KEEPALIVE))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .max_concurrent_streams(u32::try_from(limits.calls_per_connection).unwrap_or(u32::MAX))
            .add_routes(self.routes)
            .serve_with_incoming_shutdown(incoming, draining)
            .await
            .map_err(|error| Error::new(Reason::Internal, "the gRPC server failed").with_source(error))
    }
}
