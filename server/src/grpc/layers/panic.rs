//! A fault of one call ends that call and no other: a panic becomes INTERNAL, in the handler and in the stream it answers with.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::FutureExt as _;
use http::{HeaderMap, Request, Response};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tonic::{Status, body::Body};

use super::{Concern, Next};
use crate::model::error::{Error, Reason};

/// The concern.
#[derive(Clone, Debug)]
pub struct CatchPanic;

impl Concern for CatchPanic {
    async fn call(&self, request: Request<Body>, next: &mut impl Next) -> Response<Body> {
        // What the panic left half done was the call's own, and is dropped with it.
        match AssertUnwindSafe(next.run(request)).catch_unwind().await {
            Ok(response) => response.map(|body| Body::new(Guarded { body: Some(body) })),
            Err(panic) => status(&*panic).into_http(),
        }
    }
}

fn status(panic: &(dyn Any + Send)) -> Status {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned()).or_else(|| panic.downcast_ref::<String>().cloned());
    let cause = format!("panic: {}", text.unwrap_or_default());
    Error::new(Reason::Internal, "a handler panicked").with_source(cause).into()
}

struct Guarded {
    /// None once it panicked: it must not be polled again.
    body: Option<Body>,
}

impl HttpBody for Guarded {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        match catch_unwind(AssertUnwindSafe(|| Pin::new(body).poll_frame(cx))) {
            Ok(frame) => frame,
            Err(panic) => {
                self.body = None;
                Poll::Ready(Some(Ok(trailers(&status(&*panic)))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, HttpBody::size_hint)
    }
}

/// A status as the last frame of an answer.
pub(super) fn trailers(status: &Status) -> Frame<Bytes> {
    let mut headers = HeaderMap::new();
    if status.add_header(&mut headers).is_err() {
        tracing::error!("a status does not fit into trailers");
    }
    Frame::trailers(headers)
}
