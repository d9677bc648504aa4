//! Real Redis servers: one alone, or a cluster of three masters.

use std::{path::Path, process::Command};

use tempfile::TempDir;

use crate::{
    ports::Port,
    process::{PATIENCE, Process, program},
};

const MASTERS: usize = 3;

/// How a server is configured beyond its port and directory.
#[derive(Clone, Debug)]
pub struct Options {
    /// Writes an append-only file (`appendfsync everysec`), so that a killed *process* loses nothing it answered.
    pub appendonly: bool,
    /// `maxmemory-policy`.
    pub maxmemory_policy: String,
    /// Further arguments of `redis-server`, each name with its `--`, such as `["--requirepass", "…"]`.
    pub extra: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self { appendonly: true, maxmemory_policy: "noeviction".to_owned(), extra: Vec::new() }
    }
}

/// A `redis-server` of its own on a free loopback port with a directory of its own; killed when dropped.
#[derive(Debug)]
pub struct Redis {
    process: Process,
    port: Port,
    options: Options,
    directory: TempDir,
}

impl Redis {
    /// Starts a server and returns when it accepts connections.
    ///
    /// # Panics
    /// When there is no `redis-server`, or it does not start.
    pub async fn start(options: Options) -> Self {
        let directory = tempfile::tempdir().unwrap_or_else(|e| panic!("no temporary directory for Redis: {e}"));
        let port = Port::free();
        let process = serve(&port, directory.path(), &options).await;
        Self { process, port, options, directory }
    }

    /// `redis://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://{}", self.port.address())
    }

    /// The port's number.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port.number()
    }

    /// The directory of its files.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Its process, to freeze it (`signal("STOP")`) or to read what it logged.
    pub const fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// `kill -9`; returns when the process is gone. [`Redis::restart`] brings it back.
    pub fn kill9(&mut self) {
        self.process.kill9();
    }

    /// Ends it by SIGTERM, as an operator would, and waits. [`Redis::restart`] brings it back.
    ///
    /// # Panics
    /// When it does not end with exit code 0.
    pub async fn stop(&mut self) {
        let code = self.process.terminate().await;
        assert_eq!(code, Some(0), "redis-server was asked to stop: {}", self.process.stdout());
    }

    /// Starts it again on the same port and directory; a server that still runs is killed first.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn restart(&mut self) {
        self.process.kill9();
        self.process = serve(&self.port, self.directory.path(), &self.options).await;
    }
}

async fn serve(port: &Port, directory: &Path, options: &Options) -> Process {
    let mut command = Command::new(program("CLOAKROOM_TEST_REDIS_SERVER", "redis-server"));
    command
        .arg("--port")
        .arg(port.number().to_string())
        .args(["--bind", "127.0.0.1", "--daemonize", "no", "--save", ""])
        .arg("--dir")
        .arg(directory)
        .args(["--appendonly", if options.appendonly { "yes" } else { "no" }])
        .args(["--maxmemory-policy", &options.maxmemory_policy])
        .args(&options.extra);
    let mut process = Process::spawn("redis-server", command);
    process.wait_for_line("Ready to accept connections").await;
    process
}

/// A Redis Cluster of three masters without replicas; every node killed when dropped.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Redis>,
    _buses: Vec<Port>,
}

impl Cluster {
    /// Starts three servers with the same options, joins them and returns when every node says `cluster_state:ok`.
    ///
    /// # Panics
    /// When there is no `redis-server` or `redis-cli`, or the cluster does not form.
    pub async fn start(options: Options) -> Self {
        let mut nodes = Vec::with_capacity(MASTERS);
        let mut buses = Vec::with_capacity(MASTERS);
        for _ in 0..MASTERS {
            // By default the bus is the port + 10000, which lies where outgoing connections get theirs.
            let bus = Port::free();
            let mut options = options.clone();
            options.extra.extend(["--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-port"].map(str::to_owned));
            options.extra.push(bus.number().to_string());
            nodes.push(Redis::start(options).await);
            buses.push(bus);
        }
        let mut join = Command::new(program("CLOAKROOM_TEST_REDIS_CLI", "redis-cli"));
        join.args(["--cluster", "create"]).args(nodes.iter().map(|node| node.port.address())).args(["--cluster-replicas", "0", "--cluster-yes"]);
        let mut join = Process::spawn("redis-cli --cluster create", join);
        let status = join.wait().await;
        assert!(status.success(), "redis-cli could not create the cluster: {}{}", join.stdout(), join.stderr());
        let cluster = Self { nodes, _buses: buses };
        cluster.wait_until_ok().await;
        cluster
    }

    /// Waits until every node says `cluster_state:ok`, as after a [`Redis::restart`] of one.
    ///
    /// # Panics
    /// When that does not happen in time.
    pub async fn wait_until_ok(&self) {
        for node in &self.nodes {
            let ok = tokio::time::timeout(PATIENCE, async {
                while !says_ok(&node.url()).await {
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                }
            });
            assert!(ok.await.is_ok(), "{} does not say cluster_state:ok within {PATIENCE:?}", node.url());
        }
    }

    /// The nodes' addresses, `redis://127.0.0.1:PORT` each.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(Redis::url).collect()
    }

    /// The nodes, to kill or freeze one.
    pub fn nodes(&mut self) -> &mut [Redis] {
        &mut self.nodes
    }
}

async fn says_ok(url: &str) -> bool {
    let Ok(client) = redis::Client::open(url) else { return false };
    let Ok(mut connection) = client.get_multiplexed_async_connection().await else { return false };
    let info: redis::RedisResult<String> = redis::cmd("CLUSTER").arg("INFO").query_async(&mut connection).await;
    info.is_ok_and(|info| info.contains("cluster_state:ok"))
}

#[cfg(test)]
mod tests {
    use redis::AsyncCommands;

    use super::{Cluster, Options, Redis};

    async fn connect(server: &Redis) -> redis::aio::MultiplexedConnection {
        let client = redis::Client::open(server.url()).expect("a valid URL");
        client.get_multiplexed_async_connection().await.expect("the server accepts connections")
    }

    #[tokio::test]
    async fn an_append_only_server_keeps_what_it_answered_over_a_kill() {
        let mut server = Redis::start(Options::default()).await;
        let port = server.port();
        let () = connect(&server).await.set("coat", "kept").await.expect("set");
        server.kill9();
        assert!(redis::Client::open(server.url()).expect("url").get_multiplexed_async_connection().await.is_err());
        server.restart().await;
        assert_eq!(server.port(), port);
        let kept: String = connect(&server).await.get("coat").await.expect("get");
        assert_eq!(kept, "kept");
        server.stop().await;
    }

    #[tokio::test]
    async fn options_reach_the_server() {
        let options = Options { appendonly: false, maxmemory_policy: "allkeys-lru".to_owned(), extra: ["--maxmemory", "64mb"].map(str::to_owned).to_vec() };
        let server = Redis::start(options).await;
        for (name, wanted) in [("appendonly", "no"), ("maxmemory-policy", "allkeys-lru"), ("maxmemory", "67108864")] {
            let (_, value): (String, String) = redis::cmd("CONFIG").arg("GET").arg(name).query_async(&mut connect(&server).await).await.expect("CONFIG GET");
            assert_eq!(value, wanted, "{name}");
        }
    }

    #[tokio::test]
    async fn three_masters_form_a_cluster_and_one_comes_back() {
        let mut cluster = Cluster::start(Options::default()).await;
        let client = redis::cluster::ClusterClient::new(cluster.urls()).expect("a valid cluster");
        let mut connection = client.get_async_connection().await.expect("the cluster answers");
        for i in 0..50 {
            let () = connection.set(format!("key-{i}"), i).await.expect("set");
        }
        for node in cluster.nodes() {
            let size: u64 = redis::cmd("DBSIZE").query_async(&mut connect(node).await).await.expect("DBSIZE");
            assert!(size > 0, "every master holds a part");
        }
        cluster.nodes()[1].kill9();
        cluster.nodes()[1].restart().await;
        cluster.wait_until_ok().await;
        let client = redis::cluster::ClusterClient::new(cluster.urls()).expect("a valid cluster");
        let mut connection = client.get_async_connection().await.expect("the cluster answers");
        for i in 0..50 {
            let value: u32 = connection.get(format!("key-{i}")).await.expect("get");
            assert_eq!(value, i);
        }
    }
}
