//! What things are: pure rules and formats, without I/O, async, clocks or randomness.

pub mod email;
pub mod error;
pub mod event;
pub mod id;
pub mod label;
pub mod page;
pub mod resume;
pub mod seal;
pub mod selector;
pub mod session;
pub mod storage_state;
pub mod time;
