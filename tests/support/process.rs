//! Child processes that never outlive the tests, and ports for them to listen on.

use std::fs::File;
use std::io;
use std::net::TcpListener;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use super::{SOON, eventually, eventually_some, target_dir};

/// A running child process; killed when dropped, and by the kernel whenever the test process
/// ends.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    exit: Option<ExitStatus>,
}

impl Process {
    /// Starts `command`; its standard output and error go to the file `log`, appended.
    ///
    /// # Panics
    /// If the program cannot be started, because it is not installed.
    pub fn start(mut command: Command, log: &Path) -> Self {
        let name = command.get_program().to_string_lossy().into_owned();
        let out = File::options().create(true).append(true).open(log).unwrap();
        command.stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(out);
        // For the test process alone (tests/stories/runner): the memory of these is measured.
        command.env_remove("GLIBC_TUNABLES");
        let child = spawn(command).unwrap_or_else(|error| {
            panic!("cannot start {name}: {error}; tests/run installs what the tests need")
        });
        Self { name, child, exit: None }
    }

    /// The same, and waits until `serves` holds.
    ///
    /// # Panics
    /// If it ends before that, or `serves` does not hold `within` that time.
    pub fn serving(
        command: Command,
        log: &Path,
        within: Duration,
        mut serves: impl FnMut() -> bool,
    ) -> Self {
        let mut process = Self::start(command, log);
        let (name, log) = (process.name.clone(), log.display());
        eventually(&format!("{name} serves (its log: {log})"), within, || {
            assert_eq!(process.exit_status(), None, "{name} ended; its log: {log}");
            serves()
        });
        process
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal, unless the process has ended.
    pub fn signal(&mut self, signal: i32) {
        if self.exit_status().is_some() {
            return;
        }
        let pid = i32::try_from(self.pid()).expect("process ids fit in i32");
        // SAFETY: kill(2) touches no memory of ours; the child is not yet waited for, so that the
        // process id is still its own.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0, "signal {signal} to {}", self.name);
    }

    /// Ends it in order, by SIGTERM, and waits for that. A server that has only just begun to serve may
    /// lose a SIGTERM (Mosquitto sets that it runs behind its signal handlers), so it is sent again.
    #[track_caller]
    pub fn end_in_order(&mut self, deadline: Duration) {
        let mut sent: Option<Instant> = None;
        eventually(&format!("{} (process {}) ends", self.name, self.pid()), deadline, || {
            if sent.is_none_or(|sent| sent.elapsed() >= Duration::from_secs(1)) {
                self.signal(libc::SIGTERM);
                sent = Some(Instant::now());
            }
            self.exit_status().is_some()
        });
    }

    /// kill -9, and waits until it is gone.
    pub fn kill(&mut self) {
        self.signal(libc::SIGKILL);
        self.wait(SOON);
    }

    /// How it ended, if it has.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        if self.exit.is_none() {
            self.exit = self.child.try_wait().unwrap();
        }
        self.exit
    }

    /// Waits for its end, and returns the exit code, or minus the signal that ended it.
    #[track_caller]
    pub fn wait(&mut self, deadline: Duration) -> i32 {
        let what = format!("{} (process {}) ends", self.name, self.pid());
        let status = eventually_some(&what, deadline, || self.exit_status());
        status.code().unwrap_or_else(|| -status.signal().expect("ended by code or signal"))
    }

    /// Peak resident set in KiB (`VmHWM`).
    pub fn peak_rss_kib(&self) -> u64 {
        peak_rss_kib(self.pid())
    }

    /// Present resident set in KiB (`VmRSS`).
    pub fn rss_kib(&self) -> u64 {
        status_kib(self.pid(), "VmRSS:")
    }

    /// CPU time spent so far, user and system.
    pub fn cpu_time(&self) -> Duration {
        cpu_time(self.pid())
    }
}

/// Peak resident set of a running process in KiB (`VmHWM`).
pub fn peak_rss_kib(pid: u32) -> u64 {
    status_kib(pid, "VmHWM:")
}

fn status_kib(pid: u32, key: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix(key)).expect(key);
    line.trim().trim_end_matches(" kB").parse().expect("a number of KiB")
}

/// CPU time that a running process spent so far, user and system.
pub fn cpu_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    let after_name = stat.rsplit_once(')').expect("the name is in parentheses").1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks: u64 = [11, 12].iter().map(|&i| fields[i].parse::<u64>().expect("ticks")).sum();
    // SAFETY: sysconf(3) with a constant that it knows.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    Duration::from_millis(ticks * 1000 / u64::try_from(per_second).expect("positive"))
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.exit.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// A request to the spawning thread.
type Request = (Command, mpsc::Sender<io::Result<Child>>);

/// Spawns from one thread that lives as long as the test process: the kernel sends the death signal
/// when the *thread* that spawned ends, and a test's own thread ends with its test.
fn spawn(mut command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<Mutex<mpsc::Sender<Request>>> = OnceLock::new();
    // SAFETY: between fork and exec only prctl(2) is called, which is a plain system call.
    unsafe {
        command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        });
    }
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, requests) = mpsc::channel::<Request>();
        thread::spawn(move || {
            for (mut command, answer) in requests {
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(sender)
    });
    let (answer, spawned) = mpsc::channel();
    spawner.lock().unwrap().send((command, answer)).expect("the spawning thread never ends");
    spawned.recv().expect("the spawning thread answers")
}

/// Debian installs servers in directories that are not in the PATH of ordinary users.
pub fn with_sbin(mut command: Command) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/usr/local/sbin"));
    command
}

/// A free loopback port. Below the range from which the kernel takes ports for
/// outgoing connections, so that none of those can take it between now and the broker's `bind`, and
/// never handed out twice by this process, so that a broker can come back on its own port.
pub fn free_port() -> u16 {
    const FIRST: u16 = 15_000;
    const COUNT: u16 = 16_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Parallel test processes begin at different numbers.
    let start = u16::try_from(std::process::id() % 160).expect("below 160") * 100;
    loop {
        let port = FIRST + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// The directory with Kafka's jars, or a panic that says how to get them.
pub fn kafka_jars() -> std::path::PathBuf {
    let jars = target_dir().join("kafka/4.3.1");
    assert!(jars.is_dir(), "no Kafka jars in {}; tests/run fetches them", jars.display());
    jars
}
