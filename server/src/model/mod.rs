//! What things are: pure rules and formats, without I/O, async, clocks or randomness.

pub mod assembly;
pub mod codec;
pub mod compare;
pub mod cookies;
pub mod diff;
pub mod email;
pub mod error;
pub mod event;
pub mod hex;
pub mod id;
pub mod label;
pub mod manifest;
pub mod pack;
pub mod page;
pub mod path;
pub mod portability;
#[cfg(test)]
pub(crate) mod reference;
pub mod resume;
pub mod seal;
pub mod selector;
pub mod session;
pub mod snapshot;
pub mod storage_state;
pub mod time;
pub mod tree;
#[cfg(test)]
mod vectors;
