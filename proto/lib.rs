//! The Cloakroom contract: messages, clients and servers of `cloakroom.v1`, generated from the `.proto` files beside this file.
//!
//! The manual is the `.proto` files themselves; their comments are carried over into this documentation.

/// Messages, clients and servers of the package `cloakroom.v1`.
pub mod v1 {
    #![allow(clippy::all, clippy::pedantic, rustdoc::all, reason = "generated code: its documentation is the .proto files, which a test holds to be complete")]
    tonic::include_proto!("cloakroom.v1");
}

/// All `.proto` files of the contract with their comments, as an encoded `google.protobuf.FileDescriptorSet` (for reflection and for tests).
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// The published gRPC service config (JSON): which calls a client repeats, when and how often.
pub const SERVICE_CONFIG: &str = include_str!("service_config.json");
