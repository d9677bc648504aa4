//! The tests that need real servers, in one binary.

mod redis_engine;
