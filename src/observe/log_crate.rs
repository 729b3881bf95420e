//! Brings the records of libraries that use the `log` crate into the bridge's log.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use log::{LevelFilter, Log, Metadata, Record};
use parking_lot::Mutex;
use slog::{Level, o};

use super::events;
use super::keys;
use super::log::{Logging, WeakLogging};
use super::log_limiter::LogLimiter;

static TARGET: Mutex<Option<WeakLogging>> = Mutex::new(None);

/// One warning of each library in this time: a client may be able to cause any number of them.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// By library; their number is bounded by what is linked.
static LIMITERS: Mutex<BTreeMap<String, LogLimiter>> = Mutex::new(BTreeMap::new());

/// Sends what libraries log through the `log` crate to this log, from its level up; `component` is
/// the library. Called again, it changes the log.
///
/// If another logger was installed before, that one stays.
pub fn bridge_log_crate(logging: &Logging) {
    static OURS: OnceLock<bool> = OnceLock::new();
    *TARGET.lock() = Some(logging.downgrade());
    if *OURS.get_or_init(|| log::set_logger(&Bridge).is_ok()) {
        log::set_max_level(filter(logging.level()));
    }
}

struct Bridge;

impl Log for Bridge {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let target = TARGET.lock();
        let logging = target.as_ref().and_then(WeakLogging::upgrade);
        drop(target);
        let Some(logging) = logging else { return };
        let library = record.target().split("::").next().unwrap_or_default();
        let said = *record.args();
        let mut level = record.level();
        if library.starts_with("actix") && level == log::Level::Info {
            level = log::Level::Debug; // The bridge itself logs that it starts and stops.
        }
        let suppressed = match level {
            log::Level::Debug | log::Level::Trace => Some(0),
            _ => pass(library),
        };
        let Some(suppressed) = suppressed else { return };
        let log = logging.logger().new(o!(keys::SUPPRESSED => suppressed));
        match level {
            log::Level::Error => {
                slog::error!(log, "{}", said; events::LIBRARY_SAID, keys::COMPONENT => library)
            }
            log::Level::Warn => {
                slog::warn!(log, "{}", said; events::LIBRARY_SAID, keys::COMPONENT => library)
            }
            log::Level::Info => {
                slog::info!(log, "{}", said; events::LIBRARY_SAID, keys::COMPONENT => library)
            }
            log::Level::Debug => {
                slog::debug!(log, "{}", said; events::LIBRARY_SAID, keys::COMPONENT => library)
            }
            log::Level::Trace => {
                slog::trace!(log, "{}", said; events::LIBRARY_SAID, keys::COMPONENT => library)
            }
        }
    }

    fn flush(&self) {}
}

/// How many records of this library were suppressed since the last one that passed; `None`: this one is
/// suppressed too.
fn pass(library: &str) -> Option<u64> {
    let mut limiters = LIMITERS.lock();
    let limiter =
        limiters.entry(library.to_owned()).or_insert_with(|| LogLimiter::every(WARN_EVERY));
    limiter.pass(Instant::now())
}

fn filter(level: Level) -> LevelFilter {
    match level {
        Level::Critical | Level::Error => LevelFilter::Error,
        Level::Warning => LevelFilter::Warn,
        Level::Info => LevelFilter::Info,
        Level::Debug => LevelFilter::Debug,
        Level::Trace => LevelFilter::Trace,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::test_support::{json_lines, json_log};

    #[test]
    fn what_a_library_logs_comes_through_under_its_name() {
        let (logging, lines) = json_log();
        bridge_log_crate(&logging);
        log::warn!(target: "rumqttc::v5::state", "odd packet {:?}", "a\tb");
        log::error!(target: "rumqttc::v5::state", "odd again, and so soon");
        log::debug!(target: "rumqttc", "below the level");
        logging.flush();
        let records = json_lines(&lines);
        assert_eq!(records.len(), 1, "{records:?}");
        assert_eq!(records[0]["component"], "rumqttc");
        assert_eq!(records[0]["level"], "warn");
        assert_eq!(records[0]["msg"], "odd packet \"a\\tb\"");
    }
}
