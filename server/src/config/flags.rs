//! The command line of `cloakroomd`.

use std::path::PathBuf;

use clap::Parser;

use super::source::Values;

/// Keeps logged-in browsers for fleets of workers.
#[derive(Clone, Debug, Default, Parser)]
#[command(name = "cloakroomd", version, about, after_help = "Without arguments: gRPC on 127.0.0.1:7700, HTTP on 127.0.0.1:7701, data in ./cloakroom-data.")]
#[expect(clippy::struct_excessive_bools, reason = "a command line is a set of switches")]
pub struct Flags {
    /// Read the configuration from this TOML file
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print the whole default configuration as commented TOML, and exit
    #[arg(long)]
    pub print_config: bool,
    /// Check the configuration and the files it names, say what would be used, and exit; changes nothing and asks no store
    #[arg(long)]
    pub check: bool,
    /// Keep data in this directory
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// Serve gRPC on this address; port 0 takes a free one
    #[arg(long, value_name = "IP:PORT")]
    pub listen: Option<String>,
    /// Serve health and metrics on this address; port 0 takes a free one
    #[arg(long, value_name = "IP:PORT")]
    pub http_listen: Option<String>,
    /// Keep everything in memory: nothing survives the end
    #[arg(long)]
    pub ephemeral: bool,
    /// Serve addresses that other machines can reach without TLS and authentication
    #[arg(long)]
    pub insecure: bool,
}

impl Flags {
    /// Lays the given flags over all other sources.
    pub(super) fn lay_over(&self, values: &mut Values) {
        let texts = [("data_dir", "--data-dir", &self.data_dir), ("listen", "--listen", &self.listen), ("http_listen", "--http-listen", &self.http_listen)];
        for (path, flag, given) in texts {
            if let Some(text) = given {
                values.flag(path, flag, text.clone());
            }
        }
        if self.ephemeral {
            values.flag("metadata.engine", "--ephemeral", "ephemeral".to_owned());
            values.flag("blobs.backend", "--ephemeral", "memory".to_owned());
        }
        if self.insecure {
            values.flag("insecure", "--insecure", "true".to_owned());
        }
    }
}
