//! `cloakroomd`: reads its configuration, starts, says where it listens, serves until it is told to stop.

use std::{collections::BTreeMap, io::Write as _, process::ExitCode};

use clap::Parser as _;
use cloakroom_server::{
    Error, Reason, Result,
    config::{self, Config, Flags},
    daemon::Daemon,
};
use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
};

fn main() -> ExitCode {
    match run(&Flags::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("cloakroomd: {error}"));
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
    runtime.block_on(serve(config))
}

/// The environment, as far as it is text.
fn environment() -> BTreeMap<String, String> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect()
}

async fn serve(config: Config) -> Result<()> {
    let stop = stop_signals()?;
    let daemon = Daemon::start(config).await?;
    let (grpc, http, data) = (daemon.grpc_address()?, daemon.http_address()?, daemon.data_dir());
    answer(&format!("cloakroomd ready grpc={grpc} http={http} data={}\n", data.display()))?;
    daemon.serve(stop).await
}

/// Done at the first SIGTERM or SIGINT. A second one ends the process at once.
fn stop_signals() -> Result<impl Future<Output = ()>> {
    let no_signals = |error| Error::new(Reason::Internal, "the operating system gives no signals").with_source(error);
    let mut term = signal(SignalKind::terminate()).map_err(no_signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(no_signals)?;
    Ok(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
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
