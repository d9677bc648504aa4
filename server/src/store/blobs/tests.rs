//! The rules of a blob store, on a directory and in memory.

use std::{net::TcpListener, os::unix::fs::PermissionsExt as _, time::Instant};

use super::*;

fn memory() -> Blobs {
    Blobs::open(&BlobsConfig::memory()).unwrap()
}

async fn behaves(blobs: &Blobs) {
    blobs.probe().await.unwrap();
    let name = "c/ab/0/0000000000000001";
    assert_eq!(blobs.get(name).await.unwrap(), None);
    assert_eq!(blobs.length(name).await.unwrap(), None);
    assert_eq!(blobs.get_range(name, 0..1).await.unwrap(), None);
    assert_eq!(blobs.put_new(name, Bytes::from_static(b"0123456789")).await.unwrap(), Put::Created);
    assert_eq!(blobs.put_new(name, Bytes::from_static(b"other")).await.unwrap(), Put::Exists);
    assert_eq!(blobs.get(name).await.unwrap().unwrap(), "0123456789");
    assert_eq!(blobs.length(name).await.unwrap(), Some(10));
    assert_eq!(blobs.get_ranges(name, &[2..4, 8..10, 0..1]).await.unwrap().unwrap(), ["23", "89", "0"]);
    assert_eq!(blobs.get_range(name, 8..20).await.unwrap_err().reason(), Reason::DataCorrupt);
    assert_eq!(blobs.list("c/ab", 10).await.unwrap(), [Listed { name: name.to_owned(), length: 10 }]);
    assert_eq!(blobs.list("nothing", 10).await.unwrap(), []);
    blobs.delete(name).await.unwrap();
    blobs.delete(name).await.unwrap();
    assert_eq!(blobs.get(name).await.unwrap(), None);
}

#[tokio::test]
async fn memory_and_directories_behave_alike() {
    behaves(&memory()).await;
    let dir = tempfile::tempdir().unwrap();
    behaves(&Blobs::open(&BlobsConfig::local(dir.path().join("not/yet/there"))).unwrap()).await;
    let config = BlobsConfig { prefix: "team-a/x".to_owned(), ..BlobsConfig::local(dir.path()) };
    behaves(&Blobs::open(&config).unwrap()).await;
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
    assert_eq!(Blobs::open(&BlobsConfig { prefix: "../x".to_owned(), ..BlobsConfig::memory() }).unwrap_err().field_name(), Some("prefix"));
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
