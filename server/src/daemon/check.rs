//! `--check`: what a start would use, found out without a trace: no directory, key or object is made, no port is bound, no store is asked.

use std::{fs, path::Path};

use rustix::{fs::Access, io::Errno};

use super::stores;
use crate::{
    config::{Backend, Config, Engine},
    flow::keyring::{KeySource, MasterKeys},
    grpc::{auth::Tokens, server},
    model::error::{Error, Result},
};

/// Reads every file that the configuration names and says what a start would use, a line each.
///
/// # Errors
/// What would stand against a start and can be known without one, with the remedy.
pub fn check(config: &Config) -> Result<Vec<String>> {
    // Ring for all; an error only says that somebody in this process has chosen before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    server::builder(config)?;
    let tokens = config.auth.tokens_file.as_deref().map(Tokens::open).transpose()?;
    let encrypted = match (&config.tls.cert, &config.tls.client_ca) {
        (None, _) => "no TLS",
        (Some(_), None) => "TLS",
        (Some(_), Some(_)) => "TLS, callers with a certificate only",
    };
    let who = if tokens.is_some() { "callers with a token only" } else { "without tokens: whoever can connect may do everything" };
    Ok(vec![
        format!("gRPC: {}, {encrypted}, {who}", config.listen),
        format!("HTTP: {}", config.http_listen),
        format!("metadata: {}", metadata(config)?),
        format!("blobs: {}", blobs(config)?),
        format!("master key: {}", key(config)?),
        "the configuration is valid; nothing was changed, and no store was asked".to_owned(),
    ])
}

fn metadata(config: &Config) -> Result<String> {
    Ok(match config.metadata.engine {
        Engine::Ephemeral => "memory".to_owned(),
        Engine::Embedded => format!("sqlite in {}", directory("data_dir", &config.data_dir)?),
        Engine::Redis => {
            let kind = if config.metadata.redis_cluster { "redis-cluster" } else { "redis" };
            let place = stores::redis(&config.metadata).location().map_err(stores::named)?;
            format!("{kind} at {place}, names begin with {}", config.metadata.redis_prefix)
        }
    })
}

fn blobs(config: &Config) -> Result<String> {
    Ok(match config.blobs.backend {
        Backend::Memory => format!("memory, at most {} bytes", config.blobs.memory_size),
        Backend::Local => format!("local in {}", directory("blobs.path", &stores::blob_directory(config))?),
        // A client is made, and asks nobody.
        Backend::S3 => format!("s3: {}", stores::open_blobs(config)?.location()),
        Backend::Redis => {
            let kind = if stores::blobs_redis(config).cluster { "redis-cluster" } else { "redis" };
            format!("{kind}: {}, names begin with {}", stores::open_blobs(config)?.location(), config.metadata.redis_prefix)
        }
    })
}

fn key(config: &Config) -> Result<String> {
    let source = stores::keys(config);
    Ok(match &source {
        KeySource::Passing => "one that nobody keeps".to_owned(),
        KeySource::Default(path) if !path.exists() && !stores::has_data(config) => format!("{} (will be made: keep a copy of it elsewhere)", absolute(path)),
        KeySource::Default(path) => MasterKeys::load(&source, Some(false)).map(|_| absolute(path))?,
        KeySource::File(path) => MasterKeys::load(&source, stores::fresh(config)).map(|_| absolute(path))?,
        KeySource::Value { name, .. } => MasterKeys::load(&source, None).map(|_| name.clone())?,
    })
}

/// File systems that keep no files of ours, by the number that `statfs` gives.
const PSEUDO: [(u64, &str); 11] = [
    (0x9fa0, "proc"),
    (0x6265_6572, "sysfs"),
    (0x0027_e0eb, "cgroup"),
    (0x6367_7270, "cgroup2"),
    (0x6462_6720, "debugfs"),
    (0x7472_6163, "tracefs"),
    (0x7363_6673, "securityfs"),
    (0x6265_6570, "configfs"),
    (0x1cd1, "devpts"),
    (0xcafe_4a11, "bpf"),
    (0xde5e_81e4, "efivarfs"),
];

/// Whether this user may make something in a directory, as far as that can be told without doing it.
fn writable(setting: &str, shown: &str, directory: &Path) -> Result<()> {
    let at = absolute(directory);
    let refused = |why: String| Err(Error::field(setting, format!("{setting} is {shown}, but {why}")));
    #[cfg(target_os = "linux")]
    if let Some((_, name)) =
        rustix::fs::statfs(directory).ok().and_then(|found| PSEUDO.iter().find(|(magic, _)| u64::try_from(found.f_type).ok() == Some(*magic)))
    {
        return refused(format!("{at} is of the file system {name}, which keeps no files: name another place"));
    }
    match rustix::fs::access(directory, Access::WRITE_OK | Access::EXEC_OK) {
        Err(error @ (Errno::ACCESS | Errno::ROFS)) => {
            refused(format!("this user cannot write into {at} ({error}): let the user that runs cloakroomd write there, or name another place"))
        }
        _ => Ok(()),
    }
}

/// A directory, and whether it is there.
fn directory(setting: &str, path: &Path) -> Result<String> {
    let shown = absolute(path);
    // The nearest one that exists is what the others would be made in.
    let nearest = Path::new(&shown).ancestors().find_map(|above| Some((above, fs::metadata(above).ok()?)));
    match nearest {
        Some((above, metadata)) if !metadata.is_dir() => {
            let message = format!("{setting} is {shown}, but {} is no directory; name another place", absolute(above));
            Err(Error::field(setting, message))
        }
        Some((above, _)) => {
            writable(setting, &shown, above)?;
            Ok(if above == Path::new(&shown) { shown.clone() } else { format!("{shown} (will be made)") })
        }
        None => Ok(format!("{shown} (will be made)")),
    }
}

fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}
