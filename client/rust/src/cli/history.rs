//! `cloakroom undo`, `pin`, `unpin`, `delete-snapshot`, `undelete-snapshot` and `diff`.

use cloakroom_client::{Client, Conditions, Diff, RestoreOptions, v1};
use serde_json::{Value, json as object};

use crate::cli::{
    Failure, args, json,
    output::{Output, plain, signed_size},
    profiles::{any_snapshot_id, snapshot_id},
    session_id,
};

pub(crate) async fn undo(client: &Client, undo: args::Undo, output: &mut Output) -> Result<(), Failure> {
    let id = session_id(client, &undo.session).await?;
    let snapshot_id = snapshot_id(client, &id, &undo.to).await?;
    let options = RestoreOptions { snapshot_id, conditions: conditions(undo.conditions), ..RestoreOptions::default() };
    let restored = client.restore(&id, options).await?;
    let (snapshot, former) = (&restored.snapshot, &restored.former_head_snapshot_id);
    output.result(
        || {
            let snapshot = json::snapshot(snapshot);
            object!({ "snapshot": snapshot, "former_head_snapshot_id": former, "revision": restored.revision, "session_etag": restored.session_etag })
        },
        || {
            let at = format!("{id} is at snapshot {} (number {})", snapshot.id, snapshot.sequence);
            if *former == snapshot.id { format!("{at} already") } else { format!("{at} again; `cloakroom undo {id} --to {former}` takes that back") }
        },
    )
}

pub(crate) async fn pin(client: &Client, pin: args::Pin, output: &mut Output) -> Result<(), Failure> {
    let id = session_id(client, &pin.session).await?;
    let snapshot = snapshot_id(client, &id, &pin.snapshot).await?;
    let pinned = client.pin(&id, &snapshot, &pin.note, conditions(pin.conditions)).await?;
    let json = || object!({ "snapshot": json::snapshot(&pinned), "revision": pinned.revision });
    output.result(json, || format!("snapshot {} of {id} is pinned", pinned.id))
}

pub(crate) async fn unpin(client: &Client, unpin: args::Unpin, output: &mut Output) -> Result<(), Failure> {
    let id = session_id(client, &unpin.session).await?;
    let snapshot = snapshot_id(client, &id, &unpin.snapshot).await?;
    let free = client.unpin(&id, &snapshot, conditions(unpin.conditions)).await?;
    let json = || object!({ "snapshot": json::snapshot(&free), "revision": free.revision });
    output.result(json, || format!("snapshot {} of {id} is not pinned", free.id))
}

pub(crate) async fn delete(client: &Client, delete: args::DeleteSnapshot, output: &mut Output) -> Result<(), Failure> {
    let id = session_id(client, &delete.session).await?;
    let snapshot = snapshot_id(client, &id, &delete.snapshot).await?;
    let gone = client.delete_snapshot(&id, &snapshot, conditions(delete.conditions)).await?;
    let json = || object!({ "snapshot": json::snapshot(&gone), "revision": gone.revision });
    output.result(json, || format!("snapshot {snapshot} of {id} is deleted; `cloakroom undelete-snapshot {id} {snapshot}` revives it for 7 days"))
}

pub(crate) async fn undelete(client: &Client, undelete: args::UndeleteSnapshot, output: &mut Output) -> Result<(), Failure> {
    let id = session_id(client, &undelete.session).await?;
    let snapshot = any_snapshot_id(client, &id, &undelete.snapshot).await?;
    let back = client.undelete_snapshot(&id, &snapshot, conditions(undelete.conditions)).await?;
    let json = || object!({ "snapshot": json::snapshot(&back), "revision": back.revision });
    output.result(json, || format!("snapshot {snapshot} of {id} is back"))
}

pub(crate) async fn diff(client: &Client, diff: args::Diff, output: &mut Output) -> Result<(), Failure> {
    let id = session_id(client, &diff.session).await?;
    let (base, snapshot) = (snapshot_id(client, &id, &diff.from).await?, snapshot_id(client, &id, &diff.to).await?);
    let found = client.diff(&id, &base, &snapshot).await?;
    output.result(|| as_json(&found), || as_text(&found))
}

fn conditions(given: args::Conditions) -> Conditions {
    Conditions { etag: given.etag, lease_token: given.lease_token, ..Conditions::default() }
}

fn kind(kind: v1::DifferenceKind) -> String {
    json::short(kind.as_str_name(), "DIFFERENCE_KIND_")
}

fn as_json(diff: &Diff) -> Value {
    let cookie = |one: &v1::CookieDifference| {
        let (value_changed, attributes_changed) = (one.value_changed, one.attributes_changed);
        object!({
            "kind": kind(one.kind()), "host": one.host, "name": one.name, "path": one.path,
            "value_changed": value_changed, "attributes_changed": attributes_changed,
        })
    };
    let database = |one: &v1::CookieDatabaseDifference| {
        object!({
            "path": one.path,
            "comparison": json::short(one.comparison().as_str_name(), "COOKIE_COMPARISON_"),
            "unknown_reason": one.unknown_reason,
            "cookies": one.cookies.iter().map(cookie).collect::<Vec<_>>(),
            "truncated": one.truncated,
        })
    };
    let difference = |one: &v1::EntryDifference| {
        object!({
            "kind": kind(one.kind()),
            "path": path(one),
            "before": one.before.as_ref().map(json::entry),
            "after": one.after.as_ref().map(json::entry),
            "changed_bytes": one.changed_bytes,
        })
    };
    object!({
        "snapshot": json::snapshot(&diff.snapshot),
        "base_snapshot": diff.base.as_ref().map(json::snapshot),
        "added_count": diff.added,
        "removed_count": diff.removed,
        "changed_count": diff.changed,
        "changed_bytes": diff.changed_bytes,
        "differences": diff.differences.iter().map(difference).collect::<Vec<_>>(),
        "cookie_databases": diff.cookies.iter().map(database).collect::<Vec<_>>(),
        "revision": diff.revision,
    })
}

fn path(one: &v1::EntryDifference) -> &str {
    one.after.as_ref().or(one.before.as_ref()).map_or("", |entry| &entry.path)
}

fn sign(kind: v1::DifferenceKind) -> char {
    match kind {
        v1::DifferenceKind::Added => '+',
        v1::DifferenceKind::Removed => '-',
        _ => '~',
    }
}

fn as_text(diff: &Diff) -> String {
    let from = diff.base.as_ref().map_or("nothing", |base| &base.id);
    let mut lines = vec![format!("from {from} to {}", diff.snapshot.id)];
    for one in &diff.differences {
        let bytes = if one.changed_bytes > 0 { format!("  {}", signed_size(one.changed_bytes)) } else { String::new() };
        lines.push(format!("{} {}{bytes}", sign(one.kind()), plain(path(one))));
    }
    for database in &diff.cookies {
        let unknown = if database.unknown_reason.is_empty() { String::new() } else { format!(" unknown: {}", database.unknown_reason) };
        lines.push(format!("cookies in {}:{unknown}", plain(&database.path)));
        for cookie in &database.cookies {
            let what = match (cookie.value_changed, cookie.attributes_changed) {
                (true, _) => "  another value",
                (false, true) => "  another expiry or flag",
                (false, false) => "",
            };
            lines.push(format!("  {} {} {}{what}", sign(cookie.kind()), plain(&cookie.host), plain(&cookie.name)));
        }
        if database.truncated {
            lines.push("  and more".to_owned());
        }
    }
    let (added, removed, changed) = (diff.added, diff.removed, diff.changed);
    lines.push(format!("{added} added, {removed} removed, {changed} changed; {} differ", signed_size(diff.changed_bytes)));
    lines.join("\n")
}
