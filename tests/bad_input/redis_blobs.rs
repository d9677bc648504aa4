//! Profiles in Redis: what the daemon says of it, a Redis that must not be used, and a save for which it has no memory.

use cloakroom_api::v1::{self as api, admin_service_client::AdminServiceClient};
use cloakroom_tests::{
    daemon::{Daemon, Options},
    redis::{self, Redis},
};

use super::{
    Scene,
    disk::kept_size,
    start::{check, key_file, options, start_fails},
};

/// Profiles in Redis, everything else on this machine.
fn on(url: &str, key: &std::path::Path) -> Options {
    options(&[("CLOAKROOM_BLOBS_BACKEND", "redis"), ("CLOAKROOM_BLOBS_REDIS_URL", url), ("CLOAKROOM_KEYS_MASTER_KEY_FILE", key.to_str().unwrap())])
}

async fn with(extra: &[&str]) -> Redis {
    Redis::start(redis::Options { extra: extra.iter().map(|&word| word.to_owned()).collect(), ..redis::Options::default() }).await
}

#[tokio::test]
async fn a_save_that_does_not_fit_into_redis_changes_nothing() {
    let (server, home) = (with(&["--maxmemory", "24mb"]).await, tempfile::tempdir().unwrap());
    let mut daemon = Daemon::start_with(on(&server.url(), &key_file(home.path(), "key", "5a"))).await;
    let mut scene = Scene::at(daemon.url()).await;
    scene.save_noise(11, 1 << 20).await.unwrap();

    let info = AdminServiceClient::new(scene.channel.clone()).get_server_info(api::GetServerInfoRequest::default()).await.unwrap().into_inner();
    let blobs = info.blobs.unwrap();
    assert_eq!((blobs.engine.as_str(), blobs.location), ("redis", format!("redis at 127.0.0.1:{}", server.port())));
    assert!(blobs.warnings.iter().any(|warning| warning.contains("loses saves")), "{:?}", blobs.warnings);

    let before = scene.session().await;
    for seed in 12..14 {
        let status = scene.save_noise(seed, 30 << 20).await.unwrap_err();
        let words = ["blob store redis at", &server.port().to_string(), "maxmemory"];
        scene.refused(async { Err::<(), _>(status) }, "STORAGE_FULL", "", &words).await;
        assert_eq!(scene.session().await, before);
    }
    assert_eq!(scene.noise_size().await, (1 << 20) + kept_size());
    scene.save_noise(20, 2 << 20).await.unwrap();
    assert_eq!(scene.noise_size().await, (2 << 20) + kept_size());
    assert_eq!(daemon.terminate().await, Some(0));
}

#[tokio::test]
async fn profiles_in_a_redis_that_must_not_be_used() {
    let home = tempfile::tempdir().unwrap();
    let key = key_file(home.path(), "key", "5a");
    let evicting = Redis::start(redis::Options { maxmemory_policy: "allkeys-lru".to_owned(), ..redis::Options::default() }).await;
    let words = ["redis at", &evicting.port().to_string(), "allkeys-lru", "maxmemory-policy noeviction"];
    start_fails(&on(&evicting.url(), &key), &home.path().join("data"), &words).await;
    start_fails(&on("redis://:sesame@127.0.0.1:1", &key), &home.path().join("data"), &["127.0.0.1:1", "blobs.redis_url"]).await;
    start_fails(&on("redis://a:1,redis://b:2", &key), &home.path().join("data"), &["blobs.redis_url", "2 Redis URLs"]).await;
}

#[tokio::test]
async fn a_check_says_where_profiles_will_be() {
    let home = tempfile::tempdir().unwrap();
    let (key, data) = (key_file(home.path(), "key", "5a"), home.path().join("data"));
    let (code, said, _) = check(&on("redis://:sesame@127.0.0.1:1/2", &key), &data, "127.0.0.1:0").await;
    assert!(code == Some(0) && said.contains("blobs: redis: redis at 127.0.0.1:1, names begin with cloakroom:") && !said.contains("sesame"), "{said}");
    let memory =
        options(&[("CLOAKROOM_BLOBS_BACKEND", "memory"), ("CLOAKROOM_BLOBS_MEMORY_SIZE", "2MiB"), ("CLOAKROOM_KEYS_MASTER_KEY_FILE", key.to_str().unwrap())]);
    let (code, said, _) = check(&memory, &data, "127.0.0.1:0").await;
    assert!(code == Some(0) && said.contains("blobs: memory, at most 2097152 bytes"), "{said}");
}
