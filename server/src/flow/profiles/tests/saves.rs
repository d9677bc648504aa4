//! Saves through the flow: what becomes the head, and what changes nothing.

use super::*;
use crate::model::{
    event::{self, ChangeKind},
    reference::{Node, Rng},
};

#[tokio::test]
async fn what_was_saved_loads_also_on_another_daemon() {
    for world in [World::new().await, World::on_disk().await] {
        let tree = sample();
        let saved = world.save("one", None, &tree).await.unwrap();
        assert_eq!((saved.view.snapshot.sequence, saved.view.head), (1, true));
        assert_eq!(world.load(saved.view.id, None).await.unwrap(), tree);
        assert_eq!(world.replica().load(saved.view.id, None).await.unwrap(), tree);
    }
}

#[tokio::test]
async fn a_chain_of_random_saves_loads_from_anything_before() {
    let world = World::on_disk().await;
    let mut rng = Rng(11);
    let mut chain: Vec<(Tree, SnapshotId)> = Vec::new();
    for step in 0..8 {
        let tree = match chain.last() {
            None => Tree::random(&mut rng, 60),
            Some((tree, _)) => tree.edited(&mut rng, 6),
        };
        let base = chain.last().map(|(tree, id)| (tree, *id));
        let saved = world.save(&format!("step-{step}"), base, &tree).await.unwrap();
        assert_eq!(saved.view.snapshot.content, tree.content());
        chain.push((tree, saved.view.id));
    }
    let replica = world.replica();
    for (tree, id) in &chain {
        assert_eq!(replica.load(*id, None).await.unwrap(), *tree);
        for (base, have) in &chain {
            assert_eq!(replica.load(*id, Some((base, *have))).await.unwrap(), *tree);
        }
    }
}

#[tokio::test]
async fn a_save_is_one_put_and_one_commit() {
    let world = World::new().await;
    let tree = sample();
    let (commits, puts) = (world.commits(), world.counts().puts);
    let first = world.save("first", None, &tree).await.unwrap();
    assert_eq!((world.commits() - commits, world.counts().puts - puts), (1, 2), "the first one also writes the lineage's key");

    let mut changed = tree.clone();
    changed = changed.file("Default/Cookies", &vec![8; 30_000]).file("Default/new", &Rng(5).bytes(3_000_000));
    let (commits, counts) = (world.commits(), world.counts());
    let second = world.save("second", Some((&tree, first.view.id)), &changed).await.unwrap();
    assert_eq!((world.commits() - commits, world.counts().puts - counts.puts, world.counts().gets - counts.gets), (1, 1, 0));

    let (commits, counts) = (world.commits(), world.counts());
    let third = world.save("third", Some((&changed, second.view.id)), &changed).await.unwrap();
    assert_eq!((world.commits() - commits, world.counts().puts - counts.puts), (1, 1), "a save that changes nothing");
    assert!(third.view.snapshot.stored < 3000, "{}", third.view.snapshot.stored);
    assert_ne!(third.view.id, second.view.id);
    assert_eq!(world.load(third.view.id, Some((&changed, second.view.id))).await.unwrap(), changed);
}

#[tokio::test]
async fn a_save_moves_the_head_counts_as_a_use_and_makes_one_event() {
    let world = World::new().await;
    let before = world.stored_session().await;
    let head = world.metadata.history(&world.ns, Scope::Sessions).await.unwrap();
    let saved = world.save("one", None, &sample()).await.unwrap();
    let after = world.stored_session().await;
    assert_eq!(after.session.head, Some(saved.view.id.to_string()));
    assert_eq!((after.session.sequence, after.session.slot_floor, after.revision), (1, 1, saved.revision()));
    assert!(after.mark("used") > before.mark("used") && after.expires_at > before.expires_at);
    let events = world.metadata.events(&world.ns, Scope::Sessions, head.last, 10).await.unwrap().entries;
    let changes: Vec<_> = events.iter().flat_map(|entry| event::decode(&entry.payload).unwrap()).collect();
    let [change] = &changes[..] else { panic!("{changes:?}") };
    assert_eq!((change.kind(), change.snapshot.as_str()), (ChangeKind::ProfileSaved, saved.view.id.to_string().as_str()));
    assert_eq!(after.state_revision(), Revision::ZERO);
}

#[tokio::test]
async fn a_full_save_takes_nothing_over() {
    let world = World::new().await;
    let tree = sample();
    let first = world.save("first", None, &tree).await.unwrap();
    let other = Tree::default().file("only", b"this");
    let begin = Begin { full: true, ..world.begin("second", Some(first.view.id)) };
    let second = world.send(begin, other.records(None, Codec::Raw, 64), None, other.root()).await.unwrap();
    assert_eq!(world.load(second.view.id, Some((&tree, first.view.id))).await.unwrap(), other);
    assert_eq!(second.view.snapshot.parent, Some(first.view.id.to_string()));
}

#[tokio::test]
async fn a_repetition_answers_the_first_result_also_much_later() {
    let world = World::new().await;
    let tree = sample();
    let first = world.save("first", None, &tree).await.unwrap();
    let changed = tree.clone().file("x", b"y");
    let second = world.save("second", Some((&tree, first.view.id)), &changed).await.unwrap();
    let (commits, puts) = (world.commits(), world.counts().puts);
    let again = world.save("first", None, &tree).await.unwrap();
    assert_eq!((again.view.id, again.revision()), (first.view.id, first.revision()));
    assert!(!again.view.head, "another one is the head by now");
    assert_eq!((world.commits(), world.counts().puts), (commits, puts), "a repetition writes nothing");
    assert_eq!(reason(world.save("first", None, &changed).await), Reason::RequestIdReused);
    let status = world.profiles.status(&world.ns, &world.session, &world.begin("second", None).upload).await.unwrap();
    assert_eq!(status.view.unwrap().id, second.view.id);
    let status = world.profiles.status(&world.ns, &world.session, &world.begin("never", None).upload).await.unwrap();
    assert!(status.view.is_none());
}

#[tokio::test]
async fn whatever_is_wrong_with_a_save_leaves_the_old_head() {
    let world = World::new().await;
    let tree = sample();
    let first = world.save("first", None, &tree).await.unwrap();
    let changed = tree.clone().file("x", b"y");
    let base = Some((&tree, first.view.id));
    let (commits, puts) = (world.commits(), world.counts().puts);
    let with = |change: &dyn Fn(&mut Begin)| {
        let mut begin = world.begin("bad", Some(first.view.id));
        change(&mut begin);
        world.send(begin, changed.records(Some(&tree), Codec::Raw, 64), None, changed.root())
    };
    assert_eq!(reason(world.save("bad", None, &changed).await), Reason::ParentNotHead);
    assert_eq!(reason(with(&|begin| begin.parent = Some(SnapshotId([9; 16]))).await), Reason::SnapshotNotFound);
    assert_eq!(reason(with(&|begin| begin.etag = "\"1\"".to_owned()).await), Reason::EtagMismatch);
    assert_eq!(reason(with(&|begin| begin.lease_token = 7).await), Reason::LeaseFenced);
    assert_eq!(reason(with(&|begin| begin.session = SessionId::parse("id", "nobody").unwrap()).await), Reason::SessionNotFound);
    assert_eq!(reason(with(&|begin| begin.portability.os = "ä".to_owned()).await), Reason::InvalidField);
    let wrong_root = world.send(world.begin("bad", base.map(|(_, id)| id)), changed.records(Some(&tree), Codec::Raw, 64), None, tree.root());
    assert_eq!(reason(wrong_root.await), Reason::DigestMismatch);
    let mut records = changed.records(Some(&tree), Codec::Raw, 64);
    records.last_mut().unwrap().data = Bytes::from_static(b"Y");
    assert_eq!(reason(world.send(world.begin("bad", Some(first.view.id)), records, None, changed.root()).await), Reason::DigestMismatch);
    assert_eq!((world.commits(), world.counts().puts), (commits, puts), "a refused save writes nothing");
    assert_eq!(world.stored_session().await.session.head, Some(first.view.id.to_string()));
    assert!(world.save("good", base, &changed).await.is_ok());
    assert_eq!(reason(world.save("late", base, &changed).await), Reason::ParentNotHead);
}

#[tokio::test]
async fn a_deleted_session_takes_no_saves() {
    let world = World::new().await;
    let first = world.save("first", None, &sample()).await.unwrap();
    world.sessions.delete(&world.ns, &world.session, &crate::flow::sessions::Conditions::default()).await.unwrap();
    assert_eq!(reason(world.save("second", Some((&sample(), first.view.id)), &sample()).await), Reason::SessionDeleted);
    assert_eq!(world.load(first.view.id, None).await.unwrap_err().reason(), Reason::SessionDeleted);
}

#[tokio::test]
async fn a_storage_state_travels_with_the_profile() {
    let world = World::new().await;
    let tree = sample();
    let state = format!(r#"{{"cookies":[],"origins":[{{"origin":"https://a.example","localStorage":[{{"name":"k","value":"{}"}}]}}]}}"#, "x".repeat(300_000));
    let saved = world.send(world.begin("one", None), tree.records(None, Codec::Raw, 64), Some(state.as_bytes()), tree.root()).await.unwrap();
    assert!(saved.view.snapshot.storage_state);
    let session = world.stored_session().await;
    assert_eq!(session.state_revision(), saved.revision());
    let stored = world.sessions.storage_state(&world.ns, &world.session, Revision::ZERO).await.unwrap();
    assert_eq!((stored.document, stored.etag), (Bytes::from(state.clone()), saved.revision()));
    let loaded = world.replica().fetch(LoadRequest { with_storage_state: true, ..world.request() }).await.unwrap();
    assert_eq!(loaded.state, state.as_bytes());
    assert!(world.fetch(world.request()).await.unwrap().state.is_empty(), "not asked for");

    // A save without one keeps the session's, and has none itself.
    let second = world.save("two", Some((&tree, saved.view.id)), &tree).await.unwrap();
    assert!(!second.view.snapshot.storage_state);
    assert_eq!(world.stored_session().await.state_revision(), saved.revision());

    let bad = world.send(world.begin("three", Some(second.view.id)), Vec::new(), Some(b"{}"), tree.root()).await;
    assert_eq!(reason(bad), Reason::StorageStateInvalid);
    let repeated = world.send(world.begin("one", None), Vec::new(), Some(state.as_bytes()), tree.root()).await.unwrap();
    assert_eq!(repeated.view.id, saved.view.id);
    assert_eq!(reason(world.send(world.begin("one", None), Vec::new(), None, tree.root()).await), Reason::RequestIdReused, "the state is part of the content");
}

#[tokio::test]
async fn a_storage_state_too_large_for_the_metadata_stays_in_the_pack() {
    let world = World::new().await;
    let (tree, value) = (sample(), "v".repeat(4 << 20));
    let state = format!(r#"{{"cookies":[],"origins":[{{"origin":"https://a.example","localStorage":[{{"name":"k","value":"{value}"}}]}}]}}"#);
    let saved = world.send(world.begin("one", None), tree.records(None, Codec::Raw, 64), Some(state.as_bytes()), tree.root()).await.unwrap();
    let error = world.sessions.storage_state(&world.ns, &world.session, Revision::ZERO).await.unwrap_err();
    assert_eq!(error.reason(), Reason::StorageStateTooLarge);
    assert!(error.message().contains(&saved.view.id.to_string()), "{error}");
    let loaded = world.fetch(LoadRequest { with_storage_state: true, ..world.request() }).await.unwrap();
    assert_eq!(loaded.state, state.as_bytes());
}

#[tokio::test]
async fn every_kind_of_entry_survives() {
    let world = World::new().await;
    let mut tree = sample();
    tree.0.insert("empty dir".to_owned(), Node::Directory { mode: 0o711, mtime_ns: -1 });
    tree.0.insert("Default/link".to_owned(), Node::Link { mode: 0o777, target: "../Local State".to_owned() });
    tree.0.insert("late".to_owned(), Node::File { mode: 0o4755, mtime_ns: i64::MAX, bytes: vec![1; 4097] });
    let saved = world.save("one", None, &tree).await.unwrap();
    assert_eq!(world.load(saved.view.id, None).await.unwrap(), tree);
    assert_eq!(saved.view.snapshot.entries, tree.0.len() as u64);
}
