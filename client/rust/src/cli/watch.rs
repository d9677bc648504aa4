//! `cloakroom watch` and `invalidate`.

use std::{fs, io, path::Path};

use cloakroom_client::{Client, Error, Event, EventKind, Result, WatchFrom, WatchOptions, v1};
use serde_json::{Value, json as object};

use crate::cli::{
    Failure, args, json,
    output::{Output, or_dash, plain, span},
    sessions::{SHORT_ID, write_private},
};

pub(crate) async fn watch(client: &Client, what: args::Watch, output: &mut Output) -> Result<(), Failure> {
    // The watch itself waits for a daemon that is away; a person who mistyped the address would wait for ever.
    client.server_info().await?;
    let start = match (&what.resume_file, what.after) {
        (Some(file), _) => stored(file)?,
        (None, Some(revision)) => WatchFrom::Revision(revision),
        (None, None) => WatchFrom::Now,
    };
    let kinds = what.kind.into_iter().map(Into::into).collect::<Vec<_>>();
    let selectors = selectors(what.session, what.business, what.email, &kinds);
    let mut watch = client.watch(WatchOptions { selectors, start, bookmark_interval: what.interval })?;
    let mut left = what.count;
    while left != Some(0) {
        let Some(event) = watch.next().await else { break };
        let event = event?;
        let changes = told(&event, what.all, output)?;
        // Only now: what is printed counts as applied.
        if let Some(file) = &what.resume_file {
            store(file, &event.resume_token)?;
        }
        left = left.map(|left| left.saturating_sub(changes));
    }
    Ok(())
}

/// Prints a message; answers how many changes it had.
fn told(event: &Event, all: bool, output: &mut Output) -> Result<u64, Failure> {
    let sign = |mut value: Value| {
        value["resume_token"] = json::token(&event.resume_token).into();
        value
    };
    match &event.kind {
        EventKind::Changes(changes) => {
            for change in changes {
                output.result(|| sign(json::change(change)), || line(change))?;
            }
            return Ok(changes.len() as u64);
        }
        EventKind::Reset { reason, revision, spread } => {
            let reason = json::short(reason.as_str_name(), "REASON_");
            output.result(
                || sign(object!({ "event": "reset", "reason": reason, "revision": revision, "spread": spread.as_secs_f64() })),
                || format!("{revision}  RESET ({reason}): changes may have been missed; read everything anew, spread over {}", span(*spread)),
            )?;
        }
        EventKind::Opened { revision } if all => {
            output.result(|| sign(object!({ "event": "opened", "revision": revision })), || format!("{revision}  OPENED"))?;
        }
        EventKind::Bookmark { revision } if all => {
            output.result(|| sign(object!({ "event": "bookmark", "revision": revision })), || format!("{revision}  BOOKMARK"))?;
        }
        _ => {}
    }
    Ok(0)
}

fn line(change: &v1::Change) -> String {
    let kind = format!("{:<20}", json::change_kind(change.kind));
    let (was, is) = (json::state(change.previous_state()), json::state(change.state()));
    let more = [
        (!was.is_empty()).then(|| format!("{was} → {is}")),
        (!change.previous_business_id.is_empty()).then(|| format!("from business {}", plain(&change.previous_business_id))),
        change.snapshot_id.get(..SHORT_ID).map(|snapshot| format!("snapshot {snapshot}")),
        (!change.reason.is_empty()).then(|| format!("({})", plain(&change.reason))),
    ];
    let always = [change.revision.to_string(), kind, plain(&change.session_id), or_dash(&change.business_id)];
    always.into_iter().chain(more.into_iter().flatten()).collect::<Vec<_>>().join("  ")
}

fn stored(file: &Path) -> Result<WatchFrom> {
    match fs::read(file) {
        Ok(token) => Ok(WatchFrom::Token(token.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(WatchFrom::Now),
        Err(source) => Err(Error::File { path: file.display().to_string(), source }),
    }
}

/// Whole or not at all: a torn token would be refused at the next start.
fn store(file: &Path, token: &[u8]) -> Result<()> {
    let mut aside = file.as_os_str().to_owned();
    aside.push(".new");
    write_private(Path::new(&aside), token)?;
    fs::rename(&aside, file).map_err(|source| Error::File { path: file.display().to_string(), source })
}

pub(crate) async fn invalidate(client: &Client, what: args::Invalidate, output: &mut Output) -> Result<(), Failure> {
    let selectors = selectors(what.session, what.business, what.email, &[]);
    let answer = client.invalidate(selectors, &what.reason, what.dry_run).await?;
    output.result(
        || object!({ "session_count": answer.value, "revision": answer.revision, "dry_run": what.dry_run }),
        || format!("{} session{} {}", answer.value, if answer.value == 1 { "" } else { "s" }, if what.dry_run { "match" } else { "invalidated" }),
    )
}

/// Each of the given names is an alternative; without any, only the kinds count.
fn selectors(sessions: Vec<String>, businesses: Vec<String>, emails: Vec<String>, kinds: &[i32]) -> Vec<v1::Selector> {
    let any = || v1::Selector { kinds: kinds.to_vec(), ..v1::Selector::default() };
    let sessions = sessions.into_iter().map(|session_id| v1::Selector { session_id, ..any() });
    let businesses = businesses.into_iter().map(|business_id| v1::Selector { business_id, ..any() });
    let emails = emails.into_iter().map(|email| v1::Selector { email, ..any() });
    let named: Vec<_> = sessions.chain(businesses).chain(emails).collect();
    if named.is_empty() && !kinds.is_empty() { vec![any()] } else { named }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_alternatives_and_kinds_hold_for_each() {
        let list = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let found = selectors(list(&["s", "t"]), list(&["b"]), list(&["e"]), &[9]);
        assert_eq!(
            found.iter().map(|one| (one.session_id.as_str(), one.business_id.as_str(), one.email.as_str())).collect::<Vec<_>>(),
            [("s", "", ""), ("t", "", ""), ("", "b", ""), ("", "", "e")]
        );
        assert!(found.iter().all(|one| one.kinds == [9]));
        assert!(selectors(vec![], vec![], vec![], &[]).is_empty());
        assert_eq!(selectors(vec![], vec![], vec![], &[9]).len(), 1);
    }

    #[test]
    fn a_change_is_one_line_whatever_is_in_it() {
        let change = v1::Change {
            kind: 3,
            revision: 5,
            session_id: "s".to_owned(),
            business_id: "b".to_owned(),
            state: 2,
            previous_state: 1,
            reason: "why\n\u{1b}[0m".to_owned(),
            ..v1::Change::default()
        };
        assert_eq!(line(&change), "5  SESSION_TRANSITIONED  s  b  PENDING → ACTIVE  (why\u{fffd}\u{fffd}[0m)");
    }

    #[test]
    fn a_token_is_kept_whole() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("token");
        assert_eq!(stored(&file).unwrap(), WatchFrom::Now);
        for token in [b"one".as_slice(), b"\0other"] {
            store(&file, token).unwrap();
            assert_eq!(stored(&file).unwrap(), WatchFrom::Token(token.to_vec().into()));
        }
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
    }
}
