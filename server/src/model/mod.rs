//! What things are: pure rules and formats, without I/O, async, clocks or randomness.

pub mod assembly;
pub mod codec;
pub mod diff;
pub mod error;
pub mod event;
pub mod id;
pub mod manifest;
pub mod pack;
pub mod path;
pub mod portability;
#[cfg(test)]
pub(crate) mod reference;
pub mod seal;
pub mod session;
pub mod time;
pub mod tree;
