//! A server with all layers around handlers that do what the request's session id says.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use cloakroom_api::v1::{
    self, load_profile_response,
    profile_service_client::ProfileServiceClient,
    profile_service_server::{ProfileService, ProfileServiceServer},
};
use futures::{Stream, StreamExt as _, stream};
use http::{HeaderMap, Request as HttpRequest, Uri};
use hyper::body::{Body as _, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::oneshot,
};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming, transport::Channel};
use tonic_types::StatusExt as _;

use crate::{
    config::Config,
    flow::{pressure::Pressure, tasks::Tasks},
    grpc::{
        auth::Tokens,
        parse,
        server::{Services, Shared, builder, serve},
    },
    model::error::Result,
    ops::metrics::Metrics,
};

/// A running server; it ends when dropped.
pub(super) struct Running {
    pub(super) address: SocketAddr,
    pub(super) metrics: Arc<Metrics>,
    pub(super) stopping: CancellationToken,
    cut: CancellationToken,
    pub(super) ended: Option<oneshot::Receiver<Result<()>>>,
    tasks: Arc<Tasks>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stopping.cancel();
        self.cut.cancel();
    }
}

impl Running {
    pub(super) async fn start(change: impl FnOnce(&mut Config)) -> Self {
        Self::with_tokens(change, None).await
    }

    pub(super) async fn with_tokens(change: impl FnOnce(&mut Config), tokens: Option<Tokens>) -> Self {
        let mut config = Config::defaults().unwrap();
        change(&mut config);
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let metrics = Arc::new(Metrics::new().unwrap());
        let (stopping, cut) = (CancellationToken::new(), CancellationToken::new());
        let tasks = Arc::new(Tasks::new());
        let pressure = Arc::new(Pressure::new(config.limits.wait_timeout));
        let (metrics_too, tasks_too) = (Arc::clone(&metrics), Arc::clone(&tasks));
        let shared = Shared { config: Arc::clone(&config), tokens: tokens.map(Arc::new), metrics: metrics_too, pressure, tasks: tasks_too };
        let services = Services::new().unwrap().with(ProfileServiceServer::new(Odd).max_decoding_message_size(config.limits.message_bytes));
        let (done, ended) = oneshot::channel();
        let server = serve(builder(&config).unwrap(), services, shared, listener, stopping.clone(), cut.clone());
        tasks.spawn(async move {
            let _ = done.send(server.await);
        });
        Self { address, metrics, stopping, cut, ended: Some(ended), tasks }
    }

    pub(super) async fn channel(&self) -> Channel {
        Channel::from_shared(format!("http://{}", self.address)).unwrap().connect().await.unwrap()
    }

    pub(super) async fn client(&self) -> ProfileServiceClient<Channel> {
        ProfileServiceClient::new(self.channel().await)
    }

    /// A call by bare HTTP/2, for what no client would send. Gives the last headers, where the status is.
    pub(super) async fn raw(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> HeaderMap {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        self.tasks.spawn(async move {
            let _ = connection.await;
        });
        let uri: Uri = format!("http://{}{path}", self.address).parse().unwrap();
        let mut request = HttpRequest::post(uri).header("content-type", "application/grpc").header("te", "trailers");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = tonic::body::Body::new(Whole(Some(Bytes::copy_from_slice(body))));
        let response = sender.send_request(request.body(body).unwrap()).await.unwrap();
        let (parts, mut body) = response.into_parts();
        last_headers(&mut body).await.unwrap_or(parts.headers)
    }

    /// A raw call's status.
    pub(super) async fn raw_status(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Status {
        Status::from_header_map(&self.raw(path, headers, body).await).unwrap()
    }

    /// The value of a metric's line, 0 when there is none.
    pub(super) fn metric(&self, line: &str) -> f64 {
        let text = self.metrics.text().unwrap();
        let value = text.lines().find_map(|found| found.strip_prefix(line)).map(|rest| rest.trim().parse().unwrap());
        value.unwrap_or(0.0)
    }
}

/// Waits until something holds, at most 5 s.
pub(super) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..500 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within 5 s: {what}");
}

/// The reason of a status; empty when it has no details of ours.
pub(super) fn reason(status: &Status) -> String {
    let info = status.get_details_error_info();
    assert!(info.as_ref().is_none_or(|info| info.domain == "cloakroom"));
    info.map(|info| info.reason).unwrap_or_default()
}

async fn last_headers(body: &mut Incoming) -> Option<HeaderMap> {
    let mut last = None;
    while let Some(frame) = std::future::poll_fn(|cx| std::pin::Pin::new(&mut *body).poll_frame(cx)).await {
        last = frame.unwrap().into_trailers().ok().or(last);
    }
    last
}

/// A body of one frame.
struct Whole(Option<Bytes>);

impl hyper::body::Body for Whole {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: std::pin::Pin<&mut Self>, _: &mut std::task::Context<'_>) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Status>>> {
        std::task::Poll::Ready(self.0.take().map(|bytes| Ok(hyper::body::Frame::data(bytes))))
    }
}

/// A message as gRPC frames it.
pub(super) fn framed(message: &[u8]) -> Vec<u8> {
    let mut out = vec![0];
    out.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
    out.extend_from_slice(message);
    out
}

/// Handlers that do what the session id says.
struct Odd;

fn piece(bytes: usize) -> v1::LoadProfileResponse {
    let chunk = v1::StorageStateChunk { data: vec![7; bytes].into() };
    v1::LoadProfileResponse { message: Some(load_profile_response::Message::StorageState(chunk)) }
}

#[tonic::async_trait]
impl ProfileService for Odd {
    type LoadProfileStream = std::pin::Pin<Box<dyn Stream<Item = Result<v1::LoadProfileResponse, Status>> + Send>>;

    async fn save_profile(&self, request: Request<Streaming<v1::SaveProfileRequest>>) -> Result<Response<v1::SaveProfileResponse>, Status> {
        let mut messages = request.into_inner();
        let mut count = 0;
        while messages.message().await?.is_some() {
            count += 1;
        }
        Ok(Response::new(v1::SaveProfileResponse { revision: count, ..v1::SaveProfileResponse::default() }))
    }

    async fn get_save_status(&self, _: Request<v1::GetSaveStatusRequest>) -> Result<Response<v1::GetSaveStatusResponse>, Status> {
        Ok(Response::new(v1::GetSaveStatusResponse::default()))
    }

    async fn load_profile(&self, request: Request<v1::LoadProfileRequest>) -> Result<Response<Self::LoadProfileStream>, Status> {
        let stream: Self::LoadProfileStream = match request.get_ref().session_id.as_str() {
            "stuck" => Box::pin(stream::once(async { Ok(piece(1)) }).chain(stream::pending())),
            "panic" => Box::pin(stream::once(async { Ok(piece(1)) }).chain(stream::once(async {
                // Later, for tonic sends what is ready in one piece.
                tokio::time::sleep(Duration::from_millis(50)).await;
                panic!("midway")
            }))),
            "flood" => Box::pin(stream::repeat_with(|| Ok(piece(64 << 10)))),
            "bare" => Box::pin(stream::iter([Ok(piece(1)), Err(Status::internal("without details"))])),
            _ => Box::pin(stream::iter([Ok(piece(1))])),
        };
        Ok(Response::new(stream))
    }

    async fn list_snapshots(&self, request: Request<v1::ListSnapshotsRequest>) -> Result<Response<v1::ListSnapshotsResponse>, Status> {
        // The namespace that was decided on, where the caller can see it.
        let namespace = parse::namespace(&request, &request.get_ref().namespace)?;
        Ok(Response::new(v1::ListSnapshotsResponse { next_page_token: namespace.to_string(), ..v1::ListSnapshotsResponse::default() }))
    }

    async fn get_snapshot(&self, request: Request<v1::GetSnapshotRequest>) -> Result<Response<v1::GetSnapshotResponse>, Status> {
        match request.get_ref().session_id.as_str() {
            "panic" => panic!("in a handler"),
            "hang" => std::future::pending::<()>().await,
            "slow" => tokio::time::sleep(Duration::from_millis(300)).await,
            _ => {}
        }
        Ok(Response::new(v1::GetSnapshotResponse::default()))
    }

    async fn restore_snapshot(&self, _: Request<v1::RestoreSnapshotRequest>) -> Result<Response<v1::RestoreSnapshotResponse>, Status> {
        Ok(Response::new(v1::RestoreSnapshotResponse::default()))
    }

    async fn diff_snapshots(&self, _: Request<v1::DiffSnapshotsRequest>) -> Result<Response<v1::DiffSnapshotsResponse>, Status> {
        Ok(Response::new(v1::DiffSnapshotsResponse::default()))
    }

    async fn pin_snapshot(&self, _: Request<v1::PinSnapshotRequest>) -> Result<Response<v1::PinSnapshotResponse>, Status> {
        Ok(Response::new(v1::PinSnapshotResponse::default()))
    }

    async fn delete_snapshot(&self, _: Request<v1::DeleteSnapshotRequest>) -> Result<Response<v1::DeleteSnapshotResponse>, Status> {
        Ok(Response::new(v1::DeleteSnapshotResponse::default()))
    }

    async fn undelete_snapshot(&self, _: Request<v1::UndeleteSnapshotRequest>) -> Result<Response<v1::UndeleteSnapshotResponse>, Status> {
        Ok(Response::new(v1::UndeleteSnapshotResponse::default()))
    }
}

pub(super) fn snapshot(of: &str) -> v1::GetSnapshotRequest {
    v1::GetSnapshotRequest { session_id: of.to_owned(), ..v1::GetSnapshotRequest::default() }
}

pub(super) fn load(of: &str) -> v1::LoadProfileRequest {
    v1::LoadProfileRequest { session_id: of.to_owned(), ..v1::LoadProfileRequest::default() }
}
