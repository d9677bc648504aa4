//! The rules of a blob store on a directory and in memory, and what is told of settings and failures.

use std::{net::TcpListener, os::unix::fs::PermissionsExt as _, time::Instant};

use super::*;

fn memory() -> Blobs {
    Blobs::open(&BlobsConfig::memory(u64::MAX)).unwrap()
}

mod in_memory {
    use super::{BlobsConfig, conformance::Opened};

    crate::blob_conformance!(Opened::once(&BlobsConfig::memory(1 << 30)));
}

mod in_a_directory {
    use super::{BlobsConfig, conformance::Opened};

    fn directory() -> Opened {
        let dir = tempfile::tempdir().unwrap();
        Opened::twice(&BlobsConfig::local(dir.path().join("not/yet/there"))).with(dir)
    }

    crate::blob_conformance!(directory());
}

mod in_a_directory_under_a_prefix {
    use super::{BlobsConfig, conformance::Opened};

    fn directory() -> Opened {
        let dir = tempfile::tempdir().unwrap();
        Opened::twice(&BlobsConfig { prefix: "team-a/x".to_owned(), ..BlobsConfig::local(dir.path()) }).with(dir)
    }

    crate::blob_conformance!(directory());
}

#[tokio::test]
async fn memory_is_bounded_and_says_so() {
    let blobs = Blobs::open(&BlobsConfig::memory(1000)).unwrap();
    let put = async |name: &str, length| blobs.put_new(name, Bytes::from(vec![7; length])).await;
    assert_eq!(put("a", 600).await.unwrap(), Put::Created);
    let error = put("b", 401).await.unwrap_err();
    assert_eq!(error.reason(), Reason::StorageFull);
    for words in ["write b in the blob store memory", "600 of its 1000 bytes are used", "needs 401"] {
        assert!(error.message().contains(words), "{error}");
    }
    assert!(error.help().unwrap().contains("blobs.memory_size"));
    assert_eq!(blobs.get("b").await.unwrap(), None);
    assert_eq!(put("a", 900).await.unwrap(), Put::Exists, "what exists costs no room");
    assert_eq!(put("b", 400).await.unwrap(), Put::Created);
    blobs.delete("a").await.unwrap();
    blobs.delete("a").await.unwrap();
    assert_eq!(put("c", 601).await.unwrap_err().reason(), Reason::StorageFull);
    assert_eq!(put("c", 600).await.unwrap(), Put::Created);
    assert!(blobs.warnings().await.unwrap()[0].contains("end with the daemon"));
}

#[tokio::test]
async fn requests_are_counted() {
    let blobs = memory();
    blobs.put_new("a", Bytes::from_static(b"12345")).await.unwrap();
    blobs.get("a").await.unwrap();
    blobs.get_ranges("a", &[0..1, 3..4]).await.unwrap();
    blobs.list("", 1).await.unwrap();
    blobs.delete("a").await.unwrap();
    assert_eq!(blobs.counts(), Counts { puts: 1, gets: 2, lists: 1, deletes: 1, bytes_written: 5, bytes_read: 7 });
}

#[tokio::test]
async fn only_one_of_many_creates_the_object() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(&BlobsConfig::local(dir.path())).unwrap();
    let puts = futures::future::join_all((0..16).map(|n| blobs.put_new("x", Bytes::from(vec![n; 1000])))).await;
    assert_eq!(puts.into_iter().filter(|put| matches!(put, Ok(Put::Created))).count(), 1);
}

#[tokio::test]
async fn a_directory_that_cannot_be_used_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let error = Blobs::open(&BlobsConfig::local(file.join("inside"))).unwrap_err();
    assert_eq!(error.reason(), Reason::BlobsUnavailable);
    assert!(error.message().contains("file/inside"), "{error}");
    // Root may write anywhere, so permissions stop only others.
    let blobs = Blobs::open(&BlobsConfig::local(dir.path().join("locked"))).unwrap();
    std::fs::set_permissions(dir.path().join("locked"), std::fs::Permissions::from_mode(0o500)).unwrap();
    if std::fs::write(dir.path().join("locked/try"), "x").is_err() {
        let error = blobs.probe().await.unwrap_err();
        assert!(error.message().contains("permission denied") && error.help().is_some(), "{error}");
    }
}

#[tokio::test]
async fn a_full_disk_is_storage_full() {
    // /dev/full takes nothing: a directory on it does not exist, so the error is made as the store would give it.
    let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
    let error = object_store::Error::Generic { store: "LocalFileSystem", source: Box::new(full) };
    let error = memory().failed("write", "x", error);
    assert_eq!((error.reason(), error.help()), (Reason::StorageFull, Some("make room on the disk")));
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let s3 = |s3| Blobs::open(&BlobsConfig { place: Place::S3(s3), prefix: String::new() }).unwrap_err();
    assert_eq!(s3(S3::default()).field_name(), Some("bucket"));
    let error = s3(S3 { bucket: "b".to_owned(), endpoint: "http://key:secret@10.0.0.1".to_owned(), ..S3::default() });
    assert!(error.message().contains("http://10.0.0.1") && !error.message().contains("secret"), "{error}");
    assert_eq!(Blobs::open(&BlobsConfig { prefix: "../x".to_owned(), ..BlobsConfig::memory(u64::MAX) }).unwrap_err().field_name(), Some("prefix"));
    let config = S3 { keys: Some(("key".to_owned(), "hidden".to_owned())), ..S3::default() };
    assert!(!format!("{config:?}").contains("hidden"));
}

fn s3(endpoint: String, bucket: &str) -> Blobs {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let keys = Some(("AKIAEXAMPLE".to_owned(), "secret".to_owned()));
    let s3 = S3 { bucket: bucket.to_owned(), endpoint, keys, allow_http: true, ..S3::default() };
    Blobs::open(&BlobsConfig { place: Place::S3(s3), prefix: "p".to_owned() }).unwrap()
}

#[tokio::test]
async fn a_dead_endpoint_costs_about_three_seconds() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let started = crate::clock::monotonic();
    let error = s3(format!("http://{address}"), "b").probe().await.unwrap_err();
    assert_eq!(error.reason(), Reason::BlobsUnavailable);
    assert!(Instant::elapsed(&started) < Duration::from_secs(4), "took {:?}", started.elapsed());
}
