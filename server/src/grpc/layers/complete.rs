//! Gives every failed call the details that the contract promises, also where tonic itself failed it: unknown methods, messages too large or unreadable, deadlines.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tonic::{Code, Status, body::Body};

use super::{
    Concern, Next,
    method::{Class, Method},
};
use crate::model::error::{Error, Reason};

/// How tonic's and prost's words for bytes that are no message begin; a test makes them say each.
const UNREADABLE: &[&str] = &["failed to decode Protobuf message", "protocol error: ", "Unexpected EOF decoding stream", "Missing request message"];

/// The concern.
#[derive(Clone, Debug)]
pub struct Complete;

impl Concern for Complete {
    async fn call(&self, request: Request<Body>, next: &mut impl Next) -> Response<Body> {
        let path: Arc<str> = request.uri().path().into();
        let class = request.extensions().get::<Arc<Method>>().map_or(Class::Unary, |method| method.class);
        let mut response = next.run(request).await;
        complete(&path, class, response.headers_mut());
        response.map(|body| Body::new(Completed { body, path, class }))
    }
}

/// Replaces a status without details by one that has them. Everything else among the headers stays.
fn complete(path: &str, class: Class, headers: &mut HeaderMap) {
    let Some(status) = Status::from_header_map(headers) else { return };
    // What health answers for a service it does not know is a rule of its own protocol.
    let foreign_rule = class == Class::Standard && status.code() == Code::NotFound;
    if status.code() == Code::Ok || !status.details().is_empty() || foreign_rule {
        return;
    }
    let complete = Status::from(error(path, &status));
    if complete.add_header(headers).is_err() {
        tracing::error!(path, "a status does not fit into headers");
    }
}

/// What tonic meant. It makes a status of its own for what concerns messages and streams, never for what concerns sessions or profiles.
fn error(path: &str, status: &Status) -> Error {
    let message = status.message();
    match status.code() {
        Code::Unimplemented if message.contains("compressed") => {
            Error::new(Reason::Unsupported, "the message is compressed in a way that this daemon does not read; send it uncompressed")
        }
        Code::Unimplemented => {
            let message = format!("this daemon (version {}) has no method {path}", env!("CARGO_PKG_VERSION"));
            Error::new(Reason::Unsupported, message).with_help("check the name, or start a newer daemon; reflection lists what this one has")
        }
        Code::OutOfRange if message.contains("decoded") => too_large(message),
        Code::DeadlineExceeded | Code::Cancelled => Error::new(Reason::Deadline, "the call took longer than its deadline"),
        Code::Internal if UNREADABLE.iter().any(|start| message.starts_with(start)) => {
            Error::new(Reason::MessageInvalid, format!("a message of the call cannot be read: {message}"))
        }
        _ => Error::new(Reason::Internal, message),
    }
}

fn too_large(message: &str) -> Error {
    let numbers: Vec<&str> = message.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty()).collect();
    let error = match numbers.as_slice() {
        [found, limit] => {
            Error::new(Reason::LimitExceeded, format!("a message of the call has {found} bytes; this method takes at most {limit}")).with("limit", limit)
        }
        _ => Error::new(Reason::LimitExceeded, "a message of the call is larger than this method takes"),
    };
    error.with_help("send less at once: smaller pages, smaller chunks")
}

struct Completed {
    body: Body,
    path: Arc<str>,
    class: Class,
}

impl HttpBody for Completed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut frame = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &mut frame
            && let Some(trailers) = frame.trailers_mut()
        {
            complete(&self.path, self.class, trailers);
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
