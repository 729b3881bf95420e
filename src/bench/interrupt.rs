//! Ctrl-C: the first SIGINT or SIGTERM ends the processes that the bench started and removes its files;
//! the second ends the bench at once.

use std::process::exit;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

use tokio::runtime::Builder;

use super::error::BenchError;
use crate::signals::{INTERRUPT, INTERRUPTED, Signals, TERMINATE};

static CAME: AtomicBool = AtomicBool::new(false);

/// From now on [`check`] notices SIGINT and SIGTERM.
///
/// # Errors
/// The system gives no thread or no file handle.
pub(super) fn watch() -> Result<(), BenchError> {
    let runtime = Builder::new_current_thread().enable_io().build()?;
    let entered = runtime.enter();
    let mut signals = Signals::listen(&[INTERRUPT, TERMINATE])
        .map_err(|error| BenchError::Io(std::io::Error::other(error)))?;
    drop(entered);
    thread::Builder::new().name("bench-signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            signals.next().await;
            CAME.store(true, Relaxed);
            signals.next().await;
            exit(INTERRUPTED.into());
        });
    })?;
    Ok(())
}

/// Fails once a signal has come.
///
/// # Errors
/// A signal has come.
pub(super) fn check() -> Result<(), BenchError> {
    if CAME.load(Relaxed) { Err(BenchError::Interrupted) } else { Ok(()) }
}
