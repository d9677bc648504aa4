//! A save or a load may take its time, but must not stand still: bytes that never come, or that nobody fetches, end it, and its permit and memory are free again. While
//! others wait for those, that happens sooner.

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
    flow::{pressure::Pressure, tasks::Tasks},
    model::error::{Error, Reason},
};

/// The concern.
#[derive(Clone, Debug)]
pub struct EndIdle {
    bounds: Bounds,
    tasks: Arc<Tasks>,
}

impl EndIdle {
    /// A transfer may stand still for `most`, under pressure only for its grace.
    #[must_use]
    pub fn new(most: Duration, pressure: Arc<Pressure>, tasks: Arc<Tasks>) -> Self {
        Self { bounds: Bounds { most, pressure }, tasks }
    }
}

/// How long a transfer may stand still.
#[derive(Clone, Debug)]
struct Bounds {
    most: Duration,
    pressure: Arc<Pressure>,
}

/// Why a transfer that stood still was ended.
#[derive(Clone, Copy, Debug)]
enum Still {
    TooLong,
    InTheWay,
}

impl Bounds {
    /// Whether a transfer that has stood still for so long ends now.
    fn judge(&self, still: Duration) -> Option<Still> {
        match still {
            _ if still >= self.most => Some(Still::TooLong),
            _ if still >= self.pressure.grace() && self.pressure.is_on() => Some(Still::InTheWay),
            _ => None,
        }
    }

    /// After how long a look is worth it.
    fn step(&self) -> Duration {
        self.most.min(self.pressure.grace())
    }

    fn status(&self, what: &str, why: Still) -> Status {
        let message = match why {
            Still::TooLong => format!("{what} for {:?}, which is as long as a transfer may stand still (limits.idle_timeout)", self.most),
            Still::InTheWay => {
                format!("{what} for {:?} while others waited for the memory or the place (half of limits.wait_timeout); begin again", self.pressure.grace())
            }
        };
        Error::new(Reason::Deadline, message).into()
    }
}

impl Concern for EndIdle {
    async fn call(&self, request: Request<Body>, next: &mut impl Next) -> Response<Body> {
        let transfer = request.extensions().get::<Arc<Method>>().is_some_and(|method| method.class == Class::Transfer);
        if !transfer {
            return next.run(request).await;
        }
        let request = request.map(|body| Body::new(Incoming { body, bounds: self.bounds.clone(), waiting: None }));
        let response = next.run(request).await;
        response.map(|body| {
            let slot = Arc::new(Mutex::new(Slot { body: Ok(body), fetched: None, bounds: self.bounds.clone() }));
            self.tasks.spawn(empty_when_idle(Arc::downgrade(&slot), self.bounds.clone(), self.tasks.stopping()));
            Body::new(Outgoing(slot))
        })
    }
}

/// What the caller sends: a wait for the next bytes is bounded.
struct Incoming {
    body: Body,
    bounds: Bounds,
    /// How long it has waited before this wait, and this wait.
    waiting: Option<(Duration, Pin<Box<Sleep>>)>,
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
        let step = self.bounds.step();
        loop {
            let (before, waiting) = self.waiting.get_or_insert_with(|| (Duration::ZERO, Box::pin(sleep(step))));
            if waiting.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let still = *before + step;
            if let Some(why) = self.bounds.judge(still) {
                return Poll::Ready(Some(Err(self.bounds.status("nothing came", why))));
            }
            self.waiting = Some((still, Box::pin(sleep(step))));
        }
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
    /// Why it was emptied, once it stood still too long.
    body: Result<Body, Still>,
    /// When the caller fetched the last frame; None while it waits for us.
    fetched: Option<Instant>,
    bounds: Bounds,
}

fn lock(slot: &Mutex<Slot>) -> MutexGuard<'_, Slot> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

impl HttpBody for Outgoing {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut slot = lock(&self.0);
        let slot = &mut *slot;
        let body = match &mut slot.body {
            Ok(body) => body,
            Err(why) => return Poll::Ready(Some(Ok(trailers(&slot.bounds.status("nothing was fetched", *why))))),
        };
        let frame = Pin::new(body).poll_frame(cx);
        slot.fetched = frame.is_ready().then(clock::monotonic);
        frame
    }

    fn is_end_stream(&self) -> bool {
        lock(&self.0).body.as_ref().is_ok_and(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        lock(&self.0).body.as_ref().map_or_else(|_| SizeHint::default(), HttpBody::size_hint)
    }
}

/// Empties the slot once nothing was fetched for too long. Ends with the answer, or with the daemon.
async fn empty_when_idle(slot: Weak<Mutex<Slot>>, bounds: Bounds, stop: CancellationToken) {
    // Looking eight times in the span makes it at most an eighth too long.
    let look = (bounds.step() / 8).max(Duration::from_millis(1));
    while stop.run_until_cancelled(sleep(look)).await.is_some() {
        let Some(slot) = slot.upgrade() else { return };
        let mut slot = lock(&slot);
        if let Some(why) = slot.fetched.and_then(|fetched| bounds.judge(fetched.elapsed())) {
            // The body may hold locks of its own in its drop; it goes after the slot's.
            let body = std::mem::replace(&mut slot.body, Err(why));
            drop(slot);
            drop(body);
            return;
        }
    }
}
