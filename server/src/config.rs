//! What an operator can set. The table below is the one source: types, defaults, documentation, environment names, `--print-config`.
//!
//! Defaults, then the file, then the environment, then flags: the later wins. Unknown keys are refused.

mod check;
mod flags;
mod kind;
mod print;
mod source;
mod table;

use std::{collections::BTreeMap, fs, net::SocketAddr, path::PathBuf, time::Duration};

pub use flags::Flags;
pub use kind::Hidden;
pub use print::print;

use crate::model::error::{Error, Result};
use kind::{address, choice, count, hidden, optional, path, size, span, switch, text};
use source::Values;

/// Bounds below are multiples of these.
const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// Which engine keeps sessions, indices and events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// `SQLite` in the data directory.
    Embedded,
    /// Memory only.
    Ephemeral,
    /// Redis.
    Redis,
}

/// Which backend keeps profiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// A local directory.
    Local,
    /// An S3-compatible object store.
    S3,
    /// Redis.
    Redis,
    /// Memory only.
    Memory,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

const ENGINES: &[(&str, Engine)] = &[("embedded", Engine::Embedded), ("ephemeral", Engine::Ephemeral), ("redis", Engine::Redis)];
const BACKENDS: &[(&str, Backend)] = &[("local", Backend::Local), ("s3", Backend::S3), ("redis", Backend::Redis), ("memory", Backend::Memory)];
const LOG_FORMATS: &[(&str, LogFormat)] = &[("text", LogFormat::Text), ("json", LogFormat::Json)];

table::settings! {
    /// Everything that can be set.
    struct Config {
        /// Where gRPC is served: IP address and port. An address other machines can reach needs `[tls]` and `[auth]`, or `insecure`.
        listen: SocketAddr = "127.0.0.1:7700", address();
        /// Where /healthz, /readyz and /metrics are served over plain HTTP. The same rule for the address.
        http_listen: SocketAddr = "127.0.0.1:7701", address();
        /// Directory for everything the daemon keeps on disk. Made when it does not exist; used by one daemon at a time.
        data_dir: PathBuf = "./cloakroom-data", path();
        /// Serve addresses that other machines can reach although traffic is not encrypted or callers are not known.
        insecure: bool = "false", switch();
        /// After SIGTERM, how long running calls may take to finish before they are cut off.
        shutdown_deadline: Duration = "20s", span(Duration::ZERO, HOUR);
    }

    /// Sessions, indices and events.
    struct Metadata in metadata {
        /// "embedded" (SQLite in the data directory), "ephemeral" (memory: everything is lost at the end) or "redis".
        engine: Engine = "embedded", choice(ENGINES);
        /// For redis: `redis://[user:password@]host:port[/db]`, `rediss://` for TLS; of a cluster several nodes, separated by commas. May be `file:PATH`.
        redis_url: Option<Hidden> = "", optional(hidden());
        /// The Redis is a Redis Cluster.
        redis_cluster: bool = "false", switch();
        /// What the names of all keys in Redis start with, so that deployments can share one.
        redis_prefix: String = "cloakroom:", text();
        /// How long one operation on Redis may take, connecting included, before it counts as failed.
        redis_timeout: Duration = "2s", span(Duration::from_millis(10), MINUTE);
        /// Connections for work that needs one of its own, beside the shared ones.
        redis_pool: usize = "4", count(1, 1000);
        /// How long changes are kept for watchers that come back …
        log_age: Duration = "15m", span(SECOND, 366 * 24 * HOUR);
        /// … as long as a namespace has not more than this many.
        log_entries: usize = "200000", count(1, 100_000_000);
        /// Most sessions of a namespace, hidden ones included.
        max_sessions: usize = "1000000", count(1, 1_000_000_000);
    }

    /// Profiles.
    struct Blobs in blobs {
        /// "local" (a directory), "s3" (any S3-compatible object store), "redis" (who loses that Redis loses saves) or "memory" (everything is lost at the end).
        backend: Backend = "local", choice(BACKENDS);
        /// For local: the directory; empty for `blobs` in the data directory.
        path: Option<PathBuf> = "", optional(path());
        /// For s3: the bucket. It must exist.
        bucket: String = "", text();
        /// For s3: address of the server, such as `https://s3.example.com`; empty for Amazon's. `http://` is taken at its word.
        endpoint: String = "", text(), also ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"];
        /// For s3: the region.
        region: String = "us-east-1", text(), also ["AWS_REGION", "AWS_DEFAULT_REGION"];
        /// For s3 and redis: what the names of all objects start with.
        prefix: String = "", text();
        /// For s3: the access key's id. Empty: the environment (`AWS_ACCESS_KEY_ID` and its companions) or the machine's own role. May be `file:PATH`.
        access_key_id: Option<Hidden> = "", optional(hidden());
        /// For s3: the secret of the access key. May be `file:PATH`.
        secret_access_key: Option<Hidden> = "", optional(hidden());
        /// For redis: where it is, as `metadata.redis_url`; empty for that one. It needs memory for all profiles, `maxmemory-policy noeviction` and an append-only file. Keys
        /// start with `metadata.redis_prefix`. May be `file:PATH`.
        redis_url: Option<Hidden> = "", optional(hidden());
        /// The Redis at `blobs.redis_url` is a Redis Cluster. Without that URL `metadata.redis_cluster` counts.
        redis_cluster: bool = "false", switch();
        /// For memory: most bytes of all profiles together. What is over it is refused as `STORAGE_FULL`.
        memory_size: usize = "1GiB", size(MIB, MIB * MIB);
        /// Memory for unpacked content that further loads may want.
        frame_cache: usize = "64MiB", size(0, MIB * MIB);
        /// Memory for the lists of what profiles consist of.
        manifest_cache: usize = "32MiB", size(0, MIB * MIB);
    }

    /// The key above all others: it wraps the keys that seal e-mail addresses, storage states and profiles.
    struct Keys in keys {
        /// File with the master key: 64 hexadecimal digits on a line, older keys below it. Empty for `master.key` in the data directory, which is made at the
        /// first start when metadata and profiles are on this machine; with redis or s3 give a file that every daemon has.
        master_key_file: Option<PathBuf> = "", optional(path());
        /// The same text itself instead of a file, for secrets that come as environment variables.
        master_key: Option<Hidden> = "", optional(hidden());
    }

    /// Bounds on what callers can ask of this daemon. What is over them is refused at once, with a reason.
    struct Limits in limits {
        /// Largest message of a unary call.
        message_bytes: usize = "4MiB", size(64 * KIB, 64 * MIB);
        /// Largest message of a save.
        profile_message_bytes: usize = "1280KiB", size(64 * KIB, 64 * MIB);
        /// Most connections at once.
        connections: usize = "1024", count(1, 1_000_000);
        /// Most calls at once on one connection; HTTP/2 makes further ones wait at the caller.
        calls_per_connection: usize = "1000", count(1, 1_000_000);
        /// Most unary calls running at once.
        calls: usize = "512", count(1, 1_000_000);
        /// Most saves and loads running at once, counted until their last byte.
        transfers: usize = "64", count(1, 100_000);
        /// Most watches open at once.
        watches: usize = "4096", count(1, 1_000_000);
        /// Memory for the content of running saves, all together.
        save_memory: usize = "256MiB", size(MIB, MIB * MIB);
        /// Memory for the content of running loads, all together.
        load_memory: usize = "256MiB", size(MIB, MIB * MIB);
        /// A save or load that stands still this long is ended. In its middle it also waits no longer than this for memory.
        idle_timeout: Duration = "60s", span(MS, HOUR);
        /// How long a new save or load waits for memory before it is refused (OVERLOADED). While any waits, or was refused for want of memory or of a place, those
        /// that stand still for half of this give way.
        wait_timeout: Duration = "10s", span(100 * MS, HOUR);
        /// A unary call that takes longer is ended; a caller's own deadline counts when it is earlier.
        request_timeout: Duration = "10s", span(MS, HOUR);
    }

    /// Encryption of the gRPC port. Certificate and key are read at the start.
    struct Tls in tls {
        /// File with the certificate chain (PEM). Empty: no TLS.
        cert: Option<PathBuf> = "", optional(path());
        /// File with the certificate's private key (PEM).
        key: Option<PathBuf> = "", optional(path());
        /// File with the certificates (PEM) of which one must have signed the caller's own. Empty: callers need none. A certificate lets its holder connect and
        /// nothing more: which namespace it may use, and as what, says its token (`[auth]`).
        client_ca: Option<PathBuf> = "", optional(path());
    }

    /// Who may call.
    struct Auth in auth {
        /// File with one token per line: name, namespace, role (reader, worker or operator), SHA-256 of the token in hexadecimal digits. Read again when it
        /// changes. Empty: everybody who can connect, with or without a certificate, may do everything in every namespace.
        tokens_file: Option<PathBuf> = "", optional(path());
    }

    /// Log and traces. Metrics are at /metrics.
    struct Telemetry in telemetry {
        /// "text" or "json", to standard error.
        log_format: LogFormat = "text", choice(LOG_FORMATS);
        /// What to log: a level (error, warn, info, debug, trace), or levels by module, such as `info,cloakroom_server=debug`.
        log_filter: String = "info", text(), also ["RUST_LOG"];
        /// Log every access to storage states, profiles and keys (target `audit`: who, what, where, with which outcome; never what was read), whatever `log_filter` says.
        audit: bool = "true", switch();
        /// Where spans are sent by OTLP over gRPC, such as `http://127.0.0.1:4317` or `https://collector.example.com:4317`. Empty: nowhere.
        otlp_endpoint: String = "", text(), also ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
        /// For https: file with the certificates (PEM) of which one must have signed the collector's. Empty: those that browsers trust too.
        otlp_ca: Option<PathBuf> = "", optional(path()), also ["OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE"];
        /// The name under which spans are sent.
        service_name: String = "cloakroomd", text(), also ["OTEL_SERVICE_NAME"];
    }

    /// Watches.
    struct Watch in watch {
        /// How often an idle watch hears up to where it is complete, unless its caller asks for another interval.
        bookmark_interval: Duration = "5s", span(SECOND, MINUTE);
    }
}

impl Config {
    /// The defaults, without a look at files or environment.
    ///
    /// # Errors
    /// None: a test holds that the defaults are valid.
    pub fn defaults() -> Result<Self> {
        Self::read(&Values::defaults(keys()))
    }

    /// Reads the configuration from a file's text alone and checks it as a whole.
    #[cfg(feature = "fuzz")]
    pub(crate) fn from_text(path: &std::path::Path, text: &str) -> Result<Self> {
        let mut values = Values::defaults(keys());
        values.file(path, text)?;
        let config = Self::read(&values)?;
        check::check(&config, &values)?;
        Ok(config)
    }

    /// Reads the configuration from all its sources and checks it as a whole.
    ///
    /// # Errors
    /// `INVALID_FIELD` naming key, value, source and remedy.
    pub fn load(flags: &Flags, environment: &BTreeMap<String, String>) -> Result<Self> {
        let mut values = Values::defaults(keys());
        values.shared_environment(environment);
        if let Some(path) = &flags.config {
            let text = fs::read_to_string(path).map_err(|error| {
                let message =
                    format!("the configuration file {} cannot be read ({error}); name an existing one with --config, or leave it out", path.display());
                Error::field("config", message)
            })?;
            values.file(path, &text)?;
        }
        values.environment(environment)?;
        flags.lay_over(&mut values);
        let config = Self::read(&values)?;
        check::check(&config, &values)?;
        Ok(config)
    }
}

fn keys() -> Vec<table::Key> {
    table().into_iter().flat_map(|section| section.keys).collect()
}

#[cfg(test)]
mod tests;
