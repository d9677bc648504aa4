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
    task::{Context, Poll},
};

use http::{Request, Response};
use tonic::body::Body;
use tower::{Layer, Service};

/// The rest of the way: what a [`Concern`] hands the request on to.
pub trait Next: Clone + Send + 'static {
    /// Goes on; always answers, with a status when it fails.
    fn run(&mut self, request: Request<Body>) -> impl Future<Output = Response<Body>> + Send;
}

impl<S> Next for S
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send> + Clone + Send + 'static,
{
    async fn run(&mut self, request: Request<Body>) -> Response<Body> {
        let Ok(()) = std::future::poll_fn(|cx| self.poll_ready(cx)).await;
        let Ok(response) = self.call(request).await;
        response
    }
}

/// One concern that surrounds every call.
pub trait Concern: Clone + Send + Sync + 'static {
    /// Does its part before and after `next`, or answers in its place.
    fn call(self, request: Request<Body>, next: impl Next) -> impl Future<Output = Response<Body>> + Send;
}

/// A concern as a tower layer.
#[derive(Clone, Debug)]
pub struct With<C>(pub C);

impl<C: Clone, S> Layer<S> for With<C> {
    type Service = Around<C, S>;

    fn layer(&self, inner: S) -> Self::Service {
        Around { concern: self.0.clone(), inner }
    }
}

/// A service with a concern around it.
#[derive(Clone, Debug)]
pub struct Around<C, S> {
    concern: C,
    inner: S,
}

impl<C: Concern, S: Next> Service<Request<Body>> for Around<C, S> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Readiness is asked for by `Next::run`, of the very clone that is called.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (concern, inner) = (self.concern.clone(), self.inner.clone());
        Box::pin(async move { Ok(concern.call(request, inner).await) })
    }
}
