//! Open health watches and reflection streams never end by themselves; when the daemon stops they are told so, or the last connection would stay until the deadline.
//! Saves and loads finish, and watches of sessions say good-bye themselves.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::{Status, body::Body};

use super::{
    Concern, Next,
    method::{Class, Method},
    panic::trailers,
};
use crate::model::error::{Error, Reason};

/// The concern.
#[derive(Clone, Debug)]
pub struct Drain {
    stopping: CancellationToken,
}

impl Drain {
    /// Ends such streams when this is cancelled.
    #[must_use]
    pub fn new(stopping: CancellationToken) -> Self {
        Self { stopping }
    }
}

impl Concern for Drain {
    async fn call(&self, request: Request<Body>, next: &mut impl Next) -> Response<Body> {
        let standard = request.extensions().get::<Arc<Method>>().is_some_and(|method| method.class == Class::Standard);
        let response = next.run(request).await;
        if !standard {
            return response;
        }
        response.map(|body| Body::new(Drained { body, stopped: Box::pin(self.stopping.clone().cancelled_owned()) }))
    }
}

struct Drained {
    body: Body,
    stopped: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl HttpBody for Drained {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        // What is ready goes out first: the last word of a health watch is NOT_SERVING.
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if frame.is_ready() {
            return frame;
        }
        self.stopped.as_mut().poll(cx).map(|()| {
            let status = Error::new(Reason::ShuttingDown, "the daemon is about to stop").into();
            Some(Ok(trailers(&status)))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
