//! What things are: pure rules and formats, without I/O, async, clocks or randomness.

pub mod error;
pub mod event;
pub mod id;
pub mod resume;
pub mod seal;
pub mod selector;
pub mod session;
pub mod time;
