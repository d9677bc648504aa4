//! One Redis server: a shared connection that is made again when it is lost, and a pool.

use std::{
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bb8_redis::{RedisConnectionManager, bb8};
use redis::{
    Client, Cmd, ConnectionInfo, ErrorKind, Pipeline, RedisError, RedisResult, ServerErrorKind, Value,
    aio::{ConnectionManager, ConnectionManagerConfig},
};
use tokio_util::sync::CancellationToken;

use super::{
    breaker::{Breaker, Pauses},
    connect::{CONNECT, within},
    failure::Failure,
};

/// Shortest time between two connections that are made because the one before led to a server that cannot be used.
const RENEWAL: Duration = Duration::from_millis(500);

/// What is sent in one go.
#[derive(Clone, Copy)]
pub(super) enum Request<'a> {
    /// A command.
    One(&'a Cmd),
    /// Commands in a row, each on its own; their answers come as an array.
    Row(&'a Pipeline),
}

impl Request<'_> {
    async fn send(self, connection: &mut ConnectionManager) -> RedisResult<Value> {
        match self {
            Self::One(cmd) => cmd.query_async(connection).await,
            Self::Row(row) => row.query_async(connection).await,
        }
    }
}

/// One server: a shared connection for ordinary commands and scripts, and a pool for work that needs a connection of its own and takes less than 500 ms, which is the
/// longest that the pool's connections wait.
pub(super) struct Single {
    location: String,
    /// For further connections.
    pub(super) client: Client,
    pool: bb8::Pool<RedisConnectionManager>,
    shared: RwLock<ConnectionManager>,
    breaker: Breaker,
    renewed: AtomicU64,
}

impl Single {
    /// Connects to the server at `address`, which is shown as `location`.
    pub(super) async fn connect(address: ConnectionInfo, location: &str, limit: Duration, size: u32) -> RedisResult<Self> {
        let client = Client::open(address.clone())?;
        let pool = bb8::Pool::builder().max_size(size).connection_timeout(limit).retry_connection(false).build_unchecked(RedisConnectionManager::new(address)?);
        let mut shared = shared(&client)?;
        redis::cmd("PING").exec_async(&mut shared).await?;
        Ok(Self { location: location.to_owned(), client, pool, shared: RwLock::new(shared), breaker: Breaker::new(), renewed: AtomicU64::new(0) })
    }

    /// Sends a request once.
    pub(super) async fn run(&self, request: Request<'_>, limit: Duration) -> Result<Value, Failure> {
        if self.breaker.is_open() {
            return Err(Failure::Away);
        }
        let began = self.breaker.now();
        let mut shared = self.shared();
        let answer = within(limit, async {
            match request.send(&mut shared).await {
                // The manager keeps the result of its last attempt to connect: a refusal may be older than the server. Nothing was sent, so anything may be sent again.
                Err(error) if error.is_connection_refusal() => request.send(&mut shared).await,
                answer => answer,
            }
        });
        let answer = answer.await;
        match &answer {
            Err(failure) if is_outage(failure) => {
                if self.breaker.failed(failure, began) {
                    tracing::warn!(redis = %self.location, ?failure, "Redis is away; commands fail until it answers again");
                }
            }
            answered => {
                self.breaker.answered();
                if let Err(failure) = answered {
                    self.heed(failure);
                }
            }
        }
        answer
    }

    /// Leaves a server that says that it cannot be used.
    pub(super) fn heed(&self, failure: &Failure) {
        if is_misplaced(failure) {
            self.leave();
        }
    }

    /// What the shared connection leads to is of no use: whatever its address leads to next may be.
    fn leave(&self) {
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

    /// Brings the connection back after an outage, until `stop`.
    pub(super) async fn mend(&self, limit: Duration, stop: CancellationToken) {
        while stop.run_until_cancelled(self.breaker.until_open()).await.is_some() {
            let mut pauses = Pauses::new();
            let mended = async {
                while !self.try_again(limit).await {
                    tokio::time::sleep(pauses.next()).await;
                }
            };
            if stop.run_until_cancelled(mended).await.is_some() {
                tracing::info!(redis = %self.location, "Redis answers again");
            }
        }
    }

    /// One attempt to reach the server again; a new connection, for the old one may hang for ever.
    async fn try_again(&self, limit: Duration) -> bool {
        self.renew();
        let mut shared = self.shared();
        let reached = within(limit, redis::cmd("PING").exec_async(&mut shared)).await.is_ok();
        if reached {
            self.breaker.close();
        }
        reached
    }

    /// Sends a command on a connection of its own.
    pub(super) async fn exclusive(&self, cmd: &Cmd) -> RedisResult<Value> {
        let mut connection = self.pool.get().await.map_err(|error| match error {
            bb8::RunError::User(error) => error,
            bb8::RunError::TimedOut => RedisError::from((ErrorKind::Io, "no connection of the pool became free")),
        })?;
        cmd.query_async(&mut *connection).await
    }
}

/// A shared connection that connects at its first command, and again after it was lost; one attempt each, for [`Single::mend`] does the rest.
fn shared(client: &Client) -> RedisResult<ConnectionManager> {
    let config =
        ConnectionManagerConfig::new().set_number_of_retries(0).set_connection_timeout(Some(CONNECT)).set_response_timeout(None).set_pipeline_buffer_size(1000);
    ConnectionManager::new_lazy_with_config(client.clone(), config)
}

fn is_outage(failure: &Failure) -> bool {
    match failure {
        Failure::Away | Failure::Late(_) => true,
        Failure::Redis(error) => error.is_io_error(),
    }
}

/// The server is a replica, or did not let the connection in. The manager would keep that answer for ever, for it connects again after losses alone.
fn is_misplaced(failure: &Failure) -> bool {
    let Failure::Redis(error) = failure else { return false };
    match error.kind() {
        ErrorKind::AuthenticationFailed | ErrorKind::RESP3NotSupported | ErrorKind::Parse | ErrorKind::Server(ServerErrorKind::ReadOnly) => true,
        ErrorKind::Server(ServerErrorKind::ResponseError) => !error.detail().is_some_and(|detail| detail.contains("user_script")),
        _ => failure.is_code("NOAUTH") || failure.is_code("WRONGPASS"),
    }
}
