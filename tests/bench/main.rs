//! Figures, as ratios within one run: `cargo run --release -p cloakroom-tests --bin bench -- [sessions] [watch] [profiles]`.
//!
//! Build the daemon and the clients first (`cargo build --release --workspace --bins`); `tests/install` brings what else is needed.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark that cannot go on says where, and prints its table")]
#![allow(clippy::disallowed_methods, reason = "a benchmark reads clocks and starts tasks of its own")]

mod floor;
mod loads;
mod profiles;
mod sessions;
mod table;
mod watch;

#[tokio::main]
async fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let all = wanted.is_empty();
    let runs = |name: &str| all || wanted.iter().any(|word| word == name);
    if runs("sessions") {
        sessions::run().await;
    }
    if runs("profiles") {
        profiles::run().await;
    }
    if runs("watch") {
        watch::run().await;
    }
}
