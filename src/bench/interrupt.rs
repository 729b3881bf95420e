//! Ctrl-C: what was started is ended, what was made is removed. A second one leaves at once.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::BenchError;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From now on SIGINT and SIGTERM are noticed by [`check`].
pub(super) fn watch() {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: all zero is a valid sigaction; the handler only stores to an atomic. After the
        // first signal the default holds again.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = note as extern "C" fn(libc::c_int) as libc::sighandler_t;
            action.sa_flags = libc::SA_RESETHAND;
            libc::sigaction(signal, &raw const action, std::ptr::null_mut());
        }
    }
}

extern "C" fn note(_: libc::c_int) {
    INTERRUPTED.store(true, Relaxed);
}

/// # Errors
/// A signal came.
pub(super) fn check() -> Result<(), BenchError> {
    if INTERRUPTED.load(Relaxed) { Err(BenchError::Interrupted) } else { Ok(()) }
}
