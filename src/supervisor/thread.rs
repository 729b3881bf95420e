//! A thread that can be asked to stop, and that shows when it has ended.

use std::io;
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// See the module.
#[derive(Debug)]
pub struct StoppableThread {
    stop: Arc<Stop>,
    /// Held by the thread while it lives.
    alive: Weak<()>,
    thread: JoinHandle<()>,
}

impl StoppableThread {
    /// Starts `work` on a thread of this name.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(name: &str, work: impl FnOnce(&Stop) + Send + 'static) -> io::Result<Self> {
        let stop = Arc::new(Stop::default());
        let asked = Arc::clone(&stop);
        let living = Arc::new(());
        let alive = Arc::downgrade(&living);
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
            let _living = living;
            work(&asked);
        })?;
        Ok(Self { stop, alive, thread })
    }

    /// A function that says whether the thread has ended, for `SupervisorActor`. It may outlive this
    /// handle.
    pub fn finished(&self) -> impl Fn() -> bool + Send + Sync + use<> {
        let alive = Weak::clone(&self.alive);
        move || alive.strong_count() == 0
    }

    /// Asks the thread to stop.
    pub fn stop(&self) {
        *self.stop.asked.lock() = true;
        self.stop.changed.notify_all();
    }

    /// Waits for the thread's end.
    pub fn join(self) {
        // The hook has logged a panic of that thread.
        let _ = self.thread.join();
    }
}

/// Whether the thread is asked to stop.
#[derive(Debug, Default)]
pub struct Stop {
    asked: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    /// Waits for `limit`, or until the thread is asked to stop: then `true`.
    pub fn wait(&self, limit: Duration) -> bool {
        let mut asked = self.asked.lock();
        self.changed.wait_while_for(&mut asked, |asked| !*asked, limit);
        *asked
    }
}
