//! `/events`: server-sent events for the status page, one snapshot a second.
//!
//! A snapshot is made once for all who watch, and only while somebody does. Nobody's snapshots wait: who reads slowly
//! gets the newest one, and who reads nothing is ended by [`Limit`](super::limit::Limit).

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::http::header;
use actix_web::rt;
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch::{Receiver, Sender};
use tokio::time::MissedTickBehavior;

use super::limit::{Lease, Limit};

/// How many may watch at once, beside the server's other connections.
pub(super) const WATCHERS_MAX: usize = 16;
/// A snapshot in this time.
const EVERY: Duration = Duration::from_secs(1);
/// A watcher has to ask again after this time, and so to show again that it may: a browser does by itself.
const WATCH_LASTS: Duration = Duration::from_secs(10 * 60);
/// When a browser asks again, in milliseconds.
const RETRY_MS: u64 = 2000;
/// The same after a refusal, in seconds.
const RETRY_AFTER_S: &str = "5";

const TEXT: &str = "text/plain; charset=utf-8";

/// What is sent, and to how many.
pub(super) struct Events {
    /// Makes a snapshot: a JSON document.
    snapshot: Box<dyn Fn() -> String + Send + Sync>,
    last: Sender<Bytes>,
    watched: Mutex<Watched>,
}

#[derive(Debug, Default)]
struct Watched {
    watchers: usize,
    /// There is a task that makes snapshots.
    is_made: bool,
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("watched", &*self.watched.lock()).finish_non_exhaustive()
    }
}

impl Events {
    /// Snapshots are what this function returns.
    pub(super) fn of(snapshot: impl Fn() -> String + Send + Sync + 'static) -> Arc<Self> {
        let (snapshot, last) = (Box::new(snapshot), Sender::new(Bytes::new()));
        Arc::new(Self { snapshot, last, watched: Mutex::default() })
    }

    /// The answer to `GET /events`, which goes on until its client leaves.
    pub(super) fn answer(self: &Arc<Self>, request: &HttpRequest) -> HttpResponse {
        // A stranger's page could not read it, but could take all places. Browsers say so to origins that they trust, those of
        // loopback and of TLS; at others there is a login, whose cookie they do not send for it.
        let site = request.headers().get("Sec-Fetch-Site").map(header::HeaderValue::as_bytes);
        if matches!(site, Some(b"cross-site" | b"same-site")) {
            return HttpResponse::Forbidden()
                .content_type(TEXT)
                .body("Only the bridge's own page may watch /events.\n");
        }
        // Without a limit it would never be ended.
        let lease = request.conn_data::<Limit>().map(Limit::lease);
        match lease.and_then(|lease| self.watch(lease)) {
            Some(watcher) => HttpResponse::Ok()
                .content_type("text/event-stream")
                // For proxies.
                .insert_header(("X-Accel-Buffering", "no"))
                .body(BoxBody::new(watcher)),
            None => HttpResponse::ServiceUnavailable()
                .content_type(TEXT)
                .insert_header((header::RETRY_AFTER, RETRY_AFTER_S))
                .body(format!(
                    "{WATCHERS_MAX} clients watch /events already, and no more may: close one, or ask \
                     for /status.json, which has the same.\n"
                )),
        }
    }

    fn watch(self: &Arc<Self>, lease: Lease) -> Option<Watcher> {
        let mut watched = self.watched.lock();
        if watched.watchers >= WATCHERS_MAX {
            return None;
        }
        watched.watchers += 1;
        let is_first = !std::mem::replace(&mut watched.is_made, true);
        drop(watched);
        let place = Place(Arc::clone(self));
        if is_first {
            // At once, and in this task: the first watcher gets no snapshot of an hour ago.
            let making = Making(Arc::clone(self));
            self.make();
            rt::spawn(making.make_all());
        }
        let mut last = self.last.subscribe();
        last.mark_changed();
        let ends = Instant::now() + WATCH_LASTS;
        Some(Watcher { next: next(last), lease, ends, _place: place })
    }

    fn make(&self) {
        let snapshot = (self.snapshot)();
        let mut event = format!("retry: {RETRY_MS}\n");
        for line in snapshot.lines() {
            event.push_str("data: ");
            event.push_str(line);
            event.push('\n');
        }
        event.push('\n');
        self.last.send_replace(event.into());
    }
}

/// One of the places of those who watch.
struct Place(Arc<Events>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.watched.lock().watchers -= 1;
    }
}

/// What makes the snapshots.
struct Making(Arc<Events>);

impl Making {
    async fn make_all(self) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first comes at once.
        ticks.tick().await;
        loop {
            ticks.tick().await;
            if self.0.watched.lock().watchers == 0 {
                return;
            }
            self.0.make();
        }
    }
}

/// Whether it ended or panicked: the next who watches begins anew.
impl Drop for Making {
    fn drop(&mut self) {
        self.0.watched.lock().is_made = false;
    }
}

type Next = Pin<Box<dyn Future<Output = (Receiver<Bytes>, Option<Bytes>)>>>;

/// The next snapshot; none if there will be no more.
fn next(mut last: Receiver<Bytes>) -> Next {
    Box::pin(async move {
        let snapshot = last.changed().await.ok().map(|()| Bytes::clone(&last.borrow_and_update()));
        (last, snapshot)
    })
}

/// The body of an answer. It is asked for more only when its client has taken nearly all that was sent.
struct Watcher {
    next: Next,
    lease: Lease,
    ends: Instant,
    _place: Place,
}

impl MessageBody for Watcher {
    type Error = std::convert::Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let (last, snapshot) = ready!(self.next.as_mut().poll(context));
        if Instant::now() >= self.ends {
            return Poll::Ready(None);
        }
        self.lease.renew();
        self.next = next(last);
        Poll::Ready(snapshot.map(Ok))
    }
}
