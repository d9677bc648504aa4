//! What things are: pure rules and formats, without I/O, async, clocks or randomness.

pub mod error;
pub mod event;
pub mod id;
pub mod seal;
pub mod session;
pub mod time;
