//! Fields of the `InvalidationService` that break their rules.

use prost_types::Duration;

use super::{Bytes, Channel, Daemon, InvalidationServiceClient, Scene, Status, api, noise};
use api::{watch_invalidations_request::Start, watch_invalidations_response::Event};

fn of_session(id: &str) -> api::Selector {
    api::Selector { session_id: id.to_owned(), ..api::Selector::default() }
}

impl Scene {
    async fn watch(&self, request: api::WatchInvalidationsRequest) -> Result<api::WatchInvalidationsResponse, Status> {
        let mut messages = self.invalidations().watch_invalidations(request).await?.into_inner();
        Ok(messages.message().await?.expect("a watch begins with a message"))
    }

    async fn watch_refused(&self, request: api::WatchInvalidationsRequest, reason: &str, field: &str, words: &[&str]) {
        self.refused(self.watch(request), reason, field, words).await;
    }

    /// Tells watchers to forget this scene's session.
    fn invalidation(&self) -> api::InvalidateRequest {
        api::InvalidateRequest { selectors: vec![of_session(&self.session)], ..api::InvalidateRequest::default() }
    }

    async fn invalidate(&self, request: api::InvalidateRequest) -> Result<api::InvalidateResponse, Status> {
        self.invalidations().invalidate(request).await.map(tonic::Response::into_inner)
    }

    async fn invalidation_refused(&self, request: api::InvalidateRequest, reason: &str, field: &str, words: &[&str]) {
        self.refused(self.invalidate(request), reason, field, words).await;
    }
}

#[tokio::test]
async fn selectors_keep_to_their_rules() {
    let scene = Scene::new().await;
    let kinds = |kind| api::Selector { kinds: vec![1, kind], ..api::Selector::default() };
    let cases = [
        (vec![of_session("a"); 65], "selectors", ["65 entries", "at most 64"]),
        (vec![of_session("a"), of_session("a b")], "selectors[1].session_id", ["position 1", "`A-Z a-z 0-9 . _ -`"]),
        (vec![of_session(&"a".repeat(129))], "selectors[0].session_id", ["129 bytes", "1 to 128"]),
        (vec![api::Selector { business_id: "b".repeat(257), ..Default::default() }], "selectors[0].business_id", ["257 bytes", "1 to 256"]),
        (vec![api::Selector { email: "no address".to_owned(), ..Default::default() }], "selectors[0].email", ["selectors[0].email", "white space"]),
        (vec![kinds(0)], "selectors[0].kinds", ["unknown kind", "0"]),
        (vec![kinds(99)], "selectors[0].kinds", ["unknown kind", "99"]),
        (vec![kinds(-1)], "selectors[0].kinds", ["unknown kind", "-1"]),
    ];
    for (selectors, field, words) in cases {
        let watch = api::WatchInvalidationsRequest { selectors: selectors.clone(), ..Default::default() };
        scene.watch_refused(watch, "INVALID_FIELD", field, &words).await;
        scene.invalidation_refused(api::InvalidateRequest { selectors, ..Default::default() }, "INVALID_FIELD", field, &words).await;
    }
    let most = api::WatchInvalidationsRequest { selectors: vec![of_session("a"); 64], ..Default::default() };
    assert!(matches!(scene.watch(most).await.unwrap().event, Some(Event::Opened(_))));
}

#[tokio::test]
async fn the_bookmark_interval_is_a_second_to_a_minute() {
    let scene = Scene::new().await;
    let of = |seconds, nanos| api::WatchInvalidationsRequest { bookmark_interval: Some(Duration { seconds, nanos }), ..Default::default() };
    for (seconds, nanos, shown) in [(0, 500_000_000, "0.5 s"), (61, 0, "61 s"), (0, 0, "0 s"), (-5, 0, "-5 s"), (i64::MAX, 0, " s"), (60, 1, "60.000000001 s")]
    {
        scene.watch_refused(of(seconds, nanos), "INVALID_FIELD", "bookmark_interval", &[shown, "1 s to 60 s"]).await;
    }
    for seconds in [1, 60] {
        let Some(Event::Opened(opened)) = scene.watch(of(seconds, 0)).await.unwrap().event else { panic!("not opened") };
        assert_eq!(opened.bookmark_interval, Some(Duration { seconds, nanos: 0 }));
    }
}

#[tokio::test]
async fn a_watch_starts_where_there_is_something() {
    let scene = Scene::new().await;
    let from = |start| api::WatchInvalidationsRequest { start: Some(start), ..Default::default() };
    for revision in [-1, i64::MIN] {
        scene.watch_refused(from(Start::AfterRevision(revision)), "INVALID_FIELD", "after_revision", &[&revision.to_string()]).await;
    }
    let issued = scene.watch(api::WatchInvalidationsRequest::default()).await.unwrap().resume_token;
    let mut forged = issued.to_vec();
    forged[3] ^= 1;
    for token in [noise(8, 60), noise(9, 512), noise(10, 513), vec![1], [&issued[..], &[0; 513][..]].concat()] {
        let words = [&*format!("{} bytes", token.len()), "start without it"];
        scene.watch_refused(from(Start::ResumeToken(token.into())), "INVALID_RESUME_TOKEN", "resume_token", &words).await;
    }
    let words = ["names this namespace's history", "start without it"];
    scene.watch_refused(from(Start::ResumeToken(forged.into())), "INVALID_RESUME_TOKEN", "resume_token", &words).await;
    let others = api::WatchInvalidationsRequest { selectors: vec![of_session("a")], ..from(Start::ResumeToken(issued.clone())) };
    scene.watch_refused(others, "INVALID_RESUME_TOKEN", "resume_token", &["other selectors"]).await;
    let empty = from(Start::ResumeToken(Bytes::new()));
    scene.watch_refused(empty, "INVALID_RESUME_TOKEN", "resume_token", &["0 bytes"]).await;
    assert!(scene.watch(from(Start::ResumeToken(issued))).await.is_ok(), "the token itself goes on");
}

/// The data directory was made anew, and with it the key of the tokens: who resumed at every start failed at every start.
#[tokio::test]
async fn a_token_of_another_store_is_answered_with_a_reset() {
    let (here, other) = (Scene::new().await, Daemon::start().await);
    let channel = Channel::from_shared(other.url()).unwrap().connect().await.unwrap();
    let issued = || async {
        let watch = InvalidationServiceClient::new(channel.clone()).watch_invalidations(api::WatchInvalidationsRequest::default()).await;
        watch.unwrap().into_inner().message().await.unwrap().unwrap().resume_token
    };
    let unused = issued().await;
    Scene::at(other.url()).await;
    for token in [unused, issued().await] {
        let request = api::WatchInvalidationsRequest { start: Some(Start::ResumeToken(token)), ..Default::default() };
        let mut watch = here.invalidations().watch_invalidations(request).await.unwrap().into_inner();
        assert!(matches!(watch.message().await.unwrap().unwrap().event, Some(Event::Opened(_))));
        let Some(Event::Reset(reset)) = watch.message().await.unwrap().unwrap().event else { panic!("no reset") };
        assert_eq!(reset.reason(), api::reset::Reason::HistoryChanged);
    }
}

#[tokio::test]
async fn an_invalidation_says_which_sessions() {
    let scene = Scene::new().await;
    let of = |selectors| api::InvalidateRequest { selectors, ..Default::default() };
    scene.invalidation_refused(of(Vec::new()), "INVALID_FIELD", "selectors", &["empty"]).await;
    let rule = ["must name a session, a business or an e-mail address", "no kinds"];
    scene.invalidation_refused(of(vec![api::Selector::default()]), "INVALID_FIELD", "selectors[0]", &rule).await;
    let kinds = api::Selector { kinds: vec![api::ChangeKind::ProfileSaved.into()], ..of_session(&scene.session) };
    scene.invalidation_refused(of(vec![of_session(&scene.session), kinds]), "INVALID_FIELD", "selectors[1]", &rule).await;
}

#[tokio::test]
async fn reasons_are_short_and_plain() {
    let scene = Scene::new().await;
    for (reason, size) in [("r".repeat(257), "257 bytes"), ("line\nbreak".to_owned(), "10 bytes"), ("\u{7f}".to_owned(), "1 bytes")] {
        let request = api::InvalidateRequest { reason, ..scene.invalidation() };
        scene.invalidation_refused(request, "INVALID_FIELD", "reason", &[size, "at most 256", "control characters"]).await;
    }
    let longest = api::InvalidateRequest { reason: "r".repeat(256), ..scene.invalidation() };
    assert_eq!(scene.invalidate(longest).await.unwrap().session_count, 1);
}

#[tokio::test]
async fn a_request_id_stands_for_one_request() {
    let scene = Scene::new().await;
    let with = |id: &str| api::InvalidateRequest { request_id: id.to_owned(), ..scene.invalidation() };
    for (id, words) in [("i".repeat(65), ["65 bytes", "1 to 64"]), ("a b".to_owned(), ["position 1", "visible ASCII"])] {
        scene.invalidation_refused(with(&id), "INVALID_FIELD", "request_id", &words).await;
    }
    let id = super::upload_id();
    let first = scene.invalidate(with(&id)).await.unwrap();
    let other = Scene::new().await;
    let reused = api::InvalidateRequest { selectors: vec![of_session(&other.session)], ..with(&id) };
    scene.invalidation_refused(reused, "REQUEST_ID_REUSED", "request_id", &["make a new one"]).await;
    let reworded = api::InvalidateRequest { reason: "another".to_owned(), ..with(&id) };
    scene.invalidation_refused(reworded, "REQUEST_ID_REUSED", "request_id", &["make a new one"]).await;
    assert_eq!(scene.invalidate(with(&id)).await.unwrap(), first, "the same request is only repeated");
}
