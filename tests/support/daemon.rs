//! The daemon under test: the `cloakroomd` that was built beside the tests, as a process of its own.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use crate::{ports::Port, process::Process, redis::Redis, s3::S3};

/// How a daemon is started.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Environment variables (`CLOAKROOM_…`), over everything else but the ports and the data directory.
    pub env: Vec<(String, String)>,
    /// Further arguments.
    pub args: Vec<String>,
}

impl Options {
    /// Metadata in `redis` and profiles in `s3`, with a master key in `directory`, as an operator would configure it.
    #[must_use]
    pub fn on_redis_and_s3(redis: &Redis, s3: &S3, master_key_file: &Path) -> Self {
        let set = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let env = vec![
            set("CLOAKROOM_METADATA_ENGINE", "redis"),
            set("CLOAKROOM_METADATA_REDIS_URL", &redis.url()),
            set("CLOAKROOM_BLOBS_BACKEND", "s3"),
            set("CLOAKROOM_BLOBS_BUCKET", s3.bucket()),
            set("CLOAKROOM_BLOBS_ENDPOINT", &s3.endpoint()),
            set("CLOAKROOM_BLOBS_REGION", "us-east-1"),
            set("CLOAKROOM_BLOBS_ACCESS_KEY_ID", "test"),
            set("CLOAKROOM_BLOBS_SECRET_ACCESS_KEY", "test"),
            set("CLOAKROOM_KEYS_MASTER_KEY_FILE", &master_key_file.display().to_string()),
        ];
        Self { env, args: Vec::new() }
    }

    /// Metadata and profiles in `redis`, with a master key in a file: no bucket, no disk of its own.
    #[must_use]
    pub fn on_redis_alone(redis: &Redis, master_key_file: &Path) -> Self {
        let set = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let env = vec![
            set("CLOAKROOM_METADATA_ENGINE", "redis"),
            set("CLOAKROOM_METADATA_REDIS_URL", &redis.url()),
            set("CLOAKROOM_BLOBS_BACKEND", "redis"),
            set("CLOAKROOM_KEYS_MASTER_KEY_FILE", &master_key_file.display().to_string()),
        ];
        Self { env, args: Vec::new() }
    }
}

/// A running daemon on free loopback ports with a data directory of its own; killed when dropped.
#[derive(Debug)]
pub struct Daemon {
    process: Process,
    options: Options,
    grpc: Port,
    http: Port,
    data: TempDir,
}

impl Daemon {
    /// Starts a daemon on its embedded default and returns when it says that it is ready.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start() -> Self {
        Self::start_with(Options::default()).await
    }

    /// Starts a daemon with these options.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start_with(options: Options) -> Self {
        let data = tempfile::tempdir().unwrap_or_else(|e| panic!("no temporary directory for cloakroomd: {e}"));
        let (grpc, http) = (Port::free(), Port::free());
        let process = serve(&options, &grpc, &http, data.path()).await;
        Self { process, options, grpc, http, data }
    }

    /// Where gRPC answers: `127.0.0.1:PORT`.
    #[must_use]
    pub fn address(&self) -> String {
        self.grpc.address()
    }

    /// Where gRPC answers, as a URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.grpc.address())
    }

    /// Where metrics and health answer, as a URL.
    #[must_use]
    pub fn http_url(&self) -> String {
        format!("http://{}", self.http.address())
    }

    /// Its data directory.
    #[must_use]
    pub fn data(&self) -> &Path {
        self.data.path()
    }

    /// Its process, to freeze it or to read what it logged.
    pub const fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// `kill -9`; returns when the process is gone. [`Daemon::restart`] brings it back.
    pub fn kill9(&mut self) {
        self.process.kill9();
    }

    /// Ends it by SIGTERM and waits; its exit code.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn terminate(&mut self) -> Option<i32> {
        self.process.terminate().await
    }

    /// Starts it again on the same ports and data; one that still runs is killed first.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn restart(&mut self) {
        self.process.kill9();
        self.process = serve(&self.options, &self.grpc, &self.http, self.data.path()).await;
    }
}

/// The command that starts a daemon on these ports and this directory, for tests that expect it to fail.
#[must_use]
pub fn command(options: &Options, grpc: &Port, http: &Port, data: &Path) -> Command {
    let mut command = Command::new(binary("cloakroomd"));
    command.env_clear().env("PATH", env::var_os("PATH").unwrap_or_default()).envs(options.env.iter().map(|(key, value)| (key, value)));
    command.arg("--data-dir").arg(data).args(["--listen", &grpc.address(), "--http-listen", &http.address()]).args(&options.args);
    command
}

async fn serve(options: &Options, grpc: &Port, http: &Port, data: &Path) -> Process {
    let mut process = Process::spawn("cloakroomd", command(options, grpc, http, data));
    process.wait_for_line("cloakroomd ready").await;
    process
}

/// A program that was built beside the running test.
///
/// # Panics
/// When it was not built.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let test = env::current_exe().unwrap_or_else(|e| panic!("this test does not know where it is: {e}"));
    // A test runs from …/deps, a benchmark from beside the daemon.
    let directory = test.parent().map(|parent| if parent.ends_with("deps") { parent.parent().unwrap_or(parent) } else { parent });
    let path = directory.unwrap_or(&test).join(name);
    assert!(path.exists(), "{} was not built: run `cargo build --workspace --bins`", path.display());
    path
}
