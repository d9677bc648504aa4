//! How operators look: health and metrics on the HTTP port, log and traces.

pub mod health;
pub mod http;
pub mod metrics;
pub mod telemetry;
