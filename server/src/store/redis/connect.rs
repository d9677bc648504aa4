//! Connections to Redis: a single server or a Cluster. Another kind, such as Sentinel, is another variant of [`Kind`].

use std::{fmt, time::Duration};

use redis::{
    Cmd, ConnectionInfo, ErrorKind, Pipeline, ProtocolVersion, RedisResult, ServerErrorKind, Value,
    cluster::{ClusterClient, ClusterClientBuilder},
    cluster_async::ClusterConnection,
    cluster_routing::{MultipleNodeRoutingInfo, ResponsePolicy, RoutingInfo},
};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{
    config::{RedisConfig, location, tcp},
    failure::Failure,
    script::{Args, Lua},
    single::{Request, Single},
};
use crate::model::error::{Error, Result};

/// Longest time to wait for a TCP connection and its handshake.
pub(super) const CONNECT: Duration = Duration::from_secs(1);
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
            Ok(Kind::Single(Box::new(Single::connect(address, &location, limit, config.pool).await?)))
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
            Kind::Single(single) => single.run(Request::One(cmd), self.limit).await,
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

    /// Sends commands that change nothing in a row to the one server there is; once more when the connection was lost. What a command is refused for is its answer. A Cluster
    /// has no such place.
    pub(super) async fn read_row(&self, row: &Pipeline) -> Result<Vec<Value>, Failure> {
        let Kind::Single(single) = &self.kind else { return Err(Failure::Away) };
        let answer = match single.run(Request::Row(row), self.limit).await {
            Err(failure) if failure.is_dropped() => single.run(Request::Row(row), self.limit).await,
            answer => answer,
        };
        match answer? {
            Value::Array(answers) => Ok(answers),
            answer => Ok(vec![answer]),
        }
    }

    /// A part of an answer was this failure: what it says of the server is heeded as if it were the whole.
    pub(super) fn heed(&self, failure: &Failure) {
        if let Kind::Single(single) = &self.kind {
            single.heed(failure);
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
        if let Kind::Single(single) = &self.kind {
            single.mend(self.limit, stop).await;
        }
    }
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

fn is_unknown_script(failure: &Failure) -> bool {
    matches!(failure, Failure::Redis(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript))
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("location", &self.location).field("cluster", &self.is_cluster()).finish_non_exhaustive()
    }
}
