//! Traces through real sockets: the caller's context comes in, the daemon's goes out, spans reach a collector.

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    trace::v1::Span,
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tracing::instrument::WithSubscriber as _;

use super::server::{Running, framed};
use crate::{config::Config, flow::tasks::Tasks, model::hex::hex, ops::telemetry};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// Keeps the spans it is sent, with the name of the service that sent them.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<(String, Span)>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(&self, request: Request<ExportTraceServiceRequest>) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for resource in request.into_inner().resource_spans {
            let service = format!("{:?}", resource.resource);
            let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            self.0.lock().unwrap().extend(spans.map(|span| (service.clone(), span)));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn attribute(span: &Span, key: &str) -> String {
    span.attributes.iter().find(|attribute| attribute.key == key).map(|attribute| format!("{:?}", attribute.value)).unwrap_or_default()
}

/// Which places in the code make spans is remembered per process, and other tests in it have other subscribers; so this one runs in a process of its own.
#[test]
fn spans_join_the_callers_trace_and_reach_the_collector() {
    const ALONE: &str = "CLOAKROOM_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        return runtime.block_on(async {
            joined_and_sent(false).await;
            joined_and_sent(true).await;
        });
    }
    let name = "grpc::layers::tests::trace::spans_join_the_callers_trace_and_reach_the_collector";
    let alone = std::process::Command::new(std::env::current_exe().unwrap()).args(["--exact", name, "--nocapture"]).env(ALONE, "1").output().unwrap();
    let said = String::from_utf8_lossy(&alone.stdout);
    assert!(alone.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&alone.stderr));
}

async fn joined_and_sent(encrypted: bool) {
    let (tasks, stop, collector) = (Tasks::new(), CancellationToken::new(), Collector::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (mut config, mut server) = (Config::defaults().unwrap().telemetry, tonic::transport::Server::builder());
    let dir = tempfile::tempdir().unwrap();
    if encrypted {
        let own = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let ca = dir.path().join("ca.pem");
        std::fs::write(&ca, own.cert.pem()).unwrap();
        config.otlp_ca = Some(ca);
        let identity = tonic::transport::Identity::from_pem(own.cert.pem(), own.signing_key.serialize_pem());
        server = server.tls_config(tonic::transport::ServerTlsConfig::new().identity(identity)).unwrap();
    }
    config.otlp_endpoint = format!("{}://{}", if encrypted { "https" } else { "http" }, listener.local_addr().unwrap());
    config.service_name = "cloakroom-under-test".to_owned();
    let serving = server
        .add_service(TraceServiceServer::new(collector.clone()))
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), stop.clone().cancelled_owned());
    tasks.spawn(async move { serving.await.unwrap() });

    let (subscriber, flush) = telemetry::subscriber(&config, io::sink, false).unwrap();
    let dispatch = tracing::Dispatch::new(subscriber);
    let traceparent = async {
        let server = Running::start(|_| {}).await;
        let parent = format!("00-{TRACE}-{PARENT}-01");
        let headers = [("traceparent", parent.as_str()), ("x-request-id", "req-7")];
        // Unreadable, so that headers and status come in one piece.
        let answer = server.raw("/cloakroom.v1.ProfileService/GetSnapshot", &headers, &framed(&[0xff])).await;
        answer["traceparent"].to_str().unwrap().to_owned()
    };
    // The connection's task takes the subscriber of the thread it is made on; so the whole server lives under ours.
    let traceparent = served_under(&dispatch, traceparent).await;
    tokio::task::spawn_blocking(move || flush.finish()).await.unwrap();

    let spans = collector.0.lock().unwrap().clone();
    let (service, span) = spans.iter().find(|(_, span)| span.name == "cloakroom.v1.ProfileService/GetSnapshot").expect("the span arrived");
    assert!(service.contains("cloakroom-under-test"), "{service}");
    assert_eq!((hex(&span.trace_id), hex(&span.parent_span_id)), (TRACE.to_owned(), PARENT.to_owned()));
    assert_eq!(traceparent, format!("00-{TRACE}-{}-01", hex(&span.span_id)), "the answer names the daemon's own span");
    assert!(attribute(span, "rpc.service").contains("cloakroom.v1.ProfileService"));
    assert!(attribute(span, "rpc.method").contains("GetSnapshot"));
    assert!(attribute(span, "code").contains("INVALID_ARGUMENT"));
    assert!(attribute(span, "request_id").contains("req-7"));
    assert!(attribute(span, "latency_ms").contains("Double"));
    assert!(span.end_time_unix_nano >= span.start_time_unix_nano);
    stop.cancel();
    assert!(tasks.stop(Duration::from_secs(5)).await);
}

/// Tasks made by tonic and hyper do not inherit a subscriber, so they run on a thread whose default it is.
async fn served_under<T: Send + 'static>(dispatch: &tracing::Dispatch, work: impl Future<Output = T> + Send + 'static) -> T {
    let dispatch = dispatch.clone();
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tracing::dispatcher::with_default(&dispatch, || runtime.block_on(work.with_current_subscriber()))
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

#[tokio::test]
async fn a_collector_that_cannot_be_meant_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let no_pem = dir.path().join("no.pem");
    std::fs::write(&no_pem, "no certificate").unwrap();
    for (endpoint, ca, words) in [
        ("collector:4317", None, ["telemetry.otlp_endpoint is \"collector:4317\"", "neither http:// nor https://"]),
        ("grpc://collector:4317", None, ["telemetry.otlp_endpoint", "neither http:// nor https://"]),
        ("https://", None, ["telemetry.otlp_endpoint", "https://collector.example.com:4317"]),
        ("https://collector:4317", Some("/nowhere/ca.pem".into()), ["telemetry.otlp_ca: the file /nowhere/ca.pem", "cannot be read"]),
        ("https://collector:4317", Some(no_pem), ["telemetry.otlp_ca", "holds no certificate"]),
    ] {
        let config = crate::config::Telemetry { otlp_endpoint: endpoint.to_owned(), otlp_ca: ca, ..Config::defaults().unwrap().telemetry };
        let error = telemetry::subscriber(&config, io::sink, false).err().expect("refused");
        assert!(words.iter().all(|word| error.message().contains(word)), "{error}");
    }
    let public = crate::config::Telemetry { otlp_endpoint: "https://collector.example:4317".to_owned(), ..Config::defaults().unwrap().telemetry };
    assert!(telemetry::subscriber(&public, io::sink, false).is_ok());
}
