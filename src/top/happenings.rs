//! The threads that wait: for keys, for signals, and for the bridge's answers.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use mqtt_kafka_bridge::config::HttpConfig;
use mqtt_kafka_bridge::failpoint::{self, Site};
use mqtt_kafka_bridge::http::check;
use ratatui::crossterm::event::{self, Event};
use tokio::runtime;
use tokio::signal::unix::SignalKind;

use crate::signals::{INTERRUPT, Named, Signals, TERMINATE};

/// The page that is asked for.
const PAGE: &str = "/status.json";
/// More wait in their threads.
const WAITING_MAX: usize = 16;
/// What ends the watching, beside keys.
const ENDS: [Named; 4] =
    [TERMINATE, INTERRUPT, (SignalKind::hangup(), "SIGHUP"), (SignalKind::quit(), "SIGQUIT")];

/// What the screen must know of.
#[derive(Debug)]
pub(super) enum Happening {
    /// What the bridge answered, or why it did not.
    Told(Result<String, String>),
    /// A key, or another size.
    Input(Event),
    /// It is to end.
    Signal,
    /// A thread cannot go on.
    Failed(String),
}

/// All of them, in their order.
pub(super) struct Happenings {
    pub(super) receiver: Receiver<Happening>,
    /// While it is set, nobody asks the bridge.
    pub(super) is_paused: Arc<AtomicBool>,
}

impl Happenings {
    /// Signals count from now on; keys and answers from [`Happenings::begin`] on.
    ///
    /// # Errors
    /// The system gives no thread, or no signals.
    pub(super) fn listen() -> Result<(Self, SyncSender<Happening>), String> {
        let (sender, receiver) = sync_channel(WAITING_MAX);
        let (to_signals, (ready, is_ready)) = (sender.clone(), sync_channel(1));
        start("top-signals", &sender, move || {
            let mut builder = runtime::Builder::new_current_thread();
            let runtime = builder.enable_io().build().map_err(|error| error.to_string())?;
            runtime.block_on(async {
                let mut signals = Signals::listen(&ENDS)?;
                let _ = ready.send(());
                signals.next().await;
                let _ = to_signals.send(Happening::Signal);
                Ok(())
            })
        })?;
        if is_ready.recv().is_err() {
            return Err("cannot handle signals".to_owned());
        }
        Ok((Self { receiver, is_paused: Arc::default() }, sender))
    }

    /// Waits for keys, and asks the bridge again and again.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(super) fn begin(
        &self,
        sender: &SyncSender<Happening>,
        pages: HttpConfig,
        interval: Duration,
    ) -> Result<(), String> {
        let to = sender.clone();
        start("top-keys", sender, move || {
            loop {
                let input = event::read().map_err(|error| format!("cannot read keys: {error}"))?;
                if to.send(Happening::Input(input)).is_err() {
                    return Ok(());
                }
            }
        })?;
        let (to, is_paused) = (sender.clone(), Arc::clone(&self.is_paused));
        start("top-asks", sender, move || {
            loop {
                if !is_paused.load(Relaxed) {
                    failpoint::hit(Site::TopAsks);
                    let told = check::page(&pages, PAGE);
                    if to.send(Happening::Told(told)).is_err() {
                        return Ok(());
                    }
                }
                thread::sleep(interval);
            }
        })
    }
}

/// Says so if it panics or fails: nobody waits for a thread that is gone.
fn start(
    name: &str,
    sender: &SyncSender<Happening>,
    work: impl FnOnce() -> Result<(), String> + Send + 'static,
) -> Result<(), String> {
    struct Last(SyncSender<Happening>, Option<String>);
    impl Drop for Last {
        fn drop(&mut self) {
            let why = if thread::panicking() {
                Some("a thread panicked".to_owned())
            } else {
                self.1.take()
            };
            if let Some(why) = why {
                let _ = self.0.send(Happening::Failed(why));
            }
        }
    }
    let to = sender.clone();
    let run = move || {
        let mut last = Last(to, None);
        last.1 = work().err();
    };
    let started: io::Result<_> = thread::Builder::new().name(name.to_owned()).spawn(run);
    started.map(drop).map_err(|error| format!("cannot start a thread: {error}"))
}
