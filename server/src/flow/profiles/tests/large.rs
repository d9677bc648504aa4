//! Saves of more than one pack, and saves that compete for memory.

use super::*;
use crate::model::reference::Rng;

/// Packs of 256 KiB, so that 2 MB are a large save.
fn small_packs() -> ProfilesConfig {
    ProfilesConfig { pack_bytes: 256 * 1024, ..ProfilesConfig::default() }
}

/// Files of noise, which no codec makes smaller.
fn noise(seed: u64, files: usize) -> Tree {
    let mut rng = Rng(seed);
    let mut tree = Tree::default();
    for n in 0..files {
        let bytes: Vec<u8> = (0..12_500).flat_map(|_| rng.next().to_le_bytes()).collect();
        tree = tree.file(&format!("Default/f{n}"), &bytes);
    }
    tree
}

async fn intents(world: &World) -> usize {
    world.metadata.scan(&world.ns, &Index("i/all".to_owned()), &Range::From(None), Direction::Ascending, 100).await.unwrap().len()
}

#[tokio::test]
async fn a_large_save_writes_data_packs_first_and_loads_back() {
    let world = World::with(small_packs()).await;
    let tree = noise(1, 20);
    let commits = world.commits();
    let saved = world.save("large", None, &tree).await.unwrap();
    let packs = world.objects("d").await;
    assert!((6..=9).contains(&packs.len()), "{packs:?}");
    assert_eq!(world.objects("c").await.len(), 1);
    assert_eq!((world.commits() - commits, intents(&world).await), (2, 0), "one intent and one head");
    assert!(saved.view.snapshot.stored > 2_000_000);
    assert_eq!(world.replica().load(saved.view.id, None).await.unwrap(), tree);
    // The next, small save refers to all of them.
    let next = tree.clone().file("Default/f3", b"small now");
    let second = world.save("small", Some((&tree, saved.view.id)), &next).await.unwrap();
    assert_eq!(world.objects("d").await, packs);
    assert_eq!(world.replica().load(second.view.id, None).await.unwrap(), next);
    assert_eq!(world.replica().load(second.view.id, Some((&tree, saved.view.id))).await.unwrap(), next);
}

#[tokio::test]
async fn an_intent_grows_with_the_save() {
    let world = World::with(ProfilesConfig { pack_bytes: 64 * 1024, ..ProfilesConfig::default() }).await;
    let tree = noise(2, 60);
    let commits = world.commits();
    let saved = world.save("large", None, &tree).await.unwrap();
    let packs = world.objects("d").await.len();
    assert!(packs > 16, "{packs}");
    assert_eq!(world.commits() - commits, 4, "intents for 8, 16 and 32 packs, and the head");
    assert_eq!(world.load(saved.view.id, None).await.unwrap(), tree);
}

#[tokio::test]
async fn a_refused_large_save_leaves_nothing_behind() {
    let world = World::with(small_packs()).await;
    let tree = noise(3, 20);
    let wrong = world.send(world.begin("large", None), tree.records(None, Codec::Raw, 64), None, [0; 32]).await;
    assert_eq!(reason(wrong), Reason::DigestMismatch);
    assert_eq!((world.objects("d").await.len(), intents(&world).await), (0, 0));
    let Saving::New(mut save) = world.profiles.save(world.begin("cut", None)).await.unwrap() else { panic!("it is new") };
    for records in tree.records(None, Codec::Raw, 64).into_iter().take(20) {
        let budget = save.reserve().await.unwrap();
        save.records(budget, records).await.unwrap();
    }
    save.give_up().await;
    assert_eq!((world.objects("d").await.len(), intents(&world).await), (0, 0));
}

#[tokio::test]
async fn a_large_save_that_died_is_known_by_its_intent_and_can_be_repeated() {
    for point in [FaultPoint::AfterIntent, FaultPoint::AfterDataPack, FaultPoint::BeforePut] {
        let world = World::with(small_packs()).await;
        let tree = noise(4, 20);
        world.profiles.faults().plan(point);
        let begin = world.begin("large", None);
        let Saving::New(mut save) = world.profiles.save(begin).await.unwrap() else { panic!("it is new") };
        let mut died = false;
        for records in tree.records(None, Codec::Raw, 64) {
            let Ok(budget) = save.reserve().await else {
                died = true;
                break;
            };
            if save.records(budget, records).await.is_err() {
                died = true;
                break;
            }
        }
        if died {
            drop(save);
        } else {
            assert_eq!(reason(save.end(tree.root()).await), Reason::Internal, "{point:?}");
        }
        assert_eq!(intents(&world).await, 1, "{point:?}");
        let saved = world.replica().save("large", None, &tree).await.unwrap();
        assert_eq!(world.load(saved.view.id, None).await.unwrap(), tree);
        assert_eq!(intents(&world).await, 1, "{point:?}: the dead attempt's packs are still to be collected");
    }
}

#[tokio::test]
async fn a_large_save_is_rolled_forward_with_its_intent() {
    let world = World::with(small_packs()).await;
    let tree = noise(5, 20);
    world.profiles.faults().plan(FaultPoint::AfterPut);
    assert_eq!(reason(world.save("large", None, &tree).await), Reason::Internal);
    assert_eq!(intents(&world).await, 1);
    assert_eq!(reason(world.replica().save("other", None, &sample()).await), Reason::ParentNotHead);
    assert_eq!(intents(&world).await, 0);
    let head = world.stored_session().await.session.head_id().unwrap().unwrap();
    assert_eq!(world.replica().load(head, None).await.unwrap(), tree);
}

#[tokio::test]
async fn a_large_save_whose_packs_may_be_gone_is_passed_over() {
    let world = World::with(small_packs()).await;
    let tree = noise(6, 20);
    world.profiles.faults().plan(FaultPoint::AfterPut);
    assert_eq!(reason(world.save("large", None, &tree).await), Reason::Internal);
    // A collector takes the intent first, and then the packs.
    let lineage = Lineage {
        namespace: world.ns.clone(),
        id: world.stored_session().await.session.lineage_id().unwrap(),
        key: world.profiles.keyring.lineage(&world.ns, world.stored_session().await.session.lineage_id().unwrap()).await.unwrap(),
    };
    let index = Index("i/all".to_owned());
    let name = world.metadata.scan(&world.ns, &index, &Range::From(None), Direction::Ascending, 1).await.unwrap().remove(0).1;
    let intent = world.profiles.find_intent(&lineage, &name).await.unwrap().unwrap();
    assert!(world.profiles.forget_intent(&lineage, &intent).await.unwrap());
    assert!(!world.profiles.forget_intent(&lineage, &intent).await.unwrap(), "only once");

    let other = sample();
    let saved = world.replica().save("other", None, &other).await.unwrap();
    assert_eq!(saved.view.snapshot.sequence, 2);
    assert_eq!(world.load(saved.view.id, None).await.unwrap(), other);
}

#[tokio::test]
async fn a_repetition_that_finds_its_first_attempt_removes_its_own_packs() {
    let world = World::with(small_packs()).await;
    let tree = noise(7, 20);
    world.profiles.faults().plan(FaultPoint::AfterPut);
    assert_eq!(reason(world.save("large", None, &tree).await), Reason::Internal);
    let packs = world.objects("d").await;
    let saved = world.replica().save("large", None, &tree).await.unwrap();
    assert_eq!((world.objects("d").await, intents(&world).await), (packs, 0));
    assert_eq!(world.load(saved.view.id, None).await.unwrap(), tree);
}

#[tokio::test]
async fn many_saves_share_little_memory_without_waiting_for_each_other_in_a_circle() {
    let config = ProfilesConfig { save_memory: 5 << 20, pack_bytes: 4 << 20, load_memory: 1 << 20, ..ProfilesConfig::default() };
    let world = World::with(config).await;
    let names: Vec<String> = (0..8).map(|n| format!("s{n}")).collect();
    let mut worlds = Vec::new();
    for name in &names {
        world.create(name).await;
        let mut other = World::over(Arc::clone(&world.metadata.inner), Arc::clone(&world.blobs), world.profiles.config.clone(), None);
        // All through one daemon, so that they share its memory.
        other.profiles = Arc::clone(&world.profiles);
        other.session = SessionId::parse("id", name).unwrap();
        worlds.push(other);
    }
    let trees: Vec<Tree> = (0..8).map(|n| noise(100 + n, 30)).collect();
    let save = |(world, tree): (usize, &Tree)| {
        let world = &worlds[world];
        let tree = tree.clone();
        async move {
            let saved = world.save("mine", None, &tree).await.unwrap();
            assert_eq!(world.load(saved.view.id, None).await.unwrap(), tree);
        }
    };
    futures::future::join_all(trees.iter().enumerate().map(save)).await;
    assert_eq!(world.profiles.memory.available_permits(), 5 << 10, "every permit came back");
    assert_eq!(world.profiles.loading.available_permits(), 1 << 10);
}

#[tokio::test]
async fn large_storage_states_wait_for_their_turn_but_not_for_ever() {
    let world = World::new().await;
    let value = "v".repeat(2 << 20);
    let state = format!(r#"{{"cookies":[],"origins":[{{"origin":"https://a.example","localStorage":[{{"name":"k","value":"{value}"}}]}}]}}"#);
    let mut all = Vec::new();
    for n in 0..10 {
        let mut other = World::over(Arc::clone(&world.metadata.inner), Arc::clone(&world.blobs), world.profiles.config.clone(), None);
        other.profiles = Arc::clone(&world.profiles);
        other.session = SessionId::parse("id", &format!("s{n}")).unwrap();
        world.create(&format!("s{n}")).await;
        all.push(other);
    }
    let tree = sample();
    let saves = all.iter().map(|world| world.send(world.begin("mine", None), tree.records(None, Codec::Raw, 64), Some(state.as_bytes()), tree.root()));
    for saved in futures::future::join_all(saves).await {
        assert!(saved.unwrap().view.snapshot.storage_state);
    }
    assert_eq!(world.profiles.states.available_permits(), save::LARGE_STATES);
    let huge = vec![b' '; 65 << 20];
    let error = world.send(world.begin("huge", None), Vec::new(), Some(&huge), tree.root()).await;
    assert_eq!(reason(error), Reason::LimitExceeded);
    assert_eq!(world.profiles.states.available_permits(), save::LARGE_STATES);
}

#[tokio::test]
async fn a_save_that_gets_no_memory_or_no_place_for_its_state_is_refused_in_time() {
    let (idle, wait) = (Duration::from_millis(200), Duration::from_millis(100));
    let world = World::with(ProfilesConfig { save_memory: 4 << 20, idle, wait, ..ProfilesConfig::default() }).await;
    let new = async |upload: &str| match world.profiles.save(world.begin(upload, None)).await.unwrap() {
        Saving::New(save) => save,
        Saving::Repeat(_) => panic!("it is new"),
    };
    let (mut first, mut second, mut third) = (new("first").await, new("second").await, new("third").await);
    let held = (first.reserve().await.unwrap(), second.reserve().await.unwrap());
    let error = third.reserve().await.unwrap_err();
    assert!(error.reason() == Reason::Overloaded && error.retry_after().is_some(), "{error:?}");
    assert!(error.message().starts_with("100ms long") && error.message().contains("limits.save_memory"), "{error}");
    let error = third.reserve().await.unwrap_err();
    assert!(error.message().starts_with("200ms long"), "in its middle a save is more patient: {error}");
    drop(held);
    third.reserve().await.unwrap();

    let large = Bytes::from(vec![b' '; (1 << 20) + 1]);
    let mut holders = Vec::new();
    for n in 0..save::LARGE_STATES {
        let mut save = new(&format!("holder-{n}")).await;
        let budget = save.reserve().await.unwrap();
        save.storage_state(budget, large.clone()).await.unwrap();
        holders.push(save);
    }
    let budget = third.reserve().await.unwrap();
    let error = third.storage_state(budget, large.clone()).await.unwrap_err();
    assert!(error.reason() == Reason::Overloaded && error.message().contains("storage state over 1 MiB"), "{error:?}");
    holders.clear();
    let budget = third.reserve().await.unwrap();
    third.storage_state(budget, large).await.unwrap();
}
