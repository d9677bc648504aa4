//! The service through its own client, without a network: what the messages mean, and what wrong ones get.

use std::{future::pending, time::Duration};

use api::{
    load_profile_response::Message as Loaded, profile_service_client::ProfileServiceClient, profile_service_server::ProfileServiceServer,
    save_profile_request::Message,
};
use bytes::Bytes;
use tonic::Code;
use tonic_types::StatusExt as _;

use super::*;
use crate::{
    flow::profiles::{
        ProfilesConfig,
        tests::{World, sample},
    },
    model::{assembly::Records, codec::Codec, reference::Tree, time::Revision},
};

/// A change of the first message, and the field that it makes wrong.
type Case = (fn(&mut api::SaveBegin), &'static str);

/// The same of a restore.
type RestoreCase = (fn(&mut api::RestoreSnapshotRequest), &'static str);

type Client = ProfileServiceClient<ProfileServiceServer<ProfileCalls>>;

const UPLOAD: &str = "0123456789abcdef";

fn client(world: &World) -> Client {
    let server = ProfileServiceServer::new(ProfileCalls::new(Arc::clone(&world.profiles))).max_decoding_message_size(1280 << 10);
    ProfileServiceClient::new(server)
}

fn begin() -> api::SaveBegin {
    api::SaveBegin { session_id: "s".to_owned(), upload_id: UPLOAD.to_owned(), ..api::SaveBegin::default() }
}

fn message(message: Message) -> api::SaveProfileRequest {
    api::SaveProfileRequest { namespace: String::new(), message: Some(message) }
}

fn state(text: &str) -> Message {
    Message::StorageState(api::StorageStateChunk { data: Bytes::copy_from_slice(text.as_bytes()) })
}

fn end(tree: &Tree) -> Message {
    Message::End(api::SaveEnd { manifest_root: Bytes::copy_from_slice(&tree.root()) })
}

/// All messages of a save.
fn messages(begin: api::SaveBegin, base: Option<&Tree>, tree: &Tree) -> Vec<api::SaveProfileRequest> {
    let records = tree.records(base, Codec::Zstd, 64).into_iter().map(|of| Message::Records(records(of)));
    let middle = [state(r#"{"cookies":[],"#), state(r#""origins":[]}"#)];
    [Message::Begin(begin)].into_iter().chain(records).chain(middle).chain([end(tree)]).map(message).collect()
}

async fn send(world: &World, messages: Vec<api::SaveProfileRequest>) -> Result<api::SaveProfileResponse, Status> {
    client(world).save_profile(stream::iter(messages)).await.map(Response::into_inner)
}

fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

async fn refused(world: &World, messages: Vec<api::SaveProfileRequest>) -> (String, String) {
    let status = send(world, messages).await.unwrap_err();
    (reason(&status), status.message().to_owned())
}

async fn load(world: &World, request: api::LoadProfileRequest) -> (api::LoadBegin, Vec<Records>, Vec<u8>, Bytes) {
    let mut stream = client(world).load_profile(request).await.unwrap().into_inner();
    let Some(Loaded::Begin(begin)) = stream.message().await.unwrap().unwrap().message else { panic!("begin comes first") };
    let (mut pieces, mut state) = (Vec::new(), Vec::new());
    loop {
        match stream.message().await.unwrap().expect("no end without `end`").message.unwrap() {
            Loaded::Begin(_) => panic!("a second begin"),
            Loaded::Records(of) => pieces.push(convert::received(of).unwrap()),
            Loaded::StorageState(chunk) => state.extend_from_slice(&chunk.data),
            Loaded::End(end) => {
                assert!(stream.message().await.unwrap().is_none(), "nothing behind the end");
                return (begin, pieces, state, end.manifest_root);
            }
        }
    }
}

fn request() -> api::LoadProfileRequest {
    api::LoadProfileRequest { session_id: "s".to_owned(), ..api::LoadProfileRequest::default() }
}

#[tokio::test]
async fn a_profile_goes_in_and_comes_out() {
    let world = World::new().await;
    let tree = sample();
    let portability = api::Portability { os: "linux".to_owned(), quiesced: true, ..api::Portability::default() };
    let first = api::SaveBegin { portability: Some(portability.clone()), ..begin() };
    let saved = send(&world, messages(first, None, &tree)).await.unwrap();
    let snapshot = saved.snapshot.unwrap();
    assert_eq!((snapshot.sequence, snapshot.head, snapshot.has_storage_state, snapshot.upload_id.as_str()), (1, true, true, UPLOAD));
    assert_eq!((snapshot.entry_count, snapshot.total_bytes), (i64::try_from(tree.0.len()).unwrap(), i64::try_from(tree.content()).unwrap()));
    assert_eq!((snapshot.portability, snapshot.revision), (Some(portability), saved.revision));
    assert!(snapshot.create_time.unwrap().seconds > 1_600_000_000 && snapshot.stored_bytes > 0);

    let (opened, pieces, document, root) = load(&world, api::LoadProfileRequest { with_storage_state: true, ..request() }).await;
    assert_eq!((opened.base_snapshot_id.as_str(), opened.content_bytes), ("", i64::try_from(tree.content()).unwrap()));
    assert_eq!((&document[..], &root[..]), (&br#"{"cookies":[],"origins":[]}"#[..], &tree.root()[..]));
    assert_eq!(Tree::apply(None, &pieces), tree);

    let next = tree.clone().file("Default/new", b"new");
    let second = api::SaveBegin { parent_snapshot_id: snapshot.id.clone(), upload_id: "second-0123456789".to_owned(), etag: saved.session_etag, ..begin() };
    let saved = send(&world, messages(second, Some(&tree), &next)).await.unwrap();
    let have = api::LoadProfileRequest { have_snapshot_id: snapshot.id.clone(), accept_codecs: vec![99, 0, 3, 2], ..request() };
    let (opened, pieces, _, _) = load(&world, have).await;
    assert_eq!((opened.base_snapshot_id, opened.snapshot.unwrap().id), (snapshot.id, saved.snapshot.unwrap().id));
    assert_eq!(Tree::apply(Some(&tree), &pieces), next);
}

#[tokio::test]
async fn a_stream_cut_at_any_message_changes_nothing() {
    let world = World::new().await;
    let tree = sample();
    let all = messages(begin(), None, &tree);
    for length in 0..all.len() {
        let (reason, _) = refused(&world, all[..length].to_vec()).await;
        assert_eq!(reason, "STREAM_TRUNCATED", "after {length} messages");
    }
    let status = api::GetSaveStatusRequest { session_id: "s".to_owned(), upload_id: UPLOAD.to_owned(), ..Default::default() };
    let answer = client(&world).get_save_status(status.clone()).await.unwrap().into_inner();
    assert_eq!((answer.state(), answer.snapshot), (api::SaveState::Unknown, None));
    let status_of_none = client(&world).load_profile(request()).await.unwrap_err();
    assert_eq!(reason(&status_of_none), "PROFILE_EMPTY");
    let saved = send(&world, all).await.unwrap();
    let answer = client(&world).get_save_status(status).await.unwrap().into_inner();
    assert_eq!((answer.state(), answer.snapshot), (api::SaveState::Committed, saved.snapshot));
}

#[tokio::test]
async fn messages_out_of_order_are_refused() {
    let world = World::new().await;
    let tree = sample();
    let all = messages(begin(), None, &tree);
    let nothing = api::SaveProfileRequest::default();
    let orders = [
        vec![all[1].clone()],
        vec![message(end(&tree))],
        vec![message(state("{}"))],
        vec![nothing.clone()],
        vec![all[0].clone(), all[0].clone()],
        vec![all[0].clone(), all[1].clone(), all[0].clone()],
        vec![all[0].clone(), nothing],
    ];
    for order in orders {
        let (reason, text) = refused(&world, order).await;
        assert_eq!(reason, "STREAM_PROTOCOL", "{text}");
    }
    let short = message(Message::End(api::SaveEnd { manifest_root: Bytes::from_static(b"short") }));
    assert_eq!(refused(&world, vec![all[0].clone(), short]).await.0, "INVALID_FIELD");
}

#[tokio::test]
async fn fields_of_the_first_message_are_checked() {
    let world = World::new().await;
    let with = |change: fn(&mut api::SaveBegin)| {
        let mut begin = begin();
        change(&mut begin);
        vec![message(Message::Begin(begin))]
    };
    let cases: [Case; 7] = [
        (|begin| begin.session_id.clear(), "begin.session_id"),
        (|begin| begin.upload_id = "short".to_owned(), "begin.upload_id"),
        (|begin| begin.upload_id = "ü".repeat(20), "begin.upload_id"),
        (|begin| begin.parent_snapshot_id = "head".to_owned(), "begin.parent_snapshot_id"),
        (|begin| begin.etag = "x".repeat(65), "begin.etag"),
        (|begin| begin.lease_token = -1, "begin.lease_token"),
        (|begin| begin.portability = Some(api::Portability { brand: "x".repeat(65), ..Default::default() }), "begin.portability.brand"),
    ];
    for (change, field) in cases {
        let status = send(&world, with(change)).await.unwrap_err();
        let violation = status.get_details_bad_request().unwrap().field_violations.remove(0);
        assert_eq!((reason(&status).as_str(), violation.field.as_str()), ("INVALID_FIELD", field), "{status:?}");
    }
    let mut foreign = message(Message::Begin(begin()));
    foreign.namespace = "Not A Namespace".to_owned();
    assert_eq!(refused(&world, vec![foreign]).await.0, "INVALID_FIELD");
}

#[tokio::test]
async fn data_that_lies_is_refused_with_its_reason() {
    let world = World::new().await;
    let piece = |of: api::ProfileRecords| vec![message(Message::Begin(begin())), message(Message::Records(of)), message(end(&Tree::default()))];
    let entry = |path: &str| api::Entry { kind: 1, path: path.to_owned(), size: 1, root: Bytes::from(vec![0; 32]), ..Default::default() };
    let run = api::LeafRun { leaf_count: 1, ..Default::default() };
    let one = api::ProfileRecords { entries: vec![entry("x")], runs: vec![run], data: Bytes::from_static(b"x"), data_size: 1, ..Default::default() };
    let cases = [
        (api::ProfileRecords { entries: vec![entry("../x")], ..Default::default() }, "PATH_INVALID"),
        (api::ProfileRecords { codec: 9, ..one.clone() }, "DATA_INVALID"),
        (api::ProfileRecords { codec: 2, ..one.clone() }, "DATA_INVALID"),
        (api::ProfileRecords { codec: 3, ..one.clone() }, "DATA_INVALID"),
        (api::ProfileRecords { data_size: 2, ..one.clone() }, "DATA_INVALID"),
        (api::ProfileRecords { data: Bytes::from_static(b"xy"), ..one.clone() }, "DATA_INVALID"),
        (api::ProfileRecords { data_size: 1 << 20, ..Default::default() }, "LIMIT_EXCEEDED"),
        (one.clone(), "DIGEST_MISMATCH"),
    ];
    for (of, expected) in cases {
        let (reason, text) = refused(&world, piece(of)).await;
        assert_eq!(reason, expected, "{text}");
    }
    let empty = vec![message(Message::Begin(begin())), message(state("{}")), message(end(&Tree::default()))];
    assert_eq!(refused(&world, empty).await.0, "STORAGE_STATE_INVALID");
    let large = api::ProfileRecords { data: Bytes::from(vec![0; 1300 << 10]), ..Default::default() };
    let status = send(&world, piece(large)).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "tonic's own; the layers give it its details");
    assert!(world.objects("c").await.is_empty());
}

#[tokio::test]
async fn a_caller_that_stands_still_is_not_waited_for() {
    let world = World::with(ProfilesConfig { idle: Duration::from_millis(50), ..ProfilesConfig::default() }).await;
    for sent in [0, 1, 2] {
        let first = messages(begin(), None, &sample()).into_iter().take(sent);
        let never = stream::once(pending::<api::SaveProfileRequest>());
        let status = client(&world).save_profile(stream::iter(first.collect::<Vec<_>>()).chain(never)).await.unwrap_err();
        assert_eq!(reason(&status), "DEADLINE", "after {sent} messages");
    }
    // A stream that stays open behind its end has had its say.
    let all = messages(begin(), None, &sample());
    let open = stream::iter(all).chain(stream::once(pending::<api::SaveProfileRequest>()));
    assert!(client(&world).save_profile(open).await.is_ok());
}

#[tokio::test]
async fn a_load_that_breaks_ends_with_an_error_and_never_with_an_end() {
    let world = World::new().await;
    send(&world, messages(begin(), None, &sample())).await.unwrap();
    let name = world.blobs.list("c", 10).await.unwrap().remove(0).name;
    let mut bytes = world.blobs.get(&name).await.unwrap().unwrap().to_vec();
    bytes[20_000] ^= 1;
    world.blobs.delete(&name).await.unwrap();
    world.blobs.put_new(&name, bytes.into()).await.unwrap();
    let mut stream = client(&world.replica()).load_profile(request()).await.unwrap().into_inner();
    let status = loop {
        match stream.message().await {
            Ok(Some(answer)) => assert!(!matches!(answer.message, Some(Loaded::End(_)))),
            Ok(None) => panic!("it ended as if it were complete"),
            Err(status) => break status,
        }
    };
    assert_eq!((reason(&status).as_str(), status.code()), ("DATA_CORRUPT", Code::DataLoss));
}

#[tokio::test]
async fn snapshots_are_shown() {
    let world = World::new().await;
    let tree = sample();
    let saved = send(&world, messages(begin(), None, &tree)).await.unwrap().snapshot.unwrap();
    let list = api::ListSnapshotsRequest { session_id: "s".to_owned(), ..Default::default() };
    let page = client(&world).list_snapshots(list.clone()).await.unwrap().into_inner();
    assert_eq!((page.snapshots, page.next_page_token.as_str()), (vec![saved.clone()], ""));
    assert!(page.revision >= saved.revision);
    let get = api::GetSnapshotRequest { session_id: "s".to_owned(), with_entries: true, page_size: 2, ..Default::default() };
    let answer = client(&world).get_snapshot(get.clone()).await.unwrap().into_inner();
    assert_eq!((answer.snapshot, answer.entries.len()), (Some(saved), 2));
    assert!(!answer.next_page_token.is_empty());
    let status = client(&world).get_snapshot(api::GetSnapshotRequest { page_token: "x".to_owned(), ..get.clone() }).await.unwrap_err();
    assert_eq!(reason(&status), "INVALID_PAGE_TOKEN");
    for size in [-1, 2001] {
        let status = client(&world).get_snapshot(api::GetSnapshotRequest { page_size: size, ..get.clone() }).await.unwrap_err();
        assert_eq!(reason(&status), "INVALID_FIELD");
    }
    let status = client(&world).list_snapshots(api::ListSnapshotsRequest { page_size: 501, ..list.clone() }).await.unwrap_err();
    assert_eq!(reason(&status), "INVALID_FIELD");
    let status = client(&world).list_snapshots(api::ListSnapshotsRequest { session_id: "t".to_owned(), ..list }).await.unwrap_err();
    assert_eq!(reason(&status), "SESSION_NOT_FOUND");
    let unknown = api::GetSnapshotRequest { snapshot_id: "0".repeat(32), ..get };
    assert_eq!(reason(&client(&world).get_snapshot(unknown).await.unwrap_err()), "SNAPSHOT_NOT_FOUND");
}

#[tokio::test]
async fn a_restore_is_answered_with_what_is_the_head_and_what_was() {
    let world = World::new().await;
    let tree = sample();
    let first = send(&world, messages(begin(), None, &tree)).await.unwrap().snapshot.unwrap();
    let next = api::SaveBegin { parent_snapshot_id: first.id.clone(), upload_id: "fedcba9876543210".to_owned(), ..begin() };
    let second = send(&world, messages(next, Some(&tree), &tree.clone().file("x", b"y"))).await.unwrap().snapshot.unwrap();
    let undo =
        api::RestoreSnapshotRequest { session_id: "s".to_owned(), head_snapshot_id: second.id.clone(), request_id: "undo".to_owned(), ..Default::default() };
    let restored = client(&world).restore_snapshot(undo.clone()).await.unwrap().into_inner();
    assert_eq!((restored.snapshot.as_ref(), &restored.former_head_snapshot_id), (Some(&first), &second.id));
    assert!(restored.revision > second.revision && restored.session_etag == Revision(restored.revision).etag());
    assert_eq!(client(&world).restore_snapshot(undo.clone()).await.unwrap().into_inner(), restored, "a repetition");
    let again = api::RestoreSnapshotRequest { request_id: "again".to_owned(), ..undo.clone() };
    assert_eq!(reason(&client(&world).restore_snapshot(again.clone()).await.unwrap_err()), "PARENT_NOT_HEAD");
    let cases: [RestoreCase; 5] = [
        (|of| of.session_id.clear(), "session_id"),
        (|of| of.snapshot_id = "x".to_owned(), "snapshot_id"),
        (|of| of.head_snapshot_id = "x".to_owned(), "head_snapshot_id"),
        (|of| of.lease_token = -1, "lease_token"),
        (|of| of.request_id = "a b".to_owned(), "request_id"),
    ];
    for (change, field) in cases {
        let mut bad = again.clone();
        change(&mut bad);
        let status = client(&world).restore_snapshot(bad).await.unwrap_err();
        assert_eq!((reason(&status).as_str(), status.message().contains(field)), ("INVALID_FIELD", true), "{}", status.message());
    }
}

#[tokio::test]
async fn marks_of_a_snapshot_are_shown_with_their_times() {
    let world = World::new().await;
    let tree = sample();
    let first = send(&world, messages(begin(), None, &tree)).await.unwrap().snapshot.unwrap();
    let next = api::SaveBegin { parent_snapshot_id: first.id.clone(), upload_id: "fedcba9876543210".to_owned(), ..begin() };
    let head = send(&world, messages(next, Some(&tree), &tree.clone().file("x", b"y"))).await.unwrap().snapshot.unwrap();
    let pin = api::PinSnapshotRequest { session_id: "s".to_owned(), snapshot_id: first.id.clone(), note: "kept".to_owned(), ..Default::default() };
    let pinned = client(&world).pin_snapshot(pin.clone()).await.unwrap().into_inner();
    let of = pinned.snapshot.unwrap();
    assert_eq!((of.pin_time.is_some(), of.pin_note.as_str(), pinned.revision > head.revision), (true, "kept", true));
    let delete = api::DeleteSnapshotRequest { session_id: "s".to_owned(), snapshot_id: first.id.clone(), ..Default::default() };
    let status = client(&world).delete_snapshot(delete.clone()).await.unwrap_err();
    assert_eq!((reason(&status).as_str(), status.code()), ("SNAPSHOT_HELD", Code::FailedPrecondition));
    let free = client(&world).pin_snapshot(api::PinSnapshotRequest { unpin: true, ..pin.clone() }).await.unwrap().into_inner().snapshot.unwrap();
    assert_eq!((free.pin_time, free.pin_note.as_str()), (None, ""));
    let gone = client(&world).delete_snapshot(delete.clone()).await.unwrap().into_inner().snapshot.unwrap();
    assert_eq!(gone.expire_time.unwrap().seconds - gone.delete_time.unwrap().seconds, 7 * 24 * 3600);
    let list = async |show_deleted| {
        let request = api::ListSnapshotsRequest { session_id: "s".to_owned(), show_deleted, ..Default::default() };
        client(&world).list_snapshots(request).await.unwrap().into_inner().snapshots.len()
    };
    assert_eq!((list(false).await, list(true).await), (1, 2));
    let get = api::GetSnapshotRequest { session_id: "s".to_owned(), snapshot_id: first.id.clone(), ..Default::default() };
    let status = client(&world).get_snapshot(get).await.unwrap_err();
    assert_eq!((reason(&status).as_str(), status.code()), ("SNAPSHOT_DELETED", Code::NotFound));
    let undelete = api::UndeleteSnapshotRequest { session_id: "s".to_owned(), snapshot_id: first.id.clone(), ..Default::default() };
    assert_eq!(client(&world).undelete_snapshot(undelete.clone()).await.unwrap().into_inner().snapshot.unwrap().delete_time, None);
    let long = api::PinSnapshotRequest { note: "x".repeat(257), ..pin };
    assert_eq!(reason(&client(&world).pin_snapshot(long).await.unwrap_err()), "INVALID_FIELD");
    let without = api::DeleteSnapshotRequest { snapshot_id: String::new(), ..delete };
    assert_eq!(reason(&client(&world).delete_snapshot(without).await.unwrap_err()), "INVALID_FIELD");
    let without = api::UndeleteSnapshotRequest { snapshot_id: String::new(), ..undelete };
    assert_eq!(reason(&client(&world).undelete_snapshot(without).await.unwrap_err()), "INVALID_FIELD");
}

#[tokio::test]
async fn a_difference_is_shown_with_both_sides_and_its_cookies() {
    use crate::store::cookies::tests::chromium;
    let world = World::new().await;
    let tree = sample().file("Default/Cookies", &chromium(&[("a.test", "sid", "5ec2e7", 5)]));
    let first = send(&world, messages(begin(), None, &tree)).await.unwrap().snapshot.unwrap();
    let next = api::SaveBegin { parent_snapshot_id: first.id.clone(), upload_id: "fedcba9876543210".to_owned(), ..begin() };
    let changed = tree.clone().file("Default/Cookies", &chromium(&[("a.test", "sid", "5ec2e8", 5)])).file("x", b"y");
    let second = send(&world, messages(next, Some(&tree), &changed)).await.unwrap().snapshot.unwrap();
    let diff = api::DiffSnapshotsRequest { session_id: "s".to_owned(), ..Default::default() };
    let page = client(&world).diff_snapshots(diff.clone()).await.unwrap().into_inner();
    let sides = |one: &api::EntryDifference| (one.kind(), one.before.is_some(), one.after.as_ref().map(|entry| entry.path.clone()));
    let shown: Vec<_> = page.differences.iter().map(sides).collect();
    let cookies = (api::DifferenceKind::Changed, true, Some("Default/Cookies".to_owned()));
    assert_eq!(shown, [cookies, (api::DifferenceKind::Added, false, Some("x".to_owned()))]);
    assert_eq!((page.added_count, page.removed_count, page.changed_count, page.changed_bytes > 1), (1, 0, 1, true));
    assert_eq!((page.snapshot.unwrap().id, page.base_snapshot.unwrap().id), (second.id, first.id));
    let [database] = &page.cookie_databases[..] else { panic!("one database") };
    let cookie = &database.cookies[0];
    assert_eq!(
        (database.comparison(), cookie.kind(), cookie.host.as_str(), cookie.name.as_str()),
        (api::CookieComparison::Known, api::DifferenceKind::Changed, "a.test", "sid",)
    );
    assert!(cookie.value_changed && !cookie.attributes_changed);
    let bad = api::DiffSnapshotsRequest { base_snapshot_id: "x".to_owned(), ..diff.clone() };
    assert_eq!(reason(&client(&world).diff_snapshots(bad).await.unwrap_err()), "INVALID_FIELD");
    let bad = api::DiffSnapshotsRequest { page_size: -1, ..diff };
    assert_eq!(reason(&client(&world).diff_snapshots(bad).await.unwrap_err()), "INVALID_FIELD");
}
