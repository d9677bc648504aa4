//! Checks that span several keys.

use std::net::SocketAddr;

use super::{Backend, Config, Engine, source::Values};
use crate::model::error::{Error, Result};

/// Checks the configuration as a whole.
///
/// # Errors
/// `INVALID_FIELD` naming key, value, source and remedy.
pub(super) fn check(config: &Config, values: &Values) -> Result<()> {
    exposure(config, "listen", config.listen, values)?;
    exposure(config, "http_listen", config.http_listen, values)?;
    match (&config.tls.cert, &config.tls.key) {
        (Some(_), None) => return Err(missing("tls.key", "tls.cert is set", "the file with the certificate's private key")),
        (None, Some(_)) => return Err(missing("tls.cert", "tls.key is set", "the file with the certificate chain")),
        (None, None) if config.tls.client_ca.is_some() => return Err(missing("tls.cert", "tls.client_ca is set", "the file with the certificate chain")),
        _ => {}
    }
    if config.metadata.engine == Engine::Redis && config.metadata.redis_url.is_none() {
        return Err(missing("metadata.redis_url", "metadata.engine is \"redis\"", "where Redis is, such as redis://127.0.0.1:6379"));
    }
    if config.blobs.backend == Backend::S3 && config.blobs.bucket.is_empty() {
        return Err(missing("blobs.bucket", "blobs.backend is \"s3\"", "the name of an existing bucket"));
    }
    if config.blobs.backend == Backend::Redis && config.blobs.redis_url.is_none() && config.metadata.redis_url.is_none() {
        return Err(missing(
            "blobs.redis_url",
            "blobs.backend is \"redis\" and metadata.redis_url is empty too",
            "where Redis is, such as redis://127.0.0.1:6379",
        ));
    }
    if config.blobs.redis_cluster && config.blobs.redis_url.is_none() {
        return Err(missing(
            "blobs.redis_url",
            "blobs.redis_cluster is set",
            "several nodes of the Cluster; or set metadata.redis_cluster for metadata.redis_url",
        ));
    }
    if config.blobs.access_key_id.is_some() != config.blobs.secret_access_key.is_some() {
        let (key, other) = if config.blobs.access_key_id.is_some() { ("secret_access_key", "access_key_id") } else { ("access_key_id", "secret_access_key") };
        return Err(missing(&format!("blobs.{key}"), &format!("blobs.{other} is set"), "the other half of the credentials"));
    }
    let elsewhere = config.metadata.engine == Engine::Redis || matches!(config.blobs.backend, Backend::S3 | Backend::Redis);
    if config.keys.master_key_file.is_some() && config.keys.master_key.is_some() {
        let message = format!(
            "keys.master_key_file ({}) and keys.master_key ({}) are both set; set one of them",
            values.source("keys.master_key_file"),
            values.source("keys.master_key")
        );
        return Err(Error::field("keys.master_key", message));
    }
    if elsewhere && config.keys.master_key_file.is_none() && config.keys.master_key.is_none() {
        let what = "a file with 64 random hexadecimal digits (`openssl rand -hex 32`) that every daemon on these stores has, and a safe copy of it";
        return Err(missing("keys.master_key_file", "data is kept outside this machine", what));
    }
    Ok(())
}

/// An address that other machines can reach needs encryption and known callers, or the word of the operator.
fn exposure(config: &Config, key: &str, address: SocketAddr, values: &Values) -> Result<()> {
    let encrypted = config.tls.cert.is_some();
    // A certificate lets its holder connect; which namespace it may use, and as what, only a token says.
    let known = config.auth.tokens_file.is_some();
    if address.ip().is_loopback() || config.insecure || (encrypted && known) {
        return Ok(());
    }
    let lacking = match (encrypted, known) {
        (false, false) => "tls.cert, tls.key and auth.tokens_file are",
        (false, true) => "tls.cert and tls.key are",
        (true, _) if config.tls.client_ca.is_some() => "auth.tokens_file (tls.client_ca says who may connect, not which namespace is whose) is",
        (true, _) => "auth.tokens_file is",
    };
    let message = format!(
        "{key} is {address} ({}), which other machines can reach, but {lacking} not set; set them, take a loopback address such as 127.0.0.1:{}, or pass --insecure if \
         the network is private",
        values.source(key),
        address.port(),
    );
    Err(Error::field(key, message))
}

fn missing(key: &str, because: &str, what: &str) -> Error {
    Error::field(key, format!("{key} is empty although {because}; it needs {what}"))
}
