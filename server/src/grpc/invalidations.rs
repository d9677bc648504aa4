//! The `InvalidationService`: watches, and changes that only say "forget".

use std::{collections::BTreeSet, fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use cloakroom_api::v1::{self as api, invalidation_service_server::InvalidationService, watch_invalidations_request, watch_invalidations_response};
use futures::{Stream, stream};
use tonic::{Request, Response, Status};

use super::parse;
use crate::{
    flow::{
        invalidate::Invalidation,
        keyring::{Foreseen, Keyring, NamespaceKeys},
        watch::{Event, Hub, Matched, Message, ResetReason, Start, Subscriber},
    },
    model::{
        email::Email,
        error::{Error, Reason, Result},
        event::Change,
        hex::unhex,
        id::{BusinessId, Namespace, RequestId, SessionId},
        resume::Resume,
        selector::{MAX_SELECTORS, Selector, Selectors},
        time::Revision,
    },
};

const BOOKMARK_MIN: Duration = Duration::from_secs(1);
const BOOKMARK_MAX: Duration = Duration::from_mins(1);
/// Over how long clients spread their reads after a reset.
const RESET_SPREAD: Duration = Duration::from_secs(2);
/// When a drained client may come back to the same address.
const DRAIN_RETRY: Duration = Duration::from_secs(1);
/// What the MAC of a resume token is for.
const RESUME: &str = "resume";
/// Longest reason, in bytes.
const MAX_REASON: usize = 256;

/// The service, over the hub and the keys that make e-mail addresses and tokens.
pub struct Invalidations {
    hub: Arc<Hub>,
    keyring: Arc<Keyring>,
    invalidation: Invalidation,
    bookmark_default: Duration,
}

impl fmt::Debug for Invalidations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invalidations").finish_non_exhaustive()
    }
}

impl Invalidations {
    /// The service; `bookmark_default` is the interval of a watch that asks for none.
    #[must_use]
    pub fn new(hub: Arc<Hub>, keyring: Arc<Keyring>, invalidation: Invalidation, bookmark_default: Duration) -> Self {
        Self { hub, keyring, invalidation, bookmark_default }
    }
}

/// What a watch's messages are made of besides the subscriber's.
struct Watch {
    subscriber: Subscriber,
    ns: Namespace,
    keyring: Arc<Keyring>,
    foreseen: Foreseen,
    fingerprint: [u8; 8],
    bookmark_interval: Duration,
}

#[tonic::async_trait]
impl InvalidationService for Invalidations {
    type WatchInvalidationsStream = std::pin::Pin<Box<dyn Stream<Item = Result<api::WatchInvalidationsResponse, Status>> + Send>>;

    async fn watch_invalidations(&self, request: Request<api::WatchInvalidationsRequest>) -> Result<Response<Self::WatchInvalidationsStream>, Status> {
        let ns = parse::namespace(&request, &request.get_ref().namespace)?;
        let request = request.into_inner();
        let foreseen = self.keyring.foresee(&ns).await?;
        let selectors = Selectors::new(selectors(&request.selectors, &foreseen.keys)?);
        let fingerprint = selectors.fingerprint();
        let start = start(request.start, &foreseen.keys, fingerprint)?;
        let interval = request.bookmark_interval.as_ref();
        let bookmark_interval = parse::duration("bookmark_interval", interval, self.bookmark_default, BOOKMARK_MIN, BOOKMARK_MAX)?;
        let subscriber = self.hub.subscribe(&ns, selectors, start, bookmark_interval).await?;
        let watch = Watch { subscriber, ns, keyring: Arc::clone(&self.keyring), foreseen, fingerprint, bookmark_interval };
        let messages = stream::unfold(Some(watch), |watch| async move {
            let mut watch = watch?;
            match watch.next().await {
                Ok(Some(response)) => Some((Ok(response), Some(watch))),
                Ok(None) => None,
                Err(error) => Some((Err(Status::from(error)), None)),
            }
        });
        Ok(Response::new(Box::pin(messages)))
    }

    async fn invalidate(&self, request: Request<api::InvalidateRequest>) -> Result<Response<api::InvalidateResponse>, Status> {
        let ns = parse::namespace(&request, &request.get_ref().namespace)?;
        let request = request.into_inner();
        // Announcing is no reason for keys either: where there are none, there is no session.
        let selectors = targets(&request.selectors, &self.keyring.foresee(&ns).await?.keys)?;
        let reason = reason(request.reason)?;
        let request_id = RequestId::parse("request_id", &request.request_id)?;
        let done = if request.validate_only {
            self.invalidation.preview(&ns, &selectors).await?
        } else {
            self.invalidation.invalidate(&ns, &selectors, &reason, request_id.as_ref()).await?
        };
        let session_count = i64::try_from(done.sessions).unwrap_or(i64::MAX);
        Ok(Response::new(api::InvalidateResponse { session_count, revision: done.revision.0 }))
    }
}

impl Watch {
    async fn next(&mut self) -> Result<Option<api::WatchInvalidationsResponse>> {
        let Some(message) = self.subscriber.next().await? else { return Ok(None) };
        if !self.keyring.holds(&self.ns, &mut self.foreseen).await? {
            let message = "the namespace's keys were made under another master key than this daemon has; watch anew, without a resume token";
            return Err(Error::new(Reason::InvalidResumeToken, message).with_field("resume_token"));
        }
        Ok(Some(self.response(message)))
    }

    fn response(&self, message: Message) -> api::WatchInvalidationsResponse {
        use watch_invalidations_response::Event as Api;
        let revision = message.revision;
        let event = match message.event {
            Event::Opened => {
                let bookmark_interval = Some(parse::proto_duration(self.bookmark_interval));
                Api::Opened(api::Opened { revision: revision.0, bookmark_interval })
            }
            Event::Changes(matched) => Api::Batch(api::Batch { changes: matched.into_iter().flat_map(changes).collect() }),
            Event::Bookmark => Api::Bookmark(api::Bookmark { revision: revision.0 }),
            Event::Reset(reason) => {
                let spread = Some(parse::proto_duration(RESET_SPREAD));
                Api::Reset(api::Reset { reason: reset_reason(reason).into(), revision: revision.0, spread })
            }
            Event::Draining => Api::Draining(api::Draining { retry_after: Some(parse::proto_duration(DRAIN_RETRY)) }),
        };
        let resume = Resume { selectors: self.fingerprint, history: message.history, revision };
        api::WatchInvalidationsResponse { event: Some(event), resume_token: Bytes::from(resume.encode(|data| self.foreseen.keys.token_mac(RESUME, data))) }
    }
}

fn changes(matched: Matched) -> impl Iterator<Item = api::Change> {
    let revision = matched.revision.0;
    matched.changes.into_iter().map(move |change| proto_change(change, revision))
}

fn proto_change(change: Change, revision: i64) -> api::Change {
    api::Change {
        kind: change.kind,
        revision,
        session_id: change.session,
        business_id: change.business,
        previous_business_id: change.previous_business.unwrap_or_default(),
        email_hmac: hmac_bytes(&change.email_hmac),
        previous_email_hmac: hmac_bytes(change.previous_email_hmac.as_deref().unwrap_or_default()),
        state: change.state,
        previous_state: change.previous_state,
        snapshot_id: change.snapshot,
        reason: change.reason,
    }
}

/// The bytes of an address's HMAC; none when there is none.
fn hmac_bytes(digits: &str) -> Bytes {
    unhex(digits).unwrap_or_default().into()
}

fn reset_reason(reason: ResetReason) -> api::reset::Reason {
    match reason {
        ResetReason::Compacted => api::reset::Reason::Compacted,
        ResetReason::HistoryChanged => api::reset::Reason::HistoryChanged,
        ResetReason::SlowConsumer => api::reset::Reason::SlowConsumer,
        ResetReason::Gap => api::reset::Reason::Gap,
    }
}

fn start(given: Option<watch_invalidations_request::Start>, keys: &NamespaceKeys, fingerprint: [u8; 8]) -> Result<Start> {
    use watch_invalidations_request::Start as Api;
    match given {
        None => Ok(Start::Now),
        Some(Api::AfterRevision(revision)) if revision < 0 => {
            Err(Error::field("after_revision", format!("after_revision is {revision}; revisions start at 0")))
        }
        Some(Api::AfterRevision(revision)) => Ok(Start::After(Revision(revision))),
        Some(Api::ResumeToken(token)) => {
            let resume = match Resume::decode(|data, tag| keys.verify_token(RESUME, data, tag), &token) {
                Ok(resume) => resume,
                // A store that was made anew has other keys: its watchers shall read anew as after any change of history, and not fail until somebody removes their tokens.
                Err(refused) => return Resume::unverified(&token).map(|foreign| Start::Foreign(foreign.history)).ok_or(refused),
            };
            if resume.selectors == fingerprint {
                return Ok(Start::Resume(resume.history, resume.revision));
            }
            let message = "resume_token belongs to a watch with other selectors; use the same selectors, or start without it";
            Err(Error::new(Reason::InvalidResumeToken, message).with_field("resume_token"))
        }
    }
}

fn selectors(given: &[api::Selector], keys: &NamespaceKeys) -> Result<Vec<Selector>> {
    if given.len() > MAX_SELECTORS {
        return Err(Error::field("selectors", format!("selectors has {} entries; at most {MAX_SELECTORS} are allowed", given.len())));
    }
    given.iter().enumerate().map(|(at, selector)| parse_selector(at, selector, keys)).collect()
}

fn parse_selector(at: usize, given: &api::Selector, keys: &NamespaceKeys) -> Result<Selector> {
    let field = |name: &str| format!("selectors[{at}].{name}");
    let optional = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    if let Some(session) = optional(&given.session_id) {
        SessionId::parse(&field("session_id"), &session)?;
    }
    if let Some(business) = optional(&given.business_id) {
        BusinessId::parse(&field("business_id"), &business)?;
    }
    let email = Email::parse(&field("email"), &given.email)?;
    let known = |kind: &i32| *kind != 0 && api::ChangeKind::try_from(*kind).is_ok();
    if let Some(kind) = given.kinds.iter().find(|kind| !known(kind)) {
        return Err(Error::field(field("kinds"), format!("{} has the unknown kind {kind}", field("kinds"))));
    }
    Ok(Selector {
        session: optional(&given.session_id),
        business: optional(&given.business_id),
        email_hmac: email.map(|email| keys.email_hmac(&email.normalised())),
        kinds: given.kinds.iter().copied().collect::<BTreeSet<_>>(),
    })
}

/// The selectors of `Invalidate`: each must say which sessions.
fn targets(given: &[api::Selector], keys: &NamespaceKeys) -> Result<Vec<Selector>> {
    let parsed = selectors(given, keys)?;
    if parsed.is_empty() {
        return Err(Error::field("selectors", "selectors is empty; name the sessions to invalidate"));
    }
    let vague = parsed.iter().position(|one| !one.kinds.is_empty() || (one.session.is_none() && one.business.is_none() && one.email_hmac.is_none()));
    match vague {
        None => Ok(parsed),
        Some(at) => {
            let message = format!("selectors[{at}] must name a session, a business or an e-mail address, and no kinds");
            Err(Error::field(format!("selectors[{at}]"), message))
        }
    }
}

fn reason(given: String) -> Result<String> {
    if given.len() > MAX_REASON || given.chars().any(char::is_control) {
        let message = format!("reason has {} bytes; it needs at most {MAX_REASON}, without control characters", given.len());
        return Err(Error::field("reason", message));
    }
    Ok(given)
}
