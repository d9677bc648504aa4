//! The connection: one channel, and credentials on every call.

use std::{
    env::{self, VarError},
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use cloakroom_api::v1::{
    admin_service_client::AdminServiceClient, invalidation_service_client::InvalidationServiceClient, profile_service_client::ProfileServiceClient,
    session_service_client::SessionServiceClient,
};
use tonic::{
    Request, Response, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

use crate::{
    error::{Error, Result},
    retry::{Attempts, RetryPolicy, Throttle},
};

/// Largest message that is taken from the daemon.
const MAX_MESSAGE: usize = 4 << 20;
/// HTTP/2 frames of this size cost the least on a fast link: a message of a load, of some 256 KiB, goes in one.
const FRAME: u32 = 320 << 10;
/// What may be on its way to one stream, and to all together. Wide enough for a load from another continent; a window that grows only while it is used would make
/// the daemon wait at the beginning of each load.
const STREAM_WINDOW: u32 = 16 << 20;
const CONNECTION_WINDOW: u32 = 32 << 20;
/// The same from a daemon on this machine: what waits here costs memory and cache, and hides no distance.
const NEAR_STREAM_WINDOW: u32 = 1 << 20;
const NEAR_CONNECTION_WINDOW: u32 = 4 << 20;

/// How to reach a daemon.
#[derive(Clone)]
pub struct Options {
    /// The namespace; empty for the caller's own.
    pub namespace: String,
    /// The bearer token, if the daemon asks for one.
    pub token: Option<String>,
    /// PEM of the authority that signed the daemon's certificate; without it the public authorities are trusted.
    pub ca_certificate: Option<Vec<u8>>,
    /// PEM of this client's certificate and key, for mutual TLS.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
    /// Deadline of a unary call with all its repetitions; by default what the published service config says (10 s).
    pub timeout: Option<Duration>,
    /// Whether a call waits for a daemon that is not there: before the first contact for two seconds, for a wrong address is more likely than a daemon that is about to start;
    /// after it until its deadline, and a save or load for thirty seconds. On by default; off, as in the published service config, the first refused connection is the answer.
    pub wait_for_ready: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { namespace: String::new(), token: None, ca_certificate: None, identity: None, timeout: None, wait_for_ready: true }
    }
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
    pub(crate) policy: RetryPolicy,
    pub(crate) throttle: Arc<Throttle>,
    /// Whether something answered at least once.
    pub(crate) seen: Arc<AtomicBool>,
    /// The daemon is on this machine, where packing costs more than it saves.
    pub(crate) loopback: bool,
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
    /// Prepares a connection to `target`, such as `http://127.0.0.1:7700` or `https://cloakroom.internal:7700`; `http://` may be left out, and with
    /// `https://` the port (443). It connects with the first call.
    ///
    /// # Errors
    /// `OPTION` when the target, the token or a certificate cannot be used.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub fn connect(target: &str, options: Options) -> Result<Self> {
        let target = target.trim();
        let endpoint = endpoint(target, options.ca_certificate, options.identity)?;
        let loopback = is_near(&endpoint);
        let bearer = options.token.map(|token| format!("Bearer {token}").parse());
        let mut token: Option<MetadataValue<Ascii>> =
            bearer.transpose().map_err(|_| Error::local("OPTION", "the token has characters that no header can carry: check for line ends"))?;
        if let Some(token) = &mut token {
            token.set_sensitive(true);
        }
        let mut policy = RetryPolicy::published();
        policy.timeout = options.timeout.unwrap_or(policy.timeout);
        policy.wait_for_ready = options.wait_for_ready;
        Ok(Self {
            target: target.into(),
            namespace: options.namespace.into(),
            channel: endpoint.connect_lazy(),
            credentials: Credentials(token),
            throttle: Arc::new(Throttle::new(&policy)),
            seen: Arc::default(),
            policy,
            loopback,
        })
    }

    /// The same with the target that the environment variable `CLOAKROOM_TARGET` names, or else `127.0.0.1:7700`. It is the only place where this library looks at the
    /// environment.
    ///
    /// # Errors
    /// As [`Client::connect`].
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub fn from_env(options: Options) -> Result<Self> {
        Self::connect(&target(env::var("CLOAKROOM_TARGET"))?, options)
    }

    /// Where the daemon is, as given.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.target
    }

    pub(crate) fn transport(&self) -> Transport {
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

    /// Makes a unary call, repeating it as the published service config says. Every call is safe to repeat: a read changes nothing, a change carries a request
    /// id, and a touch may come twice.
    pub(crate) async fn unary<T, F>(&self, mut call: impl FnMut() -> F) -> Result<Response<T>>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let mut attempts = self.attempts();
        let deadline = attempts.deadline();
        loop {
            match tokio::time::timeout_at(deadline, call()).await {
                Ok(Ok(response)) => {
                    self.throttle.succeeded(&self.policy);
                    self.seen.store(true, Ordering::Relaxed);
                    return Ok(response);
                }
                Ok(Err(status)) => attempts.again(&status).await?,
                Err(_) => return Err(self.failed(&Status::deadline_exceeded(format!("no answer within {:?}", self.policy.timeout)))),
            }
        }
    }

    /// The attempts of one unary call, the first of them now.
    pub(crate) fn attempts(&self) -> Attempts<'_> {
        Attempts::new(self, false)
    }

    /// The attempts of one save or load.
    pub(crate) fn attempts_of_a_stream(&self) -> Attempts<'_> {
        Attempts::new(self, true)
    }

    pub(crate) fn failed(&self, status: &Status) -> Error {
        Error::call(&self.target, status)
    }
}

/// Whether it is on this machine.
fn is_near(endpoint: &Endpoint) -> bool {
    endpoint.uri().host().is_some_and(|host| host.starts_with("127.") || host == "localhost" || host == "[::1]")
}

/// The target that a variable of the environment names.
fn target(variable: Result<String, VarError>) -> Result<String> {
    match variable {
        Ok(target) => Ok(target),
        Err(VarError::NotPresent) => Ok("127.0.0.1:7700".to_owned()),
        Err(error) => Err(Error::local("OPTION", format!("CLOAKROOM_TARGET is no address: {error}"))),
    }
}

fn endpoint(target: &str, ca_certificate: Option<Vec<u8>>, identity: Option<(Vec<u8>, Vec<u8>)>) -> Result<Endpoint> {
    if target.contains('@') {
        let message = "the target has a user in it, which is not shown here: give the address alone, like https://host:7700, and the credentials as a token or a certificate";
        return Err(Error::local("OPTION", message));
    }
    let url = if target.contains("://") { target.to_owned() } else { format!("http://{target}") };
    let bad = |error: &dyn std::fmt::Display| {
        Error::local("OPTION", format!("the target {target:?} is no address like 127.0.0.1:7700 or https://host:7700: {error}"))
    };
    let mut endpoint = Endpoint::from_shared(url).map_err(|error| bad(&error))?;
    let scheme = endpoint.uri().scheme_str().unwrap_or_default().to_owned();
    if !["http", "https"].contains(&scheme.as_str()) || endpoint.uri().host().is_none() {
        return Err(bad(&"http:// and https:// are known"));
    }
    // Whoever gives none, or one that no port can have, does not mean the port of the web.
    if endpoint.uri().port_u16().is_none() && (scheme == "http" || endpoint.uri().authority().is_some_and(|authority| authority.as_str().contains(':'))) {
        return Err(bad(&"it has no port, or an impossible one; cloakroomd's gRPC port is 7700 by default"));
    }
    endpoint = endpoint.connect_timeout(Duration::from_secs(5)).tcp_nodelay(true).max_frame_size(FRAME);
    let (stream, connection) = if is_near(&endpoint) { (NEAR_STREAM_WINDOW, NEAR_CONNECTION_WINDOW) } else { (STREAM_WINDOW, CONNECTION_WINDOW) };
    endpoint = endpoint.initial_stream_window_size(stream).initial_connection_window_size(connection);
    endpoint = endpoint.http2_keep_alive_interval(Duration::from_secs(20)).keep_alive_timeout(Duration::from_secs(10)).keep_alive_while_idle(true);
    if scheme == "http" {
        return Ok(endpoint);
    }
    let mut tls = ClientTlsConfig::new();
    tls = match ca_certificate {
        Some(pem) => tls.ca_certificate(Certificate::from_pem(pem)),
        None => tls.with_webpki_roots(),
    };
    if let Some((certificate, key)) = identity {
        tls = tls.identity(Identity::from_pem(certificate, key));
    }
    endpoint.tls_config(tls).map_err(|error| Error::local("OPTION", format!("the certificates cannot be used: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[tokio::test]
    async fn targets_are_judged_at_once_and_loopback_is_known() {
        for bad in ["", "ftp://x", "a b", "http://", "localhost", "http://localhost", "localhost:99999", "https://localhost:99999"] {
            let error = Client::connect(bad, Options::default()).unwrap_err();
            assert!(error.reason() == "OPTION" && error.to_string().contains(&format!("{bad:?}")), "{error}");
        }
        for user in ["http://u:s3cret@127.0.0.1:1", "u:s3cret@localhost", "https://s3cret@a.example", "ftp://u:s3cret@x", "http://u:s3cret@127.0.0.1:99999"] {
            let error = Client::connect(user, Options::default()).unwrap_err();
            assert_eq!(error.reason(), "OPTION");
            assert!(
                error.to_string().starts_with("the target has a user in it, which is not shown here: ") && !error.to_string().contains("s3cret"),
                "{error}"
            );
        }
        for (target, loopback) in [
            ("127.0.0.1:7700", true),
            ("http://localhost:1", true),
            ("http://[::1]:1", true),
            ("10.0.0.1:7700", false),
            ("https://a.example", false),
            (" localhost:7700/\n", true),
        ] {
            assert_eq!(Client::connect(target, Options::default()).unwrap().loopback, loopback, "{target}");
        }
    }

    #[test]
    fn without_a_variable_the_target_is_the_usual_one() {
        assert_eq!(target(Err(VarError::NotPresent)).unwrap(), "127.0.0.1:7700");
        assert_eq!(target(Ok("https://h:1".to_owned())).unwrap(), "https://h:1");
        let error = target(Err(VarError::NotUnicode("\u{fffd}".into()))).unwrap_err();
        assert!(error.reason() == "OPTION" && error.to_string().contains("CLOAKROOM_TARGET"), "{error}");
    }

    #[tokio::test]
    async fn a_token_that_no_header_carries_is_refused_without_being_told() {
        let options = Options { token: Some("se\ncret".to_owned()), ..Options::default() };
        assert!(!format!("{options:?}").contains("cret"));
        let error = Client::connect("127.0.0.1:1", options).unwrap_err();
        assert!(error.reason() == "OPTION" && !error.to_string().contains("cret"), "{error}");
    }

    #[tokio::test]
    async fn without_a_daemon_a_call_fails_within_its_deadline_and_names_the_target() {
        for wait_for_ready in [false, true] {
            let options = Options { timeout: Some(Duration::from_millis(700)), wait_for_ready, ..Options::default() };
            // The port is bound, so that nobody else gets it, but nobody listens.
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
            let target = socket.local_addr().unwrap().to_string();
            let began = clock::monotonic();
            let error = Client::connect(&target, options).unwrap().server_info().await.unwrap_err();
            assert_eq!(error.kind(), crate::Kind::Unavailable);
            assert!(error.to_string().contains(&target) && error.to_string().contains("refused"), "{error}");
            assert!(began.elapsed() < Duration::from_secs(1));
        }
    }
}
