//! `cloakroomd`: reads its configuration, starts, says where it listens, serves until it is told to stop.

use std::{collections::BTreeMap, io::Write as _, process::ExitCode, time::Duration};

use clap::Parser as _;
use cloakroom_server::{
    Error, Reason, Result,
    config::{self, Config, Flags, LogFormat},
    daemon::{self, Daemon},
    ops::telemetry,
};
use tokio::{
    runtime::Runtime,
    signal::unix::{Signal, SignalKind, signal},
};

/// A call makes a few hundred small allocations, most of which another thread frees: a quarter of the daemon's time with the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long threads may take to end after everything else has.
const THREADS: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    match run(&Flags::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let help = error.help().map(|help| format!("\n  {help}")).unwrap_or_default();
            say(&format!("cloakroomd: {error}{help}"));
            ExitCode::FAILURE
        }
    }
}

fn run(flags: &Flags) -> Result<()> {
    if flags.print_config {
        return answer(&config::print());
    }
    let config = Config::load(flags, &environment())?;
    let runtime = Runtime::new().map_err(|error| Error::new(Reason::Internal, "the operating system gives no threads").with_source(error))?;
    let flush = {
        let _inside = runtime.enter();
        telemetry::start(&config.telemetry)?
    };
    let ended = runtime.block_on(async {
        if flags.check { daemon::check(&config).and_then(|lines| answer(&format!("{}\n", lines.join("\n")))) } else { serve(config).await }
    });
    flush.finish();
    runtime.shutdown_timeout(THREADS);
    ended
}

/// The environment, as far as it is text.
fn environment() -> BTreeMap<String, String> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect()
}

async fn serve(config: Config) -> Result<()> {
    let (mut first, mut second) = (Stop::listen()?, Stop::listen()?);
    let people = config.telemetry.log_format == LogFormat::Text;
    let daemon = Daemon::start(config).await?;
    let (grpc, http, data) = (daemon.grpc_address()?, daemon.http_address()?, daemon.data());
    answer(&format!("cloakroomd ready grpc={grpc} http={http} data={data}\n"))?;
    if people {
        say(&format!(
            "cloakroomd {}\n  gRPC  {grpc}\n  HTTP  http://{http}/healthz /readyz /metrics\n  data  {data}\nCtrl-C ends it.",
            env!("CARGO_PKG_VERSION")
        ));
    } else {
        tracing::info!(%grpc, %http, data, "ready");
    }
    let asked_twice = async {
        second.asked().await;
        second.asked().await;
    };
    tokio::select! {
        ended = daemon.serve(first.asked()) => ended,
        () = asked_twice => {
            say("cloakroomd: asked twice to stop: it ends at once");
            std::process::exit(1);
        }
    }
}

/// The ways to ask a process to stop: SIGTERM and SIGINT.
struct Stop {
    term: Signal,
    interrupt: Signal,
}

impl Stop {
    fn listen() -> Result<Self> {
        let none = |error| Error::new(Reason::Internal, "the operating system gives no signals").with_source(error);
        Ok(Self { term: signal(SignalKind::terminate()).map_err(none)?, interrupt: signal(SignalKind::interrupt()).map_err(none)? })
    }

    async fn asked(&mut self) {
        tokio::select! { _ = self.term.recv() => {}, _ = self.interrupt.recv() => {} }
    }
}

/// Standard output is for programs: the ready line, the printed configuration.
fn answer(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| Error::new(Reason::Internal, "standard output is closed").with_source(error))
}

/// Standard error is for people.
fn say(text: &str) {
    // Nobody can be told that standard error is closed.
    let _ = writeln!(std::io::stderr(), "{text}");
}
