//! The Cloakroom client for Rust: sessions, profiles and invalidations of a `cloakroomd`.
//!
//! ```no_run
//! use cloakroom_client::{Client, LoadOptions, NewSession, Options, SaveOptions};
//!
//! # async fn example() -> cloakroom_client::Result<()> {
//! let client = Client::connect("127.0.0.1:7700", Options::default())?;
//! let session = client.sessions().create(NewSession { business_id: "acme".into(), ..NewSession::default() }).await?;
//!
//! // One worker saves the profile that its browser left behind …
//! client.save(&session.id, "profile-a", SaveOptions::default()).await?;
//!
//! // … and another goes on with it, elsewhere.
//! client.load(&session.id, "profile-b", LoadOptions::default()).await?;
//! # Ok(()) }
//! ```
//!
//! The verbs are those of the Python and Node clients, in the same order: `sessions`, `load`, `save`, `mount`, `save_status`, `snapshots`, `snapshot`, `watch`,
//! `invalidate`, `server_info`. The messages are the contract's own, in [`v1`].

mod admin;
mod capture;
mod claims;
mod clock;
mod connection;
mod current;
mod error;
mod former;
#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub mod fuzz;
mod hex;
mod history;
mod leftovers;
mod load;
mod look;
mod mount;
mod moves;
mod parts;
mod patch;
mod pieces;
mod place;
mod profiles;
mod progress;
mod retry;
mod save;
mod sessions;
mod sidecar;
mod slots;
mod snapshots;
mod system;
mod tree;
mod upload;
#[cfg(test)]
mod vectors;
mod watch;
mod workspace;

pub use cloakroom_api::v1;

pub use crate::{
    admin::{ServerInfo, TOLERATED_SKEW},
    capture::{Capture, Policy},
    connection::{Client, Options},
    error::{CallError, Error, Kind, Result},
    hex::hex,
    history::{Conditions, Diff, RestoreOptions, Restored},
    load::{LoadOptions, Loaded},
    mount::{Mount, MountOptions, Pruned, prune_mounts},
    progress::OnProgress,
    save::{SaveOptions, Saved},
    sessions::{Answer, Batch, Filter, NewSession, Owner, Sessions, StorageState, StorageStates, Update},
    upload::Sent,
    watch::{Event, EventKind, Watch, WatchFrom, WatchOptions},
};
