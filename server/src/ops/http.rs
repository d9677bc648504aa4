//! The HTTP port: /healthz (the process lives), /readyz (its stores answer), /metrics (for Prometheus).

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio_util::sync::CancellationToken;

use super::{
    health::{Readiness, Report},
    metrics::Metrics,
};

/// What the answers are made of.
#[derive(Clone, Debug)]
pub struct Shown {
    /// How the stores are.
    pub readiness: Arc<Readiness>,
    /// What was counted.
    pub metrics: Arc<Metrics>,
    /// Cancelled once the daemon takes no new calls.
    pub stopping: CancellationToken,
}

/// What the HTTP port answers.
pub fn routes(shown: Shown) -> Router {
    Router::new().route("/healthz", get(async || "ok\n")).route("/readyz", get(readyz)).route("/metrics", get(metrics)).with_state(shown)
}

async fn readyz(State(shown): State<Shown>) -> Response {
    let report = shown.readiness.check().await;
    let ready = report.ready && !shown.stopping.is_cancelled();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    match serde_json::to_string(&Report { ready, stores: report.stores.clone() }) {
        Ok(body) => (status, [(CONTENT_TYPE, "application/json")], body + "\n").into_response(),
        Err(error) => {
            tracing::error!(%error, "the readiness report cannot be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn metrics(State(shown): State<Shown>) -> Response {
    match shown.metrics.text() {
        Ok(text) => ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response(),
        Err(error) => {
            tracing::error!(?error, "metrics cannot be read");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
