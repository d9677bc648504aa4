//! Restores: what they move, what they leave, and what becomes of those that are cut off.

use std::collections::BTreeMap;

use super::{
    commit::{fence, sound, voids},
    *,
};
use crate::{
    flow::sessions::Conditions,
    model::{
        event::{self, ChangeKind},
        id::RequestId,
        pack::{Header, PackKind, parse_header},
        reference::Rng,
    },
};

const STATES: [&[u8]; 2] = [br#"{"cookies":[],"origins":[]}"#, br#"{"cookies":[],"origins":[],"made":"second"}"#];

pub(super) fn named(request: &str) -> Conditions {
    Conditions { request: RequestId::parse("request_id", request).unwrap(), ..Conditions::default() }
}

impl World {
    pub(super) fn restoring(&self, snapshot: Option<SnapshotId>) -> RestoreRequest {
        RestoreRequest { namespace: self.ns.clone(), session: self.session.clone(), snapshot, head: None, conditions: Conditions::default() }
    }

    pub(super) async fn restore(&self, snapshot: SnapshotId, request: &str) -> Result<Restored> {
        self.profiles.restore(RestoreRequest { conditions: named(request), ..self.restoring(Some(snapshot)) }).await
    }

    /// Saves `tree` whole, with a storage state if that is given.
    pub(super) async fn put(&self, upload: &str, parent: Option<SnapshotId>, tree: &Tree, state: Option<&[u8]>) -> SnapshotId {
        let begin = Begin { full: true, ..self.begin(upload, parent) };
        self.send(begin, tree.records(None, Codec::Raw, 64), state, tree.root()).await.unwrap().view.id
    }

    pub(super) async fn head(&self) -> Option<SnapshotId> {
        self.stored_session().await.session.head_id().unwrap()
    }

    pub(super) async fn state(&self) -> Option<Vec<u8>> {
        match self.sessions.storage_state(&self.ns, &self.session, Revision::ZERO).await {
            Ok(stored) => Some(stored.document.to_vec()),
            Err(error) if error.reason() == Reason::StorageStateNotFound => None,
            Err(error) => panic!("{error:?}"),
        }
    }

    pub(super) async fn kinds(&self, after: Revision) -> Vec<(ChangeKind, String)> {
        let events = self.metadata.events(&self.ns, Scope::Sessions, after, 100).await.unwrap().entries;
        let changes = events.iter().flat_map(|entry| event::decode(&entry.payload).unwrap());
        changes.map(|change| (change.kind(), change.snapshot)).collect()
    }

    /// The head as a bucket alone tells it, by the rules of `docs/pack-format.md`.
    async fn head_of_the_bucket(&self) -> Option<SnapshotId> {
        let mut steps: BTreeMap<u64, Header> = BTreeMap::new();
        let names: Vec<_> = self.blobs.list("c", 1000).await.unwrap().into_iter().map(|object| object.name).collect();
        let (voids, packs): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| name.contains('.'));
        for name in packs.iter().filter(|name| !voids.contains(&format!("{name}.void"))) {
            let header = parse_header(&self.blobs.get(name).await.unwrap().unwrap()).unwrap().0;
            steps.insert(header.slot, header);
        }
        let mut head: Option<&Header> = None;
        loop {
            // What follows the head: the highest of those whose nearest lower maker of their parent is it.
            let maker = |step: &Header| steps.range(..step.slot).rev().find(|(_, before)| before.snapshot_id() == step.parent_id()).map(|(slot, _)| *slot);
            let follows = |step: &&Header| match head {
                None => step.parent_id().is_none(),
                Some(head) => step.slot > head.slot && step.parent_id().is_some() && maker(step) == Some(head.slot),
            };
            match steps.values().rev().find(follows) {
                Some(next) => head = Some(next),
                None => return head.and_then(Header::snapshot_id),
            }
        }
    }
}

pub(super) fn refused(result: Result<Restored>) -> Reason {
    match result {
        Ok(restored) => panic!("restored {:?}", restored.view.id),
        Err(error) => error.reason(),
    }
}

/// Two snapshots, the second one the head.
pub(super) async fn two() -> (World, [(Tree, SnapshotId); 2]) {
    let world = World::new().await;
    let (first, second) = (sample(), sample().file("Default/next", b"a bad login").file("Default/Cookies", &vec![8; 30_000]));
    let a = world.put("first", None, &first, Some(STATES[0])).await;
    let b = world.put("second", Some(a), &second, Some(STATES[1])).await;
    (world, [(first, a), (second, b)])
}

#[tokio::test]
async fn undo_and_redo_move_the_head_and_nothing_else() {
    let (world, [(first, a), (second, b)]) = two().await;
    let before = world.stored_session().await;
    let (commits, puts) = (world.commits(), world.counts().puts);
    let restored = world.profiles.restore(world.restoring(None)).await.unwrap();
    assert_eq!((restored.view.id, restored.former, restored.view.head), (a, Some(b), true));
    assert_eq!((world.commits() - commits, world.counts().puts - puts), (1, 1), "one object, one transaction");
    let after = world.stored_session().await;
    assert_eq!((after.session.head_id().unwrap(), after.session.sequence, after.session.slot_floor), (Some(a), 3, 3));
    assert_eq!((after.revision, restored.etag.clone()), (restored.revision, restored.revision.etag()));
    assert!(after.mark("used") > before.mark("used"));
    assert_eq!(world.kinds(before.revision).await, [(ChangeKind::ProfileRestored, a.to_string())]);
    assert_eq!(world.state().await.as_deref(), Some(STATES[0]));
    let object = world.blobs.get(&crate::model::pack::PackName::Commit(3).object(after.session.lineage_id().unwrap())).await.unwrap().unwrap();
    let (header, _, _) = parse_header(&object).unwrap();
    assert_eq!((header.kind(), header.of, header.parent_id(), header.snapshot_id()), (PackKind::Restore, 1, Some(b), Some(a)));
    assert!(object.len() < 1500, "{} bytes without data", object.len());

    // The head is what it was: whoever has either snapshot gets the difference, or nothing.
    assert_eq!(world.replica().load(a, Some((&second, b))).await.unwrap(), first);
    assert_eq!(world.replica().load(b, Some((&first, a))).await.unwrap(), second);
    let current = world.fetch(LoadRequest { have: Some(a), ..world.request() }).await.unwrap();
    assert_eq!((current.view.id, current.base, current.content), (a, Some(a), 0));
    assert!(current.records.iter().all(|records| records.entries.is_empty() && records.removed.is_empty()));
    let listed =
        world.profiles.list(&world.ns, &world.session, Listing { size: 10, token: "", deleted: false, min_revision: Revision::ZERO }).await.unwrap().views;
    assert_eq!(listed.iter().map(|view| (view.id, view.head)).collect::<Vec<_>>(), [(b, false), (a, true)]);

    let redone = world.restore(b, "redo").await.unwrap();
    assert_eq!((redone.view.id, redone.former, world.head().await), (b, Some(a), Some(b)));
    assert_eq!(world.state().await.as_deref(), Some(STATES[1]));
    world.restore(a, "undo").await.unwrap();
    let third = first.clone().file("Default/third", b"a good login");
    let saved = world.save("third", Some((&first, a)), &third).await.unwrap();
    assert_eq!((saved.view.snapshot.sequence, saved.view.snapshot.parent), (6, Some(a.to_string())));
    assert_eq!(reason(world.save("late", Some((&second, b)), &second).await), Reason::ParentNotHead);
    let undone = world.profiles.restore(world.restoring(None)).await.unwrap();
    assert_eq!(undone.view.id, a, "undo follows what the head was made from, not what was saved before it");
    assert_eq!(world.head_of_the_bucket().await, Some(a));
    sound(&world).await;
}

#[tokio::test]
async fn a_storage_state_goes_and_comes_with_its_snapshot_and_one_of_its_own_stays() {
    let world = World::new().await;
    let bare = world.put("bare", None, &sample(), None).await;
    let with = world.put("with", Some(bare), &sample(), Some(STATES[0])).await;
    world.restore(bare, "1").await.unwrap();
    assert_eq!(world.state().await, None, "what the undone save brought is gone");
    world.restore(with, "2").await.unwrap();
    assert_eq!(world.state().await.as_deref(), Some(STATES[0]), "and comes back with it");
    let put = Bytes::from_static(STATES[1]);
    world.sessions.put_storage_state(&world.ns, &world.session, put, &Conditions::default()).await.unwrap();
    world.restore(bare, "3").await.unwrap();
    assert_eq!(world.state().await.as_deref(), Some(STATES[1]), "a snapshot without one leaves what lies in no snapshot");
    world.put("later", Some(bare), &sample(), None).await;
    world.restore(with, "4").await.unwrap();
    assert_eq!(world.state().await.as_deref(), Some(STATES[0]), "one with its own replaces it");
}

#[tokio::test]
async fn a_repetition_answers_the_first_result_whatever_the_head_is_by_then() {
    let (world, [(first, a), (_, b)]) = two().await;
    let undo = RestoreRequest { conditions: named("undo"), ..world.restoring(None) };
    let done = world.profiles.restore(undo.clone()).await.unwrap();
    let stays = world.restore(a, "stays").await.unwrap();
    assert_eq!((stays.view.id, stays.former, stays.etag.clone()), (a, Some(a), done.etag.clone()), "the head stays the head");
    let c = world.save("third", Some((&first, a)), &first.clone().file("x", b"")).await.unwrap().view.id;
    let objects = world.objects("c").await.len();
    for replica in [&world, &world.replica()] {
        let again = replica.profiles.restore(undo.clone()).await.unwrap();
        assert_eq!((again.view.id, again.former, again.revision, again.etag), (a, Some(b), done.revision, done.etag.clone()));
        let again = replica.restore(a, "stays").await.unwrap();
        assert_eq!((again.former, again.revision), (Some(a), stays.revision));
        assert_eq!(refused(replica.restore(b, "undo").await), Reason::RequestIdReused);
    }
    assert_eq!((world.head().await, world.objects("c").await.len()), (Some(c), objects));
}

#[tokio::test]
async fn conditions_and_targets_that_do_not_hold_change_nothing() {
    let (world, [(_, a), (_, b)]) = two().await;
    let before = world.stored_session().await;
    let with = |change: fn(&mut RestoreRequest)| {
        let mut wanted = world.restoring(Some(a));
        change(&mut wanted);
        world.profiles.restore(wanted)
    };
    assert_eq!(refused(with(|wanted| wanted.snapshot = Some(SnapshotId([9; 16]))).await), Reason::SnapshotNotFound);
    assert_eq!(refused(with(|wanted| wanted.head = wanted.snapshot).await), Reason::ParentNotHead);
    assert_eq!(refused(with(|wanted| wanted.conditions.etag = "\"1\"".to_owned()).await), Reason::EtagMismatch);
    fence(&world, 77).await;
    assert_eq!(refused(with(|wanted| wanted.conditions.lease_token = 76).await), Reason::LeaseFenced);
    world.create("empty").await;
    assert_eq!(refused(with(|wanted| wanted.session = SessionId::parse("id", "empty").unwrap()).await), Reason::ProfileEmpty);
    assert_eq!((world.stored_session().await.session, world.objects("c").await.len()), (before.session, 2));
    let good = RestoreRequest { head: Some(b), ..world.restoring(Some(a)) };
    let conditions = Conditions { etag: world.stored_session().await.revision.etag(), lease_token: 77, ..Conditions::default() };
    world.profiles.restore(RestoreRequest { conditions, ..good }).await.unwrap();
    let nothing = world.profiles.restore(world.restoring(None)).await.unwrap_err();
    assert_eq!(nothing.reason(), Reason::SnapshotNotFound);
    assert!(nothing.message().contains("nothing before its head"), "{}", nothing.message());
}

#[tokio::test]
async fn a_snapshot_that_cannot_be_read_does_not_become_the_head() {
    let (world, [(_, a), (_, b)]) = two().await;
    let name = crate::model::pack::PackName::Commit(1).object(world.stored_session().await.session.lineage_id().unwrap());
    world.blobs.delete(&name).await.unwrap();
    assert_eq!(refused(world.replica().restore(a, "undo").await), Reason::DataCorrupt);
    assert_eq!(world.head().await, Some(b));
}

#[tokio::test]
async fn a_cut_off_restore_is_finished_by_its_repetition() {
    for point in [FaultPoint::BeforePut, FaultPoint::AfterPut, FaultPoint::AfterCommit] {
        let (world, [(first, a), (_, b)]) = two().await;
        world.profiles.faults().plan(point);
        let undo = RestoreRequest { conditions: named("undo"), ..world.restoring(None) };
        assert_eq!(refused(world.profiles.restore(undo.clone()).await), Reason::Internal, "{point:?}");
        let restored = world.replica().profiles.restore(undo).await.unwrap();
        assert_eq!((restored.view.id, restored.former, world.head().await), (a, Some(b), Some(a)), "{point:?}");
        assert_eq!(world.objects("c").await.len(), 3, "{point:?}: one object, however often it was tried");
        assert_eq!(world.load(a, None).await.unwrap(), first);
        assert_eq!((world.state().await.as_deref(), voids(&world).await), (Some(STATES[0]), 0));
        sound(&world).await;
    }
}

#[tokio::test]
async fn the_next_writer_rolls_a_dead_restore_forward_with_its_storage_state() {
    let (world, [(first, a), (second, b)]) = two().await;
    world.profiles.faults().plan(FaultPoint::AfterPut);
    assert_eq!(refused(world.restore(a, "undo").await), Reason::Internal);
    assert_eq!((world.head().await, world.state().await.as_deref()), (Some(b), Some(STATES[1])));
    let before = world.stored_session().await.revision;
    let replica = world.replica();
    let error = replica.save("late", Some((&second, b)), &second.clone().file("x", b"")).await.unwrap_err();
    assert_eq!(error.reason(), Reason::ParentNotHead);
    assert_eq!((world.head().await, world.state().await.as_deref()), (Some(a), Some(STATES[0])));
    assert_eq!(world.kinds(before).await, [(ChangeKind::ProfileRestored, a.to_string())]);
    replica.save("third", Some((&first, a)), &first.clone().file("x", b"")).await.unwrap();
    let told = world.restore(a, "undo").await.unwrap();
    assert_eq!((told.former, told.view.head), (Some(b), false), "its writer is told what became of it");
    sound(&world).await;
}

#[tokio::test]
async fn a_dead_restore_under_an_older_lease_is_void() {
    let (world, [(_, a), (second, b)]) = two().await;
    world.profiles.faults().plan(FaultPoint::AfterPut);
    assert_eq!(refused(world.restore(a, "undo").await), Reason::Internal);
    fence(&world, 77).await;
    let saved = world.replica().save("third", Some((&second, b)), &second.clone().file("x", b"")).await.unwrap();
    assert_eq!((saved.view.snapshot.sequence, voids(&world).await), (4, 1));
    assert_eq!(world.head_of_the_bucket().await, Some(saved.view.id));
    sound(&world).await;
}

#[tokio::test]
async fn a_restore_that_stalls_is_told_what_happened_meanwhile() {
    // Rolled forward, and the head moved on: it was made, and its slot is not void, however late it comes back.
    let (world, [(first, a), (second, b)]) = two().await;
    let (held, replica) = (world.profiles.faults().hold(FaultPoint::AfterPut), world.replica());
    let meanwhile = async {
        held.reached().await;
        assert_eq!(reason(replica.save("late", Some((&second, b)), &second).await), Reason::ParentNotHead);
        replica.save("third", Some((&first, a)), &first.clone().file("x", b"")).await.unwrap();
        held.release();
    };
    let (slow, ()) = Box::pin(async { tokio::join!(world.profiles.restore(world.restoring(None)), meanwhile) }).await;
    assert_eq!((slow.unwrap().former, voids(&world).await), (Some(b), 0));
    sound(&world).await;

    // Passed over: it was not made, and cannot be any more.
    let (world, [(_, a), (second, b)]) = two().await;
    let (held, replica) = (world.profiles.faults().hold(FaultPoint::AfterPut), world.replica());
    let meanwhile = async {
        held.reached().await;
        fence(&world, 77).await;
        replica.save("third", Some((&second, b)), &second.clone().file("x", b"")).await.unwrap();
        held.release();
    };
    let (slow, ()) = Box::pin(async { tokio::join!(world.restore(a, "undo"), meanwhile) }).await;
    assert_eq!((refused(slow), voids(&world).await), (Reason::ParentNotHead, 1));
    sound(&world).await;
}

/// Saves and restores by two daemons, each of which may die anywhere: the head is always one that somebody wanted, what was acknowledged stands, and in the end the bucket alone
/// tells the same head as the metadata.
#[tokio::test]
async fn the_bucket_tells_the_head_after_any_walk_of_saves_restores_and_deaths() {
    for seed in 0..12 {
        let (mut rng, world) = (Rng(seed + 1), World::new().await);
        let daemons = [world.replica(), world.replica()];
        let mut known = vec![world.put("root", None, &sample(), None).await];
        for step in 0..14 {
            let daemon = &daemons[rng.below(2)];
            let points = [FaultPoint::BeforePut, FaultPoint::AfterPut, FaultPoint::AfterCommit, FaultPoint::AfterFloor];
            let dies = rng.below(2) == 0;
            if dies {
                daemon.profiles.faults().plan(points[rng.below(4)]);
            }
            if rng.below(4) == 0 {
                fence(&world, 100 + step).await;
            }
            let head = world.head().await;
            let acknowledged = if rng.below(2) == 0 {
                let tree = sample().file("step", format!("{seed} {step}").as_bytes());
                let begin = Begin { full: true, ..daemon.begin(&format!("save-{step}"), head) };
                daemon.send(begin, tree.records(None, Codec::Raw, 64), None, tree.root()).await.map(|saved| saved.view.id)
            } else {
                let target = known[rng.below(known.len())];
                daemon.restore(target, &format!("restore-{step}")).await.map(|restored| restored.view.id)
            };
            if let Ok(id) = acknowledged {
                assert_eq!(world.head().await, Some(id), "seed {seed}, step {step}");
            }
            known.extend(world.head().await.filter(|id| !known.contains(id)));
            sound(&world).await;
        }
        // A dead step above the floor is undecided until somebody comes; one more step decides.
        let replica = world.replica();
        for last in 0..3 {
            let begin = Begin { full: true, ..replica.begin(&format!("last-{last}"), replica.head().await) };
            if replica.send(begin, sample().records(None, Codec::Raw, 64), None, sample().root()).await.is_ok() {
                break;
            }
        }
        assert_eq!(world.head_of_the_bucket().await, world.head().await, "seed {seed}");
    }
}
