//! Connections to Redis: a single server or a Cluster. Another kind, such as Sentinel, is another variant of [`Kind`].

use std::{
    fmt,
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bb8_redis::{RedisConnectionManager, bb8};
use redis::{
    Client, Cmd, ConnectionInfo, ErrorKind, ProtocolVersion, RedisError, RedisResult, ServerErrorKind, Value,
    aio::{ConnectionManager, ConnectionManagerConfig},
    cluster::{ClusterClient, ClusterClientBuilder},
    cluster_async::ClusterConnection,
    cluster_routing::{MultipleNodeRoutingInfo, ResponsePolicy, RoutingInfo},
};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{
    breaker::{Breaker, Pauses},
    config::{RedisConfig, location, tcp},
    failure::Failure,
    script::{Args, Lua},
};
use crate::model::error::{Error, Result};

/// Longest time to wait for a TCP connection and its handshake.
const CONNECT: Duration = Duration::from_secs(1);
/// Shortest time between two connections that are made because the server turned out to be a replica.
const RENEWAL: Duration = Duration::from_millis(500);

/// The way to Redis.
pub(super) struct Link {
    /// `host:port`, several with commas between.
    pub(super) location: String,
    /// How long one command may take.
    pub(super) limit: Duration,
    /// What is there.
    pub(super) kind: Kind,
}

/// What is at the other end.
pub(super) enum Kind {
    /// One server.
    Single(Box<Single>),
    /// A Redis Cluster. Its client reconnects, follows redirections and repeats commands by itself.
    Cluster {
        /// For further connections.
        addresses: Vec<ConnectionInfo>,
        /// For commands.
        connection: ClusterConnection,
    },
}

/// One server: a shared connection for ordinary commands and scripts, and a pool for work that needs a connection of its own and takes less than 500 ms, which is the
/// longest that the pool's connections wait.
pub(super) struct Single {
    /// For further connections.
    pub(super) client: Client,
    /// For work of its own.
    pub(super) pool: bb8::Pool<RedisConnectionManager>,
    shared: RwLock<ConnectionManager>,
    breaker: Breaker,
    renewed: AtomicU64,
}

impl Link {
    /// Connects.
    ///
    /// # Errors
    /// `METADATA_UNAVAILABLE` naming host and port; `INVALID_FIELD` when the configuration is not right.
    pub(super) async fn connect(config: &RedisConfig) -> Result<Self> {
        let addresses = config.check()?;
        // Another part of the process may have installed the same one before.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let location = location(&addresses);
        let limit = config.timeout;
        let attempt = async {
            if config.cluster {
                let connection = cluster(&addresses, limit).build()?.get_async_connection().await?;
                return Ok(Kind::Cluster { addresses, connection });
            }
            let address = addresses.into_iter().next().ok_or((ErrorKind::InvalidClientConfig, "no address"))?;
            Ok(Kind::Single(Box::new(Single::connect(address, limit, config.pool).await?)))
        };
        match timeout(limit, attempt).await {
            Ok(Ok(kind)) => Ok(Self { location, limit, kind }),
            Ok(Err(error)) => Err(Failure::Redis(error).error(&location)),
            Err(_) => Err(Failure::Late(limit).error(&location)),
        }
    }

    /// Sends a command once, and waits for its answer no longer than the limit.
    pub(super) async fn run(&self, cmd: &Cmd) -> Result<Value, Failure> {
        match &self.kind {
            Kind::Single(single) => single.run(cmd, self.limit).await,
            Kind::Cluster { connection, .. } => {
                let mut connection = connection.clone();
                within(self.limit, cmd.query_async(&mut connection)).await
            }
        }
    }

    /// Sends a command that changes nothing; once more when the connection was lost.
    pub(super) async fn read(&self, cmd: &Cmd) -> Result<Value, Failure> {
        match self.run(cmd).await {
            Err(failure) if failure.is_dropped() => self.run(cmd).await,
            answer => answer,
        }
    }

    /// Runs a script once. When the server does not know it, nothing was done and it is sent along.
    pub(super) async fn call(&self, lua: &Lua, cmd: &Cmd) -> Result<Value, Failure> {
        match self.run(cmd).await {
            Err(failure) if is_unknown_script(&failure) => self.run(&lua.call_with_source(cmd)).await,
            answer => answer,
        }
    }

    /// Runs a script that can be run twice; once more when the connection was lost.
    pub(super) async fn query(&self, lua: &Lua, keys: &Args, args: &Args) -> Result<Value> {
        let cmd = lua.call(keys, args);
        let answer = match self.call(lua, &cmd).await {
            Err(failure) if failure.is_dropped() => self.call(lua, &cmd).await,
            answer => answer,
        };
        answer.map_err(|failure| self.error(failure))
    }

    /// Sends a command to the server, or to every master of the Cluster, on connections of its own where there is a pool. Returns an answer per server.
    pub(super) async fn survey(&self, cmd: &Cmd) -> Result<Vec<Value>, Failure> {
        match &self.kind {
            Kind::Single(single) => Ok(vec![within(self.limit, single.exclusive(cmd)).await?]),
            Kind::Cluster { connection, .. } => {
                let every = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, Some(ResponsePolicy::Special)));
                let mut connection = connection.clone();
                match within(self.limit, connection.route_command(cmd.clone(), every)).await?.extract_error()? {
                    Value::Map(answers) => answers.into_iter().map(|(_, answer)| Ok(answer.extract_error()?)).collect(),
                    answer => Ok(vec![answer]),
                }
            }
        }
    }

    /// The error for a caller.
    pub(super) fn error(&self, failure: Failure) -> Error {
        failure.error(&self.location)
    }

    /// The number of the database.
    pub(super) fn database(&self) -> i64 {
        match &self.kind {
            Kind::Single(single) => single.client.get_connection_info().redis_settings().db(),
            Kind::Cluster { .. } => 0,
        }
    }

    /// Whether it is a Cluster.
    pub(super) fn is_cluster(&self) -> bool {
        matches!(self.kind, Kind::Cluster { .. })
    }

    /// Brings the connection back after an outage, until `stop`.
    pub(super) async fn mend(&self, stop: CancellationToken) {
        let Kind::Single(single) = &self.kind else { return };
        while stop.run_until_cancelled(single.breaker.until_open()).await.is_some() {
            let mut pauses = Pauses::new();
            let mended = async {
                while !single.mend(self.limit).await {
                    tokio::time::sleep(pauses.next()).await;
                }
            };
            if stop.run_until_cancelled(mended).await.is_some() {
                tracing::info!(redis = %self.location, "Redis answers again");
            }
        }
    }
}

impl Single {
    async fn connect(address: ConnectionInfo, limit: Duration, size: u32) -> RedisResult<Self> {
        let client = Client::open(address.clone())?;
        let pool = bb8::Pool::builder().max_size(size).connection_timeout(limit).retry_connection(false).build_unchecked(RedisConnectionManager::new(address)?);
        let mut shared = shared(&client)?;
        redis::cmd("PING").exec_async(&mut shared).await?;
        Ok(Self { client, pool, shared: RwLock::new(shared), breaker: Breaker::new(), renewed: AtomicU64::new(0) })
    }

    async fn run(&self, cmd: &Cmd, limit: Duration) -> Result<Value, Failure> {
        if self.breaker.is_open() {
            return Err(Failure::Away);
        }
        let began = self.breaker.now();
        let mut shared = self.shared();
        let mut answer = within(limit, cmd.query_async(&mut shared)).await;
        // The manager keeps the result of its last attempt to connect: a refusal may be older than the server. Nothing was sent, so anything may be sent again.
        if matches!(&answer, Err(Failure::Redis(error)) if error.is_connection_refusal()) {
            answer = within(limit, cmd.query_async(&mut shared)).await;
        }
        match &answer {
            Err(failure) if is_outage(failure) => {
                if self.breaker.failed(failure, began) {
                    tracing::warn!(?failure, "Redis is away; commands fail until it answers again");
                }
            }
            answered => {
                self.breaker.answered();
                if answered.as_ref().is_err_and(|failure| failure.is_code("READONLY")) {
                    self.leave_replica();
                }
            }
        }
        answer
    }

    /// The server is a replica now: whatever its address leads to next may be the master.
    fn leave_replica(&self) {
        let now = self.breaker.now();
        let before = self.renewed.load(Ordering::Relaxed);
        let due = u128::from(now.saturating_sub(before)) >= RENEWAL.as_micros();
        if due && self.renewed.compare_exchange(before, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.renew();
        }
    }

    /// The shared connection.
    pub(super) fn shared(&self) -> ConnectionManager {
        self.shared.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn renew(&self) {
        match shared(&self.client) {
            Ok(new) => *self.shared.write().unwrap_or_else(PoisonError::into_inner) = new,
            Err(error) => tracing::error!(%error, "no new connection to Redis can be prepared"),
        }
    }

    /// One attempt to reach the server again; a new connection, for the old one may hang for ever.
    async fn mend(&self, limit: Duration) -> bool {
        self.renew();
        let mut shared = self.shared();
        let reached = within(limit, redis::cmd("PING").exec_async(&mut shared)).await.is_ok();
        if reached {
            self.breaker.close();
        }
        reached
    }

    async fn exclusive(&self, cmd: &Cmd) -> RedisResult<Value> {
        let mut connection = self.pool.get().await.map_err(|error| match error {
            bb8::RunError::User(error) => error,
            bb8::RunError::TimedOut => RedisError::from((ErrorKind::Io, "no connection of the pool became free")),
        })?;
        cmd.query_async(&mut *connection).await
    }
}

/// A shared connection that connects at its first command, and again after it was lost; one attempt each, for [`Link::mend`] does the rest.
fn shared(client: &Client) -> RedisResult<ConnectionManager> {
    let config =
        ConnectionManagerConfig::new().set_number_of_retries(0).set_connection_timeout(Some(CONNECT)).set_response_timeout(None).set_pipeline_buffer_size(1000);
    ConnectionManager::new_lazy_with_config(client.clone(), config)
}

/// How a Cluster is reached: the crate's own defaults wait 1.3 s to 11 min between attempts.
pub(super) fn cluster(addresses: &[ConnectionInfo], limit: Duration) -> ClusterClientBuilder {
    ClusterClient::builder(addresses.to_vec())
        .retries(3)
        .min_retry_wait(20)
        .max_retry_wait(200)
        .connection_timeout(CONNECT.min(limit))
        .response_timeout(limit)
        .overall_response_timeout(Some(limit))
        .use_protocol(ProtocolVersion::RESP3)
        .tcp_settings(tcp())
}

/// Waits for an answer, but not longer than that.
pub(super) async fn within<T>(limit: Duration, answer: impl Future<Output = RedisResult<T>>) -> Result<T, Failure> {
    match timeout(limit, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) if error.is_timeout() => Err(Failure::Late(limit)),
        Ok(Err(error)) => Err(Failure::Redis(error)),
        Err(_) => Err(Failure::Late(limit)),
    }
}

fn is_outage(failure: &Failure) -> bool {
    match failure {
        Failure::Away | Failure::Late(_) => true,
        Failure::Redis(error) => error.is_io_error(),
    }
}

fn is_unknown_script(failure: &Failure) -> bool {
    matches!(failure, Failure::Redis(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript))
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("location", &self.location).field("cluster", &self.is_cluster()).finish_non_exhaustive()
    }
}
