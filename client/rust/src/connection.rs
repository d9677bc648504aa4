//! The connection: one channel, credentials on every call, and repetition by the published service config.

use std::{future::Future, sync::Arc, time::Duration};

use cloakroom_api::{
    SERVICE_CONFIG,
    v1::{
        admin_service_client::AdminServiceClient, invalidation_service_client::InvalidationServiceClient, profile_service_client::ProfileServiceClient,
        session_service_client::SessionServiceClient,
    },
};
use tonic::{
    Code, Request, Response, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

use crate::error::{Error, Result};

/// Largest message that is taken from the daemon.
const MAX_MESSAGE: usize = 4 << 20;
/// HTTP/2 frames of this size cost the least on a fast link; windows grow with the link.
const FRAME: u32 = 256 << 10;

/// How to reach a daemon.
#[derive(Clone, Default)]
pub struct Options {
    /// The namespace; empty for the caller's own.
    pub namespace: String,
    /// The bearer token, if the daemon asks for one.
    pub token: Option<String>,
    /// PEM of the authority that signed the daemon's certificate; without it the public authorities are trusted.
    pub ca_certificate: Option<Vec<u8>>,
    /// PEM of this client's certificate and key, for mutual TLS.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options").field("namespace", &self.namespace).field("token", &self.token.is_some()).finish_non_exhaustive()
    }
}

/// A client of one daemon. Cheap to clone; clones share the connection.
///
/// ```no_run
/// # async fn example() -> cloakroom_client::Result<()> {
/// let client = cloakroom_client::Client::connect("http://127.0.0.1:7700", Default::default())?;
/// let session = client.sessions().get("acct-1").await?;
/// println!("{}", session.etag);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) target: Arc<str>,
    pub(crate) namespace: Arc<str>,
    channel: Channel,
    credentials: Credentials,
    policy: RetryPolicy,
}

#[derive(Clone, Debug)]
pub(crate) struct Credentials(Option<MetadataValue<Ascii>>);

impl Interceptor for Credentials {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

pub(crate) type Transport = InterceptedService<Channel, Credentials>;

impl Client {
    /// Prepares a connection to `target`, such as `http://127.0.0.1:7700` or `https://cloakroom.internal:7700`; `http://` may be left out. It connects with the first call.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the target, the token or a certificate cannot be used.
    pub fn connect(target: &str, options: Options) -> Result<Self> {
        let url = if target.contains("://") { target.to_owned() } else { format!("http://{target}") };
        let invalid = |what: &str, error: &dyn std::fmt::Display| Error::Invalid(format!("{what}: {error}"));
        let mut endpoint = Endpoint::from_shared(url.clone()).map_err(|error| invalid(&format!("the target {target:?} is no address like 127.0.0.1:7700"), &error))?;
        endpoint = endpoint.connect_timeout(Duration::from_secs(5)).tcp_nodelay(true).http2_adaptive_window(true).http2_max_frame_size(FRAME);
        endpoint = endpoint.http2_keep_alive_interval(Duration::from_secs(20)).keep_alive_timeout(Duration::from_secs(10)).keep_alive_while_idle(true);
        if url.starts_with("https://") {
            let mut tls = ClientTlsConfig::new();
            tls = match options.ca_certificate {
                Some(pem) => tls.ca_certificate(Certificate::from_pem(pem)),
                None => tls.with_webpki_roots(),
            };
            if let Some((certificate, key)) = options.identity {
                tls = tls.identity(Identity::from_pem(certificate, key));
            }
            endpoint = endpoint.tls_config(tls).map_err(|error| invalid("TLS", &error))?;
        }
        let bearer = options.token.map(|token| format!("Bearer {token}").parse());
        let token = bearer.transpose().map_err(|error| invalid("the token has characters that no header can carry", &error))?;
        Ok(Self {
            target: url.into(),
            namespace: options.namespace.into(),
            channel: endpoint.connect_lazy(),
            credentials: Credentials(token),
            policy: RetryPolicy::published(),
        })
    }

    fn transport(&self) -> Transport {
        InterceptedService::new(self.channel.clone(), self.credentials.clone())
    }

    pub(crate) fn session_stub(&self) -> SessionServiceClient<Transport> {
        SessionServiceClient::new(self.transport()).max_decoding_message_size(MAX_MESSAGE)
    }

    pub(crate) fn profile_stub(&self) -> ProfileServiceClient<Transport> {
        ProfileServiceClient::new(self.transport()).max_decoding_message_size(MAX_MESSAGE)
    }

    pub(crate) fn invalidation_stub(&self) -> InvalidationServiceClient<Transport> {
        InvalidationServiceClient::new(self.transport()).max_decoding_message_size(MAX_MESSAGE)
    }

    pub(crate) fn admin_stub(&self) -> AdminServiceClient<Transport> {
        AdminServiceClient::new(self.transport()).max_decoding_message_size(MAX_MESSAGE)
    }

    /// Makes a unary call, repeating it as the published service config says. A mutation without a `request_id` is safe to repeat only because UNAVAILABLE is never
    /// answered for a call that was carried out, except when the connection broke: callers that must know give a `request_id`.
    pub(crate) async fn unary<T, F>(&self, mut call: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let mut backoff = self.policy.initial;
        for attempt in 1.. {
            let status = match tokio::time::timeout(self.policy.timeout, call()).await {
                Ok(Ok(response)) => return Ok(response.into_inner()),
                Ok(Err(status)) => status,
                Err(_) => Status::deadline_exceeded(format!("no answer within {:?}", self.policy.timeout)),
            };
            let error = Error::call(&self.target, &status);
            if status.code() != Code::Unavailable || attempt >= self.policy.attempts {
                return Err(error);
            }
            tokio::time::sleep(jittered(backoff)).await;
            backoff = self.policy.longest.min(backoff * 2);
        }
        Err(Error::Invalid("the service config allows no attempt".to_owned()))
    }
}

/// Somewhere between half of `delay` and all of it, so that many clients do not come back at once.
pub(crate) fn jittered(delay: Duration) -> Duration {
    let mut byte = [0u8; 1];
    let _ = ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut byte);
    delay / 2 + delay.mul_f64(f64::from(byte[0]) / 512.0)
}

/// What the service config says of unary calls.
#[derive(Clone, Debug)]
struct RetryPolicy {
    attempts: u64,
    initial: Duration,
    longest: Duration,
    timeout: Duration,
}

impl RetryPolicy {
    fn published() -> Self {
        let config: serde_json::Value = serde_json::from_str(SERVICE_CONFIG).unwrap_or_default();
        let method = &config["methodConfig"][0];
        let retry = &method["retryPolicy"];
        let seconds = |value: &serde_json::Value, default: f64| {
            let text = value.as_str().and_then(|text| text.strip_suffix('s')).and_then(|text| text.parse().ok());
            Duration::from_secs_f64(text.unwrap_or(default))
        };
        Self {
            attempts: retry["maxAttempts"].as_u64().unwrap_or(1),
            initial: seconds(&retry["initialBackoff"], 0.05),
            longest: seconds(&retry["maxBackoff"], 2.0),
            timeout: seconds(&method["timeout"], 10.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_policy_is_read() {
        let policy = RetryPolicy::published();
        assert_eq!((policy.attempts, policy.initial, policy.longest, policy.timeout), (5, Duration::from_millis(50), Duration::from_secs(2), Duration::from_secs(10)));
    }

    #[test]
    fn jitter_stays_within_half_and_all() {
        for _ in 0..100 {
            let delay = jittered(Duration::from_secs(1));
            assert!((Duration::from_millis(500)..=Duration::from_secs(1)).contains(&delay));
        }
    }
}
