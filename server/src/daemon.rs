//! Where everything is wired: stores, flows, services, ports.

use std::{fmt, future::Future, io, net::SocketAddr, path::PathBuf};

use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;

use crate::{
    config::Config,
    grpc,
    model::error::{Error, Reason, Result},
    ops,
};

/// A daemon whose ports are bound and whose stores are open. [`Self::serve`] makes it answer.
pub struct Daemon {
    config: Config,
    services: grpc::server::Services,
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
        let services = grpc::server::Services::new()?;
        let grpc = bind("listen", config.listen).await?;
        let http = bind("http_listen", config.http_listen).await?;
        Ok(Self { config, services, grpc, http })
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

    /// Where data is kept.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.config.data_dir.clone()
    }

    /// Serves until `shutdown`, then ends in order: no new calls, running calls finish within the deadline, stores close.
    ///
    /// # Errors
    /// `INTERNAL` when a server fails as a whole.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) -> Result<()> {
        let stopping = CancellationToken::new();
        let incoming = TcpListenerStream::new(self.grpc);
        let grpc = self.services.serve(&self.config.limits, incoming, stopping.cancelled());
        let http = axum::serve(self.http, ops::http::routes()).with_graceful_shutdown(stopping.clone().cancelled_owned());
        let until_stopped = async {
            shutdown.await;
            stopping.cancel();
            tokio::time::sleep(self.config.shutdown_deadline).await;
        };
        tokio::select! {
            () = until_stopped => tracing::warn!("calls that were still running at the shutdown deadline are cut off"),
            served = async { tokio::join!(grpc, http) } => {
                served.0?;
                served.1.map_err(|error| Error::new(Reason::Internal, "the HTTP server failed").with_source(error))?;
            }
        }
        Ok(())
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
