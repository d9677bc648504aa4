//! Callers that take what saves and loads need, and then stand still: they give way to those that wait.

use std::{future::Future, time::Duration};

use cloakroom_tests::{
    daemon::{Daemon, Options},
    process::PATIENCE,
};
use futures::{StreamExt as _, future::join_all, stream};
use tonic::{Code, Streaming, transport::Channel};
use tonic_types::StatusExt as _;

use super::{Message, Scene, Status, api, disk::noise_messages, requests};

/// A daemon that has memory for one save and one load at a time, and little patience.
async fn narrow(transfers: &str) -> Daemon {
    let set = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let env = vec![
        set("CLOAKROOM_LIMITS_SAVE_MEMORY", "1MiB"),
        set("CLOAKROOM_LIMITS_LOAD_MEMORY", "1MiB"),
        set("CLOAKROOM_LIMITS_TRANSFERS", transfers),
        set("CLOAKROOM_LIMITS_WAIT_TIMEOUT", "1s"),
    ];
    Daemon::start_with(Options { env, args: Vec::new() }).await
}

/// A session of its own, over a connection of its own: a stream that nobody reads fills its connection.
async fn alone(daemon: &Daemon) -> Scene {
    Scene::at(daemon.url()).await
}

/// Repeats a call that is refused for want of memory or places, or that itself stood still for a while on a busy machine, as clients do.
async fn patiently<T, F: Future<Output = Result<T, Status>>>(mut call: impl FnMut() -> F) -> T {
    let trying = async {
        loop {
            match call().await {
                Ok(done) => return done,
                Err(status) if status.code() == Code::DeadlineExceeded => gave_way(&status, ""),
                Err(status) => {
                    let details = status.get_error_details();
                    assert_eq!(details.error_info().map(|info| info.reason.as_str()), Some("OVERLOADED"), "{status:?}");
                    assert!(status.code() == Code::ResourceExhausted && details.retry_info().is_some(), "{status:?}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    };
    tokio::time::timeout(PATIENCE, trying).await.expect("a place in time, long before those that stand still are ended anyway")
}

async fn load(scene: &Scene) -> Result<Streaming<api::LoadProfileResponse>, Status> {
    let request = api::LoadProfileRequest { session_id: scene.session.clone(), ..api::LoadProfileRequest::default() };
    scene.profiles().load_profile(request).await.map(tonic::Response::into_inner)
}

fn gave_way(status: &Status, what: &str) {
    let info = status.get_details_error_info().unwrap();
    assert_eq!((status.code(), info.reason.as_str()), (Code::DeadlineExceeded, "DEADLINE"), "{status:?}");
    assert!(status.message().contains(what) && status.message().contains("limits.wait_timeout"), "{}", status.message());
}

#[tokio::test]
async fn readers_that_stand_still_give_way_to_others() {
    for transfers in ["64", "6"] {
        let daemon = narrow(transfers).await;
        let mut scene = alone(&daemon).await;
        scene.save_noise(31, 24 << 20).await.unwrap();
        let begin = async |_: usize| {
            let channel = Channel::from_shared(daemon.url()).unwrap().connect().await.unwrap();
            let own = Scene { _daemon: None, channel, session: scene.session.clone(), head: String::new() };
            (load(&own).await, own)
        };
        // Some are refused at once, or in time; those that got in hold all there is, and read nothing.
        let all = join_all((0..20).map(begin)).await;
        let (still, _scenes): (Vec<_>, Vec<_>) = all.into_iter().partition(|(load, _)| load.is_ok());
        assert!(!still.is_empty(), "somebody got in");
        for _ in 0..3 {
            let read = async || {
                let mut messages = load(&scene).await?;
                while messages.message().await?.is_some() {}
                Ok(())
            };
            patiently(read).await;
        }
        let mut ended = 0;
        for (load, _) in still {
            let mut messages = load.unwrap();
            while let Some(message) = messages.next().await {
                if let Err(status) = message {
                    gave_way(&status, "nothing was fetched for 500ms");
                    ended += 1;
                }
            }
        }
        assert!(ended > 0, "those that stood still hear why they were ended");
    }
}

#[tokio::test]
async fn writers_that_stand_still_give_way_to_others() {
    let daemon = narrow("64").await;
    let begin = async |seed: u64| {
        let scene = alone(&daemon).await;
        let mut messages = noise_messages(&scene, seed, 2 << 20);
        messages.truncate(2);
        let standing = stream::iter(requests(messages.into_iter().map(Some).collect())).chain(stream::pending());
        scene.profiles().save_profile(standing).await.map(drop)
    };
    let still = join_all((0..20).map(begin));
    let honest = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let scene = alone(&daemon).await;
        patiently(async || scene.save(noise_messages(&scene, 50, 2 << 20)).await).await;
    };
    let (still, ()) = tokio::join!(still, honest);
    let ended: Vec<Status> = still.into_iter().map(Result::unwrap_err).collect();
    assert!(ended.iter().any(|status| status.code() == Code::DeadlineExceeded), "{ended:?}");
    for status in &ended {
        if status.code() == Code::DeadlineExceeded {
            gave_way(status, "nothing came for 500ms");
        } else {
            assert_eq!(status.get_details_error_info().unwrap().reason, "OVERLOADED", "{status:?}");
        }
    }
}

#[tokio::test]
async fn large_storage_states_that_never_come_to_an_end_give_way_to_others() {
    let daemon = narrow("64").await;
    let value = "v".repeat(1 << 20);
    let state = format!(r#"{{"cookies":[],"origins":[{{"origin":"https://a.example","localStorage":[{{"name":"k","value":"{value}"}}]}}]}}"#);
    let chunk = |bytes: &[u8]| Message::StorageState(api::StorageStateChunk { data: bytes.to_vec().into() });
    let pieces: Vec<Message> = state.as_bytes().chunks(512 << 10).map(chunk).collect();
    let begin = async |_: usize| {
        let scene = alone(&daemon).await;
        let messages = [vec![Message::Begin(scene.begin())], pieces.clone()].concat();
        let standing = stream::iter(requests(messages.into_iter().map(Some).collect())).chain(stream::pending());
        scene.profiles().save_profile(standing).await.map(drop)
    };
    let still = join_all((0..12).map(begin));
    let honest = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let scene = alone(&daemon).await;
        patiently(async || scene.save([vec![Message::Begin(scene.begin())], pieces.clone(), vec![super::end(&super::kept())]].concat()).await).await
    };
    let (still, saved) = tokio::join!(still, honest);
    assert!(saved.snapshot.unwrap().has_storage_state);
    for ended in still {
        let status = ended.unwrap_err();
        match status.get_details_error_info().unwrap().reason.as_str() {
            // One that began when the honest save was through stood in nobody's way.
            "DEADLINE" if status.message().contains("no message of the save came") => {}
            "DEADLINE" => gave_way(&status, "nothing came for 500ms"),
            reason => assert_eq!(reason, "OVERLOADED", "{status:?}"),
        }
    }
}
