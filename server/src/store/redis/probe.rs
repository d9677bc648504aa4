//! What the server is, whether Cloakroom can trust it, and what an operator should know.

use std::collections::HashMap;

use redis::{Cmd, Value, cmd, from_redis_value};

use super::{
    super::metadata::EngineInfo,
    connect::Link,
    failure::{Failure, corrupt},
};
use crate::model::error::{Error, Reason, Result};

/// The oldest version that trims streams by age.
const OLDEST: Version = Version(6, 2);
/// The oldest version whose Cluster has sharded pub/sub.
const OLDEST_CLUSTER: Version = Version(7, 0);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Version(u32, u32);

/// What one server says about itself: INFO's and CONFIG's fields by name.
#[derive(Debug, Default)]
struct Facts(HashMap<String, String>);

impl Facts {
    fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    fn version(&self) -> Option<Version> {
        let mut parts = self.get("redis_version").split('.');
        Some(Version(parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    }

    /// From CONFIG, or where that is forbidden from INFO.
    fn policy(&self) -> &str {
        match self.get("maxmemory-policy") {
            "" => self.get("maxmemory_policy"),
            policy => policy,
        }
    }
}

/// Asks the server, or every master of the Cluster.
///
/// # Errors
/// `METADATA_UNAVAILABLE` when it cannot be reached, or must not be used, with what to do.
pub(super) async fn examine(link: &Link) -> Result<EngineInfo> {
    let servers = facts(link).await?;
    let mut warnings = Vec::new();
    for server in &servers {
        acceptable(link, server)?;
        for warning in warnings_of(server) {
            if !warnings.contains(&warning) {
                warnings.push(warning);
            }
        }
    }
    let engine = if link.is_cluster() { "redis-cluster" } else { "redis" };
    // Replication is asynchronous: a fail-over can undo what was acknowledged, whatever is configured.
    Ok(EngineInfo { engine, location: link.location.clone(), exclusive: false, warnings })
}

/// What every server says of itself: INFO, and the settings that matter here where CONFIG is allowed.
async fn facts(link: &Link) -> Result<Vec<Facts>> {
    let answers = link.survey(&cmd("INFO")).await.map_err(|failure| link.error(failure))?;
    let mut servers = answers.into_iter().map(info).collect::<Result<Vec<_>>>()?;
    for name in ["maxmemory-policy", "appendfsync", "min-replicas-to-write"] {
        match link.survey(Cmd::new().arg("CONFIG").arg("GET").arg(name)).await {
            Ok(answers) => {
                for (server, answer) in servers.iter_mut().zip(answers) {
                    let pairs: HashMap<String, String> = from_redis_value(answer).map_err(|_| corrupt("an answer to CONFIG GET"))?;
                    server.0.extend(pairs);
                }
            }
            // Managed servers forbid CONFIG; INFO knows the policy too.
            Err(Failure::Redis(error)) if !error.is_io_error() => break,
            Err(failure) => return Err(link.error(failure)),
        }
    }
    Ok(servers)
}

fn info(answer: Value) -> Result<Facts> {
    let text: String = from_redis_value(answer).map_err(|_| corrupt("an answer to INFO"))?;
    let fields = text.lines().filter_map(|line| line.split_once(':')).map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
    Ok(Facts(fields.collect()))
}

fn acceptable(link: &Link, server: &Facts) -> Result<()> {
    let refuse = |what: String, help: &str| Err(Error::new(Reason::MetadataUnavailable, format!("Redis at {} {what}; {help}", link.location)).with_help(help));
    let oldest = if link.is_cluster() { OLDEST_CLUSTER } else { OLDEST };
    if server.version().is_none_or(|version| version < oldest) {
        let Version(major, minor) = oldest;
        let what = format!("has version {:?}, and Cloakroom needs {major}.{minor} or newer", server.get("redis_version"));
        return refuse(what, "install a newer one");
    }
    if server.get("role") == "slave" {
        return refuse("is a read-only replica".to_owned(), "give the address of its master");
    }
    if !link.is_cluster() && server.get("cluster_enabled") == "1" {
        return refuse("is a node of a Cluster".to_owned(), "set cluster = true and give several of its nodes");
    }
    let policy = server.policy();
    if policy.starts_with("allkeys-") {
        let what = format!("has the eviction policy {policy}, under which it throws data away when memory is short");
        return refuse(what, "run `CONFIG SET maxmemory-policy noeviction` and put it into redis.conf");
    }
    Ok(())
}

fn warnings_of(server: &Facts) -> Vec<String> {
    let mut warnings = Vec::new();
    let policy = server.policy();
    if policy.starts_with("volatile-") {
        warnings.push(format!("The eviction policy {policy} lets Redis forget results of operations when memory is short: set maxmemory-policy noeviction."));
    }
    if policy.is_empty() {
        warnings.push("Redis does not show its eviction policy: make sure that it is noeviction.".to_owned());
    }
    match (server.get("aof_enabled"), server.get("appendfsync")) {
        ("1", "everysec") => {
            warnings.push("A crash of the machine loses up to a second of acknowledged changes: set appendfsync always to lose none.".to_owned());
        }
        ("1", "no") => warnings.push("A crash of the machine loses acknowledged changes: set appendfsync everysec or always.".to_owned()),
        ("1", _) => {}
        _ => warnings.push("Redis keeps no append-only file, so a restart loses acknowledged changes: set appendonly yes.".to_owned()),
    }
    if server.get("connected_slaves") == "0" {
        warnings.push("Redis has no replica: its loss is an outage, and with its disk a loss of data.".to_owned());
    } else if matches!(server.get("min-replicas-to-write"), "" | "0") {
        warnings.push("A master that was cut off goes on accepting changes that a fail-over undoes: set min-replicas-to-write 1.".to_owned());
    }
    if server.get("master_replid").is_empty() {
        warnings.push("Redis hides its replication id, so a fail-over that loses changes is not noticed as a new history.".to_owned());
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(fields: &[(&str, &str)]) -> Facts {
        Facts(fields.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        let version = |text| server(&[("redis_version", text)]).version();
        assert!(version("10.0.1") > Some(OLDEST));
        assert!(version("6.2.14") == Some(OLDEST));
        assert!(version("6.0.16") < Some(OLDEST));
        assert_eq!(version("unstable"), None);
    }

    #[test]
    fn what_an_operator_should_know_is_told() {
        let good = [("aof_enabled", "1"), ("appendfsync", "always"), ("connected_slaves", "1"), ("min-replicas-to-write", "1"), ("master_replid", "ab")];
        let with = |changed: &[(&str, &str)]| {
            let mut facts = server(&good);
            facts.0.insert("maxmemory_policy".to_owned(), "noeviction".to_owned());
            facts.0.extend(server(changed).0);
            warnings_of(&facts)
        };
        assert_eq!(with(&[]), Vec::<String>::new());
        let told = [
            ("aof_enabled", "0", "appendonly yes"),
            ("appendfsync", "everysec", "appendfsync always"),
            ("connected_slaves", "0", "no replica"),
            ("min-replicas-to-write", "0", "min-replicas-to-write 1"),
            ("maxmemory-policy", "volatile-lru", "noeviction"),
            ("master_replid", "", "not noticed"),
        ];
        for (name, value, words) in told {
            let warnings = with(&[(name, value)]);
            assert_eq!(warnings.len(), 1, "{warnings:?}");
            assert!(warnings[0].contains(words), "{warnings:?}");
        }
    }
}
