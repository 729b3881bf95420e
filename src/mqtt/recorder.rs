//! Writes the state file while the connection goes on: one write at a time, on a thread that may block.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use slog::{Logger, warn};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Sleep, sleep};

use crate::mqtt::state_file::StateFile;
use crate::mqtt::subscriptions::Subscriptions;
use crate::observe::{events, keys};

/// The bridge does not wait longer for a write: not to subscribe would be worse than to forget.
const WRITE_WITHIN: Duration = Duration::from_secs(5);

/// See the module.
pub(super) struct Recorder {
    file: StateFile,
    log: Logger,
    writing: Option<Writing>,
}

struct Writing {
    /// Of the change that it writes down.
    number: u64,
    end: JoinHandle<io::Result<()>>,
    patience: Pin<Box<Sleep>>,
    is_late: bool,
}

impl Recorder {
    pub(super) fn new(file: StateFile, log: Logger) -> Self {
        Self { file, log, writing: None }
    }

    /// Begins and ends what there is to write; wakes the task when a write ends.
    pub(super) fn poll(&mut self, subscriptions: &mut Subscriptions, cx: &mut Context<'_>) {
        loop {
            if let Some(writing) = &mut self.writing {
                let Poll::Ready(end) = Pin::new(&mut writing.end).poll(cx) else {
                    self.poll_patience(subscriptions, cx);
                    return;
                };
                subscriptions.recorded(writing.number);
                // What waited for it is due.
                cx.waker().wake_by_ref();
                self.writing = None;
                let failed = match end {
                    Ok(Ok(())) => None,
                    Ok(Err(error)) => Some(error.to_string()),
                    Err(panicked) => Some(panicked.to_string()),
                };
                if let Some(detail) = failed {
                    self.warn(&detail);
                }
            }
            let Some((number, held)) = subscriptions.to_record() else { return };
            let (file, held) = (self.file.clone(), held.to_vec());
            self.writing = Some(Writing {
                number,
                end: spawn_blocking(move || file.save(&held)),
                patience: Box::pin(sleep(WRITE_WITHIN)),
                is_late: false,
            });
        }
    }

    /// A write that hangs: the subscriptions go on without it.
    fn poll_patience(&mut self, subscriptions: &mut Subscriptions, cx: &mut Context<'_>) {
        let Some(writing) = &mut self.writing else { return };
        if writing.is_late || writing.patience.as_mut().poll(cx).is_ready() {
            let was_late = std::mem::replace(&mut writing.is_late, true);
            if subscriptions.excuse() {
                cx.waker().wake_by_ref();
            }
            if !was_late {
                self.warn("the write takes too long");
            }
        }
    }

    fn warn(&self, detail: &str) {
        warn!(self.log, "state file not written, old subscriptions may stay after a restart"; events::STATE_FILE_NOT_WRITTEN,
            keys::PATH => %self.file.path().display(), keys::DETAIL => detail);
    }
}
