//! The one integration test binary: both ends held to the contract.

mod contract;
mod layout;
