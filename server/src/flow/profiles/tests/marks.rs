//! Pins, deletions and revivals of snapshots.

use super::{
    commit::{fence, sound, voids},
    restores::{named, refused, two},
    *,
};
use crate::{
    flow::sessions::Conditions,
    model::event::ChangeKind,
    store::metadata::{Life, Number, Txn, Write},
};

impl World {
    fn marking(&self, snapshot: SnapshotId, marking: Marking) -> MarkRequest {
        MarkRequest { namespace: self.ns.clone(), session: self.session.clone(), snapshot: Some(snapshot), marking, conditions: Conditions::default() }
    }

    pub(super) async fn mark(&self, snapshot: SnapshotId, marking: Marking) -> Result<Marked> {
        self.profiles.mark(&self.marking(snapshot, marking)).await
    }

    /// The ids of a listing, all pages of `size` together.
    async fn listed(&self, size: usize, deleted: bool) -> Vec<SnapshotId> {
        let (mut ids, mut token) = (Vec::new(), String::new());
        loop {
            let listing = Listing { size, token: &token, deleted, min_revision: Revision::ZERO };
            let page = self.profiles.list(&self.ns, &self.session, listing).await.unwrap();
            assert!(page.views.len() <= size);
            ids.extend(page.views.iter().map(|view| view.id));
            token = page.next;
            if token.is_empty() {
                return ids;
            }
        }
    }
}

fn why(result: Result<Marked>) -> Reason {
    result.map(|marked| marked.view).unwrap_err().reason()
}

#[tokio::test]
async fn a_pin_says_why_and_keeps_a_snapshot_from_being_deleted() {
    let (world, [(_, a), (_, b)]) = two().await;
    let before = world.stored_session().await;
    let pinned = world.mark(a, Marking::Pin("before the upgrade".to_owned())).await.unwrap();
    assert_eq!((pinned.view.pinned_at.is_some(), pinned.view.snapshot.pin_note.as_str()), (true, "before the upgrade"));
    assert_eq!(world.kinds(before.revision).await, [(ChangeKind::SnapshotChanged, a.to_string())]);
    let after = world.stored_session().await;
    assert_eq!((after.revision, after.marks), (before.revision, before.marks), "the session is as before");
    let error = world.mark(a, Marking::Delete).await.unwrap_err();
    assert_eq!((error.reason(), error.message().contains("pinned")), (Reason::SnapshotHeld, true));
    let again = world.mark(a, Marking::Pin("before the upgrade".to_owned())).await.unwrap();
    assert_eq!(again.view, pinned.view);
    let renamed = world.mark(a, Marking::Pin("the good one".to_owned())).await.unwrap();
    assert_eq!((renamed.view.pinned_at, renamed.view.snapshot.pin_note.as_str()), (pinned.view.pinned_at, "the good one"));
    assert_eq!(world.profiles.get(&world.ns, &world.session, Some(a), None, Revision::ZERO).await.unwrap().view, renamed.view);
    assert!(renamed.view.revision == pinned.view.revision && renamed.view.created_at == pinned.view.created_at, "when it was made stays");
    let free = world.mark(a, Marking::Unpin).await.unwrap();
    assert_eq!((free.view.pinned_at, free.view.snapshot.pin_note.as_str()), (None, ""));
    world.mark(a, Marking::Delete).await.unwrap();
    assert_eq!(why(world.mark(a, Marking::Pin(String::new())).await), Reason::SnapshotDeleted);
    let head = MarkRequest { snapshot: None, ..world.marking(a, Marking::Pin(String::new())) };
    assert_eq!(world.profiles.mark(&head).await.unwrap().view.id, b);
}

/// Whoever repeats a pin of the head because its answer was lost wants to know of the snapshot that he pinned.
#[tokio::test]
async fn a_repeated_pin_of_the_head_answers_the_snapshot_that_was_the_head_then() {
    let (world, [(first, a), (_, b)]) = two().await;
    let pin = MarkRequest { snapshot: None, conditions: named("pin"), ..world.marking(a, Marking::Pin("good".to_owned())) };
    assert_eq!(world.profiles.mark(&pin).await.unwrap().view.id, b);
    world.restore(a, "undo").await.unwrap();
    for _ in 0..2 {
        let again = world.profiles.mark(&pin).await.unwrap().view;
        assert_eq!((again.id, again.pinned_at.is_some()), (b, true));
        world.save("third", Some((&first, a)), &first).await.ok();
    }
    let named_it = MarkRequest { snapshot: Some(a), ..pin };
    assert_eq!(why(world.profiles.mark(&named_it).await), Reason::RequestIdReused);
}

#[tokio::test]
async fn a_deleted_snapshot_is_hidden_and_can_be_revived() {
    let (world, [(first, a), (second, b)]) = two().await;
    let error = world.mark(b, Marking::Delete).await.unwrap_err();
    assert_eq!((error.reason(), error.message().contains("the head")), (Reason::SnapshotHeld, true));
    let deleted = world.mark(a, Marking::Delete).await.unwrap().view;
    assert_eq!(deleted.revivable_until(), deleted.deleted_at.map(|at| at.after(REVIVABLE)));
    assert_eq!((world.listed(10, false).await, world.listed(10, true).await), (vec![b], vec![b, a]));
    assert_eq!(world.load(a, None).await.unwrap_err().reason(), Reason::SnapshotDeleted);
    assert_eq!(refused(world.restore(a, "undo").await), Reason::SnapshotDeleted);
    assert_eq!(refused(world.profiles.restore(world.restoring(None)).await), Reason::SnapshotNotFound, "nothing is before the head any more");
    assert_eq!(world.load(b, Some((&first, a))).await.unwrap(), second, "who has it still gets the difference");
    assert_eq!(world.mark(a, Marking::Delete).await.unwrap().view, deleted, "deleting it again changes nothing");
    let revived = world.mark(a, Marking::Undelete).await.unwrap().view;
    assert_eq!((revived.deleted_at, world.listed(10, false).await), (None, vec![b, a]));
    assert_eq!(world.mark(a, Marking::Undelete).await.unwrap().view, revived);
    assert_eq!(world.load(a, None).await.unwrap(), first);
    world.restore(a, "undo").await.unwrap();
    assert_eq!(why(world.mark(a, Marking::Delete).await), Reason::SnapshotHeld);
    world.mark(b, Marking::Delete).await.unwrap();
}

#[tokio::test]
async fn after_its_time_a_deleted_snapshot_is_not_found() {
    let (world, [(_, a), _]) = two().await;
    let deleted = world.mark(a, Marking::Delete).await.unwrap().view;
    let long_ago = deleted.deleted_at.unwrap().0 - i64::try_from(REVIVABLE.as_micros()).unwrap();
    let key = Key(crate::model::snapshot::record_key(world.stored_session().await.session.lineage_id().unwrap(), a));
    let touch = Write::Touch { key, life: Life::Keep, marks: vec![("deleted".into(), Number::Literal(long_ago))] };
    world.metadata.commit(&world.ns, Txn { writes: vec![touch], ..Txn::default() }.into()).await.unwrap();
    for marking in [Marking::Undelete, Marking::Delete, Marking::Unpin] {
        assert_eq!(why(world.mark(a, marking).await), Reason::SnapshotNotFound);
    }
    assert_eq!((world.listed(10, true).await.len(), world.load(a, None).await.unwrap_err().reason()), (1, Reason::SnapshotNotFound));
}

#[tokio::test]
async fn undo_passes_over_what_was_deleted() {
    let (world, [(_, a), (_, b)]) = two().await;
    world.put("third", Some(b), &sample(), None).await;
    world.mark(b, Marking::Delete).await.unwrap();
    assert_eq!(world.profiles.restore(world.restoring(None)).await.unwrap().view.id, a);
}

#[tokio::test]
async fn pages_are_full_whatever_was_deleted_between() {
    let (world, [_, (_, b)]) = two().await;
    let mut ids = world.listed(10, true).await;
    let mut head = b;
    for n in 0..7 {
        head = world.put(&format!("more-{n}"), Some(head), &sample(), None).await;
        ids.insert(0, head);
    }
    for gone in [1, 2, 3, 5, 8] {
        world.mark(ids[gone], Marking::Delete).await.unwrap();
    }
    for size in 1..5 {
        assert_eq!(world.listed(size, true).await, ids, "{size}");
        assert_eq!(world.listed(size, false).await, [ids[0], ids[4], ids[6], ids[7]], "{size}");
    }
    let listing = Listing { size: 2, token: "", deleted: false, min_revision: Revision::ZERO };
    let page = world.profiles.list(&world.ns, &world.session, listing).await.unwrap();
    assert_eq!(page.views.len(), 2);
    let other = Listing { token: &page.next, deleted: true, ..listing };
    assert_eq!(world.profiles.list(&world.ns, &world.session, other).await.unwrap_err().reason(), Reason::InvalidPageToken);
}

#[tokio::test]
async fn marks_keep_to_their_conditions_and_repetitions_change_nothing() {
    let (world, [(_, a), _]) = two().await;
    let with = |conditions: Conditions| MarkRequest { conditions, ..world.marking(a, Marking::Pin("why".to_owned())) };
    fence(&world, 77).await;
    let etag = world.stored_session().await.revision.etag();
    assert_eq!(why(world.profiles.mark(&with(Conditions { etag: "\"1\"".to_owned(), ..Conditions::default() })).await), Reason::EtagMismatch);
    assert_eq!(why(world.profiles.mark(&with(Conditions { lease_token: 76, ..Conditions::default() })).await), Reason::LeaseFenced);
    let unknown = world.mark(SnapshotId([9; 16]), Marking::Delete).await;
    assert_eq!(why(unknown), Reason::SnapshotNotFound);

    let request = with(Conditions { etag, lease_token: 77, ..named("pin") });
    let pinned = world.profiles.mark(&request).await.unwrap();
    world.mark(a, Marking::Unpin).await.unwrap();
    let commits = world.stored_session().await.revision;
    let again = world.replica().profiles.mark(&request).await.unwrap();
    assert_eq!((again.revision, again.view.pinned_at), (pinned.revision, None), "a late repetition does not pin it once more");
    let other = MarkRequest { marking: Marking::Delete, ..request };
    assert_eq!(why(world.profiles.mark(&other).await), Reason::RequestIdReused);
    let stays = MarkRequest { conditions: named("stays"), ..world.marking(a, Marking::Undelete) };
    let stayed = world.profiles.mark(&stays).await.unwrap();
    world.mark(a, Marking::Delete).await.unwrap();
    let again = world.profiles.mark(&stays).await.unwrap();
    assert_eq!((again.revision, again.view.deleted_at.is_some()), (stayed.revision, true), "what had nothing to do is remembered too");
    assert_eq!(world.stored_session().await.revision, commits);
}

#[tokio::test]
async fn a_dead_restore_of_a_snapshot_that_was_deleted_meanwhile_is_void() {
    let (world, [(_, a), (second, b)]) = two().await;
    world.profiles.faults().plan(FaultPoint::AfterPut);
    assert_eq!(refused(world.restore(a, "undo").await), Reason::Internal);
    world.mark(a, Marking::Delete).await.unwrap();
    let saved = world.replica().save("third", Some((&second, b)), &second.clone().file("x", b"")).await.unwrap();
    assert_eq!((saved.view.snapshot.sequence, voids(&world).await), (4, 1));
    sound(&world).await;
}

#[tokio::test]
async fn a_restore_and_a_deletion_of_the_same_snapshot_exclude_each_other() {
    let (world, [(_, a), (_, b)]) = two().await;
    let (held, replica) = (world.profiles.faults().hold(FaultPoint::AfterPut), world.replica());
    let meanwhile = async {
        held.reached().await;
        replica.mark(a, Marking::Delete).await.unwrap();
        held.release();
    };
    let (slow, ()) = Box::pin(async { tokio::join!(world.restore(a, "undo"), meanwhile) }).await;
    assert_eq!((refused(slow), voids(&world).await, world.head().await), (Reason::SnapshotDeleted, 1, Some(b)));
    sound(&world).await;
}
