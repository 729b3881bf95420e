//! Panics: caught where one unit of work must not end its actor, and always logged once.
//!
//! The caller of [`catch`] logs a panic inside it, and knows what it means. The hook logs any other panic,
//! with its thread, and flushes the log.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::Once;

use parking_lot::Mutex;
use slog::error;

use super::events;
use super::keys;
use super::log::{Logging, WeakLogging};

/// What is known of a panic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PanicReport {
    /// Its message.
    pub message: String,
    /// `file:line:column`; empty if the hook is not installed.
    pub location: String,
}

thread_local! {
    /// How many calls of [`catch`] this thread is in.
    static CATCHING: Cell<u32> = const { Cell::new(0) };
    /// Where the panic happened that the innermost of them is about to catch.
    static LOCATION: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs `work`; a panic in it comes back as a report, and the process's panic hook leaves it to the
/// caller to log it.
///
/// # Errors
/// The panic.
pub fn catch<R>(work: impl FnOnce() -> R) -> Result<R, PanicReport> {
    let _catching = Catching::enter();
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| PanicReport {
        message: message_of(&*payload),
        location: LOCATION.with(RefCell::take).unwrap_or_default(),
    })
}

/// Makes every panic of the process that is not caught leave one record in this log, which is then
/// flushed. Called again, it changes the log; when that log is gone, the previous hook is called.
pub fn install_hook(logging: &Logging) {
    static INSTALL: Once = Once::new();
    static TARGET: Mutex<Option<WeakLogging>> = Mutex::new(None);

    *TARGET.lock() = Some(logging.downgrade());
    INSTALL.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if leave_to_catch(info) {
                return;
            }
            let target = TARGET.lock();
            let logging = target.as_ref().and_then(WeakLogging::upgrade);
            drop(target);
            match logging {
                Some(logging) => log(&logging, info),
                None => before(info),
            }
        }));
    });
}

/// `true` if [`catch`] will report this panic; its location is kept for that. A second panic on the way
/// there may end the process, so the hook logs it.
fn leave_to_catch(info: &PanicHookInfo<'_>) -> bool {
    if CATCHING.try_with(Cell::get).unwrap_or(0) == 0 {
        return false;
    }
    LOCATION.with(|cell| {
        let Ok(mut location) = cell.try_borrow_mut() else { return false };
        let first = location.is_none();
        if first {
            *location = Some(location_of(info));
        }
        first
    })
}

fn log(logging: &Logging, info: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    error!(logging.logger(), "panic"; events::PANIC,
        keys::COMPONENT => "panics",
        keys::THREAD => thread.name().unwrap_or("unnamed"),
        keys::PANIC => message_of(info.payload()),
        keys::LOCATION => location_of(info));
    logging.flush();
}

fn location_of(info: &PanicHookInfo<'_>) -> String {
    info.location().map(ToString::to_string).unwrap_or_default()
}

fn message_of(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a value that is no text".to_owned())
}

/// Counts in [`CATCHING`] while it lives.
struct Catching;

impl Catching {
    fn enter() -> Self {
        CATCHING.with(|depth| depth.set(depth.get() + 1));
        Self
    }
}

impl Drop for Catching {
    fn drop(&mut self) {
        CATCHING.with(|depth| depth.set(depth.get().saturating_sub(1)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::test_support::{hook_turn, json_lines, json_log};

    #[test]
    fn a_panic_that_is_caught_is_reported_with_its_place_and_not_logged() {
        let _turn = hook_turn();
        let (logging, lines) = json_log();
        install_hook(&logging);
        let report = catch(|| panic!("no such {}", "thing")).expect_err("it panics");
        assert_eq!(report.message, "no such thing");
        assert!(report.location.starts_with("src/observe/panics.rs:"), "{}", report.location);
        let again = catch(|| catch(|| panic!("inner")).is_err());
        assert_eq!(again, Ok(true), "the outer catch sees nothing");
        assert_eq!(catch(|| 5), Ok(5));
        logging.flush();
        assert_eq!(json_lines(&lines), Vec::<serde_json::Value>::new());
    }

    #[test]
    fn a_panic_that_nothing_catches_leaves_one_record_at_once() {
        let _turn = hook_turn();
        let (logging, lines) = json_log();
        install_hook(&logging);
        let thread = std::thread::Builder::new().name("doomed".to_owned());
        let joined = thread.spawn(|| panic!("out of \"luck\"\n")).expect("a thread").join();
        assert!(joined.is_err());
        // Other tests of this process may panic meanwhile.
        let records = json_lines(&lines);
        let of_thread: Vec<_> = records.iter().filter(|r| r["thread"] == "doomed").collect();
        assert_eq!(of_thread.len(), 1, "{records:?}");
        assert_eq!(of_thread[0]["msg"], "panic");
        assert_eq!(of_thread[0]["panic"], "out of \"luck\"\n");
        assert!(of_thread[0]["location"].as_str().expect("text").contains("panics.rs:"));
    }
}
