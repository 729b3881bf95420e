//! A terminal in which a program runs: a pseudo-terminal, and what its screen shows.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};

/// A program and its terminal. Killed when dropped.
pub struct Terminal {
    child: Child,
    keyboard: File,
    /// Kept, so that what the program left behind can be read.
    line: OwnedFd,
    before: Termios,
    shown: Arc<Mutex<Shown>>,
}

impl Terminal {
    /// Starts it in a terminal of this size.
    pub fn start(mut command: Command, columns: u16, rows: u16) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).expect("a pseudo-terminal");
        grantpt(&master).and_then(|()| unlockpt(&master)).expect("it is ours");
        let name = ptsname(&master, Vec::new()).expect("it has a name");
        let flags =
            rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC;
        let line = rustix::fs::open(&name, flags, rustix::fs::Mode::empty()).expect("it opens");
        resize_line(&line, columns, rows);
        let before = tcgetattr(&line).expect("it is a terminal");
        let end = || line.try_clone().expect("a handle is left");
        command.stdin(end()).stdout(end()).stderr(end());
        let child = command.spawn().expect("it starts");
        let shown = Arc::new(Mutex::new(Shown::new(columns, rows)));
        let (to, mut from) =
            (Arc::clone(&shown), File::from(master.try_clone().expect("a handle")));
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = from.read(&mut bytes) {
                to.lock().expect("no panic").feed(&bytes[..read]);
            }
        });
        Self { child, keyboard: File::from(master), line, before, shown }
    }

    /// Types it.
    pub fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("the terminal is there");
    }

    /// Another size; what tells a program so is a signal.
    pub fn resize(&mut self, columns: u16, rows: u16) {
        resize_line(&self.line, columns, rows);
        let (width, height) = (columns.into(), rows.into());
        self.shown.lock().expect("no panic").resize(width, height);
        self.signal(Signal::WINCH);
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The lines of its screen.
    pub fn screen(&self) -> String {
        self.shown.lock().expect("no panic").text()
    }

    /// Everything that was ever written to it.
    pub fn written(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().expect("no panic").all).into_owned()
    }

    /// Control sequences that this terminal does not know.
    pub fn unknown(&self) -> Vec<String> {
        self.shown.lock().expect("no panic").unknown.clone()
    }

    /// Waits until the screen is as it should be.
    #[track_caller]
    pub fn wait_screen(
        &self,
        what: &str,
        within: Duration,
        holds: impl Fn(&str) -> bool,
    ) -> String {
        let deadline = Instant::now() + within;
        loop {
            let screen = self.screen();
            if holds(&screen) {
                return screen;
            }
            assert!(Instant::now() < deadline, "{what} within {within:?}:\n{screen}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for its end, and gives the exit code.
    #[track_caller]
    pub fn wait_end(&mut self, within: Duration) -> i32 {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.child.try_wait().expect("it is ours") {
                return status.code().unwrap_or(-1);
            }
            assert!(Instant::now() < deadline, "no end within {within:?}:\n{}", self.screen());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// The modes of the line are those from before, the other screen is left and the cursor is there.
    #[track_caller]
    pub fn assert_given_back(&self, within: Duration) {
        let after = tcgetattr(&self.line).expect("it is a terminal");
        let modes =
            |it: &Termios| (it.input_modes, it.output_modes, it.control_modes, it.local_modes);
        assert_eq!(modes(&after), modes(&self.before), "{}", self.screen());
        // The last bytes may still be read.
        let deadline = Instant::now() + within;
        loop {
            {
                let shown = self.shown.lock().expect("no panic");
                if !shown.is_other_screen && !shown.is_cursor_hidden {
                    return;
                }
            }
            assert!(Instant::now() < deadline, "not given back:\n{}", self.screen());
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn resize_line(line: &OwnedFd, columns: u16, rows: u16) {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(line, size).expect("it is a terminal");
}

/// What stands on the screen. Knows what a program that draws by itself writes, and no more; each character takes one
/// column.
struct Shown {
    cells: Vec<Vec<char>>,
    row: usize,
    column: usize,
    is_other_screen: bool,
    is_cursor_hidden: bool,
    /// Not yet whole.
    rest: Vec<u8>,
    all: Vec<u8>,
    unknown: Vec<String>,
}

impl Shown {
    fn new(columns: u16, rows: u16) -> Self {
        let columns = usize::from(columns);
        Self {
            cells: vec![vec![' '; columns]; rows.into()],
            row: 0,
            column: 0,
            is_other_screen: false,
            is_cursor_hidden: false,
            rest: Vec::new(),
            all: Vec::new(),
            unknown: Vec::new(),
        }
    }

    fn resize(&mut self, columns: usize, rows: usize) {
        self.cells.resize(rows, Vec::new());
        self.cells.iter_mut().for_each(|row| row.resize(columns, ' '));
    }

    fn text(&self) -> String {
        let line = |row: &Vec<char>| row.iter().collect::<String>().trim_end().to_owned();
        self.cells.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    fn feed(&mut self, bytes: &[u8]) {
        self.all.extend_from_slice(bytes);
        self.rest.extend_from_slice(bytes);
        let rest = std::mem::take(&mut self.rest);
        let mut at = 0;
        while let Some(taken) = self.take(&rest[at..]) {
            at += taken;
        }
        self.rest = rest[at..].to_vec();
    }

    /// One character or sequence; `None` if it is not whole.
    fn take(&mut self, bytes: &[u8]) -> Option<usize> {
        match *bytes.first()? {
            b'\x1b' if *bytes.get(1)? == b'[' => {
                let end = bytes[2..].iter().position(|byte| (0x40..0x7f).contains(byte))? + 2;
                let text = String::from_utf8_lossy(&bytes[2..end]).into_owned();
                self.obey(&text, bytes[end]);
                Some(end + 1)
            }
            b'\r' => self.move_to(self.row, 0),
            b'\n' => self.move_to(self.row + 1, self.column),
            control @ (..0x20 | 0x7f) => {
                self.unknown.push(format!("{control:#x}"));
                Some(1)
            }
            first => {
                let length = match first {
                    ..0x80 => 1,
                    0x80..0xe0 => 2,
                    0xe0..0xf0 => 3,
                    _ => 4,
                };
                let text = String::from_utf8_lossy(bytes.get(..length)?).into_owned();
                for char in text.chars() {
                    if char.is_control() {
                        self.unknown.push(format!("{char:?}"));
                    }
                    let cell =
                        self.cells.get_mut(self.row).and_then(|row| row.get_mut(self.column));
                    if let Some(cell) = cell {
                        *cell = char;
                    }
                    self.column += 1;
                }
                Some(length)
            }
        }
    }

    fn move_to(&mut self, row: usize, column: usize) -> Option<usize> {
        (self.row, self.column) = (row.min(self.cells.len().saturating_sub(1)), column);
        Some(1)
    }

    fn obey(&mut self, text: &str, end: u8) {
        match (text, end) {
            (_, b'm') => {}
            ("?1049", b'h' | b'l') => {
                self.is_other_screen = end == b'h';
                self.clear();
            }
            ("?25", b'h' | b'l') => self.is_cursor_hidden = end == b'l',
            ("2", b'J') => self.clear(),
            (_, b'H') => {
                let mut numbers = text.split(';').map(|number| number.parse().unwrap_or(1));
                let mut number = || numbers.next().unwrap_or(1_usize).max(1) - 1;
                let (row, column) = (number(), number());
                self.move_to(row, column);
            }
            _ => self.unknown.push(format!("{text}{}", char::from(end))),
        }
    }

    fn clear(&mut self) {
        self.cells.iter_mut().for_each(|row| row.fill(' '));
    }
}
