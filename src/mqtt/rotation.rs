//! Files that a connection was made with and that change: certificates, keys, passwords. They are looked at
//! from time to time, and what is to take the connection's place is dialed before the connection is given
//! up (docs/decisions/0020-rotation-and-leaving.md).

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use slog::{Logger, warn};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Sleep, sleep};

use crate::backoff::Backoff;
use crate::file_watch::FileWatch;
use crate::mqtt::announce::WARN_EVERY;
use crate::mqtt::attempt::{Attempt, Dial, Reached};
use crate::mqtt::lost::Lost;
use crate::mqtt::session::Settings;
use crate::observe::{LogLimiter, events, keys};

/// See the module.
pub(super) struct Rotation {
    watch: Watch,
    /// They have changed, and nothing was dialed since.
    is_due: bool,
    successor: Successor,
    backoff: Backoff,
    limiter: LogLimiter,
    settings: Arc<Settings>,
    log: Logger,
}

/// Looks at files on a thread that may block: a slow disk must not stop the connection.
enum Watch {
    /// Not looked at yet.
    New,
    Idle(FileWatch),
    Looking(JoinHandle<(FileWatch, bool)>),
}

/// What is to take the connection's place.
enum Successor {
    None,
    /// It could not be dialed; until the next attempt.
    Paused(Pin<Box<Sleep>>),
    Dialing(Attempt),
    Ready(Reached),
}

impl Rotation {
    pub(super) fn new(settings: Arc<Settings>, log: Logger) -> Self {
        Self {
            watch: Watch::New,
            is_due: false,
            successor: Successor::None,
            backoff: Backoff::new(settings.mqtt.reconnect_min, settings.mqtt.reconnect_max),
            limiter: LogLimiter::every(WARN_EVERY),
            settings,
            log,
        }
    }

    /// Looks at the files, unless there are none or the last look is not over. Its result comes by
    /// [`Rotation::poll_look`].
    pub(super) fn look(&mut self) {
        let paths = self.settings.mqtt.files();
        if paths.is_empty() {
            return;
        }
        self.watch = match std::mem::replace(&mut self.watch, Watch::New) {
            Watch::New => Watch::Looking(spawn_blocking(move || (FileWatch::new(paths), false))),
            Watch::Idle(mut watch) => Watch::Looking(spawn_blocking(move || {
                let has_changed = watch.has_changed();
                (watch, has_changed)
            })),
            looking @ Watch::Looking(_) => looking,
        };
    }

    /// Takes the result of a look.
    pub(super) fn poll_look(&mut self, cx: &mut Context<'_>) {
        let Watch::Looking(look) = &mut self.watch else { return };
        let Poll::Ready(result) = Pin::new(look).poll(cx) else { return };
        self.watch = match result {
            Ok((watch, has_changed)) => {
                self.is_due |= has_changed;
                Watch::Idle(watch)
            }
            Err(_panicked) => Watch::New,
        };
    }

    /// Whether the files have changed since the last attempt; if so, one begins now.
    pub(super) fn begin(&mut self) -> bool {
        std::mem::take(&mut self.is_due)
    }

    /// Gets on with what is to replace the connection to the broker's address of this number, if the files
    /// have changed. Returns whether it is there: then the connection may be given up. While it cannot be
    /// dialed, the old connection is kept.
    pub(super) fn poll_successor(
        &mut self,
        dial: Dial,
        address: usize,
        cx: &mut Context<'_>,
    ) -> bool {
        loop {
            let attempt = match &mut self.successor {
                Successor::None | Successor::Paused(_) if self.is_due => {
                    self.is_due = false;
                    dial(Arc::clone(&self.settings), address)
                }
                Successor::None => return false,
                Successor::Ready(_) => return true,
                Successor::Paused(pause) => match pause.as_mut().poll(cx) {
                    Poll::Ready(()) => dial(Arc::clone(&self.settings), address),
                    Poll::Pending => return false,
                },
                Successor::Dialing(attempt) => match attempt.as_mut().poll(cx) {
                    Poll::Ready(Ok(reached)) => {
                        self.backoff.reset();
                        self.limiter.reset();
                        self.successor = Successor::Ready(reached);
                        return true;
                    }
                    Poll::Ready(Err(lost)) => {
                        self.successor = self.pause_after(&lost, address);
                        continue;
                    }
                    Poll::Pending => return false,
                },
            };
            self.successor = Successor::Dialing(attempt);
        }
    }

    fn pause_after(&mut self, lost: &Lost, address: usize) -> Successor {
        let pause = self.backoff.pause(fastrand::f64());
        if let Some(suppressed) = self.limiter.pass(Instant::now()) {
            warn!(self.log, "cannot connect with the changed files, keeping the connection"; events::MQTT_ROTATION_FAILED,
                keys::REASON => lost.reason,
                keys::DETAIL => &lost.detail,
                keys::MQTT_BROKER => self.settings.broker(address),
                keys::DELAY_MS => u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
                keys::SUPPRESSED => suppressed);
        }
        Successor::Paused(Box::pin(sleep(pause)))
    }

    /// The connection is lost: another is dialed as usual.
    pub(super) fn forget_successor(&mut self) {
        self.successor = Successor::None;
    }

    /// What was dialed, unless its other end has closed it meanwhile: some brokers do not wait long for
    /// CONNECT.
    pub(super) fn take_successor(&mut self) -> Option<Reached> {
        match std::mem::replace(&mut self.successor, Successor::None) {
            Successor::Ready(mut reached) => reached.transport.ended().is_none().then_some(reached),
            Successor::None | Successor::Paused(_) | Successor::Dialing(_) => None,
        }
    }
}
