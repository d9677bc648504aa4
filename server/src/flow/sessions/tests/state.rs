//! Storage states.

use bytes::Bytes;

use super::*;
use crate::model::{id::SnapshotId, storage_state::MAX_UNARY};

fn document(filler: usize) -> Bytes {
    format!("{{\"cookies\":[],  \"origins\":[],\"x\":\"{}\"}}", "secret".repeat(filler)).into()
}

async fn put(bench: &Bench, document: Bytes, conditions: &Conditions) -> Result<PutState, Error> {
    bench.sessions.put_storage_state(&bench.ns, &sid("a"), document, conditions).await
}

async fn get(bench: &Bench) -> Result<StoredState, Error> {
    bench.sessions.storage_state(&bench.ns, &sid("a"), Revision::ZERO).await
}

#[tokio::test]
async fn a_document_comes_back_byte_for_byte_with_its_own_version() {
    let bench = Bench::new();
    bench.active("a", "acme").await;
    assert_eq!(reason(get(&bench).await), Reason::StorageStateNotFound);
    for filler in [0, 3, 20_000] {
        let before = bench.get("a").await.unwrap();
        let done = put(&bench, document(filler), &free()).await.unwrap();
        let read = get(&bench).await.unwrap();
        assert_eq!((read.document.clone(), read.etag), (document(filler), done.revision));
        let session = bench.get("a").await.unwrap().view.session;
        assert_eq!((session.state_revision(), Some(read.put_at.0)), (done.revision, session.marks.get(mark::UPDATED).copied()));
        assert!(session.mark(mark::USED) > before.view.session.mark(mark::USED), "a put is a use");
    }
    assert_eq!(bench.kinds().await.pop(), Some(ChangeKind::StorageStatePut));
}

#[tokio::test]
async fn at_rest_it_is_compressed_sealed_and_bound_to_its_session() {
    let bench = Bench::new();
    bench.create("a", "acme").await;
    bench.create("b", "acme").await;
    put(&bench, document(10_000), &free()).await.unwrap();
    let reading = bench.store.get(&bench.ns, &[state_key(&sid("a"))]).await.unwrap();
    let value = reading.found.into_iter().next().unwrap().live().unwrap().value;
    assert!(value.len() < 1000 && !value.windows(6).any(|window| window == b"secret"));
    let move_to = |id: &str, value: Bytes| Write::Put { key: state_key(&sid(id)), value, life: Life::Forever, marks: Vec::new() };
    let mut damaged = value.to_vec();
    damaged[60] ^= 1;
    bench.sessions.put_storage_state(&bench.ns, &sid("b"), document(1), &free()).await.unwrap();
    for (id, bytes) in [("b", value.clone()), ("a", damaged.into()), ("a", value.slice(..7)), ("a", Bytes::new())] {
        bench.store.commit(&bench.ns, Commit::from(Txn { writes: vec![move_to(id, bytes)], ..Txn::default() })).await.unwrap();
        assert_eq!(reason(bench.sessions.storage_state(&bench.ns, &sid(id), Revision::ZERO).await), Reason::DataCorrupt);
    }
}

#[tokio::test]
async fn its_etag_and_the_lease_are_conditions_and_the_session_etag_is_not() {
    let bench = Bench::new();
    let created = bench.create("a", "acme").await;
    assert_eq!(reason(put(&bench, document(0), &etag(created.revision.etag())).await), Reason::EtagMismatch);
    let first = put(&bench, document(0), &free()).await.unwrap();
    bench.to("a", State::Active).await.unwrap();
    let second = put(&bench, document(1), &etag(first.revision.etag())).await.unwrap();
    assert_eq!(reason(put(&bench, document(2), &etag(first.revision.etag())).await), Reason::EtagMismatch);
    assert_eq!(reason(put(&bench, document(2), &leased(5)).await), Reason::LeaseFenced);
    let token = bench.lease("a").await;
    let third = put(&bench, document(2), &Conditions { lease_token: token, ..etag(second.revision.etag()) }).await.unwrap();
    assert_eq!(get(&bench).await.unwrap().etag, third.revision);
}

#[tokio::test]
async fn a_repeated_put_answers_the_first_version() {
    let bench = Bench::new();
    bench.create("a", "acme").await;
    let first = put(&bench, document(1), &request("r")).await.unwrap();
    put(&bench, document(2), &free()).await.unwrap();
    assert_eq!(put(&bench, document(1), &request("r")).await.unwrap().revision, first.revision);
    assert_eq!(get(&bench).await.unwrap().document, document(2), "and does not put it again");
    assert_eq!(reason(put(&bench, document(3), &request("r")).await), Reason::RequestIdReused);
}

#[tokio::test]
async fn what_is_too_large_or_no_storage_state_changes_nothing() {
    let bench = Bench::new();
    bench.create("a", "acme").await;
    let exact = |length: usize| -> Bytes { format!("{{\"cookies\":[],\"origins\":[],\"x\":\"{}\"}}", "y".repeat(length - 34)).into() };
    assert_eq!(exact(MAX_UNARY).len(), MAX_UNARY);
    assert_eq!(reason(put(&bench, exact(MAX_UNARY + 1), &free()).await), Reason::StorageStateInvalid);
    assert_eq!(reason(put(&bench, Bytes::from_static(b"{}"), &free()).await), Reason::StorageStateInvalid);
    assert_eq!(reason(get(&bench).await), Reason::StorageStateNotFound);
    put(&bench, exact(MAX_UNARY), &free()).await.unwrap();
    assert_eq!(get(&bench).await.unwrap().document.len(), MAX_UNARY);
    assert_eq!(reason(bench.sessions.put_storage_state(&bench.ns, &sid("nobody"), document(0), &free()).await), Reason::SessionNotFound);
}

#[tokio::test]
async fn random_bytes_of_the_largest_size_fit_the_store() {
    let bench = Bench::new();
    bench.create("a", "acme").await;
    let noise: Vec<[u8; 32]> = (0..60_000).map(|_| crate::clock::random().unwrap()).collect();
    let text: String = noise.concat().iter().map(|byte| char::from(b'!' + byte % 90)).filter(|c| !matches!(c, '"' | '\\')).collect();
    let noise: Bytes = format!("{{\"cookies\":[],\"origins\":[],\"x\":\"{text}\"}}").into();
    put(&bench, noise.clone(), &free()).await.unwrap();
    assert_eq!(get(&bench).await.unwrap().document, noise);
}

#[tokio::test]
async fn a_larger_one_of_a_save_is_a_reference_that_the_unary_call_explains() {
    let bench = Bench::new();
    bench.create("a", "acme").await;
    put(&bench, document(1), &free()).await.unwrap();
    let write = referenced_state(&sid("a"), SnapshotId([7; 16]), 5_000_000);
    bench.store.commit(&bench.ns, Commit::from(Txn { writes: vec![write], ..Txn::default() })).await.unwrap();
    let error = get(&bench).await.unwrap_err();
    assert_eq!((error.reason(), error.metadata()[0].1.as_str()), (Reason::StorageStateTooLarge, "07".repeat(16).as_str()));
}

#[tokio::test]
async fn a_deleted_session_keeps_its_storage_state_for_its_revival() {
    let bench = Bench::new();
    bench.create("a", "acme").await;
    put(&bench, document(1), &free()).await.unwrap();
    bench.delete("a").await.unwrap();
    assert_eq!((reason(get(&bench).await), reason(put(&bench, document(2), &free()).await)), (Reason::SessionDeleted, Reason::SessionDeleted));
    bench.undelete("a").await.unwrap();
    assert_eq!(get(&bench).await.unwrap().document, document(1));
}
