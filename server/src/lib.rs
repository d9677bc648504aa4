//! Cloakroom's daemon. A layer uses only what stands to its left:
//!
//! ```text
//! model ◄ store ◄ flow ◄ grpc
//! what    where   what   how the
//! things  things  spans  world
//! are     live    stores asks
//! ```
//!
//! Beside them: `config` (what an operator can set), `ops` (how operators look), and `daemon`, where everything is wired.

pub mod clock;
pub mod config;
pub mod daemon;
pub mod flow;
#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub mod fuzz;
pub mod grpc;
pub mod model;
pub mod ops;
pub mod store;

pub use model::error::{Error, Reason, Result};
