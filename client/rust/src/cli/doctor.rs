//! `cloakroom doctor`: whether everything works, and what to do if not.

use std::time::Duration;

use cloakroom_client::{Client, Result, ServerInfo, TOLERATED_SKEW, v1};
use serde_json::{Value, json as object};

use crate::cli::{
    Failure, json,
    output::{Output, aligned, plain},
};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    /// As it should be.
    Fine,
    /// It works, but somebody should know.
    Warning,
    /// It does not work.
    Wrong,
}

/// What was found about one thing.
#[derive(Debug)]
struct Finding {
    level: Level,
    about: &'static str,
    text: String,
}

fn finding(level: Level, about: &'static str, text: impl Into<String>) -> Finding {
    Finding { level, about, text: text.into() }
}

pub(crate) async fn doctor(client: &Client, output: &mut Output) -> Result<(), Failure> {
    let mut findings = Vec::new();
    match client.server_info().await {
        Err(error) => findings.push(finding(Level::Wrong, "daemon", error.to_string())),
        Ok(info) => {
            findings.extend(judged(client.target(), &info));
            for (about, service) in
                [("health", ""), ("health of sessions", "cloakroom.v1.SessionService"), ("health of profiles", "cloakroom.v1.ProfileService")]
            {
                findings.push(match client.is_serving(service).await {
                    Ok(true) => finding(Level::Fine, about, "serving"),
                    Ok(false) => finding(Level::Wrong, about, "not serving: see what is said of the stores, and the daemon's log"),
                    Err(error) => finding(Level::Wrong, about, error.to_string()),
                });
            }
        }
    }
    let wrong = findings.iter().any(|finding| finding.level == Level::Wrong);
    if output.is_json() {
        for finding in &findings {
            output.result(|| in_json(finding), String::new)?;
        }
    } else {
        let rows: Vec<_> = findings.iter().map(|finding| vec![finding.level.word().to_owned(), finding.about.to_owned(), plain(&finding.text)]).collect();
        output.bytes(aligned(&rows).as_bytes())?;
    }
    if wrong { Err(Failure::Told) } else { Ok(()) }
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Self::Fine => "ok",
            Self::Warning => "warning",
            Self::Wrong => "wrong",
        }
    }
}

fn in_json(finding: &Finding) -> Value {
    object!({ "level": finding.level.word(), "about": finding.about, "text": finding.text })
}

/// What can be told from the daemon's own words.
fn judged(target: &str, info: &ServerInfo) -> Vec<Finding> {
    let since = json::short_time(info.start_time.as_ref());
    let mut findings = vec![finding(Level::Fine, "daemon", format!("cloakroomd {} at {target}, namespace {}, up since {since}", info.version, info.namespace))];
    let own = env!("CARGO_PKG_VERSION");
    if info.version != own {
        findings.push(finding(Level::Warning, "version", format!("this is cloakroom {own}: newer fields of the other are not seen")));
    }
    findings.extend(store("metadata store", info.metadata.as_ref()));
    findings.extend(store("profile store", info.blobs.as_ref()));
    findings.push(match info.clock_skew {
        None => finding(Level::Warning, "clock", "the daemon's answer carried no time: the clocks were not compared"),
        Some(skew) if skew.abs() > TOLERATED_SKEW.as_secs_f64() => {
            let side = if skew > 0.0 { "ahead of" } else { "behind" };
            let distance = Duration::try_from_secs_f64(skew.abs()).unwrap_or(Duration::MAX).as_secs();
            finding(Level::Warning, "clock", format!("the daemon's clock is {distance} s {side} this machine's: set both by NTP; expiries are the daemon's"))
        }
        Some(_) => finding(Level::Fine, "clock", "the daemon's clock agrees with this machine's"),
    });
    findings.push(exclusivity(info));
    findings
}

/// What keeps two workers apart.
fn exclusivity(info: &ServerInfo) -> Finding {
    if !info.capabilities.iter().any(|name| name.split('.').next() == Some("lease")) {
        let text = "of two workers that drive one session, the second to save is refused (PARENT_NOT_HEAD) and nothing is overwritten; \
                    leases, which keep the second from starting, are not served by this version";
        return finding(Level::Fine, "exclusivity", text);
    }
    match info.exclusivity() {
        v1::Exclusivity::Exclusive => finding(Level::Fine, "exclusivity", "two workers never hold one session"),
        v1::Exclusivity::FencedWritesOnly => {
            finding(Level::Fine, "exclusivity", "after a fail-over two workers may drive one session for a moment; only one of them can save")
        }
        v1::Exclusivity::Unspecified => finding(Level::Warning, "exclusivity", "the daemon does not say what it gives: is it older or newer than this client?"),
    }
}

fn store(about: &'static str, store: Option<&v1::StoreInfo>) -> Vec<Finding> {
    let Some(store) = store else { return vec![finding(Level::Wrong, about, "the daemon says nothing of it: is something else listening there?")] };
    let place = format!("{} at {}", store.engine, store.location);
    let mut findings = vec![match store.health() {
        v1::StoreHealth::Ok => finding(Level::Fine, about, place),
        _ => finding(Level::Wrong, about, format!("{place} does not answer: look whether it runs and whether the daemon may reach it")),
    }];
    findings.extend(store.warnings.iter().map(|warning| finding(Level::Warning, about, warning.clone())));
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(health: v1::StoreHealth, skew: Option<f64>) -> ServerInfo {
        let store =
            |warnings: Vec<String>| Some(v1::StoreInfo { engine: "redis".to_owned(), location: "redis://h".to_owned(), health: health.into(), warnings });
        let info = v1::GetServerInfoResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            metadata: store(vec!["appendonly is off: turn it on".to_owned()]),
            blobs: store(Vec::new()),
            exclusivity: v1::Exclusivity::FencedWritesOnly.into(),
            ..v1::GetServerInfoResponse::default()
        };
        ServerInfo { info, clock_skew: skew }
    }

    fn levels(info: &ServerInfo) -> Vec<(Level, &'static str)> {
        judged("t", info).iter().map(|finding| (finding.level, finding.about)).collect()
    }

    #[test]
    fn findings_say_what_is_wrong_and_what_only_should_be_known() {
        let fine = levels(&info(v1::StoreHealth::Ok, Some(0.5)));
        assert!(fine.iter().all(|(level, _)| *level != Level::Wrong));
        assert!(fine.contains(&(Level::Warning, "metadata store")), "warnings of a store are told");
        assert!(levels(&info(v1::StoreHealth::Unavailable, Some(0.5))).contains(&(Level::Wrong, "profile store")));
        assert!(levels(&info(v1::StoreHealth::Ok, Some(-90.0))).contains(&(Level::Warning, "clock")));
        assert!(levels(&info(v1::StoreHealth::Ok, None)).contains(&(Level::Warning, "clock")));
        let ahead = judged("t", &info(v1::StoreHealth::Ok, Some(90.0)));
        assert!(ahead.iter().any(|finding| finding.text.contains("90 s ahead of")));
    }
    #[test]
    fn exclusivity_is_promised_only_where_leases_are_granted() {
        let mut info = info(v1::StoreHealth::Ok, None);
        info.info.exclusivity = v1::Exclusivity::Exclusive.into();
        assert!(exclusivity(&info).text.contains("PARENT_NOT_HEAD"));
        info.info.capabilities = vec!["lease.wait".to_owned()];
        assert_eq!(exclusivity(&info).text, "two workers never hold one session");
        info.info.exclusivity = v1::Exclusivity::Unspecified.into();
        assert_eq!(exclusivity(&info).level, Level::Warning);
    }
}
