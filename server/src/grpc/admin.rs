//! `AdminService`: what this daemon is, what it stands on, what it can do.

use std::{sync::Arc, time::Duration};

use cloakroom_api::v1::{self, admin_service_server::AdminService};
use tokio::time::timeout;
use tonic::{Request, Response, Status};

use super::parse;
use crate::{
    clock,
    config::Limits,
    model::{error::Result, id::Namespace, page, storage_state, time::Micros, tree},
    ops::health::{Readiness, StoreReport},
    store::metadata::{Head, Metadata, Scope},
};

/// How long the metadata store may take to say where its log stands; without an answer it counts as down.
const PATIENCE: Duration = Duration::from_secs(2);
/// What a client may count on.
const CAPABILITIES: &[&str] = &["load.deflate", "load.zstd", "save.deflate", "save.zstd"];

/// The service.
#[derive(Debug)]
pub struct Admin {
    metadata: Arc<dyn Metadata>,
    readiness: Arc<Readiness>,
    message_bytes: usize,
    instance: String,
    started: Micros,
}

impl Admin {
    /// Of a daemon that starts now.
    ///
    /// # Errors
    /// `INTERNAL` when the operating system gives no random numbers.
    pub fn new(metadata: Arc<dyn Metadata>, readiness: Arc<Readiness>, limits: &Limits) -> Result<Self> {
        Ok(Self { metadata, readiness, message_bytes: limits.message_bytes, instance: clock::random_session_id()?, started: clock::wall() })
    }

    async fn head(&self, namespace: &Namespace) -> Head {
        let answer = timeout(PATIENCE, self.metadata.history(namespace, Scope::Sessions)).await;
        // A store that is down is part of the answer: its history is empty. The readiness report has the reason, and has logged it.
        answer.ok().and_then(Result::ok).unwrap_or_default()
    }
}

#[tonic::async_trait]
impl AdminService for Admin {
    async fn get_server_info(&self, request: Request<v1::GetServerInfoRequest>) -> Result<Response<v1::GetServerInfoResponse>, Status> {
        let namespace = parse::namespace(&request, &request.get_ref().namespace)?;
        let (report, head) = tokio::join!(self.readiness.check(), self.head(&namespace));
        let exclusive = report.stores.iter().all(|store| store.exclusive);
        let exclusivity = if exclusive { v1::Exclusivity::Exclusive } else { v1::Exclusivity::FencedWritesOnly };
        let limits = limits(self.message_bytes);
        Ok(Response::new(v1::GetServerInfoResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            instance_id: self.instance.clone(),
            start_time: Some(parse::timestamp(self.started)),
            namespace: namespace.to_string(),
            metadata: report.store("metadata").map(info),
            blobs: report.store("blobs").map(info),
            history: head.history.to_string(),
            revision: head.revision.0,
            exclusivity: exclusivity.into(),
            capabilities: CAPABILITIES.iter().map(|&name| name.to_owned()).collect(),
            limits: Some(limits),
        }))
    }
}

/// What a client may need to know of the rules.
fn limits(message_bytes: usize) -> v1::Limits {
    v1::Limits {
        message_bytes: i64::try_from(message_bytes).unwrap_or(i64::MAX),
        storage_state_bytes: i64::try_from(storage_state::MAX_UNARY).unwrap_or(i64::MAX),
        profile_entries: i64::try_from(tree::MAX_ENTRIES).unwrap_or(i64::MAX),
        profile_bytes: i64::try_from(tree::MAX_CONTENT).unwrap_or(i64::MAX),
        page_size: i32::try_from(page::MAX_PAGE).unwrap_or(i32::MAX),
    }
}

fn info(store: &StoreReport) -> v1::StoreInfo {
    let health = if store.ok { v1::StoreHealth::Ok } else { v1::StoreHealth::Unavailable };
    v1::StoreInfo { engine: store.engine.clone(), location: store.location.clone(), health: health.into(), warnings: store.warnings.clone() }
}
