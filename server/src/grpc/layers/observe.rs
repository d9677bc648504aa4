//! Sees every call from its first byte to its last: a span in the caller's trace, a request id, and the metrics. A call ends with its answer's last byte, or when its
//! caller is gone; a stream is in flight until then.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use opentelemetry::{
    KeyValue,
    propagation::{Extractor, TextMapPropagator as _},
    trace::TraceContextExt as _,
};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tonic::{Code, Status, body::Body};
use tracing::{Instrument as _, Span, field};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::{
    Concern, Next,
    method::{Method, Methods},
};
use crate::{clock, ops::metrics::Metrics};

/// Names one call in logs and answers. Taken from the caller when it gives a sensible one, so that its logs and ours meet.
const REQUEST_ID: &str = "x-request-id";
const TRACEPARENT: &str = "traceparent";
/// Longest request id taken from a caller, in bytes.
const MAX_REQUEST_ID: usize = 64;

/// The concern.
#[derive(Clone, Debug)]
pub struct Observe {
    methods: Arc<Methods>,
    metrics: Arc<Metrics>,
}

impl Observe {
    /// Knows the methods, counts into the metrics.
    #[must_use]
    pub fn new(methods: Arc<Methods>, metrics: Arc<Metrics>) -> Self {
        Self { methods, metrics }
    }
}

impl Concern for Observe {
    async fn call(&self, mut request: Request<Body>, next: &mut impl Next) -> Response<Body> {
        let method = self.methods.find(request.uri().path());
        let id = request_id(request.headers());
        let span = span(&method, &id);
        let parent = TraceContextPropagator::new().extract(&Headers(request.headers()));
        // Fails only when no traces are exported; then there is nothing to join.
        let _ = span.set_parent(parent);
        let mut call = Call::start(&method, Arc::clone(&self.metrics), span.clone());
        request.extensions_mut().insert(method);
        let mut response = next.run(request).instrument(span.clone()).await;
        let headers = response.headers_mut();
        headers.insert(REQUEST_ID, id);
        if let Some(traceparent) = traceparent(&span) {
            headers.insert(TRACEPARENT, traceparent);
        }
        if let Some(status) = Status::from_header_map(headers) {
            call.end(status.code());
        }
        response.map(|body| Body::new(Observed { body, call }))
    }
}

fn span(method: &Method, id: &HeaderValue) -> Span {
    tracing::info_span!(
        "call",
        otel.name = %format_args!("{}/{}", method.service, method.name),
        otel.kind = "server",
        otel.status_code = field::Empty,
        rpc.system = "grpc",
        rpc.service = &*method.service,
        rpc.method = &*method.name,
        rpc.grpc.status_code = field::Empty,
        caller = field::Empty,
        code = field::Empty,
        latency_ms = field::Empty,
        request_id = id.to_str().unwrap_or_default(),
    )
}

/// The caller's request id, or one of ours.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let sensible = |value: &&HeaderValue| (1..=MAX_REQUEST_ID).contains(&value.len()) && value.as_bytes().iter().all(u8::is_ascii_graphic);
    headers.get(REQUEST_ID).filter(sensible).cloned().unwrap_or_else(|| {
        // Without random numbers the call itself will say so; a missing id is no reason to fail it here.
        let id = format!("{:016x}", u64::from_be_bytes(clock::random().unwrap_or_default()));
        HeaderValue::from_str(&id).unwrap_or_else(|_| HeaderValue::from_static(""))
    })
}

/// The span as W3C Trace Context writes it, so that a caller can find it.
fn traceparent(span: &Span) -> Option<HeaderValue> {
    let context = span.context();
    let context = context.span().span_context().clone();
    let text = format!("00-{}-{}-{:02x}", context.trace_id(), context.span_id(), context.trace_flags().to_u8());
    context.is_valid().then(|| HeaderValue::from_str(&text).ok()).flatten()
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

/// A call in flight. It ends once: with a status, or, when it is dropped before, as cancelled.
struct Call {
    labels: [KeyValue; 2],
    metrics: Arc<Metrics>,
    span: Span,
    start: Instant,
    ended: bool,
}

impl Call {
    fn start(method: &Method, metrics: Arc<Metrics>, span: Span) -> Self {
        let labels = [KeyValue::new("service", Arc::clone(&method.service)), KeyValue::new("method", Arc::clone(&method.name))];
        metrics.in_flight.add(1, &labels);
        Self { labels, metrics, span, start: clock::monotonic(), ended: false }
    }

    fn end(&mut self, code: Code) {
        if self.ended {
            return;
        }
        self.ended = true;
        let latency = self.start.elapsed();
        let name = code_name(code);
        let [service, method] = self.labels.clone();
        self.metrics.in_flight.add(-1, &self.labels);
        self.metrics.latency.record(latency.as_secs_f64(), &self.labels);
        self.metrics.calls.add(1, &[service, method, KeyValue::new("code", name)]);
        self.span.record("code", name);
        self.span.record("rpc.grpc.status_code", i32::from(code));
        self.span.record("latency_ms", latency.as_secs_f64() * 1e3);
        // Of a server's span only its own faults are errors (OpenTelemetry, semantic conventions for gRPC).
        if matches!(code, Code::Unknown | Code::DeadlineExceeded | Code::Unimplemented | Code::Internal | Code::Unavailable | Code::DataLoss) {
            self.span.record("otel.status_code", "ERROR");
        }
        self.span.in_scope(|| tracing::debug!("the call ended"));
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.end(Code::Cancelled);
    }
}

struct Observed {
    body: Body,
    call: Call,
}

impl HttpBody for Observed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let frame = this.call.span.in_scope(|| Pin::new(&mut this.body).poll_frame(cx));
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(status) = frame.trailers_ref().and_then(Status::from_header_map)
        {
            this.call.end(status.code());
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The code as the contract writes it.
fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
