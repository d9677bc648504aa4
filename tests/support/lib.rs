//! What the tests share: real servers, and the processes they run in.

pub mod ports;
pub mod process;
pub mod redis;
