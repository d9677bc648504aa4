//! Cloakroom's daemon. A layer uses only what stands to its left:
//!
//! ```text
//! model ◄ store ◄ flow ◄ grpc
//! what    where   what   how the
//! things  things  spans  world
//! are     live    stores asks
//! ```

pub mod clock;
pub mod flow;
pub mod grpc;
pub mod model;
pub mod store;

pub use model::error::{Error, Reason, Result};
