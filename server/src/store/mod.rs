//! Where things live: the only layer that names a database or an object store.

pub mod metadata;
