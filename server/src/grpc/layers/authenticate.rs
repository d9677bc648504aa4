//! Who calls, and whether its role is enough. Which namespaces it may use is decided where the request is parsed.

use std::sync::Arc;

use http::{HeaderMap, Request, Response, header::AUTHORIZATION};
use tonic::{Status, body::Body};

use super::{
    super::{auth::Tokens, parse::Caller},
    Concern, Next,
    method::Method,
};
use crate::model::error::{Error, Reason, Result};

/// The concern.
#[derive(Clone, Debug)]
pub struct Authenticate {
    tokens: Option<Arc<Tokens>>,
}

impl Authenticate {
    /// Asks for one of these tokens; without any, everybody may do everything.
    #[must_use]
    pub fn new(tokens: Option<Arc<Tokens>>) -> Self {
        Self { tokens }
    }

    fn caller(&self, method: &Method, headers: &HeaderMap) -> Result<Option<Caller>> {
        let (Some(tokens), Some(needs)) = (&self.tokens, method.needs) else { return Ok(None) };
        let caller = tokens.caller(bearer(headers)?)?;
        if caller.role < needs {
            let message = format!("{}/{} needs the role {needs}; {} is a {}", method.service, method.name, caller.name, caller.role);
            return Err(Error::new(Reason::PermissionDenied, message).with("role", caller.role));
        }
        Ok(Some(caller))
    }
}

impl Concern for Authenticate {
    async fn call(&self, mut request: Request<Body>, next: &mut impl Next) -> Response<Body> {
        let caller = match request.extensions().get::<Arc<Method>>() {
            Some(method) => self.caller(method, request.headers()),
            None => Err(Error::new(Reason::Internal, "a call came to authentication before its method was known")),
        };
        match caller {
            Ok(Some(caller)) => {
                tracing::Span::current().record("caller", &*caller.name);
                request.extensions_mut().insert(caller);
                next.run(request).await
            }
            Ok(None) => next.run(request).await,
            Err(error) => Status::from(error).into_http(),
        }
    }
}

/// The token of `authorization: Bearer TOKEN` (RFC 6750 §2.1; the scheme is case-insensitive, RFC 9110 §11.1).
fn bearer(headers: &HeaderMap) -> Result<&str> {
    let missing = |what: &str| {
        let error = Error::new(Reason::Unauthenticated, format!("{what}; this daemon asks for a token"));
        error.with_help("send the metadata `authorization: Bearer TOKEN`; the operator has tokens")
    };
    let value = headers.get(AUTHORIZATION).ok_or_else(|| missing("the call has no metadata `authorization`"))?;
    let text = value.to_str().map_err(|_| missing("the metadata `authorization` is not plain text"))?;
    let (scheme, token) = text.split_once(' ').ok_or_else(|| missing("the metadata `authorization` is not of the form `Bearer TOKEN`"))?;
    if scheme.eq_ignore_ascii_case("bearer") { Ok(token.trim()) } else { Err(missing("the scheme in the metadata `authorization` is not Bearer")) }
}
