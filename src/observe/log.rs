//! STUB, to be replaced at the merge: what `cli.rs` and `main.rs` need of the logging.

use slog::Logger;

use crate::config::LogConfig;

/// The root logger and the thread behind it.
#[derive(Debug, Clone)]
pub struct Logging(Logger);

impl Logging {
    /// Starts logging as configured.
    pub fn start(_config: &LogConfig) -> Self {
        Self(Logger::root(slog::Discard, slog::o!()))
    }

    /// The root logger.
    pub fn logger(&self) -> &Logger {
        &self.0
    }

    /// Returns once all that was logged so far is written.
    pub fn flush(&self) {}
}
