//! Saves whose messages come in a wrong order, twice, or not to their end.

use std::time::Duration;

use futures::StreamExt as _;

use super::{Bytes, LEAF, Message, Scene, api, end, file, kept, noise, records, requests, run, stream};

const STATE: &str = r#"{"cookies":[],"origins":[]}"#;

fn state(text: &str) -> Message {
    Message::StorageState(api::StorageStateChunk { data: Bytes::copy_from_slice(text.as_bytes()) })
}

/// A sound save of two more files in three pieces, with a storage state in two.
fn sound(scene: &Scene) -> Vec<Message> {
    let (one, other) = (noise(2, 3 * LEAF), noise(3, 50));
    let (one_file, other_file) = (file("one", &one), file("other", &other));
    let after = [kept(), vec![one_file.clone(), other_file.clone()]].concat();
    vec![
        Message::Begin(scene.begin()),
        Message::Records(records(vec![one_file], vec![run(0, 0, 1)], &one[..LEAF])),
        state(&STATE[..10]),
        Message::Records(records(Vec::new(), vec![run(0, 1, 2)], &one[LEAF..])),
        state(&STATE[10..]),
        Message::Records(records(vec![other_file], vec![run(1, 0, 1)], &other)),
        end(&after),
    ]
}

/// `messages` with one more at a place.
fn with(messages: &[Message], at: usize, message: Option<Message>) -> Vec<Option<Message>> {
    let mut messages: Vec<_> = messages.iter().cloned().map(Some).collect();
    messages.insert(at, message);
    messages
}

async fn is_a_save(scene: &Scene, messages: Vec<Message>) {
    let before = scene.session().await;
    let saved = scene.save(messages).await.unwrap();
    let after = scene.session().await;
    assert_eq!((&after.head_snapshot_id, &after.etag), (&saved.snapshot.unwrap().id, &saved.session_etag));
    assert!(after.head_snapshot_id != before.head_snapshot_id && after.storage_state_revision > 0);
}

#[tokio::test]
async fn a_save_begins_with_begin() {
    let scene = Scene::new().await;
    let sound = sound(&scene);
    for first in [Some(1), Some(2), Some(sound.len() - 1), None] {
        let first = first.map(|at: usize| sound[at].clone());
        scene.refused(scene.stream(vec![first.clone()]), "STREAM_PROTOCOL", "", &["first message", "`begin`"]).await;
        scene.refused(scene.stream(with(&sound, 0, first)), "STREAM_PROTOCOL", "", &["first message", "`begin`"]).await;
    }
    is_a_save(&scene, sound).await;
}

#[tokio::test]
async fn an_empty_message_is_refused_anywhere() {
    let scene = Scene::new().await;
    let sound = sound(&scene);
    for at in 1..sound.len() {
        scene.refused(scene.stream(with(&sound, at, None)), "STREAM_PROTOCOL", "", &["empty", "`records`, `storage_state` or `end`"]).await;
    }
    is_a_save(&scene, sound).await;
}

#[tokio::test]
async fn a_second_begin_is_refused_anywhere() {
    let scene = Scene::new().await;
    let sound = sound(&scene);
    for at in 1..sound.len() {
        scene.refused(scene.stream(with(&sound, at, Some(sound[0].clone()))), "STREAM_PROTOCOL", "", &["only one `begin`"]).await;
    }
    is_a_save(&scene, sound).await;
}

#[tokio::test]
async fn nothing_may_follow_end() {
    let scene = Scene::new().await;
    let sound = sound(&scene);
    let ends = sound[sound.len() - 1].clone();
    for more in [Some(sound[1].clone()), Some(sound[2].clone()), Some(sound[0].clone()), Some(ends.clone()), None] {
        scene.refused(scene.stream(with(&sound, sound.len(), more)), "STREAM_PROTOCOL", "", &["`end`", "last message"]).await;
    }
    is_a_save(&scene, sound.clone()).await;
    // Also not when the save is repeated.
    let refused = scene.stream(with(&sound, sound.len(), Some(ends))).await.unwrap_err();
    assert!(refused.message().contains("last message"), "{refused:?}");
}

#[tokio::test]
async fn an_end_of_another_length_is_refused() {
    let scene = Scene::new().await;
    for length in [0, 31, 33] {
        let mut messages = sound(&scene);
        let last = messages.len() - 1;
        messages[last] = Message::End(api::SaveEnd { manifest_root: vec![0; length].into() });
        scene.refused(scene.save(messages), "INVALID_FIELD", "end.manifest_root", &[&format!("{length} bytes"), "needs 32"]).await;
    }
}

#[tokio::test]
async fn an_upload_cut_anywhere_changes_nothing() {
    let scene = Scene::new().await;
    let sound = sound(&scene);
    let Message::Begin(begin) = &sound[0] else { panic!("a save begins with begin") };
    for cut in 0..sound.len() {
        let part = || sound[..cut].iter().cloned().map(Some).collect::<Vec<_>>();
        scene.refused(scene.stream(part()), "STREAM_TRUNCATED", "", &["before its `end`", "nothing was changed"]).await;

        // Dropped: the stream stays open until the call goes away.
        let before = scene.session().await;
        let mut stub = scene.profiles();
        let call = stub.save_profile(stream::iter(requests(part())).chain(stream::pending()));
        assert!(tokio::time::timeout(Duration::from_millis(50), call).await.is_err(), "still waiting after {cut} messages");
        assert_eq!(scene.session().await, before, "after {cut} messages");
        let asked = api::GetSaveStatusRequest { session_id: scene.session.clone(), upload_id: begin.upload_id.clone(), ..Default::default() };
        assert_eq!(scene.profiles().get_save_status(asked).await.unwrap().into_inner().state(), api::SaveState::Unknown);
    }
    is_a_save(&scene, sound).await;
}
