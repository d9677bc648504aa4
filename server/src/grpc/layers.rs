//! What every call goes through before its handler, and every answer after it: one file per concern. Their order, with a reason for each, stands in
//! [`super::server`].

pub mod authenticate;
pub mod complete;
pub mod deadline;
pub mod drain;
pub mod idle;
pub mod load;
pub mod method;
pub mod observe;
pub mod panic;
#[cfg(test)]
mod tests;

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use tonic::{body::Body, service::Routes};
use tower::{Layer, Service};

/// The rest of the way: what a [`Concern`] hands the request on to.
pub trait Next: Send {
    /// Goes on; always answers, with a status when it fails.
    fn run(&mut self, request: Request<Body>) -> impl Future<Output = Response<Body>> + Send;
}

impl Next for Routes {
    async fn run(&mut self, request: Request<Body>) -> Response<Body> {
        // Routes are always ready.
        let Ok(response) = self.call(request).await;
        response
    }
}

impl<C: Concern, N: Next> Next for Around<C, N> {
    async fn run(&mut self, request: Request<Body>) -> Response<Body> {
        self.concern.call(request, &mut self.inner).await
    }
}

/// One concern that surrounds every call.
pub trait Concern: Send + Sync + 'static {
    /// Does its part before and after `next`, or answers in its place.
    fn call(&self, request: Request<Body>, next: &mut impl Next) -> impl Future<Output = Response<Body>> + Send;
}

/// A concern as a tower layer.
#[derive(Debug)]
pub struct With<C>(Arc<C>);

impl<C> Clone for With<C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<C> With<C> {
    /// The layer of this concern.
    pub fn new(concern: C) -> Self {
        Self(Arc::new(concern))
    }
}

impl<C, S> Layer<S> for With<C> {
    type Service = Around<C, S>;

    fn layer(&self, inner: S) -> Self::Service {
        Around { concern: Arc::clone(&self.0), inner }
    }
}

/// What stands within a concern, with the concern around it. The outermost is the service that a connection calls; it goes inwards by [`Next`], so that a call costs one
/// copy of the stack and one boxed future, not one per layer.
#[derive(Debug)]
pub struct Around<C, S> {
    concern: Arc<C>,
    inner: S,
}

impl<C, S: Clone> Clone for Around<C, S> {
    fn clone(&self) -> Self {
        Self { concern: Arc::clone(&self.concern), inner: self.inner.clone() }
    }
}

impl<C: Concern, N: Next + Clone + 'static> Service<Request<Body>> for Around<C, N> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let mut stack = self.clone();
        Box::pin(async move { Ok(stack.run(request).await) })
    }
}
