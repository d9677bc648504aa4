//! What is counted, and how Prometheus reads it. Every daemon has a registry of its own, so that several can live in one process.

use std::{fmt, sync::Arc};

use opentelemetry::{
    KeyValue,
    metrics::{Counter, Gauge, Histogram, Meter, MeterProvider as _, UpDownCounter},
};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use prometheus::{Registry, TextEncoder};

use crate::{
    model::error::{Error, Reason, Result},
    store::blobs::Counts,
};

/// Bounds of latency histograms in seconds: from a read on loopback (0.3 ms) to the slowest unary call (10 s), finer where calls are.
const LATENCY: [f64; 14] = [0.000_25, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.25, 1.0, 4.0, 10.0];

/// The daemon's instruments.
pub struct Metrics {
    registry: Registry,
    provider: SdkMeterProvider,
    /// Calls that ended, by service, method and code.
    pub calls: Counter<u64>,
    /// How long calls took until their last byte, in seconds, by service and method.
    pub latency: Histogram<f64>,
    /// Calls that have begun and not ended, by service and method.
    pub in_flight: UpDownCounter<i64>,
    /// Calls refused because too many were running, by class.
    pub refused: Counter<u64>,
    /// Open connections.
    pub connections: UpDownCounter<i64>,
    /// Whether a store answered when it was asked last: 1 or 0, by store.
    pub store_up: Gauge<u64>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// All instruments at zero.
    ///
    /// # Errors
    /// `INTERNAL` when the registry refuses the exporter.
    pub fn new() -> Result<Self> {
        let registry = Registry::new();
        let exporter = opentelemetry_prometheus::exporter().with_registry(registry.clone()).without_target_info().scope_info_enabled(false).build();
        let exporter = exporter.map_err(|error| Error::new(Reason::Internal, "metrics cannot be set up").with_source(error))?;
        let provider = SdkMeterProvider::builder().with_reader(exporter).build();
        let meter = provider.meter("cloakroom");
        let build = meter.u64_gauge("cloakroom.build.info").with_description("Always 1; its labels say what this daemon is.").build();
        build.record(1, &[KeyValue::new("version", env!("CARGO_PKG_VERSION"))]);
        let memory = meter.u64_observable_gauge("process.resident_memory").with_unit("By").with_description("Memory of the process that is in RAM.");
        memory.with_callback(|seen| resident().into_iter().for_each(|bytes| seen.observe(bytes, &[]))).build();
        Ok(Self {
            calls: meter.u64_counter("cloakroom.grpc.calls").with_description("Calls that ended, by service, method and code.").build(),
            latency: meter
                .f64_histogram("cloakroom.grpc.call.duration")
                .with_unit("s")
                .with_boundaries(LATENCY.to_vec())
                .with_description("How long calls took until their last byte.")
                .build(),
            in_flight: meter.i64_up_down_counter("cloakroom.grpc.calls.in_flight").with_description("Calls that have begun and not ended.").build(),
            refused: meter.u64_counter("cloakroom.grpc.calls.refused").with_description("Calls refused because too many were running, by class.").build(),
            connections: meter.i64_up_down_counter("cloakroom.grpc.connections").with_description("Open gRPC connections.").build(),
            store_up: meter.u64_gauge("cloakroom.store.up").with_description("Whether a store answered when it was asked last: 1 or 0.").build(),
            registry,
            provider,
        })
    }

    /// For instruments of other parts. Their names start with `cloakroom.`, and each has a description.
    #[must_use]
    pub fn meter(&self) -> Meter {
        self.provider.meter("cloakroom")
    }

    /// Also shows what the blob store was asked for.
    pub fn show_blobs(&self, counts: impl Fn() -> Counts + Send + Sync + 'static) {
        let (meter, counts) = (self.meter(), Arc::new(counts));
        let asked = Arc::clone(&counts);
        let requests = meter.u64_observable_counter("cloakroom.blobs.requests").with_description("Requests to the blob store, by kind.");
        requests
            .with_callback(move |seen| {
                let counts = asked();
                for (kind, count) in [("put", counts.puts), ("get", counts.gets), ("list", counts.lists), ("delete", counts.deletes)] {
                    seen.observe(count, &[KeyValue::new("kind", kind)]);
                }
            })
            .build();
        let bytes = meter.u64_observable_counter("cloakroom.blobs").with_unit("By").with_description("Bytes written to and read from the blob store.");
        bytes
            .with_callback(move |seen| {
                let counts = counts();
                seen.observe(counts.bytes_written, &[KeyValue::new("direction", "written")]);
                seen.observe(counts.bytes_read, &[KeyValue::new("direction", "read")]);
            })
            .build();
    }

    /// Everything in the text format of Prometheus.
    ///
    /// # Errors
    /// `INTERNAL` when an instrument cannot be written.
    pub fn text(&self) -> Result<String> {
        let encoded = TextEncoder::new().encode_to_string(&self.registry.gather());
        encoded.map_err(|error| Error::new(Reason::Internal, "metrics cannot be written").with_source(error))
    }
}

/// The process's resident memory in bytes, where the operating system says so (Linux: proc(5), `VmRSS`).
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kib: u64 = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().strip_suffix(" kB")?.parse().ok()?;
    kib.checked_mul(1024)
}

/// Counts one open connection for as long as it lives.
#[derive(Debug)]
pub struct OpenConnection(Arc<Metrics>);

impl OpenConnection {
    /// One more.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> Self {
        metrics.connections.add(1, &[]);
        Self(metrics)
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.connections.add(-1, &[]);
    }
}
