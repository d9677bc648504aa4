//! The one integration test binary: both ends held to the contract.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on says where")]

mod contract;
mod daemon;
mod deploy;
mod journey;
mod layout;
mod redis_engine;
mod rust_client;
