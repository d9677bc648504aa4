//! Keys across losses of one store or the other, and under wrong master keys.

use super::*;
use crate::{
    flow::sessions::testing::{KeyMap, master},
    model::{id::SessionId, seal::Secret},
    store::embedded::{Embedded, Limits},
};

fn store() -> Arc<dyn Metadata> {
    Arc::new(Embedded::ephemeral(Limits::default()).unwrap())
}

fn ns() -> Namespace {
    Namespace::parse("ns", "check").unwrap()
}

fn sid(id: &str) -> SessionId {
    SessionId::parse("id", id).unwrap()
}

fn keyring(store: &Arc<dyn Metadata>, objects: &Arc<KeyMap>) -> Keyring {
    Keyring::new(master().unwrap(), Arc::clone(store), Arc::clone(objects) as _)
}

fn value(digit: &str) -> KeySource {
    KeySource::Value { name: "CLOAKROOM_MASTER_KEY".to_owned(), text: digit.repeat(32) }
}

/// A lineage as a session's creation makes it.
async fn lineage(keyring: &Keyring) -> LineageId {
    let (lineage, _, write) = keyring.new_lineage(&ns()).await.unwrap();
    keyring.metadata.commit(&ns(), Commit::from(Txn { writes: vec![write], ..Txn::default() })).await.unwrap();
    lineage
}

#[tokio::test]
async fn keys_read_back_in_another_daemon() {
    let (store, objects) = (store(), Arc::new(KeyMap::default()));
    let (one, two) = (keyring(&store, &objects), keyring(&store, &objects));
    let lineage = lineage(&one).await;
    let (a, b) = (one.namespace(&ns()).await.unwrap(), two.namespace(&ns()).await.unwrap());
    assert_eq!(a.email_hmac("x"), b.email_hmac("x"));
    let sealed = a.seal_email(&sid("s"), "ann@x.org").unwrap();
    assert_eq!(b.open_email(&sid("s"), &sealed).unwrap(), "ann@x.org");
    assert_eq!(b.open_email(&sid("t"), &sealed).unwrap_err().reason(), Reason::DataCorrupt, "bound to its session");
    assert!(b.verify_token("page", b"data", &a.token_mac("page", b"data")) && !b.verify_token("resume", b"data", &a.token_mac("page", b"data")));
    let state = one.lineage(&ns(), lineage).await.unwrap().seal_state(&sid("s"), b"state").unwrap();
    assert_eq!(two.lineage(&ns(), lineage).await.unwrap().open_state(&sid("s"), &state).unwrap(), b"state");
}

#[tokio::test]
async fn readings_make_no_keys() {
    let (store, objects) = (store(), Arc::new(KeyMap::default()));
    assert!(keyring(&store, &objects).existing(&ns()).await.unwrap().is_none());
    assert!(objects.names().is_empty() && store.namespaces().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_reader_knows_the_keys_that_the_first_writer_will_make() {
    let (store, objects) = (store(), Arc::new(KeyMap::default()));
    let mut foreseen = keyring(&store, &objects).foresee(&ns()).await.unwrap();
    assert!(objects.names().is_empty() && store.namespaces().await.unwrap().is_empty(), "nothing was written");
    assert!(keyring(&store, &objects).holds(&ns(), &mut foreseen).await.unwrap());
    let made = keyring(&store, &objects).namespace(&ns()).await.unwrap();
    assert_eq!(made.email_hmac("x"), foreseen.keys.email_hmac("x"));
    assert_eq!(made.token_mac("resume", b"data"), foreseen.keys.token_mac("resume", b"data"));
    assert!(keyring(&store, &objects).holds(&ns(), &mut foreseen).await.unwrap());
    let other = Namespace::parse("ns", "other").unwrap();
    let mut elsewhere = keyring(&store, &objects).foresee(&other).await.unwrap();
    assert_ne!(elsewhere.keys.email_hmac("x"), made.email_hmac("x"), "each namespace has its own");
    // A daemon with another master key is faster: what was foreseen does not hold.
    let stranger = Keyring::new(MasterKeys::load(&value("cd"), None).unwrap(), Arc::clone(&store), Arc::clone(&objects) as _);
    stranger.namespace(&other).await.unwrap();
    let both = Keyring::new(MasterKeys::parse("both", &format!("{}\n{}", "5a".repeat(32), "cd".repeat(32))).unwrap(), store, objects);
    assert!(!both.holds(&other, &mut elsewhere).await.unwrap());
}

#[tokio::test]
async fn daemons_that_meet_agree_on_one_key() {
    let (store, objects) = (store(), Arc::new(KeyMap::default()));
    let rings: Vec<_> = (0..8).map(|_| keyring(&store, &objects)).collect();
    let ns = ns();
    let keys = futures::future::join_all(rings.iter().map(|ring| ring.namespace(&ns))).await;
    let hmacs: std::collections::BTreeSet<_> = keys.into_iter().map(|keys| keys.unwrap().email_hmac("x")).collect();
    assert_eq!(hmacs.len(), 1);
}

#[tokio::test]
async fn lost_metadata_lose_no_published_key() {
    let (before, objects) = (store(), Arc::new(KeyMap::default()));
    let ring = keyring(&before, &objects);
    let (published, unpublished) = (lineage(&ring).await, lineage(&ring).await);
    ring.publish(&ns(), published).await.unwrap();
    ring.publish(&ns(), published).await.unwrap();
    let after = keyring(&store(), &objects);
    assert_eq!(after.namespace(&ns()).await.unwrap().email_hmac("x"), ring.namespace(&ns()).await.unwrap().email_hmac("x"));
    let (old, new) = (ring.lineage(&ns(), published).await.unwrap(), after.lineage(&ns(), published).await.unwrap());
    assert_eq!(old.secret().expose(), new.secret().expose());
    assert_eq!(after.lineage(&ns(), unpublished).await.unwrap_err().reason(), Reason::KeyUnavailable);
}

#[tokio::test]
async fn an_outage_of_the_blob_store_makes_no_second_key() {
    let (store, objects) = (store(), Arc::new(KeyMap::default()));
    objects.set_down(true);
    let ring = keyring(&store, &objects);
    assert_eq!(ring.namespace(&ns()).await.unwrap_err().reason(), Reason::BlobsUnavailable);
    assert!(store.namespaces().await.unwrap().is_empty());
    objects.set_down(false);
    ring.namespace(&ns()).await.unwrap();
    objects.set_down(true);
    keyring(&store, &objects).namespace(&ns()).await.unwrap();
}

#[tokio::test]
async fn a_key_in_the_bucket_is_never_replaced_by_another() {
    let (store, objects) = (store(), Arc::new(KeyMap::default()));
    let ring = keyring(&store, &objects);
    let lineage = lineage(&ring).await;
    objects.put_new(&object_name(&ns(), lineage, 1), Bytes::from_static(b"another")).await.unwrap();
    assert_eq!(ring.publish(&ns(), lineage).await.unwrap_err().reason(), Reason::DataCorrupt);
}

#[tokio::test]
async fn a_shredded_lineage_opens_nothing_any_more() {
    let (store, objects) = (store(), Arc::new(KeyMap::default()));
    let ring = keyring(&store, &objects);
    let lineage = lineage(&ring).await;
    ring.publish(&ns(), lineage).await.unwrap();
    ring.shred(&ns(), lineage).await.unwrap();
    let gone = Txn { writes: vec![Write::Delete(lineage_key(lineage))], ..Txn::default() };
    store.commit(&ns(), Commit::from(gone)).await.unwrap();
    assert_eq!(ring.lineage(&ns(), lineage).await.unwrap_err().reason(), Reason::KeyUnavailable);
}

#[tokio::test]
async fn a_start_with_another_master_key_is_refused_by_either_store() {
    let (store, objects) = (store(), Arc::new(KeyMap::default()));
    let open = |source, store: &Arc<dyn Metadata>, objects: &Arc<KeyMap>| {
        let (store, objects) = (Arc::clone(store), Arc::clone(objects));
        async move { Keyring::open(&source, store, objects).await }
    };
    let ring = open(value("ab"), &store, &objects).await.unwrap();
    ring.namespace(&ns()).await.unwrap();
    open(value("ab"), &store, &objects).await.unwrap();
    let fresh: Arc<dyn Metadata> = Arc::new(Embedded::ephemeral(Limits::default()).unwrap());
    for (store, objects) in [(&store, &objects), (&fresh, &objects), (&store, &Arc::new(KeyMap::default()))] {
        let error = open(value("cd"), store, objects).await.unwrap_err();
        assert_eq!(error.reason(), Reason::KeyUnavailable);
        assert!(error.message().contains("CLOAKROOM_MASTER_KEY") && !error.message().contains("cdcd"), "{error}");
    }
}

#[tokio::test]
async fn a_default_key_file_that_was_lost_is_not_made_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("master.key");
    let source = KeySource::Default(path.clone());
    let (store, objects) = (store(), Arc::new(KeyMap::default()));
    Keyring::open(&source, Arc::clone(&store), Arc::clone(&objects) as _).await.unwrap();
    std::fs::remove_file(&path).unwrap();
    let error = Keyring::open(&source, Arc::clone(&store), Arc::clone(&objects) as _).await.unwrap_err();
    assert!(error.reason() == Reason::KeyUnavailable && error.message().contains("master.key") && !path.exists(), "{error}");
}

#[tokio::test]
async fn a_rotated_master_key_still_opens_what_the_old_one_sealed() {
    let (store, objects) = (store(), Arc::new(KeyMap::default()));
    let hmac = keyring(&store, &objects).namespace(&ns()).await.unwrap().email_hmac("x");
    let both = MasterKeys::parse("both", &format!("{}\n{}\n", "cd".repeat(32), "ab".repeat(32))).unwrap();
    let ring = Keyring::new(both, Arc::clone(&store), Arc::clone(&objects) as _);
    assert_eq!(ring.namespace(&ns()).await.unwrap().email_hmac("x"), hmac);
}

#[test]
fn nothing_prints_a_secret() {
    let keys = NamespaceKeys::generate(&ns(), &master().unwrap()).unwrap();
    let lineage = LineageKey::generate(&keys, LineageId([1; 16])).unwrap();
    let shown = format!("{keys:?} {lineage:?} {:?}", Secret::new([7; 32]));
    assert!(!shown.contains("7, 7") && !shown.contains(&format!("{:?}", lineage.secret().expose())), "{shown}");
}
