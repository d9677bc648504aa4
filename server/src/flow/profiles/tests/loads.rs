//! What travels in a load, and what stands against one.

use super::*;
use crate::model::{
    assembly::MAX_DATA,
    codec::unpack,
    reference::{Node, Rng},
};

/// A tree, saved, and the same after an edit, saved.
async fn two(world: &World) -> (Tree, SnapshotId, Tree, SnapshotId) {
    let base = sample().file("Default/big", &Rng(9).bytes(2_000_000));
    let first = world.save("first", None, &base).await.unwrap();
    let mut next = base.clone();
    let Some(Node::File { bytes, .. }) = next.0.get_mut("Default/big") else { panic!("a file") };
    bytes[1_000_000] ^= 1;
    bytes[5] ^= 1;
    let second = world.save("second", Some((&base, first.view.id)), &next).await.unwrap();
    (base, first.view.id, next, second.view.id)
}

#[tokio::test]
async fn a_difference_holds_only_the_leaves_that_changed() {
    let world = World::new().await;
    let (base, first, next, second) = two(&world).await;
    let loaded = world.replica().fetch(LoadRequest { have: Some(first), ..world.request() }).await.unwrap();
    assert_eq!((loaded.base, loaded.content), (Some(first), 2 * 4096));
    assert_eq!(loaded.records.iter().map(|records| records.data_size).sum::<u32>(), 2 * 4096);
    assert_eq!(Tree::apply(Some(&base), &loaded.records), next);
    let loaded = world.fetch(LoadRequest { have: Some(second), ..world.request() }).await.unwrap();
    assert_eq!((loaded.content, loaded.records.len()), (0, 0), "what the caller has already");
    assert_eq!(loaded.view.id, second);
}

#[tokio::test]
async fn a_renamed_file_is_copied_and_not_sent() {
    let world = World::new().await;
    let base = Tree::default().file("Default/big", &Rng(9).bytes(500_000));
    let first = world.save("first", None, &base).await.unwrap();
    let mut next = base.clone();
    let node = next.0.remove("Default/big").unwrap();
    next.0.insert("Default/renamed".to_owned(), node);
    let second = world.save("second", Some((&base, first.view.id)), &next).await.unwrap();
    assert!(second.view.snapshot.stored < 4000 + 500_000, "no matter how the client sent it");
    let loaded = world.fetch(LoadRequest { have: Some(first.view.id), ..world.request() }).await.unwrap();
    assert_eq!((loaded.content, loaded.records.len()), (0, 1));
    assert_eq!(loaded.records[0].runs.len(), 1, "{:?}", loaded.records[0].runs);
    assert_eq!(Tree::apply(Some(&base), &loaded.records), next);
}

#[tokio::test]
async fn an_unknown_base_makes_a_full_load() {
    let world = World::new().await;
    let (_, _, next, second) = two(&world).await;
    let loaded = world.fetch(LoadRequest { have: Some(SnapshotId([1; 16])), ..world.request() }).await.unwrap();
    assert_eq!((loaded.base, loaded.content), (None, next.content()));
    assert_eq!(Tree::apply(None, &loaded.records), next);
    let unknown = LoadRequest { snapshot: Some(SnapshotId([1; 16])), ..world.request() };
    assert_eq!(world.fetch(unknown).await.err().unwrap().reason(), Reason::SnapshotNotFound);
    assert_eq!(world.fetch(world.request()).await.unwrap().view.id, second);
}

#[tokio::test]
async fn another_sessions_snapshot_is_none_of_this_one() {
    let world = World::new().await;
    let (_, first, _, _) = two(&world).await;
    world.create("t").await;
    let mut other = world.replica();
    other.session = SessionId::parse("id", "t").unwrap();
    let mine = other.save("mine", None, &sample()).await.unwrap();
    assert_eq!(other.load(first, None).await.unwrap_err().reason(), Reason::SnapshotNotFound);
    let loaded = other.fetch(LoadRequest { have: Some(first), ..other.request() }).await.unwrap();
    assert_eq!((loaded.base, loaded.view.id), (None, mine.view.id));
}

#[tokio::test]
async fn messages_keep_to_their_bounds_in_every_packing() {
    let world = World::new().await;
    let mut tree = Tree::random(&mut Rng(4), 150);
    for n in 0..3000 {
        tree = tree.file(&format!("tiny/{n:04}"), &[u8::try_from(n % 256).unwrap(); 3]);
    }
    tree = tree.file("text", "the same words again and again, ".repeat(60_000).as_bytes());
    let saved = world.save("one", None, &tree).await.unwrap();
    let mut sizes = Vec::new();
    for accept in [vec![], vec![Codec::Raw, Codec::Zstd], vec![Codec::Deflate], vec![Codec::Zstd]] {
        for world in [&world, &world.replica()] {
            let loaded = world.fetch(LoadRequest { accept: accept.clone(), ..world.request() }).await.unwrap();
            assert_eq!((loaded.content, loaded.view.id), (tree.content(), saved.view.id));
            for records in &loaded.records {
                assert!(records.codec == Codec::Raw || accept.first() == Some(&records.codec));
                assert!(records.data_size <= MAX_DATA && records.data.len() <= MAX_DATA as usize && records.runs.len() <= 4096);
                assert_eq!(unpack(records.codec, &records.data, records.data_size as usize).unwrap().len(), records.data_size as usize);
            }
            assert_eq!(Tree::apply(None, &loaded.records), tree);
            sizes.push(loaded.records.iter().map(|records| records.data.len()).sum::<usize>());
        }
    }
    let [raw, _, listed, _, deflate, _, zstd, _] = sizes[..] else { panic!("{sizes:?}") };
    assert!(raw == listed && deflate < raw / 2 && zstd < raw / 2, "{sizes:?}");
}

#[tokio::test]
async fn a_damaged_or_missing_object_is_an_error_that_names_it() {
    for damage in ["bit", "cut", "gone"] {
        let dir = tempfile::tempdir().unwrap();
        let (metadata, blobs) = stores(dir.path());
        let world = World::over(metadata, blobs, ProfilesConfig::default(), None);
        world.create("s").await;
        let (base, first, next, second) = two(&world).await;
        let name = world.blobs.list("c", 10).await.unwrap().into_iter().map(|object| object.name).find(|name| name.ends_with('1')).unwrap();
        let path = dir.path().join("blobs").join(&name);
        let mut bytes = std::fs::read(&path).unwrap();
        match damage {
            "bit" => bytes[100_000] ^= 4,
            "cut" => bytes.truncate(100_000),
            _ => std::fs::remove_file(&path).unwrap(),
        }
        if damage != "gone" {
            std::fs::write(&path, bytes).unwrap();
        }
        let error = world.replica().load(second, None).await.unwrap_err();
        assert_eq!(error.reason(), Reason::DataCorrupt, "{damage}: {error}");
        assert!(error.message().contains(&name) && error.message().contains(&second.to_string()), "{damage}: {error}");
        assert!(error.metadata().iter().any(|(key, value)| *key == "snapshot_id" && *value == second.to_string()));
        // The difference may lie in another object: it still comes, if its manifests can be read.
        let difference = world.replica().load(second, Some((&base, first))).await;
        assert!(difference.is_ok() == (damage == "bit"), "{damage}");
        // A full save needs nothing of what is damaged, so a worker that still has the profile can bring it back.
        let begin = Begin { full: true, ..world.begin("full", Some(second)) };
        let healed = world.replica().send(begin, next.records(None, Codec::Raw, 64), None, next.root()).await.unwrap();
        assert_eq!(world.replica().load(healed.view.id, None).await.unwrap(), next);
        let onto = world.replica().fetch(LoadRequest { have: Some(first), ..world.request() }).await.unwrap();
        assert_eq!((onto.base.is_none(), onto.view.id), (damage != "bit", healed.view.id), "{damage}: a damaged base makes a full load");
    }
}

#[tokio::test]
async fn a_caller_that_stands_still_is_given_up() {
    let world = World::with(ProfilesConfig { idle: Duration::from_millis(50), ..ProfilesConfig::default() }).await;
    let tree = Tree::default().file("big", &Rng(3).bytes(12_000_000));
    world.save("one", None, &tree).await.unwrap();
    let mut load = world.profiles.load(world.request()).await.unwrap();
    let first = load.pieces.recv().await.unwrap().unwrap();
    assert!(matches!(first, LoadPiece::Records(_)));
    tokio::time::sleep(Duration::from_millis(400)).await;
    let mut rest = Vec::new();
    while let Some(piece) = load.pieces.recv().await {
        rest.push(piece);
    }
    assert!(rest.len() < 10 && !rest.iter().any(|piece| matches!(piece, Ok(LoadPiece::End))), "{}", rest.len());
    let error = rest.pop().unwrap().unwrap_err();
    assert!(error.reason() == Reason::Deadline && error.message().contains("fetched for 50ms"), "{error}");
    // Nothing of it is kept.
    assert_eq!(world.profiles.loading.available_permits(), 256 << 10);
}

#[tokio::test]
async fn a_load_that_gets_no_memory_is_refused_in_time() {
    let config = ProfilesConfig { load_memory: 1 << 20, wait: Duration::from_millis(100), ..ProfilesConfig::default() };
    let world = World::with(config).await;
    let tree = Tree::default().file("big", &Rng(3).bytes(12_000_000));
    let saved = world.save("one", None, &tree).await.unwrap();
    let still = world.profiles.load(world.request()).await.unwrap();
    let began = crate::clock::monotonic();
    let error = world.profiles.load(world.request()).await.unwrap_err();
    assert!(error.reason() == Reason::Overloaded && error.retry_after().is_some(), "{error:?}");
    assert!(error.message().contains("limits.load_memory") && began.elapsed() < Duration::from_secs(30), "{error}");
    assert!(world.profiles.pressure().is_on(), "who stands still is to give way");
    drop(still);
    assert_eq!(world.load(saved.view.id, None).await.unwrap(), tree);
}

#[tokio::test]
async fn snapshots_are_listed_newest_first_page_by_page() {
    let world = World::new().await;
    let mut tree = sample();
    let mut chain = vec![world.save("step-0", None, &tree).await.unwrap().view.id];
    for step in 1..7 {
        let next = tree.clone().file("counter", step.to_string().as_bytes());
        chain.push(world.save(&format!("step-{step}"), Some((&tree, chain[step - 1])), &next).await.unwrap().view.id);
        tree = next;
    }
    chain.reverse();
    let (mut token, mut seen) = (String::new(), Vec::new());
    loop {
        let page =
            world.profiles.list(&world.ns, &world.session, Listing { size: 3, token: &token, deleted: false, min_revision: Revision::ZERO }).await.unwrap();
        assert!(page.views.len() <= 3);
        seen.extend(page.views.iter().map(|view| (view.id, view.head)));
        token = page.next;
        if token.is_empty() {
            break;
        }
    }
    let expected: Vec<_> = chain.iter().enumerate().map(|(at, id)| (*id, at == 0)).collect();
    assert_eq!(seen, expected);
    world.create("t").await;
    let other = SessionId::parse("id", "t").unwrap();
    let page = world.profiles.list(&world.ns, &world.session, Listing { size: 3, token: "", deleted: false, min_revision: Revision::ZERO }).await.unwrap();
    let error = world.profiles.list(&world.ns, &other, Listing { size: 3, token: &page.next, deleted: false, min_revision: Revision::ZERO }).await.unwrap_err();
    assert_eq!(error.reason(), Reason::InvalidPageToken);
    assert!(
        world.profiles.list(&world.ns, &other, Listing { size: 3, token: "", deleted: false, min_revision: Revision::ZERO }).await.unwrap().views.is_empty()
    );
    let future = Revision(page.revision.0 + 1_000_000_000);
    assert_eq!(
        world.profiles.list(&world.ns, &world.session, Listing { size: 3, token: "", deleted: false, min_revision: future }).await.unwrap_err().reason(),
        Reason::RevisionNotReached
    );
}

#[tokio::test]
async fn a_snapshot_shows_its_entries_page_by_page() {
    let world = World::new().await;
    let tree = Tree::random(&mut Rng(8), 80);
    let error = world.profiles.get(&world.ns, &world.session, None, None, Revision::ZERO).await.unwrap_err();
    assert_eq!(error.reason(), Reason::ProfileEmpty);
    let saved = world.save("one", None, &tree).await.unwrap();
    let (mut token, mut paths) = (String::new(), Vec::new());
    loop {
        let page = world.profiles.get(&world.ns, &world.session, None, Some((7, &token)), Revision::ZERO).await.unwrap();
        assert_eq!(page.view.id, saved.view.id);
        paths.extend(page.entries.iter().map(|entry| entry.path.to_string()));
        token = page.next;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(paths, tree.0.keys().cloned().collect::<Vec<_>>());
    let page = world.profiles.get(&world.ns, &world.session, None, Some((7, "")), Revision::ZERO).await.unwrap();
    let next = tree.clone().file("new", b"");
    let second = world.save("two", Some((&tree, saved.view.id)), &next).await.unwrap();
    let moved = world.profiles.get(&world.ns, &world.session, None, Some((7, &page.next)), Revision::ZERO).await.unwrap_err();
    assert_eq!(moved.reason(), Reason::InvalidPageToken, "the head is another snapshot by now");
    let named = world.profiles.get(&world.ns, &world.session, Some(saved.view.id), Some((7, &page.next)), Revision::ZERO).await.unwrap();
    assert!(!named.view.head && named.entries.len() == 7);
    let plain = world.profiles.get(&world.ns, &world.session, Some(second.view.id), None, Revision::ZERO).await.unwrap();
    assert!(plain.entries.is_empty() && plain.view.head);
}
