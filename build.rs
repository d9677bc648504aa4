//! Compiles `proto/` with protox, so that no protoc is needed anywhere.

use std::{env, error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_source_info(true).include_imports(true);
    for service in ["session", "profile", "invalidation", "admin", "error"] {
        compiler.open_file(format!("cloakroom/v1/{service}.proto"))?;
    }
    let descriptors = PathBuf::from(env::var("OUT_DIR")?).join("descriptors.bin");
    fs::write(descriptors, compiler.encode_file_descriptor_set())?;
    tonic_prost_build::configure().bytes(".").build_transport(false).compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
