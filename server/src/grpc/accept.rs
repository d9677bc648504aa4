//! Accepting connections: how many, how long one may say nothing, and an end to all of them when the daemon's time is up.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::{Stream, stream};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Sleep, sleep},
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::{Connected, TcpConnectInfo};

use crate::ops::metrics::{Metrics, OpenConnection};

/// How long a new connection may say nothing. Afterwards HTTP/2 asks it by itself whether it lives.
const FIRST_BYTE: Duration = Duration::from_secs(10);
/// How long to wait before accepting again when the operating system has no file left.
const BREATHER: Duration = Duration::from_millis(100);

/// An accepted connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    /// Until the first byte came.
    first: Option<Pin<Box<Sleep>>>,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    _permit: OwnedSemaphorePermit,
    _counted: OpenConnection,
}

/// Accepts connections, at most `most` at once; all end when `cut` is cancelled.
pub fn accept(listener: TcpListener, most: usize, cut: CancellationToken, metrics: Arc<Metrics>) -> impl Stream<Item = io::Result<Connection>> {
    let free = Arc::new(Semaphore::new(most));
    stream::unfold((listener, free), move |(listener, free)| {
        let (cut, metrics) = (cut.clone(), Arc::clone(&metrics));
        async move {
            loop {
                let stream = match listener.accept().await {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        sleep(BREATHER).await;
                        continue;
                    }
                };
                // Closed at once rather than left to wait: its caller goes elsewhere, or tries again later.
                let Ok(permit) = Arc::clone(&free).try_acquire_owned() else {
                    tracing::warn!(limit = most, "a connection was closed: limits.connections are open");
                    continue;
                };
                // Small answers must not wait for more to come (RFC 896). Without the option they are slower, and nothing worse.
                let _ = stream.set_nodelay(true);
                let first = Some(Box::pin(sleep(FIRST_BYTE)));
                let counted = OpenConnection::new(metrics);
                let connection = Connection { stream, first, cut: Box::pin(cut.cancelled_owned()), _permit: permit, _counted: counted };
                return Some((Ok(connection), (listener, free)));
            }
        }
    })
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.cut.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the daemon stops")));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            this.first = None;
        }
        if let (Poll::Pending, Some(first)) = (&read, &mut this.first)
            && first.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the connection said nothing")));
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffers: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
