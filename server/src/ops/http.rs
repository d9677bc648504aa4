//! The HTTP port.

use axum::{Router, routing::get};

/// What the HTTP port answers.
pub fn routes() -> Router {
    Router::new().route("/healthz", get(async || "ok\n"))
}
