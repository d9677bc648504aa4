//! `cloakroom sessions`.

use std::{collections::HashMap, fs::OpenOptions, io::Write as _, os::unix::fs::OpenOptionsExt as _, path::Path};

use cloakroom_client::{Answer, Client, Error, Filter, NewSession, Owner, Result, Update, v1};
use futures::TryStreamExt as _;
use serde_json::json as object;

use crate::cli::{
    Failure, args,
    args::{Conditions, OwnedBy, StorageState},
    json,
    output::{Output, aligned, or_dash, span},
    read, session_id,
};

/// How much of a snapshot's id people get to see; it is enough to tell snapshots of a session apart.
pub(crate) const SHORT_ID: usize = 12;
/// Sessions asked for at once, of which a listing prints many.
const PAGE: i32 = 500;

pub(crate) async fn run(client: &Client, command: args::Sessions, output: &mut Output) -> Result<(), Failure> {
    match command {
        args::Sessions::Ls(filter) => list(client, filter, output).await,
        args::Sessions::Show(of) => {
            let id = session_id(client, &of.session).await?;
            show(&client.sessions().get(&id).await?, output)
        }
        args::Sessions::Create(new) => create(client, new, output).await,
        args::Sessions::Update(update) => change(client, update, output).await,
        args::Sessions::Rm(of) => {
            let id = session_id(client, &of.session).await?;
            show(&under(client, &of.conditions).delete(&id).await?, output)
        }
        args::Sessions::Undelete(of) => show(&under(client, &of.conditions).undelete(&of.session).await?, output),
        args::Sessions::Transition(to) => {
            let id = session_id(client, &to.session).await?;
            show(&under(client, &to.conditions).transition(&id, to.state, &to.reason).await?, output)
        }
        args::Sessions::Touch(of) => {
            let id = session_id(client, &of.session).await?;
            let touched = under(client, &of.conditions).touch(&id).await?;
            let expires = json::time(touched.value.as_ref());
            output.result(|| object!({ "id": id, "expire_time": expires, "revision": touched.revision }), || format!("{id} expires {expires}"))
        }
        args::Sessions::Resolve { prefix } => {
            let found = client.sessions().resolve(&prefix).await?;
            output.result(|| json::with_revision(json::session(&found), found.revision), || found.id.clone())
        }
        args::Sessions::Active(owner) => {
            let active = client.sessions().active(&owner_of(owner)).await?;
            show(&active, output)
        }
        args::Sessions::State(StorageState::Get { session, file }) => get_state(client, &session, &file, output).await,
        args::Sessions::State(StorageState::Put { session, file, conditions }) => {
            let (id, state) = (session_id(client, &session).await?, read(&file)?);
            let put = under(client, &conditions).storage_state().put(&id, state).await?;
            output.result(|| object!({ "id": id, "etag": put.value, "revision": put.revision }), || format!("{id} has a new storage state, etag {}", put.value))
        }
    }
}

fn under(client: &Client, conditions: &Conditions) -> cloakroom_client::Sessions {
    client.sessions().if_etag(&conditions.etag).under_lease(conditions.lease_token)
}

fn owner_of(owner: OwnedBy) -> Owner {
    owner.business.map_or_else(|| Owner::Email(owner.email.unwrap_or_default()), Owner::Business)
}

async fn list(client: &Client, filter: args::List, output: &mut Output) -> Result<(), Failure> {
    let labels: HashMap<_, _> = filter.label.into_iter().collect();
    let filter = Filter { business_id: filter.business, email: filter.email, states: filter.state, labels, page_size: PAGE };
    let mut sessions = client.sessions().list(filter);
    let mut rows = Vec::new();
    while let Some(session) = sessions.try_next().await? {
        if output.is_json() {
            output.result(|| json::session(&session), String::new)?;
            continue;
        }
        rows.push(vec![
            session.id.clone(),
            json::state(session.state()),
            or_dash(&session.business_id),
            or_dash(&session.email),
            json::short_time(session.last_use_time.as_ref()),
            json::short_time(session.expire_time.as_ref()),
            or_dash(session.head_snapshot_id.get(..SHORT_ID).unwrap_or_default()),
        ]);
    }
    if output.is_json() { Ok(()) } else { output.table(&["ID", "STATE", "BUSINESS", "EMAIL", "LAST USE", "EXPIRES", "HEAD"], &rows) }
}

async fn create(client: &Client, new: args::Create, output: &mut Output) -> Result<(), Failure> {
    let new = NewSession {
        id: new.id,
        business_id: new.business,
        email: new.email,
        labels: new.label.into_iter().collect(),
        ttl: new.ttl,
        ttl_mode: new.ttl_mode.map(Into::into).unwrap_or_default(),
    };
    show(&client.sessions().create(new).await?, output)
}

async fn change(client: &Client, update: args::Update, output: &mut Output) -> Result<(), Failure> {
    let id = session_id(client, &update.session).await?;
    let labels = (update.no_labels || !update.label.is_empty()).then(|| update.label.into_iter().collect());
    let wanted = Update { business_id: update.business, email: update.email, labels, ttl: update.ttl, ttl_mode: update.ttl_mode.map(Into::into) };
    show(&under(client, &update.conditions).update(&id, wanted).await?, output)
}

async fn get_state(client: &Client, session: &str, file: &Path, output: &mut Output) -> Result<(), Failure> {
    let id = session_id(client, session).await?;
    let state = client.sessions().storage_state().get(&id).await?;
    if file == Path::new("-") {
        // The document itself, also with --json: it is JSON already.
        return output.bytes(&state.json);
    }
    write_private(file, &state.json)?;
    let length = state.json.len();
    output.result(
        || object!({ "id": id, "etag": state.etag, "update_time": json::time(state.update_time.as_ref()), "bytes": length, "revision": state.revision }),
        || format!("{} holds the storage state of {id}, etag {}", file.display(), state.etag),
    )
}

/// Writes a file that only its owner may read: it holds cookies.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    let written = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path).and_then(|mut file| file.write_all(bytes));
    written.map_err(|source| Error::File { path: path.display().to_string(), source })
}

fn show(session: &Answer<v1::Session>, output: &mut Output) -> Result<(), Failure> {
    output.result(|| json::with_revision(json::session(session), session.revision), || described(session).trim_end().to_owned())
}

fn described(session: &v1::Session) -> String {
    let mut labels: Vec<_> = session.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    labels.sort();
    let reason = if session.state_reason.is_empty() { String::new() } else { format!(" ({})", session.state_reason) };
    let ttl = session.ttl.map_or_else(String::new, |ttl| span(std::time::Duration::from_secs(ttl.seconds.max(0).unsigned_abs())));
    let rows = [
        ("id", session.id.clone()),
        ("namespace", session.namespace.clone()),
        ("business", session.business_id.clone()),
        ("email", session.email.clone()),
        ("state", json::state(session.state()) + &reason),
        ("labels", labels.join(" ")),
        ("ttl", format!("{ttl} {}", json::short(session.ttl_mode().as_str_name(), "TTL_MODE_").to_lowercase())),
        ("created", json::short_time(session.create_time.as_ref())),
        ("updated", json::short_time(session.update_time.as_ref())),
        ("last use", json::short_time(session.last_use_time.as_ref())),
        ("expires", json::short_time(session.expire_time.as_ref())),
        ("head", session.head_snapshot_id.clone()),
        ("storage state", if session.storage_state_revision > 0 { format!("revision {}", session.storage_state_revision) } else { String::new() }),
        ("etag", session.etag.clone()),
    ];
    aligned(&rows.map(|(name, value)| vec![name.to_owned(), or_dash(&value)]))
}
