//! Real parts for the tests: servers on free loopback ports, each ended by whoever started it.

pub mod daemon;
pub mod ports;
pub mod process;
pub mod redis;
pub mod s3;
pub mod site;
