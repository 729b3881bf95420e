//! The terminal: taken, and given back as it was, whatever happens.

use std::io;
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};

/// Whether there is something to give back.
static IS_TAKEN: AtomicBool = AtomicBool::new(false);

/// A terminal in raw mode with a screen of its own. Dropped, it is given back.
pub(super) struct Taken(pub(super) Terminal<CrosstermBackend<io::Stdout>>);

impl Taken {
    /// Takes the terminal of this process. From then on a panic gives it back before it says what it is.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn take() -> io::Result<Self> {
        // Only with this buffer nothing is written behind what gives it back.
        let terminal = Terminal::new(CrosstermBackend::new(io::stdout()))?;
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            give_back();
            before(panic);
        }));
        IS_TAKEN.store(true, SeqCst);
        // Else what is half taken is given back, too.
        let taken = Self(terminal);
        enable_raw_mode()?;
        execute!(io::stdout(), EnterAlternateScreen, Hide)?;
        Ok(taken)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        give_back();
    }
}

/// Once. A terminal that is gone needs nothing.
fn give_back() {
    if IS_TAKEN.swap(false, SeqCst) {
        let _ = execute!(io::stdout(), LeaveAlternateScreen, Show);
        let _ = disable_raw_mode();
    }
}
