//! A save or a load may take its time, but must not stand still: bytes that never come, or that nobody fetches, end it, and its permit and memory are free again.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Sleep, sleep};
use tokio_util::sync::CancellationToken;
use tonic::{Status, body::Body};

use super::{
    Concern, Next,
    method::{Class, Method},
    panic::trailers,
};
use crate::{
    clock,
    flow::tasks::Tasks,
    model::error::{Error, Reason},
};

/// The concern.
#[derive(Clone, Debug)]
pub struct EndIdle {
    most: Duration,
    tasks: Arc<Tasks>,
}

impl EndIdle {
    /// A transfer may stand still this long.
    #[must_use]
    pub fn new(most: Duration, tasks: Arc<Tasks>) -> Self {
        Self { most, tasks }
    }
}

impl Concern for EndIdle {
    async fn call(&self, request: Request<Body>, next: &mut impl Next) -> Response<Body> {
        let transfer = request.extensions().get::<Arc<Method>>().is_some_and(|method| method.class == Class::Transfer);
        if !transfer {
            return next.run(request).await;
        }
        let request = request.map(|body| Body::new(Incoming { body, most: self.most, waiting: None }));
        let response = next.run(request).await;
        response.map(|body| {
            let slot = Arc::new(Mutex::new(Slot { body: Some(body), fetched: None, most: self.most }));
            self.tasks.spawn(empty_when_idle(Arc::downgrade(&slot), self.most, self.tasks.stopping()));
            Body::new(Outgoing(slot))
        })
    }
}

fn stood_still(what: &str, most: Duration) -> Status {
    let message = format!("{what} for {most:?}, which is as long as a transfer may stand still (limits.idle_timeout)");
    Error::new(Reason::Deadline, message).into()
}

/// What the caller sends: a wait for the next bytes is bounded.
struct Incoming {
    body: Body,
    most: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl HttpBody for Incoming {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if frame.is_ready() {
            self.waiting = None;
            return frame;
        }
        let most = self.most;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(most)));
        waiting.as_mut().poll(cx).map(|()| Some(Err(stood_still("nothing came", most))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// What the caller fetches. HTTP/2 does not ask for more while the caller reads nothing, so a task beside it looks at the clock and empties the slot.
struct Outgoing(Arc<Mutex<Slot>>);

struct Slot {
    /// None once it stood still too long.
    body: Option<Body>,
    /// When the caller fetched the last frame; None while it waits for us.
    fetched: Option<Instant>,
    most: Duration,
}

fn lock(slot: &Mutex<Slot>) -> MutexGuard<'_, Slot> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

impl HttpBody for Outgoing {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut slot = lock(&self.0);
        let most = slot.most;
        let Some(body) = &mut slot.body else { return Poll::Ready(Some(Ok(trailers(&stood_still("nothing was fetched", most))))) };
        let frame = Pin::new(body).poll_frame(cx);
        slot.fetched = frame.is_ready().then(clock::monotonic);
        frame
    }

    fn is_end_stream(&self) -> bool {
        lock(&self.0).body.as_ref().is_some_and(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        lock(&self.0).body.as_ref().map_or_else(SizeHint::default, HttpBody::size_hint)
    }
}

/// Empties the slot once nothing was fetched for `most`. Ends with the answer, or with the daemon.
async fn empty_when_idle(slot: Weak<Mutex<Slot>>, most: Duration, stop: CancellationToken) {
    // Looking eight times in the span makes it at most an eighth too long.
    let look = (most / 8).max(Duration::from_millis(1));
    while stop.run_until_cancelled(sleep(look)).await.is_some() {
        let Some(slot) = slot.upgrade() else { return };
        let mut slot = lock(&slot);
        if slot.fetched.is_some_and(|fetched| fetched.elapsed() >= most) {
            // The body may hold locks of its own in its drop; it goes after the slot's.
            let body = slot.body.take();
            drop(slot);
            drop(body);
            return;
        }
    }
}
