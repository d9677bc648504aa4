//! The rules of a blob store, each an executable function with the rule's name. Every backend runs all of them:
//!
//! ```text
//! cloakroom_server::blob_conformance!(Opened::twice(&config));
//! ```
//!
//! A rule panics when the backend breaks it. A rule that is missing in the list of [`blob_conformance!`](crate::blob_conformance) is dead code, which the build refuses.

#![expect(clippy::unwrap_used, reason = "a rule that meets something unexpected has failed, and a failed rule panics")]

use std::sync::Arc;

use bytes::Bytes;
use futures::future::join_all;

use super::{Blobs, BlobsConfig, Listed, Put};
use crate::model::error::Reason;

const MIB: usize = 1 << 20;

/// One store, as two daemons have it.
#[derive(Debug)]
pub struct Opened {
    one: Arc<Blobs>,
    other: Arc<Blobs>,
    keep: Box<dyn std::any::Any + Send + Sync + 'static>,
}

impl Opened {
    /// Opens the store that a configuration names twice.
    ///
    /// # Panics
    /// When it cannot be opened.
    #[must_use]
    pub fn twice(config: &BlobsConfig) -> Self {
        // As the daemon does at its start; another rule may have been faster.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let open = || Arc::new(Blobs::open(config).unwrap());
        Self { one: open(), other: open(), keep: Box::new(()) }
    }

    /// Opens it once, for both daemons: a store that is in the process.
    ///
    /// # Panics
    /// When it cannot be opened.
    #[must_use]
    pub fn once(config: &BlobsConfig) -> Self {
        let one = Arc::new(Blobs::open(config).unwrap());
        Self { other: Arc::clone(&one), one, keep: Box::new(()) }
    }

    /// Keeps what the store needs, such as its server, as long as the rule runs.
    #[must_use]
    pub fn with(self, keep: impl std::any::Any + Send + Sync) -> Self {
        Self { keep: Box::new((self.keep, keep)), ..self }
    }
}

/// Makes one test per rule.
///
/// The argument makes an [`Opened`](crate::store::blobs::conformance::Opened); it may `.await`. Rules use names that begin with their own. The caller needs `tokio` with its macros
/// and its multi-threaded runtime.
#[macro_export]
macro_rules! blob_conformance {
    ($opened:expr) => {
        $crate::blob_conformance! { @rules [tests [$opened]] }
    };
    (@rules [$make:ident [$($given:tt)*]]) => {
        $crate::blob_conformance! {
            @$make [$($given)*]
            a_store_passes_its_own_probe
            what_was_created_is_read_back_by_everybody
            every_size_is_read_back
            creating_again_changes_nothing
            one_of_many_racing_writers_creates
            readers_see_the_whole_object_or_none
            readers_beside_a_delete_see_the_whole_object_or_none
            ranges_are_exact_wherever_they_lie
            a_range_behind_the_end_is_corrupt_and_names_the_object
            a_missing_object_is_none_for_every_question
            deleting_twice_succeeds_and_leaves_others_alone
            a_deleted_name_can_be_created_again
            a_listing_has_what_lies_in_the_directory_and_nothing_else
            a_listing_keeps_to_its_limit
            names_may_have_unusual_characters
            repeated_writes_of_one_object_agree
        }
    };
    (@tests [$opened:expr] $($rule:ident)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $rule() {
                $crate::store::blobs::conformance::rules::$rule(&$opened).await;
            }
        )+
    };
    (@functions [] $($rule:ident)+) => {
        $(
            #[doc = concat!("The rule `", stringify!($rule), "`.")]
            pub async fn $rule(store: &super::Opened) {
                super::$rule(store).await;
            }
        )+
    };
}

/// The rules, for a runner that wants to call them one by one.
pub mod rules {
    crate::blob_conformance! { @rules [functions []] }
}

/// Bytes that tell where in which object they lie.
fn content(seed: usize, length: usize) -> Bytes {
    (0..length).map(|at| u8::try_from((at.wrapping_mul(31) ^ (at >> 10) ^ seed) & 0xff).unwrap()).collect::<Vec<_>>().into()
}

async fn create(blobs: &Blobs, name: &str, bytes: &Bytes) {
    assert_eq!(blobs.put_new(name, bytes.clone()).await.unwrap(), Put::Created, "{name}");
}

async fn a_store_passes_its_own_probe(store: &Opened) {
    store.one.probe().await.unwrap();
    store.other.probe().await.unwrap();
    store.one.warnings().await.unwrap();
    assert!(store.one.list("probe", 10).await.unwrap().is_empty(), "a probe leaves nothing");
}

async fn what_was_created_is_read_back_by_everybody(store: &Opened) {
    let bytes = content(1, 1000);
    create(&store.one, "everybody/a", &bytes).await;
    for blobs in [&store.one, &store.other] {
        assert_eq!(blobs.get("everybody/a").await.unwrap().as_ref(), Some(&bytes));
        assert_eq!(blobs.length("everybody/a").await.unwrap(), Some(1000));
    }
}

async fn every_size_is_read_back(store: &Opened) {
    for length in [0, 1, 4096, MIB - 1, MIB, MIB + 1, 2 * MIB, 9 * MIB + 7] {
        let (name, bytes) = (format!("size/{length}"), content(length, length));
        create(&store.one, &name, &bytes).await;
        assert!(store.other.get(&name).await.unwrap() == Some(bytes), "{name}");
        assert_eq!(store.other.length(&name).await.unwrap(), Some(length as u64));
        store.one.delete(&name).await.unwrap();
    }
}

async fn creating_again_changes_nothing(store: &Opened) {
    let bytes = content(1, MIB + 5);
    create(&store.one, "again/a", &bytes).await;
    for length in [0, 10, 2 * MIB] {
        assert_eq!(store.other.put_new("again/a", content(2, length)).await.unwrap(), Put::Exists);
        assert!(store.one.get("again/a").await.unwrap().as_ref() == Some(&bytes), "another of {length} bytes");
    }
}

async fn one_of_many_racing_writers_creates(store: &Opened) {
    for (round, length) in [100, 100, 100, 2 * MIB + 3].into_iter().enumerate() {
        let name = format!("race/{round}");
        let both = [&store.one, &store.other];
        let puts = join_all((0..12).map(|seed| both[seed % 2].put_new(&name, content(seed, length)))).await;
        let puts: Vec<_> = puts.into_iter().map(Result::unwrap).collect();
        let winners: Vec<_> = (0..12).filter(|&seed| puts[seed] == Put::Created).collect();
        assert_eq!(winners.len(), 1, "{puts:?}");
        assert!(store.one.get(&name).await.unwrap() == Some(content(winners[0], length)), "what stands there is what the winner wrote");
    }
}

async fn readers_see_the_whole_object_or_none(store: &Opened) {
    let (name, length) = ("whole/a", 6 * MIB + 1);
    let bytes = content(3, length);
    let reading = async {
        let mut seen = 0;
        while seen < 3 {
            let end = length as u64;
            match (store.other.length(name).await.unwrap(), store.other.get_ranges(name, &[0..1, end - 9..end]).await.unwrap()) {
                // Not there yet, or it came between the two questions.
                (None, None | Some(_)) => {}
                (Some(found), Some(parts)) => {
                    assert_eq!((found, &parts[..]), (end, &[bytes.slice(..1), bytes.slice(length - 9..)][..]));
                    assert!(store.other.get(name).await.unwrap().as_ref() == Some(&bytes));
                    seen += 1;
                }
                (Some(_), None) => panic!("it was there and is gone"),
            }
            let listed = store.other.list("whole", 10).await.unwrap();
            assert!(listed.iter().all(|found| found.length == length as u64), "{listed:?}");
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(create(&store.one, name, &bytes), reading);
}

async fn readers_beside_a_delete_see_the_whole_object_or_none(store: &Opened) {
    let bytes = content(4, 5 * MIB);
    for round in 0..3 {
        let name = format!("gone/{round}");
        create(&store.one, &name, &bytes).await;
        let reading = async {
            while let Some(found) = store.other.get(&name).await.unwrap() {
                assert!(found == bytes, "a part of {name}");
            }
        };
        let (deleted, ()) = tokio::join!(store.one.delete(&name), reading);
        deleted.unwrap();
    }
}

#[expect(clippy::single_range_in_vec_init, reason = "one range is meant, not its numbers")]
async fn ranges_are_exact_wherever_they_lie(store: &Opened) {
    let length = 4 * MIB + 100;
    let bytes = content(5, length);
    create(&store.one, "ranges/a", &bytes).await;
    let mib = MIB as u64;
    let sets: [&[std::ops::Range<u64>]; 6] = [
        &[0..1],
        &[0..length as u64],
        &[mib - 1..mib + 1, 2 * mib..3 * mib, 7..8],
        &[length as u64 - 1..length as u64, 0..10, 5..15],
        &[mib..mib + 1, mib + 1..mib + 2, 3 * mib - 5..4 * mib + 5],
        &[],
    ];
    for set in sets {
        let parts = store.other.get_ranges("ranges/a", set).await.unwrap().unwrap();
        let index = |at: u64| usize::try_from(at).unwrap();
        let wanted: Vec<_> = set.iter().map(|range| bytes.slice(index(range.start)..index(range.end))).collect();
        assert!(parts == wanted, "{set:?}");
    }
    assert_eq!(store.one.get_range("ranges/a", 10..20).await.unwrap().unwrap(), bytes.slice(10..20));
}

async fn a_range_behind_the_end_is_corrupt_and_names_the_object(store: &Opened) {
    create(&store.one, "end/a", &content(6, 100)).await;
    create(&store.one, "end/empty", &Bytes::new()).await;
    for (name, range) in [("end/a", 90..101), ("end/a", 100..101), ("end/a", 5000..5001), ("end/empty", 0..1)] {
        let error = store.other.get_range(name, range.clone()).await.unwrap_err();
        assert_eq!(error.reason(), Reason::DataCorrupt, "{name} {range:?}");
        assert!(error.message().contains(name), "{error}");
    }
}

async fn a_missing_object_is_none_for_every_question(store: &Opened) {
    for name in ["missing", "missing/a/b"] {
        assert_eq!(store.one.get(name).await.unwrap(), None);
        assert_eq!(store.one.length(name).await.unwrap(), None);
        assert_eq!(store.one.get_range(name, 0..1).await.unwrap(), None);
        assert_eq!(store.one.get_ranges(name, &[0..1, 7..9]).await.unwrap(), None);
        store.one.delete(name).await.unwrap();
    }
    assert_eq!(store.one.list("missing", 10).await.unwrap(), []);
}

async fn deleting_twice_succeeds_and_leaves_others_alone(store: &Opened) {
    for name in ["delete/a", "delete/ab", "delete/a0"] {
        create(&store.one, name, &content(7, 10)).await;
    }
    store.other.delete("delete/a").await.unwrap();
    store.one.delete("delete/a").await.unwrap();
    assert_eq!(store.one.get("delete/a").await.unwrap(), None);
    for name in ["delete/ab", "delete/a0"] {
        assert_eq!(store.other.length(name).await.unwrap(), Some(10));
    }
}

async fn a_deleted_name_can_be_created_again(store: &Opened) {
    create(&store.one, "anew/a", &content(8, 2 * MIB)).await;
    store.one.delete("anew/a").await.unwrap();
    let bytes = content(9, 10);
    create(&store.other, "anew/a", &bytes).await;
    assert_eq!(store.one.get("anew/a").await.unwrap(), Some(bytes));
}

async fn a_listing_has_what_lies_in_the_directory_and_nothing_else(store: &Opened) {
    let names = ["list/ab/1", "list/ab/2/3", "list/abc/1", "list/a", "other/list/ab/1"];
    for (at, name) in names.iter().enumerate() {
        create(&store.one, name, &content(10, at * MIB / 2)).await;
    }
    let listed = async |directory: &str| {
        let mut found = store.other.list(directory, 100).await.unwrap();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        found
    };
    let object = |at: usize| Listed { name: names[at].to_owned(), length: (at * MIB / 2) as u64 };
    assert_eq!(listed("list/ab").await, [object(0), object(1)]);
    assert_eq!(listed("list/abc").await, [object(2)]);
    assert_eq!(listed("list").await, [object(3), object(0), object(1), object(2)]);
    assert_eq!(listed("li").await, []);
    store.one.delete(names[0]).await.unwrap();
    assert_eq!(listed("list/ab").await, [object(1)]);
}

async fn a_listing_keeps_to_its_limit(store: &Opened) {
    join_all((0..30).map(async |n| create(&store.one, &format!("limit/{n}"), &content(11, n)).await)).await;
    for limit in [0, 1, 29] {
        assert_eq!(store.other.list("limit", limit).await.unwrap().len(), limit);
    }
    assert_eq!(store.other.list("limit", 31).await.unwrap().len(), 30);
}

async fn names_may_have_unusual_characters(store: &Opened) {
    let names = ["odd/a b", "odd/a+b", "odd/{x}", "odd/a:b", "odd/_x-y.z", "odd/*", "odd/[a]", "odd/é"];
    for (at, name) in names.iter().enumerate() {
        create(&store.one, name, &content(at, 10)).await;
    }
    for (at, name) in names.iter().enumerate() {
        assert_eq!(store.other.get(name).await.unwrap(), Some(content(at, 10)), "{name}");
    }
    assert_eq!(store.other.list("odd", 100).await.unwrap().len(), names.len());
    store.one.delete("odd/*").await.unwrap();
    assert_eq!(store.other.list("odd", 100).await.unwrap().len(), names.len() - 1);
}

async fn repeated_writes_of_one_object_agree(store: &Opened) {
    let bytes = content(12, MIB + 1);
    let puts = [&store.one, &store.other, &store.one].map(|blobs| blobs.put_new("repeat/a", bytes.clone()));
    let created = join_all(puts).await.into_iter().filter(|put| *put.as_ref().unwrap() == Put::Created).count();
    assert_eq!(created, 1);
    assert!(store.one.get("repeat/a").await.unwrap() == Some(bytes));
}
