//! Where things live: the only layer that names a database or an object store.

pub mod blobs;
pub mod bounds;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod cookies;
pub mod embedded;
#[cfg(any(test, feature = "conformance"))]
pub mod faults;
pub mod metadata;
pub mod redis;
