//! Where everything is wired.
//!
//! ```text
//! config ─► stores ──► flows ──► services ─► layers ─► gRPC port
//!              │         └─ sweeper, hub
//!              └─────► readiness ─► health, HTTP port
//! ```

mod check;
mod stores;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    future::{Future, IntoFuture as _},
    io,
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use cloakroom_api::v1::{
    admin_service_server::AdminServiceServer, invalidation_service_server::InvalidationServiceServer, profile_service_server::ProfileServiceServer,
    session_service_server::SessionServiceServer,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use self::check::check;
use self::stores::Stores;
use crate::{
    config::{Backend, Config, Engine},
    flow::{
        follow,
        invalidate::Invalidation,
        profiles::{Profiles, ProfilesConfig},
        sessions::Sessions,
        sweep,
        tasks::Tasks,
        watch::Hub,
    },
    grpc::{
        admin::Admin,
        auth::Tokens,
        health::Health,
        invalidations::Invalidations,
        profiles::ProfileCalls,
        server::{self, Server, Services, Shared},
        sessions::SessionCalls,
    },
    model::error::{Error, Reason, Result},
    ops::{
        health::{Readiness, Report},
        http::{self, Shown},
        metrics::Metrics,
    },
};

/// How long background tasks may take to end once they were told to.
const TASKS_DEADLINE: Duration = Duration::from_secs(5);

/// How long an answer of the HTTP port may take to leave once everything else has ended.
const HTTP_GRACE: Duration = Duration::from_secs(1);

/// A daemon whose stores are open and whose ports are bound. [`Self::serve`] makes it answer.
pub struct Daemon {
    stores: Stores,
    flows: Flows,
    services: Services,
    server: Server,
    shared: Shared,
    shown: Shown,
    health: Health,
    grpc: TcpListener,
    http: TcpListener,
}

impl fmt::Debug for Daemon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Daemon").field("grpc", &self.grpc).field("http", &self.http).finish_non_exhaustive()
    }
}

impl Daemon {
    /// Opens the stores and binds the ports.
    ///
    /// # Errors
    /// What stands against a start, with the remedy.
    pub async fn start(config: Config) -> Result<Self> {
        // Ring for all; an error only says that somebody in this process has chosen before.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let config = Arc::new(config);
        let tasks = Arc::new(Tasks::new());
        let metrics = Arc::new(Metrics::new()?);
        // The cheap checks first: a port in use must not be found out after a minute of recovery.
        let grpc = bind("listen", config.listen).await?;
        let http = bind("http_listen", config.http_listen).await?;
        let server = server::builder(&config)?;
        let tokens = config.auth.tokens_file.as_deref().map(Tokens::open).transpose()?.map(Arc::new);

        if tokens.is_none() && config.tls.client_ca.is_some() {
            tracing::warn!(
                "whoever has a certificate (tls.client_ca) may do everything in every namespace: only tokens (auth.tokens_file) bind callers to one"
            );
        }
        let stores = Stores::open(&config).await?;
        let blobs = Arc::clone(&stores.blobs);
        metrics.show_blobs(move || blobs.counts());
        let readiness = Arc::new(Readiness::new(stores.probes(), Arc::clone(&metrics)));
        let flows = Flows::new(&stores, &config, &tasks);
        let services = services(&stores, &flows, &readiness, &config)?;

        let mut health = Health::new(services.health()).await;
        health.follow(&*readiness.check().await).await;
        if let Some(tokens) = &tokens {
            tasks.spawn(Arc::clone(tokens).follow(tasks.stopping()));
        }
        let shown = Shown { readiness, metrics: Arc::clone(&metrics), stopping: CancellationToken::new() };
        let pressure = flows.profiles.pressure();
        let shared = Shared { config, tokens, metrics, pressure, tasks };
        Ok(Self { stores, flows, services, server, shared, shown, health, grpc, http })
    }

    /// Where gRPC is served; the real port when 0 was asked for.
    ///
    /// # Errors
    /// `INTERNAL` when the operating system does not know.
    pub fn grpc_address(&self) -> Result<SocketAddr> {
        self.grpc.local_addr().map_err(no_address)
    }

    /// Where HTTP is served; the real port when 0 was asked for.
    ///
    /// # Errors
    /// `INTERNAL` when the operating system does not know.
    pub fn http_address(&self) -> Result<SocketAddr> {
        self.http.local_addr().map_err(no_address)
    }

    /// Where data is kept: the directory on this machine, or `memory`, or `remote`.
    #[must_use]
    pub fn data(&self) -> String {
        let config = &self.shared.config;
        match (config.metadata.engine, config.blobs.backend) {
            (Engine::Embedded, _) | (_, Backend::Local) => {
                std::path::absolute(&config.data_dir).unwrap_or_else(|_| config.data_dir.clone()).display().to_string()
            }
            (Engine::Ephemeral, Backend::Memory) => "memory".to_owned(),
            _ => "remote".to_owned(),
        }
    }

    /// How the stores are.
    pub async fn report(&self) -> Arc<Report> {
        self.shown.readiness.check().await
    }

    /// Serves until `shutdown`, then ends in order: watchers hear of it, no new calls, running calls finish within the deadline, background tasks end, stores close.
    ///
    /// # Errors
    /// `INTERNAL` when the gRPC server fails as a whole.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) -> Result<()> {
        let Self { stores, flows, services, server, shared, shown, health, grpc, http } = self;
        let tasks = Arc::clone(&shared.tasks);
        let (stopping, cut, done) = (shown.stopping.clone(), CancellationToken::new(), CancellationToken::new());
        let deadline = shared.config.shutdown_deadline;
        tasks.spawn(health.watch(Arc::clone(&shown.readiness), stopping.clone()));
        let ending = async {
            tokio::select! { () = shutdown => tracing::info!("stopping: no new calls"), () = done.cancelled() => {} }
            stopping.cancel();
            flows.hub.drain();
            if done.run_until_cancelled(tokio::time::sleep(deadline)).await.is_some() {
                tracing::warn!(?deadline, "calls that were still running are cut off");
                cut.cancel();
            }
        };
        let serving = async {
            let served = server::serve(server, services, shared, grpc, stopping.clone(), cut.clone()).await;
            done.cancel();
            served
        };
        let (served, (), ()) = tokio::join!(serving, ending, look(http, shown, done.clone()));
        tasks.stop(TASKS_DEADLINE).await;
        stores.blobs.close().await;
        stores.closing.close().await;
        served
    }
}

/// What spans the stores.
struct Flows {
    sessions: Arc<Sessions>,
    profiles: Arc<Profiles>,
    hub: Arc<Hub>,
}

impl Flows {
    fn new(stores: &Stores, config: &Config, tasks: &Arc<Tasks>) -> Self {
        let most = i64::try_from(config.metadata.max_sessions).unwrap_or(i64::MAX);
        let sessions = Arc::new(Sessions::new(Arc::clone(&stores.metadata), Arc::clone(&stores.keyring), most));
        let hub = Arc::new(Hub::new(Arc::clone(&stores.metadata), Arc::clone(tasks)));
        let (metadata, blobs, keyring) = (Arc::clone(&stores.metadata), Arc::clone(&stores.blobs), Arc::clone(&stores.keyring));
        let profiles = Profiles::new(metadata, blobs, keyring, Arc::clone(&sessions), Arc::clone(tasks), profiles(config));
        tasks.spawn(sweep::run(Arc::clone(&sessions), tasks.stopping()));
        tasks.spawn(follow::run(Arc::clone(&hub), sessions.cache(), Arc::clone(tasks)));
        Self { sessions, profiles, hub }
    }
}

fn profiles(config: &Config) -> ProfilesConfig {
    ProfilesConfig {
        save_memory: config.limits.save_memory,
        load_memory: config.limits.load_memory,
        idle: config.limits.idle_timeout,
        wait: config.limits.wait_timeout,
        frame_cache: config.blobs.frame_cache as u64,
        manifest_cache: config.blobs.manifest_cache as u64,
        ..ProfilesConfig::default()
    }
}

/// Every service, each over the flows it needs.
fn services(stores: &Stores, flows: &Flows, readiness: &Arc<Readiness>, config: &Config) -> Result<Services> {
    let most = config.limits.message_bytes;
    let sessions = SessionCalls::new(Arc::clone(&flows.sessions));
    let invalidation = Invalidation::new(Arc::clone(&stores.metadata));
    let invalidations = Invalidations::new(Arc::clone(&flows.hub), Arc::clone(&stores.keyring), invalidation, config.watch.bookmark_interval);
    let admin = Admin::new(Arc::clone(&stores.metadata), Arc::clone(readiness), &config.limits)?;
    Ok(Services::new()?
        .with(SessionServiceServer::new(sessions).max_decoding_message_size(most))
        .with(ProfileServiceServer::new(ProfileCalls::new(Arc::clone(&flows.profiles))).max_decoding_message_size(config.limits.profile_message_bytes))
        .with(InvalidationServiceServer::new(invalidations).max_decoding_message_size(most))
        .with(AdminServiceServer::new(admin).max_decoding_message_size(most)))
}

/// Health and metrics can be read until the last call has ended.
async fn look(listener: TcpListener, shown: Shown, done: CancellationToken) {
    let serving = axum::serve(listener, http::routes(shown)).with_graceful_shutdown(done.clone().cancelled_owned()).into_future();
    let ended = async {
        done.cancelled().await;
        tokio::time::sleep(HTTP_GRACE).await;
    };
    tokio::select! {
        () = ended => {}
        served = serving => if let Err(error) = served {
            tracing::error!(%error, "the HTTP port is no longer served");
        }
    }
}

fn no_address(error: io::Error) -> Error {
    Error::new(Reason::Internal, "the operating system does not say which port was bound").with_source(error)
}

async fn bind(key: &str, address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let remedy = match error.kind() {
            io::ErrorKind::AddrInUse => {
                format!("another program, perhaps another cloakroomd, has it; stop that one or set `{key}` to a free port (0 takes any)")
            }
            io::ErrorKind::PermissionDenied => format!("ports below 1024 need a privilege; set `{key}` to a higher one"),
            io::ErrorKind::AddrNotAvailable => format!("this machine has no such address; set `{key}` to one of its own"),
            _ => format!("set `{key}` to another address"),
        };
        Error::field(key, format!("cannot listen on {address} ({error}): {remedy}"))
    })
}
