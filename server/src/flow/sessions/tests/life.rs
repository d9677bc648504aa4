//! Expiring, deleting, reviving, purging.

use super::*;

#[tokio::test]
async fn an_expired_session_is_hidden_at_once_and_from_indices_after_a_sweep() {
    let bench = Bench::new();
    bench.active("a", "acme").await;
    bench.end_time("a").await;
    let error = bench.get("a").await.unwrap_err();
    assert!(error.reason() == Reason::SessionExpired && error.metadata().iter().any(|(key, _)| *key == "revivable_until"), "{error}");
    assert!(bench.list(Filter::default()).await.is_empty());
    let owner = Owner::Business(business("acme"));
    assert_eq!(reason(bench.sessions.active(&bench.ns, &owner, Revision::ZERO).await), Reason::SessionNotFound);
    assert_eq!(reason(bench.sessions.resolve(&bench.ns, &sid("a"), Revision::ZERO).await), Reason::SessionNotFound);
    for refused in [bench.to("a", State::Active).await.map(drop), bench.sessions.touch(&bench.ns, &sid("a"), &free()).await.map(drop)] {
        assert_eq!(reason(refused), Reason::SessionExpired);
    }
    assert_eq!(bench.members(index::ALL).await, ["a"]);
    assert_eq!(bench.sweep().await, Swept { expired: 1, purged: 0 });
    for name in [index::ALL, index::NAMES, &index::business("acme"), &index::business_used("acme"), &index::state(State::Active)] {
        assert!(bench.members(name).await.is_empty(), "{name}");
    }
    assert_eq!(bench.sweep().await, Swept::default());
    let change = bench.changes().await.pop().unwrap();
    assert_eq!((change.kind(), change.previous_state, change.state), (ChangeKind::SessionExpired, 2, 6));
    assert_eq!(reason(bench.get("a").await), Reason::SessionExpired);
}

#[tokio::test]
async fn a_revival_brings_everything_back_swept_or_not() {
    for swept in [false, true] {
        let bench = Bench::new();
        bench.active("a", "acme").await;
        bench.end_time("a").await;
        if swept {
            bench.sweep().await;
        }
        let revived = bench.undelete("a").await.unwrap();
        assert_eq!((revived.view.session.session.state, revived.view.session.remaining()), (State::Active, Some(Duration::from_mins(1))));
        assert_eq!(bench.list(Filter::default()).await, ["a"]);
        assert_eq!(bench.members(&index::business_used("acme")).await, ["a"]);
        assert_eq!(bench.sweep().await, Swept::default());
        assert_eq!(bench.kinds().await.pop(), Some(ChangeKind::SessionUndeleted));
        let again = bench.undelete("a").await.unwrap();
        assert_eq!(again.view.session.revision, revived.revision, "reviving a live session changes nothing");
    }
}

#[tokio::test]
async fn a_revival_and_a_sweep_at_once_leave_the_session_whole() {
    for _ in 0..20 {
        let bench = Bench::new();
        bench.active("a", "acme").await;
        bench.end_time("a").await;
        let (revived, _) = tokio::join!(bench.undelete("a"), bench.sweep());
        revived.unwrap();
        assert_eq!(bench.members(&index::business_used("acme")).await, ["a"]);
        assert_eq!(bench.get("a").await.unwrap().view.session.session.state, State::Active);
    }
}

#[tokio::test]
async fn deleting_hides_and_deleting_again_succeeds() {
    let bench = Bench::new();
    bench.active("a", "acme").await;
    let deleted = bench.delete("a").await.unwrap();
    assert_eq!((deleted.view.session.state(), deleted.view.session.remaining()), (State::Deleted, Some(Duration::from_hours(7 * 24))));
    assert_eq!(reason(bench.get("a").await), Reason::SessionDeleted);
    assert!(bench.members(index::ALL).await.is_empty());
    let again = bench.sessions.delete(&bench.ns, &sid("a"), &etag("\"stale\"".to_owned())).await.unwrap();
    assert_eq!(again.view.session.revision, deleted.revision);
    assert_eq!(reason(bench.delete("nobody").await), Reason::SessionNotFound);
    assert_eq!(bench.undelete("a").await.unwrap().view.session.session.state, State::Active);
}

#[tokio::test]
async fn an_expired_session_can_be_deleted_and_still_remembers_its_state() {
    for swept in [false, true] {
        let bench = Bench::new();
        bench.active("a", "acme").await;
        bench.end_time("a").await;
        if swept {
            bench.sweep().await;
        }
        assert_eq!(bench.delete("a").await.unwrap().view.session.state(), State::Deleted);
        assert!(bench.members(index::ALL).await.is_empty());
        assert_eq!(bench.undelete("a").await.unwrap().view.session.session.state, State::Active);
    }
}

#[tokio::test]
async fn a_purge_leaves_nothing_that_opens_what_was_sealed() {
    let bench = Bench::new();
    let created = bench.create("a", "acme").await;
    let lineage = created.view.session.session.lineage_id().unwrap();
    let document = bytes::Bytes::from_static(b"{\"cookies\":[],\"origins\":[]}");
    bench.sessions.put_storage_state(&bench.ns, &sid("a"), document, &free()).await.unwrap();
    bench.sessions.keyring.publish(&bench.ns, lineage).await.unwrap();
    bench.delete("a").await.unwrap();
    bench.end_time("a").await;
    assert_eq!(reason(bench.get("a").await), Reason::SessionNotFound);
    assert_eq!(reason(bench.undelete("a").await), Reason::SessionNotFound);
    assert_eq!(reason(bench.delete("a").await), Reason::SessionNotFound);
    bench.keys.set_down(true);
    assert_eq!(sweep(&bench.sessions, &bench.ns).await.unwrap_err().reason(), Reason::BlobsUnavailable);
    bench.keys.set_down(false);
    assert!(bench.keys.names().iter().any(|name| name.contains(&lineage.to_string())));
    assert_eq!(bench.sweep().await, Swept { expired: 0, purged: 1 });
    assert!(!bench.keys.names().iter().any(|name| name.contains(&lineage.to_string())));
    let keys = [record_key(&sid("a")), state_key(&sid("a")), crate::flow::keyring::lineage_key(lineage)];
    let reading = bench.store.get(&bench.ns, &keys).await.unwrap();
    assert!(reading.found.into_iter().all(|found| found == crate::store::metadata::Found::Absent));
    assert_eq!(bench.kinds().await.pop(), Some(ChangeKind::SessionPurged));
    assert_eq!(bench.sessions.keyring.lineage(&bench.ns, lineage).await.unwrap_err().reason(), Reason::KeyUnavailable);
}

#[tokio::test]
async fn a_purge_that_fails_keeps_no_other_session_from_expiring() {
    let bench = Bench::new();
    bench.create("a", "acme").await;
    bench.delete("a").await.unwrap();
    bench.end_time("a").await;
    bench.create("b", "acme").await;
    bench.end_time("b").await;
    bench.keys.set_down(true);
    assert!(sweep(&bench.sessions, &bench.ns).await.is_err());
    assert!(bench.members(index::ALL).await.is_empty());
}

#[tokio::test]
async fn sweepers_that_meet_tell_of_each_end_once() {
    let bench = Bench::new();
    for n in 0..30 {
        bench.create(&format!("s{n}"), "acme").await;
        bench.end_time(&format!("s{n}")).await;
    }
    let (a, b, c) = tokio::join!(bench.sweep(), bench.sweep(), bench.sweep());
    assert_eq!(a.expired + b.expired + c.expired, 30);
    let expired = bench.kinds().await.into_iter().filter(|kind| *kind == ChangeKind::SessionExpired).count();
    assert_eq!(expired, 30);
}

#[tokio::test]
async fn the_background_sweeper_sweeps_every_namespace_and_stops() {
    let bench = Bench::new();
    bench.create("a", "acme").await;
    bench.end_time("a").await;
    let tasks = crate::flow::tasks::Tasks::new();
    tasks.spawn(crate::flow::sweep::run(Arc::clone(&bench.sessions), tasks.stopping()));
    for _ in 0..100 {
        if bench.members(index::ALL).await.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(bench.members(index::ALL).await.is_empty());
    assert!(tasks.stop(Duration::from_secs(5)).await);
}

#[tokio::test]
async fn a_touch_slides_the_expiry_without_a_new_etag_or_an_event() {
    let bench = Bench::new();
    let before = bench.active("a", "acme").await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    let touched = bench.sessions.touch(&bench.ns, &sid("a"), &etag(before.revision.etag())).await.unwrap();
    let after = bench.get("a").await.unwrap();
    assert!(touched.revision > before.revision && touched.expires_at > before.view.session.expires_at);
    assert_eq!((after.view.session.expires_at, after.view.session.revision), (touched.expires_at, before.revision));
    assert!(after.view.session.mark(mark::USED) > before.view.session.mark(mark::USED));
    assert_eq!(bench.kinds().await.len(), 2);
}

#[tokio::test]
async fn a_purge_removes_every_snapshot_and_what_uploads_made() {
    use crate::{
        model::{
            id::{SnapshotId, UploadId},
            snapshot,
        },
        store::metadata::{Found, IndexChange, Key},
    };
    let bench = Bench::new();
    let lineage = bench.create("a", "acme").await.view.session.session.lineage_id().unwrap();
    let mut keys = Vec::new();
    for n in 0..450u16 {
        let mut id = [0; 16];
        id[..2].copy_from_slice(&n.to_be_bytes());
        let (id, upload) = (SnapshotId(id), UploadId::parse("upload", &format!("upload-{n:010}")).unwrap());
        let own = [Key(snapshot::record_key(lineage, id)), Key(snapshot::upload_key(&sid("a"), &upload))];
        let value: bytes::Bytes = format!("{{\"upload\":\"{upload}\",\"more\":1}}").into();
        let puts = own.iter().map(|key| Write::Put { key: key.clone(), value: value.clone(), life: Life::Forever, marks: Vec::new() });
        let indices = vec![IndexChange::Add(Index(snapshot::index_name(lineage)), id.to_string(), Number::Literal(i64::from(n)))];
        bench.store.commit(&bench.ns, Commit::from(Txn { writes: puts.collect(), indices, ..Txn::default() })).await.unwrap();
        keys.extend(own);
        let restore = snapshot::restore_id(&n.to_be_bytes()).unwrap();
        let key = Key(snapshot::upload_key(&sid("a"), &restore));
        let writes = vec![Write::Put { key: key.clone(), value: value.clone(), life: Life::Forever, marks: Vec::new() }];
        let indices = vec![IndexChange::Add(Index(snapshot::restores_name(lineage)), restore.to_string(), Number::Literal(i64::from(n)))];
        bench.store.commit(&bench.ns, Commit::from(Txn { writes, indices, ..Txn::default() })).await.unwrap();
        keys.push(key);
    }
    bench.delete("a").await.unwrap();
    bench.end_time("a").await;
    assert_eq!(bench.sweep().await.purged, 1);
    assert!(bench.members(&snapshot::index_name(lineage)).await.is_empty() && bench.members(&snapshot::restores_name(lineage)).await.is_empty());
    for keys in keys.chunks(500) {
        let reading = bench.store.get(&bench.ns, keys).await.unwrap();
        assert!(reading.found.into_iter().all(|found| found == Found::Absent));
    }
}
