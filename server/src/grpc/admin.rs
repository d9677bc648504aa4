//! `AdminService`: what this daemon is, what it stands on, what it can do.

use std::{sync::Arc, time::Duration};

use cloakroom_api::v1::{self, admin_service_server::AdminService};
use tokio::time::timeout;
use tonic::{Request, Response, Status};

use super::parse;
use crate::{
    clock,
    config::Limits,
    model::{error::Result, id::Namespace, time::Micros},
    ops::health::{Readiness, StoreReport},
    store::metadata::{Head, Metadata, Scope},
};

/// How long the metadata store may take to say where its log stands; without an answer it counts as down.
const PATIENCE: Duration = Duration::from_secs(2);
/// Largest storage state in a unary call, in bytes.
const STORAGE_STATE: i64 = 3 << 20;
/// Most entries of one profile.
const PROFILE_ENTRIES: i64 = 100_000;
/// Largest profile, in bytes.
const PROFILE_BYTES: i64 = 4 << 30;
/// Largest page of any listing.
const PAGE: i32 = 500;
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
        let limits = v1::Limits {
            message_bytes: i64::try_from(self.message_bytes).unwrap_or(i64::MAX),
            storage_state_bytes: STORAGE_STATE,
            profile_entries: PROFILE_ENTRIES,
            profile_bytes: PROFILE_BYTES,
            page_size: PAGE,
        };
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

fn info(store: &StoreReport) -> v1::StoreInfo {
    let health = if store.ok { v1::StoreHealth::Ok } else { v1::StoreHealth::Unavailable };
    v1::StoreInfo { engine: store.engine.clone(), location: store.location.clone(), health: health.into(), warnings: store.warnings.clone() }
}
