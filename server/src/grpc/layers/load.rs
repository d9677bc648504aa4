//! How many calls run at once, by class. A call over the bound is refused at once, for a queue would only make it fail later. A permit lives until the last byte of the
//! answer: a stream counts as long as it streams.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use opentelemetry::KeyValue;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Status, body::Body};

use super::{
    Concern, Next,
    method::{Class, Method},
};
use crate::{
    config::Limits,
    flow::pressure::Pressure,
    model::error::{Error, Reason},
    ops::metrics::Metrics,
};

/// When to try again: long enough to matter under load, short enough not to be noticed after a burst.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// The concern.
#[derive(Clone, Debug)]
pub struct LimitLoad {
    calls: Bound,
    transfers: Bound,
    watches: Bound,
    metrics: Arc<Metrics>,
    pressure: Arc<Pressure>,
}

#[derive(Clone, Debug)]
struct Bound {
    key: &'static str,
    most: usize,
    free: Arc<Semaphore>,
}

impl Bound {
    fn new(key: &'static str, most: usize) -> Self {
        Self { key, most, free: Arc::new(Semaphore::new(most)) }
    }
}

impl LimitLoad {
    /// The bounds of the configuration. A refused transfer is felt as pressure by those that stand still.
    #[must_use]
    pub fn new(limits: &Limits, metrics: Arc<Metrics>, pressure: Arc<Pressure>) -> Self {
        Self {
            calls: Bound::new("limits.calls", limits.calls),
            transfers: Bound::new("limits.transfers", limits.transfers),
            watches: Bound::new("limits.watches", limits.watches),
            metrics,
            pressure,
        }
    }

    fn permit(&self, class: Class) -> Result<Option<OwnedSemaphorePermit>, Error> {
        let bound = match class {
            Class::Unary => &self.calls,
            Class::Transfer => &self.transfers,
            Class::Watch => &self.watches,
            Class::Standard => return Ok(None),
        };
        Arc::clone(&bound.free).try_acquire_owned().map(Some).map_err(|_| {
            if class == Class::Transfer {
                self.pressure.note();
            }
            self.metrics.refused.add(1, &[KeyValue::new("class", class.name())]);
            let message = format!("{} {} calls are running, which is all this daemon takes at once ({})", bound.most, class.name(), bound.key);
            Error::new(Reason::Overloaded, message).with("limit", bound.most).with_retry_after(RETRY_AFTER)
        })
    }
}

impl Concern for LimitLoad {
    async fn call(&self, request: Request<Body>, next: &mut impl Next) -> Response<Body> {
        let class = request.extensions().get::<Arc<Method>>().map_or(Class::Unary, |method| method.class);
        match self.permit(class) {
            Ok(permit) => next.run(request).await.map(|body| Body::new(Permitted { body, _permit: permit })),
            Err(error) => Status::from(error).into_http(),
        }
    }
}

struct Permitted {
    body: Body,
    _permit: Option<OwnedSemaphorePermit>,
}

impl HttpBody for Permitted {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
