//! What each fuzz target does with its bytes: parse them, and hold what comes out to the parser's promises.
//!
//! Every body promises the same three things: no input makes it panic; what a parser accepts, it accepts again when it is written anew, and it is then the same; and
//! parsing holds no more memory than its stated bound, whatever the input announces. The bounds count what Rust's allocator gives to the parsing thread: zstd's own
//! workspace is C's, and bounded by libFuzzer's limit on the whole process.

mod client;
mod manifest;
pub(crate) mod pack;
mod records;
mod save;
mod settings;
mod tokens;

/// The body of a target: answers whether the input was accepted.
pub type Body = fn(&[u8]) -> bool;

/// Every target with its body.
pub const TARGETS: &[(&str, Body)] = &[
    ("capture_rules", client::capture_rules),
    ("codec", pack::codec),
    ("commit", manifest::commit),
    ("config", settings::config),
    ("cookies", tokens::cookies),
    ("event", records::event),
    ("key_file", settings::key_file),
    ("key_record", records::key_record),
    ("load_stream", client::load_stream),
    ("manifest", manifest::manifest),
    ("names", tokens::names),
    ("pack", pack::pack),
    ("pack_header", pack::pack_header),
    ("pack_table", pack::pack_table),
    ("page_token", tokens::page_token),
    ("redis_reply", records::redis_reply),
    ("resume_token", tokens::resume_token),
    ("save_stream", save::save_stream),
    ("sealed", records::sealed),
    ("session_record", records::session_record),
    ("sidecar", client::sidecar),
    ("snapshot_record", records::snapshot_record),
    ("state_record", records::state_record),
    ("storage_state", tokens::storage_state),
    ("token_file", settings::token_file),
];

/// Runs the body of a target.
///
/// # Panics
/// When a parser broke a promise; when there is no such target.
pub fn run(target: &str, data: &[u8]) -> bool {
    let body = TARGETS.iter().find(|(name, _)| *name == target).map(|(_, body)| body);
    body.unwrap_or_else(|| panic!("there is no target {target}"))(data)
}

/// What errors, hash tables and other fixed things may take beside what grows with the input.
const FIXED: usize = 64 * 1024;

/// Does some work, and fails if it held more than `most` bytes (and [`FIXED`]) at a time.
fn within<T>(most: usize, work: impl FnOnce() -> T) -> T {
    let mut done = None;
    let held = allocation_counter::measure(|| done = Some(work())).bytes_max;
    assert!(held <= (most + FIXED) as u64, "held {held} bytes where {most} and {FIXED} are the bound");
    done.unwrap_or_else(|| unreachable!("the work was done"))
}

/// The length-prefixed messages (as gRPC frames them: a zero byte, four bytes of length) that an input is made of, as far as they go.
fn messages<M: prost::Message + Default>(mut data: &[u8]) -> Vec<M> {
    let mut messages = Vec::new();
    while let Some((&[0, a, b, c, d], rest)) = data.split_first_chunk::<5>() {
        let Some((message, rest)) = rest.split_at_checked(u32::from_be_bytes([a, b, c, d]) as usize) else { break };
        let Ok(message) = M::decode(bytes::Bytes::copy_from_slice(message)) else { break };
        messages.push(message);
        data = rest;
    }
    messages
}
