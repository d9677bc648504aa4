//! The bodies of the fuzz targets, for libFuzzer. An ordinary test of the repository runs the same bodies over their seeds.

pub mod bodies;
