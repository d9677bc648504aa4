//! The gRPC server: its services, the order of its layers, how it speaks HTTP/2.

use std::{convert::Infallible, fmt, fs, path::Path, sync::Arc, time::Duration};

use http::{Request, Response};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
pub use tonic::transport::Server;
use tonic::{
    body::Body,
    server::NamedService,
    service::Routes,
    transport::{Certificate, Identity, ServerTlsConfig},
};
use tonic_health::server::{HealthReporter, health_reporter};
use tonic_reflection::server::Builder as Reflection;
use tower::Service;

use super::{
    accept::accept,
    auth::Tokens,
    layers::{
        With, authenticate::Authenticate, complete::Complete, deadline::Deadline, drain::Drain, idle::EndIdle, load::LimitLoad, method::Methods,
        observe::Observe, panic::CatchPanic,
    },
};
use crate::{
    config::{Config, Tls},
    flow::{pressure::Pressure, tasks::Tasks},
    model::error::{Error, Reason, Result},
    ops::metrics::Metrics,
};

/// Largest HTTP/2 frame the daemon accepts. On a fast link the default of 16 KiB costs half the throughput of an upload; more than this brings nothing.
const FRAME: u32 = 256 << 10;
/// How often an idle connection is asked whether it still lives …
const KEEPALIVE: Duration = Duration::from_secs(20);
/// … and how long it may take to answer. So a frozen caller's streams and permits are free again after half a minute.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest header list: room for a token, a trace and some metadata.
const HEADERS: u32 = 16 << 10;
/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

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

    /// Adds a service of the contract.
    #[must_use]
    pub fn with<S>(mut self, service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send> + NamedService + Clone + Send + Sync + 'static,
    {
        self.routes = self.routes.add_service(service);
        self
    }

    /// What tells `grpc.health.v1` how the services are.
    #[must_use]
    pub fn health(&self) -> HealthReporter {
        self.health.clone()
    }
}

/// What the layers of all calls share.
#[derive(Debug)]
pub struct Shared {
    /// What was configured.
    pub config: Arc<Config>,
    /// Who may call; `None`: everybody.
    pub tokens: Option<Arc<Tokens>>,
    /// Where calls are counted.
    pub metrics: Arc<Metrics>,
    /// Whether transfers are short of memory or places.
    pub pressure: Arc<Pressure>,
    /// Who owns what runs beside a call.
    pub tasks: Arc<Tasks>,
}

/// How the daemon speaks HTTP/2 and TLS.
///
/// # Errors
/// `INVALID_FIELD` when certificate or key are not usable.
pub fn builder(config: &Config) -> Result<Server> {
    let server = Server::builder()
        .max_frame_size(FRAME)
        // The window follows the link, up to 16 MiB, and costs memory only where a link needs it.
        .http2_adaptive_window(Some(true))
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .http2_max_header_list_size(HEADERS)
        .max_concurrent_streams(u32::try_from(config.limits.calls_per_connection).unwrap_or(u32::MAX));
    match tls(&config.tls)? {
        None => Ok(server),
        Some(tls) => server.tls_config(tls).map_err(|error| {
            let message = "tls.cert, tls.key or tls.client_ca do not fit together, or are no PEM files; check them with `openssl x509 -in FILE -noout -text`";
            Error::field("tls", message).with_source(error)
        }),
    }
}

/// Serves until `stopping`, then until running calls are done, at the latest until `cut`.
///
/// # Errors
/// `INTERNAL` when the transport fails as a whole.
pub async fn serve(
    server: Server,
    services: Services,
    shared: Shared,
    listener: TcpListener,
    stopping: CancellationToken,
    cut: CancellationToken,
) -> Result<()> {
    let Shared { config, tokens, metrics, pressure, tasks } = shared;
    let limits = &config.limits;
    server
        // Outermost: whatever happens below, the call is in the log, the trace and the metrics, with the status its caller sees.
        .layer(With::new(Observe::new(Arc::new(Methods::new()?), Arc::clone(&metrics))))
        // Above all that answers in a handler's place, so that each of those answers has its details.
        .layer(With::new(Complete))
        // Above everything that is ours, below what must see its answer.
        .layer(With::new(CatchPanic))
        // Before anything is spent on a caller.
        .layer(With::new(Authenticate::new(tokens)))
        // Above the permits: what these two end gives its permit back. The flow of profiles also looks at the clock, and says more; so this one comes a little later.
        .layer(With::new(Drain::new(stopping.clone())))
        .layer(With::new(EndIdle::new(limits.idle_timeout + limits.idle_timeout / 4, Arc::clone(&pressure), tasks)))
        // Above the deadline: a call is refused before its time runs.
        .layer(With::new(LimitLoad::new(limits, Arc::clone(&metrics), pressure)))
        // Innermost: it bounds the handler and nothing else.
        .layer(With::new(Deadline::new(limits.request_timeout)))
        .add_routes(services.routes)
        .serve_with_incoming_shutdown(accept(listener, limits.connections, cut, metrics), stopping.cancelled())
        .await
        .map_err(|error| Error::new(Reason::Internal, "the gRPC server failed").with_source(error))
}

fn tls(tls: &Tls) -> Result<Option<ServerTlsConfig>> {
    let (Some(cert), Some(key)) = (&tls.cert, &tls.key) else { return Ok(None) };
    let identity = Identity::from_pem(pem("tls.cert", cert)?, pem("tls.key", key)?);
    let config = ServerTlsConfig::new().identity(identity).timeout(HANDSHAKE);
    match &tls.client_ca {
        Some(ca) => Ok(Some(config.client_ca_root(Certificate::from_pem(pem("tls.client_ca", ca)?)))),
        None => Ok(Some(config)),
    }
}

fn pem(key: &str, path: &Path) -> Result<Vec<u8>> {
    let bytes = fs::read(path).map_err(|error| Error::field(key, format!("{key}: the file {} cannot be read ({error})", path.display())))?;
    if !bytes.windows(10).any(|window| window == b"-----BEGIN") {
        return Err(Error::field(key, format!("{key}: the file {} is no PEM file", path.display())));
    }
    Ok(bytes)
}
