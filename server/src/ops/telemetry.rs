//! The log, and the export of spans.

use std::{fmt, fs, io, time::Duration};

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{
    SpanExporter, WithExportConfig as _, WithTonicConfig as _,
    tonic_types::transport::{Certificate, ClientTlsConfig},
};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{Directive, LevelFilter, filter_fn},
    fmt::MakeWriter,
    layer::SubscriberExt as _,
};

use crate::{
    config::{LogFormat, Telemetry},
    model::error::{Error, Result},
};

/// How long the last spans may take to be sent when the daemon ends.
const FLUSH: Duration = Duration::from_secs(3);

/// The target of lines about access to secrets.
const AUDIT: &str = "audit";

/// Sends what is left of the spans at the end.
pub struct Flush(Option<SdkTracerProvider>);

impl fmt::Debug for Flush {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Flush").field(&self.0.is_some()).finish()
    }
}

impl Flush {
    /// Sends what is left; blocks for some seconds at most, so do not call it on a thread that serves.
    pub fn finish(self) {
        if let Some(Err(error)) = self.0.map(|provider| provider.shutdown_with_timeout(FLUSH)) {
            tracing::warn!(%error, "the last spans could not be sent");
        }
    }
}

/// What writes the log and exports the spans. With an exporter it needs a tokio runtime around it.
///
/// # Errors
/// `INVALID_FIELD` when the filter or the address of the collector is wrong.
pub fn subscriber<W>(config: &Telemetry, writer: W, colours: bool) -> Result<(impl Subscriber + Send + Sync + use<W>, Flush)>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(&config.log_filter).map_err(|error| {
        let message =
            format!("telemetry.log_filter is {:?}: {error}; it needs a level such as info, or levels by module such as info,hyper=warn", config.log_filter);
        Error::field("telemetry.log_filter", message)
    })?;
    // The more special directive wins, and the later of two alike.
    let audit = if config.audit { LevelFilter::INFO } else { LevelFilter::OFF };
    let directive: Directive = format!("{AUDIT}={audit}").parse().map_err(|error| Error::field("telemetry.audit", format!("{error}")))?;
    let filter = filter.add_directive(directive);
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(colours);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match config.log_format {
        LogFormat::Text => lines.with_filter(filter).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_filter(filter).boxed(),
    };
    let provider = exporter(config)?;
    let spans = provider.as_ref().map(|provider| {
        let tracer = provider.tracer("cloakroom");
        // The daemon's own spans whatever the log shows, and nobody else's: sending spans must not make spans.
        let own = |meta: &Metadata<'_>| meta.target().starts_with("cloakroom") && *meta.level() <= Level::INFO;
        tracing_opentelemetry::layer().with_tracer(tracer).with_location(false).with_threads(false).with_filter(filter_fn(own))
    });
    Ok((Registry::default().with(lines).with(spans), Flush(provider)))
}

/// Makes [`subscriber`] the process's own, with standard error for the log.
///
/// # Errors
/// As [`subscriber`]; `INVALID_FIELD` also when the process has one already.
pub fn start(config: &Telemetry) -> Result<Flush> {
    let colours = config.log_format == LogFormat::Text && io::IsTerminal::is_terminal(&io::stderr());
    let (subscriber, flush) = subscriber(config, io::stderr, colours)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|error| Error::field("telemetry", "the process already has a log").with_source(error))?;
    Ok(flush)
}

fn exporter(config: &Telemetry) -> Result<Option<SdkTracerProvider>> {
    if config.otlp_endpoint.is_empty() {
        return Ok(None);
    }
    let builder = SpanExporter::builder().with_tonic().with_endpoint(&config.otlp_endpoint);
    let builder = match tls(config)? {
        Some(tls) => builder.with_tls_config(tls),
        None => builder,
    };
    let exporter = builder.build().map_err(|error| unusable(config, &format!("{error}")))?;
    let resource = Resource::builder().with_service_name(config.service_name.clone()).build();
    Ok(Some(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build()))
}

/// How the collector is known: for https by public certificates, or by those of a file.
fn tls(config: &Telemetry) -> Result<Option<ClientTlsConfig>> {
    if config.otlp_endpoint.starts_with("http://") {
        return Ok(None);
    }
    if !config.otlp_endpoint.starts_with("https://") {
        return Err(unusable(config, "it begins with neither http:// nor https://"));
    }
    let Some(path) = &config.otlp_ca else { return Ok(Some(ClientTlsConfig::new().with_webpki_roots())) };
    let wrong = |what: &str| Error::field("telemetry.otlp_ca", format!("telemetry.otlp_ca: the file {} {what}", path.display()));
    let pem = fs::read(path).map_err(|error| wrong(&format!("cannot be read ({error})")))?;
    if !String::from_utf8_lossy(&pem).contains("-----BEGIN CERTIFICATE-----") {
        return Err(wrong("holds no certificate (PEM)"));
    }
    Ok(Some(ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem))))
}

fn unusable(config: &Telemetry, why: &str) -> Error {
    let message = format!(
        "telemetry.otlp_endpoint is {:?}: {why}; it needs an address such as http://127.0.0.1:4317 or https://collector.example.com:4317",
        config.otlp_endpoint
    );
    Error::field("telemetry.otlp_endpoint", message)
}
