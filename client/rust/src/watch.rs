//! Watching: the client's half of the guarantee that `invalidation.proto` gives.
//!
//! A message's token is kept as the place to go on from only when the consumer comes for the next message, which says that it has applied this one. When nothing came
//! for three bookmark intervals, or the connection broke, or the daemon is about to stop, the watch connects anew with that token, after a pause that many
//! watchers spread over.

use std::time::Duration;

use bytes::Bytes;
use cloakroom_api::v1::{self, watch_invalidations_request::Start, watch_invalidations_response::Event as Wire};
use tokio::time::{Instant, sleep_until, timeout_at};
use tonic::{Status, Streaming};

use crate::{
    clock,
    connection::Client,
    error::{Error, Kind, Result},
    retry::Backoff,
    sessions::duration,
};

/// How many bookmark intervals of silence mean that the connection is dead.
const SILENT_INTERVALS: u32 = 3;
/// How long the first message may take.
const OPENING: Duration = Duration::from_secs(10);
/// The pauses between attempts.
const BACKOFF: Backoff = Backoff { next: Duration::from_millis(100), longest: Duration::from_secs(10), factor: 2.0 };
/// The contract's default, for the time until the daemon has said the interval in force.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(5);

/// Which changes to hear of, and from where on. Everything by default, from now on.
#[derive(Clone, Debug, Default)]
pub struct WatchOptions {
    /// Alternatives, at most 64; none: all changes.
    pub selectors: Vec<v1::Selector>,
    /// Where to start.
    pub start: WatchFrom,
    /// How often bookmarks come: 1 s to 60 s; the daemon's default is 5 s.
    pub bookmark_interval: Option<Duration>,
}

/// Where a watch starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum WatchFrom {
    /// With what happens from now on.
    #[default]
    Now,
    /// After the message that carried this token.
    Token(Bytes),
    /// After this revision, such as that of an answer just read.
    Revision(i64),
}

/// One message of a watch.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// What it says.
    pub kind: EventKind,
    /// Where to go on once this message is applied: store it then, and not before.
    pub resume_token: Bytes,
}

/// What a message of a watch says.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum EventKind {
    /// The watch is open, or open again: changes after this revision follow.
    Opened {
        /// The revision.
        revision: i64,
    },
    /// Changes, in order of their revisions. Take a kind that you do not know as a reason to read the session anew.
    Changes(Vec<v1::Change>),
    /// Everything up to a revision was sent.
    Bookmark {
        /// The revision.
        revision: i64,
    },
    /// Changes may have been missed: drop everything that the selectors cover and read it anew, at some moment within `spread` from now, so that a whole fleet does
    /// not read at once.
    Reset {
        /// Why.
        reason: v1::reset::Reason,
        /// Changes after this revision follow.
        revision: i64,
        /// How long the fleet shall take.
        spread: Duration,
    },
}

/// A watch that goes on by itself until it is dropped, or the daemon refuses it.
#[derive(Debug)]
pub struct Watch {
    client: Client,
    request: v1::WatchInvalidationsRequest,
    stream: Option<Streaming<v1::WatchInvalidationsResponse>>,
    /// Of the message that the consumer has now; it becomes the request's when it comes for the next.
    pending: Option<Bytes>,
    interval: Duration,
    /// When the silence is long enough.
    silent: Instant,
    /// The consumer was away that long itself, and the connection has been given a moment to show that it lives.
    excused: bool,
    not_before: Instant,
    backoff: Backoff,
    standing: Standing,
}

/// What the daemon thinks of this watch's token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// The caller brought it, if there is one; nothing was heard yet.
    Unheard,
    /// It came from a message of this very watch.
    Good,
    /// It was good once and is refused now: the daemon has lost its keys, and with them everything else.
    Forgotten,
    /// The daemon refused the watch.
    Over,
}

impl Client {
    /// Hears of every change that others make, without gaps and without repetition. It connects with the first [`Watch::next`].
    ///
    /// # Errors
    /// `OPTION` when the bookmark interval cannot be used.
    pub fn watch(&self, options: WatchOptions) -> Result<Watch> {
        let start = match options.start {
            WatchFrom::Now => None,
            WatchFrom::Token(token) => Some(Start::ResumeToken(token)),
            WatchFrom::Revision(revision) => Some(Start::AfterRevision(revision)),
        };
        let bookmark_interval = options.bookmark_interval.map(duration).transpose()?;
        let request = v1::WatchInvalidationsRequest { namespace: self.namespace.to_string(), selectors: options.selectors, start, bookmark_interval };
        let (now, interval) = (clock::monotonic(), options.bookmark_interval.unwrap_or(DEFAULT_INTERVAL));
        Ok(Watch {
            client: self.clone(),
            request,
            stream: None,
            pending: None,
            interval,
            silent: now,
            excused: false,
            not_before: now,
            backoff: BACKOFF,
            standing: Standing::Unheard,
        })
    }
}

impl Watch {
    /// The next message. Coming for it says that the one before was applied. It may be given up at any moment, and called again.
    ///
    /// # Errors
    /// As the contract says of `WatchInvalidations`, as far as waiting does not help: then the watch is over, and further calls answer nothing.
    pub async fn next(&mut self) -> Option<Result<Event>> {
        if let Some(token) = self.pending.take() {
            self.request.start = Some(Start::ResumeToken(token));
        }
        while self.standing != Standing::Over {
            match self.message().await {
                Ok(Some(message)) => {
                    if let Some(event) = self.event(message) {
                        self.pending = Some(event.resume_token.clone());
                        return Some(Ok(event));
                    }
                }
                Ok(None) => self.connect_anew(Duration::ZERO),
                Err(status) => {
                    let error = self.client.failed(&status);
                    if error.reason() == "INVALID_RESUME_TOKEN" && self.standing == Standing::Good {
                        self.standing = Standing::Forgotten;
                        self.request.start = None;
                    } else if is_final(&error) {
                        self.standing = Standing::Over;
                        return Some(Err(error));
                    }
                    self.connect_anew(error.retry_delay());
                }
            }
        }
        None
    }

    /// The token of the last message that was applied, as far as the watch knows: the one to start another watch from.
    #[must_use]
    pub fn resume_token(&self) -> Option<&Bytes> {
        match &self.request.start {
            Some(Start::ResumeToken(token)) => Some(token),
            _ => None,
        }
    }

    /// The next message of the stream, which is opened if there is none; nothing when it ended or fell silent.
    async fn message(&mut self) -> Result<Option<v1::WatchInvalidationsResponse>, Status> {
        if self.stream.is_none() {
            sleep_until(self.not_before).await;
            let mut stub = self.client.invalidation_stub();
            let opened = timeout_at(clock::monotonic() + OPENING, stub.watch_invalidations(self.request.clone())).await;
            let opened = opened.map_err(|_| Status::deadline_exceeded("the watch was not opened in time"))??;
            self.stream = Some(opened.into_inner());
            self.heard();
        }
        let now = clock::monotonic();
        if now >= self.silent && !self.excused {
            self.silent = now + self.interval;
            self.excused = true;
        }
        let Some(stream) = &mut self.stream else { return Ok(None) };
        match timeout_at(self.silent, stream.message()).await {
            Ok(message) => {
                self.heard();
                message
            }
            Err(_) => Ok(None),
        }
    }

    fn heard(&mut self) {
        self.silent = clock::monotonic() + self.interval * SILENT_INTERVALS;
        self.excused = false;
    }

    fn event(&mut self, message: v1::WatchInvalidationsResponse) -> Option<Event> {
        // A daemon that only greets and falls over is not pressed harder for that.
        if !matches!(message.event, Some(Wire::Opened(_))) {
            self.backoff = BACKOFF;
        }
        let kind = match message.event {
            Some(Wire::Opened(opened)) => {
                self.interval = opened.bookmark_interval.and_then(|interval| interval.try_into().ok()).unwrap_or(self.interval);
                let (revision, forgotten) = (opened.revision, self.standing == Standing::Forgotten);
                self.standing = Standing::Good;
                // Nothing that was known of a history that nobody remembers can be trusted.
                let reset = EventKind::Reset { reason: v1::reset::Reason::HistoryChanged, revision, spread: self.interval };
                if forgotten { reset } else { EventKind::Opened { revision } }
            }
            Some(Wire::Batch(batch)) => EventKind::Changes(batch.changes),
            Some(Wire::Bookmark(bookmark)) => EventKind::Bookmark { revision: bookmark.revision },
            Some(Wire::Reset(reset)) => {
                let spread = reset.spread.and_then(|spread| spread.try_into().ok()).unwrap_or_default();
                EventKind::Reset { reason: reset.reason(), revision: reset.revision, spread }
            }
            Some(Wire::Draining(draining)) => {
                self.keep(message.resume_token);
                self.connect_anew(draining.retry_after.and_then(|delay| delay.try_into().ok()).unwrap_or_default());
                return None;
            }
            // A kind of message from a newer daemon that says nothing to this client.
            None => {
                self.keep(message.resume_token);
                return None;
            }
        };
        Some(Event { kind, resume_token: message.resume_token })
    }

    /// Takes the token of a message that the consumer need not see: it covers nothing that was not applied, for the consumer has come for the next one.
    fn keep(&mut self, token: Bytes) {
        if !token.is_empty() {
            self.request.start = Some(Start::ResumeToken(token));
        }
    }

    fn connect_anew(&mut self, at_least: Duration) {
        self.stream = None;
        self.not_before = clock::monotonic() + at_least + self.backoff.pause();
    }
}

/// Whether waiting cannot help.
fn is_final(error: &Error) -> bool {
    matches!(error.kind(), Kind::Invalid | Kind::NotFound | Kind::AlreadyExists | Kind::Refused | Kind::Denied | Kind::DataCorrupt | Kind::Local)
}
