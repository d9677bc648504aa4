//! How to reach Redis. Credentials stay in the URLs and are never shown.

use std::{fmt, time::Duration};

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion, io::tcp::TcpSettings};

use crate::model::error::{Error, Result};

/// Longest key prefix, in bytes.
const MAX_PREFIX: usize = 64;

/// The configuration of a [`super::RedisStore`].
#[derive(Clone)]
pub struct RedisConfig {
    /// `redis://[user:password@]host:port[/db]` or `rediss://…` for TLS. Several are the seeds of one Cluster.
    pub urls: Vec<String>,
    /// Whether the URLs are seeds of a Redis Cluster; it needs Redis 7.0, and has no databases but 0.
    pub cluster: bool,
    /// What every key starts with: 1 to 64 visible ASCII characters without braces. Deployments with different prefixes can share a Redis.
    pub prefix: String,
    /// How long a command may take, connecting included; 10 ms to 60 s.
    pub timeout: Duration,
    /// How long the entries of a log are kept at least, if there are not more than [`Self::log_entries`]. At most a year.
    pub log_window: Duration,
    /// How many entries a log keeps at most; at least 1.
    pub log_entries: u32,
    /// Most connections that do work of their own beside the shared one; at least 1. A Cluster has none.
    pub pool: u32,
}

impl Default for RedisConfig {
    /// A single server on this machine.
    fn default() -> Self {
        Self {
            urls: vec!["redis://127.0.0.1:6379".to_owned()],
            cluster: false,
            prefix: "cloakroom:".to_owned(),
            timeout: Duration::from_secs(2),
            log_window: Duration::from_mins(15),
            log_entries: 200_000,
            pool: 4,
        }
    }
}

impl RedisConfig {
    /// Checks all fields and returns where to connect, with the connection's settings.
    ///
    /// # Errors
    /// `INVALID_FIELD` naming the field.
    pub(super) fn check(&self) -> Result<Vec<ConnectionInfo>> {
        let prefix_ok = (1..=MAX_PREFIX).contains(&self.prefix.len()) && self.prefix.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'{' | b'}'));
        if !prefix_ok {
            let message = format!("the key prefix is {:?}; it needs 1 to {MAX_PREFIX} visible ASCII characters without braces", self.prefix);
            return Err(Error::field("prefix", message));
        }
        within("timeout", self.timeout, Duration::from_millis(10), Duration::from_mins(1))?;
        within("log_window", self.log_window, Duration::ZERO, Duration::from_hours(24 * 366))?;
        for (name, value) in [("log_entries", self.log_entries), ("pool", self.pool)] {
            if value == 0 {
                return Err(Error::field(name, format!("{name} is 0; it needs at least 1")));
            }
        }
        match (self.urls.len(), self.cluster) {
            (0, _) => return Err(Error::field("urls", "no Redis URL is given; give one such as redis://127.0.0.1:6379")),
            (1, _) | (_, true) => {}
            (n, false) => return Err(Error::field("urls", format!("{n} Redis URLs are given for a single server; give one, or set cluster = true"))),
        }
        self.urls.iter().enumerate().map(|(i, url)| self.parse(i, url)).collect()
    }

    /// Checks all fields and says where it would connect to, without credentials; nothing is reached.
    ///
    /// # Errors
    /// `INVALID_FIELD` naming the field.
    pub fn location(&self) -> Result<String> {
        self.check().map(|addresses| location(&addresses))
    }

    fn parse(&self, position: usize, url: &str) -> Result<ConnectionInfo> {
        // Not the value itself and not the parser's words: both may hold a password.
        let field = format!("urls[{position}]");
        let Ok(info) = url.into_connection_info() else {
            return Err(Error::field(field, "the Redis URL cannot be read; write redis://[user:password@]host:port[/db], or rediss:// for TLS"));
        };
        if self.cluster && info.redis_settings().db() != 0 {
            let message = format!("the Redis URL names database {}; a Cluster has none but 0", info.redis_settings().db());
            return Err(Error::field(field, message));
        }
        // RESP3 tells the client when the server closes a connection, so that the next command meets a new one.
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        Ok(info.set_redis_settings(settings).set_tcp_settings(tcp()))
    }
}

/// Small requests must not wait for each other (Nagle), and a peer that vanished without a word is given up after 5 s.
pub(super) fn tcp() -> TcpSettings {
    let keepalive = redis::io::tcp::socket2::TcpKeepalive::new().with_time(Duration::from_secs(5)).with_interval(Duration::from_secs(2)).with_retries(3);
    let settings = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive);
    #[cfg(target_os = "linux")]
    let settings = settings.set_user_timeout(Duration::from_secs(5));
    settings
}

fn within(field: &str, value: Duration, min: Duration, max: Duration) -> Result<()> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(Error::field(field, format!("{field} is {value:?}; it needs {min:?} to {max:?}")))
}

/// `host:port` of every address, without credentials.
pub(super) fn location(addresses: &[ConnectionInfo]) -> String {
    let shown: Vec<_> = addresses.iter().map(|info| shown(info.addr())).collect();
    shown.join(",")
}

fn shown(address: &ConnectionAddr) -> String {
    match address {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => format!("{host}:{port}"),
        ConnectionAddr::Unix(path) => path.display().to_string(),
        _ => "an address of unknown kind".to_owned(),
    }
}

impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let urls: Vec<_> = self.urls.iter().map(|url| url.as_str().into_connection_info().map_or_else(|_| "?".to_owned(), |info| shown(info.addr()))).collect();
        f.debug_struct("RedisConfig")
            .field("urls", &urls)
            .field("cluster", &self.cluster)
            .field("prefix", &self.prefix)
            .field("timeout", &self.timeout)
            .field("log_window", &self.log_window)
            .field("log_entries", &self.log_entries)
            .field("pool", &self.pool)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(urls: &[&str]) -> RedisConfig {
        RedisConfig { urls: urls.iter().map(|&url| url.to_owned()).collect(), ..RedisConfig::default() }
    }

    #[test]
    fn the_default_is_valid() {
        let addresses = RedisConfig::default().check().unwrap();
        assert_eq!(location(&addresses), "127.0.0.1:6379");
    }

    #[test]
    fn bad_values_are_named_and_credentials_never() {
        let secret = "hunter2";
        let cluster = |config: RedisConfig| RedisConfig { cluster: true, ..config };
        let bad = [
            (with(&[]), "urls"),
            (with(&["redis://a:1", "redis://b:2"]), "urls"),
            (with(&[&format!("http://user:{secret}@host")]), "urls[0]"),
            (with(&[&format!("redis://user:{secret}@host:99999")]), "urls[0]"),
            (cluster(with(&["redis://a:1", &format!("redis://user:{secret}@b:2/3")])), "urls[1]"),
            (RedisConfig { prefix: "a{b}".to_owned(), ..RedisConfig::default() }, "prefix"),
            (RedisConfig { prefix: String::new(), ..RedisConfig::default() }, "prefix"),
            (RedisConfig { timeout: Duration::ZERO, ..RedisConfig::default() }, "timeout"),
            (RedisConfig { log_entries: 0, ..RedisConfig::default() }, "log_entries"),
            (RedisConfig { pool: 0, ..RedisConfig::default() }, "pool"),
        ];
        for (config, field) in bad {
            let error = config.check().unwrap_err();
            assert_eq!(error.field_name(), Some(field));
            assert!(!format!("{error:?} {config:?}").contains(secret));
        }
    }

    #[test]
    fn debug_shows_addresses_only() {
        let config = with(&["rediss://user:hunter2@redis.example:6380/1"]);
        let shown = format!("{config:?}");
        assert!(shown.contains("redis.example:6380"), "{shown}");
        assert!(!shown.contains("hunter2") && !shown.contains("user"), "{shown}");
    }
}
