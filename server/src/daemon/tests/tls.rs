//! TLS with certificates made here.

use std::{fs, path::Path};

use cloakroom_api::v1::{GetServerInfoRequest, admin_service_client::AdminServiceClient};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity};

use super::{Daemon, Running, config, start};

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    /// Certificate and key for a name.
    fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }
}

/// Files as an operator would have them, and the environment that names them.
fn files(dir: &Path, authority: &Authority, client_ca: Option<&Authority>) -> Vec<(&'static str, String)> {
    let (cert, key) = authority.issue("localhost");
    let mut named = vec![("CLOAKROOM_TLS_CERT", "cert.pem", cert), ("CLOAKROOM_TLS_KEY", "key.pem", key)];
    named.extend(client_ca.map(|ca| ("CLOAKROOM_TLS_CLIENT_CA", "ca.pem", ca.pem())));
    let write = |(variable, file, text): (&'static str, &str, String)| {
        fs::write(dir.join(file), text).unwrap();
        (variable, dir.join(file).display().to_string())
    };
    named.into_iter().map(write).collect()
}

fn borrowed<'a>(environment: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    environment.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

async fn call(daemon: &Running, tls: ClientTlsConfig) -> Result<(), Box<dyn std::error::Error>> {
    let endpoint = Channel::from_shared(format!("https://localhost:{}", daemon.grpc.port()))?.tls_config(tls)?;
    let channel = endpoint.connect().await?;
    AdminServiceClient::new(channel).get_server_info(GetServerInfoRequest::default()).await?;
    Ok(())
}

#[tokio::test]
async fn tls_and_certificates_of_callers() {
    let (dir, authority, callers) = (tempfile::tempdir().unwrap(), Authority::new(), Authority::new());
    let environment = files(dir.path(), &authority, Some(&callers));
    let daemon = start(config(&["--ephemeral"], &borrowed(&environment))).await;
    let trusting = || ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authority.pem()));
    let (cert, key) = callers.issue("worker");
    call(&daemon, trusting().identity(Identity::from_pem(cert, key))).await.unwrap();
    call(&daemon, trusting()).await.expect_err("a caller without a certificate");
    let (cert, key) = authority.issue("worker");
    call(&daemon, trusting().identity(Identity::from_pem(cert, key))).await.expect_err("a caller with somebody else's certificate");
    let plain = Channel::from_shared(format!("http://{}", daemon.grpc)).unwrap().connect().await;
    let answered = match plain {
        Ok(channel) => AdminServiceClient::new(channel).get_server_info(GetServerInfoRequest::default()).await.is_ok(),
        Err(_) => false,
    };
    assert!(!answered, "nothing is answered in the clear");
    daemon.stop().await.unwrap();
}

#[tokio::test]
async fn files_that_are_no_certificates_stand_against_a_start() {
    let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let environment = files(dir.path(), &authority, None);
    fs::write(dir.path().join("key.pem"), "no PEM").unwrap();
    let error = Daemon::start(config(&["--ephemeral"], &borrowed(&environment))).await.unwrap_err();
    assert!(error.message().contains("tls.key: the file") && error.message().ends_with("is no PEM file"), "{error}");
    fs::write(dir.path().join("key.pem"), authority.pem()).unwrap();
    let error = Daemon::start(config(&["--ephemeral"], &borrowed(&environment))).await.unwrap_err();
    assert!(error.message().contains("do not fit together"), "{error}");
    fs::remove_file(dir.path().join("cert.pem")).unwrap();
    let error = Daemon::start(config(&["--ephemeral"], &borrowed(&environment))).await.unwrap_err();
    assert!(error.message().contains("tls.cert: the file") && error.message().contains("cannot be read"), "{error}");
}
