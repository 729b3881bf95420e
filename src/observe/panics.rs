//! Panics: caught where one unit of work must not take its actor along, and always logged once.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// What is known of a panic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PanicReport {
    /// Its message.
    pub message: String,
    /// `file:line:column`, if the hook is installed.
    pub location: String,
}

/// Runs `work`; a panic in it comes back as a report, and the process's panic hook leaves it to the
/// caller to log it.
///
/// # Errors
/// The panic.
pub fn catch<R>(work: impl FnOnce() -> R) -> Result<R, PanicReport> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| {
        let message = payload
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "a value that is no text".to_owned());
        PanicReport { message, location: String::new() }
    })
}
