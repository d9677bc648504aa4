//! The one integration test binary: both ends held to the contract.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on says where")]
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "tests print their seeds, and own the clocks and tasks they use")]
#![allow(
    clippy::similar_names,
    clippy::type_complexity,
    clippy::large_futures,
    clippy::items_after_statements,
    clippy::map_unwrap_or,
    clippy::cloned_ref_to_slice_refs,
    reason = "short scenes with short names"
)]

mod audit;
mod bad_input;
mod blobs;
mod contract;
mod crash_window;
mod daemon;
mod deploy;
mod fuzz;
mod journey;
mod layout;
mod redis_engine;
mod rust_client;
