//! Commits that were cut off, and writers that meet.

use super::*;
use crate::{
    flow::sessions::{Conditions, Patch, record_key},
    model::pack::{PackKind, PackName, parse_header, void_name},
    store::metadata::{Life, Txn, Write},
};

/// A world with one saved snapshot, and the tree that comes next.
async fn started() -> (World, Tree, SnapshotId, Tree) {
    let world = World::new().await;
    let tree = sample();
    let first = world.save("first", None, &tree).await.unwrap();
    let next = tree.clone().file("Default/next", b"from the first writer");
    (world, tree, first.view.id, next)
}

/// Cuts a save off at `point`; nobody is told anything but INTERNAL.
async fn cut_off(world: &World, point: FaultPoint, upload: &str, base: (&Tree, SnapshotId), tree: &Tree) {
    world.profiles.faults().plan(point);
    assert_eq!(reason(world.save(upload, Some(base), tree).await), Reason::Internal, "{point:?}");
}

/// How many void objects there are.
pub(super) async fn voids(world: &World) -> usize {
    world.objects("c").await.iter().filter(|name| name.rsplit('.').next() == Some("void")).count()
}

/// Everything that must hold at any time: the head's pack is not void, the head loads, slots up to the floor are used.
pub(super) async fn sound(world: &World) {
    let session = world.stored_session().await;
    let (sequence, floor) = (session.session.sequence, session.session.slot_floor);
    assert!(sequence <= floor, "the floor sank");
    let lineage = session.session.lineage_id().unwrap();
    if let Some(head) = session.session.head_id().unwrap() {
        let slot = u64::try_from(sequence).unwrap();
        assert_eq!(world.blobs.get(&void_name(lineage, slot)).await.unwrap(), None, "the head is void");
        world.replica().load(head, None).await.unwrap();
    }
    for slot in floor + 1..floor + 3 {
        assert_eq!(world.blobs.get(&void_name(lineage, u64::try_from(slot).unwrap())).await.unwrap(), None, "a slot above the floor is void");
    }
}

#[tokio::test]
async fn a_repetition_goes_on_wherever_the_first_attempt_died() {
    for point in [FaultPoint::BeforePut, FaultPoint::AfterPut, FaultPoint::AfterCommit] {
        let (world, tree, head, next) = started().await;
        cut_off(&world, point, "next", (&tree, head), &next).await;
        sound(&world).await;
        let puts = world.objects("c").await.len();
        let replica = world.replica();
        let saved = replica.save("next", Some((&tree, head)), &next).await.unwrap();
        assert_eq!(saved.view.snapshot.sequence, 2, "{point:?}");
        assert_eq!(world.objects("c").await.len(), if point == FaultPoint::BeforePut { puts + 1 } else { puts }, "{point:?}: the pack is not written twice");
        assert_eq!(world.load(saved.view.id, None).await.unwrap(), next);
        sound(&world).await;
    }
}

#[tokio::test]
async fn a_first_save_that_died_is_found_too() {
    let world = World::new().await;
    let tree = sample();
    world.profiles.faults().plan(FaultPoint::AfterPut);
    assert_eq!(reason(world.save("first", None, &tree).await), Reason::Internal);
    assert_eq!(world.load(SnapshotId([0; 16]), None).await.unwrap_err().reason(), Reason::ProfileEmpty);
    let saved = world.replica().save("first", None, &tree).await.unwrap();
    assert_eq!(world.load(saved.view.id, None).await.unwrap(), tree);
}

#[tokio::test]
async fn the_next_writer_rolls_a_dead_one_forward() {
    let (world, tree, head, next) = started().await;
    cut_off(&world, FaultPoint::AfterPut, "dead", (&tree, head), &next).await;
    assert_eq!(world.stored_session().await.session.head_id().unwrap(), Some(head));
    let status = world.profiles.status(&world.ns, &world.session, &world.begin("dead", None).upload).await.unwrap();
    assert!(status.view.is_none(), "not committed yet");

    let other = tree.clone().file("Default/other", b"from the second writer");
    let error = world.replica().save("second", Some((&tree, head)), &other).await.unwrap_err();
    assert_eq!(error.reason(), Reason::ParentNotHead);
    let status = world.profiles.status(&world.ns, &world.session, &world.begin("dead", None).upload).await.unwrap();
    let rolled = status.view.unwrap();
    assert!(error.metadata().iter().any(|(key, value)| *key == "head_snapshot_id" && *value == rolled.id.to_string()));
    assert_eq!((rolled.snapshot.sequence, rolled.head), (2, true));
    assert_eq!(world.load(rolled.id, None).await.unwrap(), next);
    // Its writer, should it come back, is told that it was committed.
    let again = world.replica().save("dead", Some((&tree, head)), &next).await.unwrap();
    assert_eq!((again.view.id, again.revision()), (rolled.id, rolled.revision));
    sound(&world).await;
}

#[tokio::test]
async fn a_storage_state_is_rolled_forward_with_its_profile() {
    let (world, tree, head, next) = started().await;
    let state = br#"{"cookies":[],"origins":[]}"#;
    world.profiles.faults().plan(FaultPoint::AfterPut);
    let cut = world.send(world.begin("dead", Some(head)), next.records(Some(&tree), Codec::Raw, 64), Some(state), next.root());
    assert_eq!(reason(cut.await), Reason::Internal);
    assert_eq!(reason(world.save("second", Some((&tree, head)), &tree.clone().file("x", b"")).await), Reason::ParentNotHead);
    let stored = world.sessions.storage_state(&world.ns, &world.session, Revision::ZERO).await.unwrap();
    assert_eq!(&stored.document[..], state);
    let loaded = world.replica().fetch(LoadRequest { with_storage_state: true, ..world.request() }).await.unwrap();
    assert_eq!(loaded.state, state);
}

/// Lets the session's fence move, as a new lease does.
pub(super) async fn fence(world: &World, token: i64) {
    let touch =
        Write::Touch { key: record_key(&world.session), life: Life::Keep, marks: vec![("fence".into(), crate::store::metadata::Number::Literal(token))] };
    let outcome = world.metadata.commit(&world.ns, Txn { writes: vec![touch], ..Txn::default() }.into()).await.unwrap();
    assert!(matches!(outcome, Outcome::Applied(_)));
}

#[tokio::test]
async fn a_dead_writer_under_an_older_lease_is_passed_over() {
    let (world, tree, head, next) = started().await;
    cut_off(&world, FaultPoint::AfterPut, "dead", (&tree, head), &next).await;
    fence(&world, 77).await;
    let other = tree.clone().file("Default/other", b"from the second writer");
    let begin = Begin { lease_token: 77, ..world.begin("second", Some(head)) };
    let saved = world.replica().send(begin, other.records(Some(&tree), Codec::Raw, 64), None, other.root()).await.unwrap();
    assert_eq!(saved.view.snapshot.sequence, 3);
    assert_eq!(world.load(saved.view.id, None).await.unwrap(), other);
    let void = world.blobs.get(&void_name(world.stored_session().await.session.lineage_id().unwrap(), 2)).await.unwrap().unwrap();
    let (header, _, _) = parse_header(&void).unwrap();
    assert_eq!((header.kind(), header.slot, header.upload.trim_end_matches('-')), (PackKind::Void, 2, "dead"));
    assert_eq!(reason(world.save("dead", Some((&tree, head)), &next).await), Reason::ParentNotHead);
    sound(&world).await;
}

#[tokio::test]
async fn a_dead_writer_whose_etag_is_gone_is_passed_over() {
    let (world, tree, head, next) = started().await;
    let etag = world.stored_session().await.revision.etag();
    world.profiles.faults().plan(FaultPoint::AfterPut);
    let begin = Begin { etag, ..world.begin("dead", Some(head)) };
    assert_eq!(reason(world.send(begin, next.records(Some(&tree), Codec::Raw, 64), None, next.root()).await), Reason::Internal);
    let patch = Patch { business: Some(crate::model::id::BusinessId::parse("b", "other").unwrap()), ..Patch::default() };
    world.sessions.update(&world.ns, &world.session, patch, &Conditions::default()).await.unwrap();
    let other = tree.clone().file("Default/other", b"from the second writer");
    let saved = world.save("second", Some((&tree, head)), &other).await.unwrap();
    assert_eq!(saved.view.snapshot.sequence, 3);
    assert_eq!(voids(&world).await, 1);
    sound(&world).await;
}

#[tokio::test]
async fn a_writer_that_dies_between_floor_and_void_object_does_no_harm() {
    let (world, tree, head, next) = started().await;
    cut_off(&world, FaultPoint::AfterPut, "dead", (&tree, head), &next).await;
    fence(&world, 77).await;
    let other = tree.clone().file("Default/other", b"from the second writer");
    cut_off(&world, FaultPoint::AfterFloor, "second", (&tree, head), &other).await;
    let session = world.stored_session().await.session;
    assert_eq!((session.sequence, session.slot_floor), (1, 2));
    assert_eq!(voids(&world).await, 0);
    // The dead one cannot come back, whoever tries.
    let again = world.replica().save("dead", Some((&tree, head)), &next).await.unwrap();
    assert_eq!(again.view.snapshot.sequence, 3, "its own slot is passed, so it takes the next");
    assert_eq!(world.load(again.view.id, None).await.unwrap(), next);
    assert_eq!(reason(world.save("second", Some((&tree, head)), &other).await), Reason::ParentNotHead);
    sound(&world).await;
}

/// A writer that stalls between its put and its transaction, while `meanwhile` happens; then it goes on. Its answer, and how many void objects there are.
async fn stalled<F: Future<Output = ()>>(world: &World, begin: Begin, trees: (&Tree, &Tree), meanwhile: F) -> (Result<Saved>, usize) {
    let held = world.profiles.faults().hold(FaultPoint::AfterPut);
    let (tree, next) = trees;
    let slow = world.send(begin, next.records(Some(tree), Codec::Raw, 64), None, next.root());
    let then = async {
        held.reached().await;
        meanwhile.await;
        held.release();
    };
    let (saved, ()) = Box::pin(async { tokio::join!(slow, then) }).await;
    (saved, voids(world).await)
}

#[tokio::test]
async fn a_writer_that_only_stalls_is_rolled_forward_and_told_so() {
    let (world, tree, head, next) = started().await;
    let replica = world.replica();
    let meanwhile = async {
        let other = tree.clone().file("Default/other", b"from the second writer");
        assert_eq!(reason(replica.save("second", Some((&tree, head)), &other).await), Reason::ParentNotHead);
    };
    let (saved, voids) = stalled(&world, world.begin("slow", Some(head)), (&tree, &next), meanwhile).await;
    assert_eq!((saved.unwrap().view.snapshot.sequence, voids), (2, 0));
    sound(&world).await;
}

#[tokio::test]
async fn a_writer_that_stalls_past_its_lease_is_passed_over_and_told_so() {
    let (world, tree, head, next) = started().await;
    fence(&world, 70).await;
    let replica = world.replica();
    let other = tree.clone().file("Default/other", b"from the second writer");
    let meanwhile = async {
        fence(&world, 77).await;
        let begin = Begin { lease_token: 77, ..world.begin("second", Some(head)) };
        let saved = replica.send(begin, other.records(Some(&tree), Codec::Raw, 64), None, other.root()).await.unwrap();
        assert_eq!(saved.view.snapshot.sequence, 3);
    };
    let begin = Begin { lease_token: 70, ..world.begin("slow", Some(head)) };
    let (saved, voids) = stalled(&world, begin, (&tree, &next), meanwhile).await;
    assert_eq!((reason(saved), voids), (Reason::LeaseFenced, 1));
    assert_eq!(world.load(world.stored_session().await.session.head_id().unwrap().unwrap(), None).await.unwrap(), other);
    sound(&world).await;
}

#[tokio::test]
async fn before_a_refusal_the_pack_is_made_void() {
    for what in ["fenced", "deleted", "etag"] {
        let (world, tree, head, next) = started().await;
        let etag = if what == "etag" { world.stored_session().await.revision.etag() } else { String::new() };
        fence(&world, 70).await;
        let meanwhile = async {
            match what {
                "fenced" => fence(&world, 77).await,
                "deleted" => drop(world.sessions.delete(&world.ns, &world.session, &Conditions::default()).await.unwrap()),
                _ => {
                    let patch = Patch { labels: Some([("k".to_owned(), "v".to_owned())].into()), ..Patch::default() };
                    world.sessions.update(&world.ns, &world.session, patch, &Conditions::default()).await.unwrap();
                }
            }
        };
        let begin = Begin { lease_token: 70, etag, ..world.begin("slow", Some(head)) };
        let (saved, voids) = stalled(&world, begin, (&tree, &next), meanwhile).await;
        let expected = match what {
            "fenced" => Reason::LeaseFenced,
            "deleted" => Reason::SessionDeleted,
            _ => Reason::EtagMismatch,
        };
        assert_eq!((reason(saved), voids), (expected, 1), "{what}");
        let session = world.stored_session().await.session;
        assert_eq!((session.sequence, session.slot_floor, session.head_id().unwrap()), (1, 2, Some(head)), "{what}");
    }
}

#[tokio::test]
async fn a_deleted_session_keeps_its_time_when_a_slot_is_passed_over() {
    let (world, tree, head, next) = started().await;
    let deleted = async {
        world.sessions.delete(&world.ns, &world.session, &Conditions::default()).await.unwrap();
    };
    let log = world.metadata.history(&world.ns, Scope::Sessions).await.unwrap().last;
    let (saved, _) = stalled(&world, world.begin("slow", Some(head)), (&tree, &next), deleted).await;
    assert_eq!(reason(saved), Reason::SessionDeleted);
    let events = world.metadata.events(&world.ns, Scope::Sessions, log, 10).await.unwrap().entries;
    assert_eq!(events.len(), 1, "nobody hears anything of a deleted session but its deletion");
    world.sessions.undelete(&world.ns, &world.session, &Conditions::default()).await.unwrap();
    assert!(world.save("next", Some((&tree, head)), &next).await.is_ok());
    sound(&world).await;
}

#[tokio::test]
async fn a_damaged_pack_in_the_slot_is_passed_over() {
    let (world, tree, head, next) = started().await;
    let lineage = world.stored_session().await.session.lineage_id().unwrap();
    world.blobs.put_new(&PackName::Commit(2).object(lineage), Bytes::from_static(b"not a pack")).await.unwrap();
    let saved = world.save("next", Some((&tree, head)), &next).await.unwrap();
    assert_eq!(saved.view.snapshot.sequence, 3);
    assert_eq!(voids(&world).await, 1);
    sound(&world).await;
}

#[tokio::test]
async fn an_upload_id_of_a_dead_writer_is_not_taken_for_another_content() {
    let (world, tree, head, next) = started().await;
    cut_off(&world, FaultPoint::AfterPut, "same", (&tree, head), &next).await;
    let other = tree.clone().file("Default/other", b"another content");
    assert_eq!(reason(world.save("same", Some((&tree, head)), &other).await), Reason::RequestIdReused);
    assert!(world.save("same", Some((&tree, head)), &next).await.is_ok());
}

#[tokio::test]
async fn of_many_writers_at_once_one_wins_and_all_others_know_the_head() {
    for replicas in [false, true] {
        let (world, tree, head, _) = started().await;
        let worlds: Vec<World> = (0..6).map(|_| world.replica()).collect();
        let save = |n: usize| {
            let (world, tree) = (if replicas { &worlds[n] } else { &world }, &tree);
            async move {
                let mine = tree.clone().file("Default/mine", format!("writer {n}").as_bytes());
                (world.save(&format!("writer-{n}"), Some((tree, head)), &mine).await, mine)
            }
        };
        let results = futures::future::join_all((0..6).map(save)).await;
        let (won, lost): (Vec<_>, Vec<_>) = results.into_iter().partition(|(result, _)| result.is_ok());
        assert_eq!(won.len(), 1);
        let (Ok(saved), mine) = &won[0] else { panic!("the winner") };
        for (result, _) in &lost {
            let Err(error) = result else { panic!("a loser") };
            assert_eq!(error.reason(), Reason::ParentNotHead);
            assert!(error.metadata().iter().any(|(_, value)| *value == saved.view.id.to_string()), "{error:?}");
        }
        assert_eq!(world.load(saved.view.id, None).await.unwrap(), *mine);
        sound(&world).await;
    }
}

#[tokio::test]
async fn the_same_upload_at_once_from_two_places_is_one_snapshot() {
    let (world, tree, head, next) = started().await;
    let replica = world.replica();
    let (a, b) = tokio::join!(world.save("same", Some((&tree, head)), &next), replica.save("same", Some((&tree, head)), &next));
    assert_eq!(a.unwrap().view.id, b.unwrap().view.id);
    let page = world.profiles.list(&world.ns, &world.session, Listing { size: 50, token: "", deleted: false, min_revision: Revision::ZERO }).await.unwrap();
    assert_eq!(page.views.len(), 2);
    sound(&world).await;
}

#[tokio::test]
async fn a_session_that_only_changes_does_not_stop_a_save() {
    let (world, tree, head, next) = started().await;
    let begin = world.begin("next", Some(head));
    let Saving::New(mut save) = world.profiles.save(begin).await.unwrap() else { panic!("it is new") };
    for records in next.records(Some(&tree), Codec::Raw, 64) {
        let budget = save.reserve().await.unwrap();
        save.records(budget, records).await.unwrap();
    }
    let updates = async {
        for n in 0..20 {
            let patch = Patch { labels: Some([("n".to_owned(), n.to_string())].into()), ..Patch::default() };
            // Losing to the save eight times in a row is no fault here.
            drop(world.sessions.update(&world.ns, &world.session, patch, &Conditions::default()).await);
        }
    };
    let (saved, ()) = tokio::join!(save.end(next.root()), updates);
    assert_eq!(world.load(saved.unwrap().view.id, None).await.unwrap(), next);
    assert!(world.stored_session().await.session.labels.contains_key("n"));
}

#[tokio::test]
async fn a_bucket_ahead_of_its_metadata_is_caught_up_with() {
    // The metadata were restored from an older copy: commits that were acknowledged are in the bucket alone.
    let dir = tempfile::tempdir().unwrap();
    let (metadata, blobs) = stores(dir.path());
    let world = World::over(Arc::clone(&metadata), blobs, ProfilesConfig::default(), None);
    world.create("s").await;
    let tree = sample();
    let first = world.save("first", None, &tree).await.unwrap();
    let older = world.metadata.get(&world.ns, &[record_key(&world.session)]).await.unwrap().found.remove(0).live().unwrap();
    let next = tree.clone().file("Default/next", b"acknowledged");
    let second = world.save("second", Some((&tree, first.view.id)), &next).await.unwrap();
    let marks = older.marks.iter().map(|(name, value)| (name.clone().into(), crate::store::metadata::Number::Literal(*value))).collect();
    let restore = Write::Put { key: record_key(&world.session), value: older.value, life: Life::Forever, marks };
    let upload = Write::Delete(Key(crate::model::snapshot::upload_key(&world.session, &world.begin("second", None).upload)));
    world.metadata.commit(&world.ns, Txn { writes: vec![restore, upload], ..Txn::default() }.into()).await.unwrap();
    assert_eq!(world.stored_session().await.session.head_id().unwrap(), Some(first.view.id));

    let error = world.replica().save("third", Some((&tree, first.view.id)), &tree.clone().file("x", b"")).await;
    assert_eq!(reason(error), Reason::ParentNotHead);
    assert_eq!(world.stored_session().await.session.head_id().unwrap(), Some(second.view.id));
    assert_eq!(world.load(second.view.id, None).await.unwrap(), next);
}
