//! How the process ends, and why.

use std::fmt;
use std::io;
use std::process::ExitCode;

/// Why the process ends, in ascending order of severity. [`ENDINGS`] says what each means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// 0: what was asked for is done. Of the bridge: everything that was in flight is in Kafka or in the dead letter,
    /// and acknowledged unless the MQTT connection was lost.
    Drained,
    /// 1: done, and the answer is no.
    Unhealthy,
    /// 2: the command line is wrong.
    Usage,
    /// 3: time has passed, or a second signal came, before all was done. Nothing is lost by it.
    DeadlinePassed,
    /// 70: the bridge itself failed, for one of the [`Cause`]s.
    Failed,
    /// 75: an actor made no progress for `supervisor.hang_after`.
    Hung,
    /// 78: the configuration is wrong, or something that it names cannot be used.
    Configuration,
}

impl Exit {
    /// All of them, ascending.
    pub const ALL: [Self; 7] = [
        Self::Drained,
        Self::Unhealthy,
        Self::Usage,
        Self::DeadlinePassed,
        Self::Failed,
        Self::Hung,
        Self::Configuration,
    ];

    /// The exit code. A more severe end has a higher one.
    pub const fn code(self) -> i32 {
        match self {
            Self::Drained => 0,
            Self::Unhealthy => 1,
            Self::Usage => 2,
            Self::DeadlinePassed => 3,
            // As in sysexits.h: EX_SOFTWARE, EX_TEMPFAIL, EX_CONFIG.
            Self::Failed => 70,
            Self::Hung => 75,
            Self::Configuration => 78,
        }
    }

    /// The exit with this code; any other code is a failure.
    pub fn of_code(code: i32) -> Self {
        Self::ALL.into_iter().find(|exit| exit.code() == code).unwrap_or(Self::Failed)
    }

    /// What it means if the bridge itself ends so, in one line.
    pub fn meaning(self) -> &'static str {
        let ending = ENDINGS.iter().find(|ending| i32::from(ending.code) == self.code());
        ending.map_or("", |ending| ending.meaning)
    }
}

/// What an exit code means if it comes from some of the subcommands.
#[derive(Debug, Clone, Copy)]
pub struct Ending {
    /// The exit code.
    pub code: u8,
    /// The subcommands.
    pub from: &'static [&'static str],
    /// What it means.
    pub meaning: &'static str,
    /// What to do about it.
    pub advice: &'static str,
}

const fn ending(
    code: u8,
    from: &'static [&'static str],
    meaning: &'static str,
    advice: &'static str,
) -> Ending {
    Ending { code, from, meaning, advice }
}

/// All of them, ascending: the table of the help, of the manual page and of docs/operations.md.
pub const ENDINGS: &[Ending] = &[
    ending(
        0,
        &["run"],
        "drained: everything in flight is in Kafka or in the dead letter",
        "nothing",
    ),
    ending(
        0,
        &["leave"],
        "the session is gone, or the broker had none for this client id",
        "nothing; the log line that begins with `left:` says which it was",
    ),
    ending(0, &["check"], "the configuration is legal; --test: each example holds", "nothing"),
    ending(
        0,
        &["map"],
        "each message becomes a record, or its route drops it; --live: ended as it should, whatever came",
        "nothing",
    ),
    ending(
        0,
        &["doctor"],
        "no error was found, with --strict no warning either",
        "read the warnings",
    ),
    ending(0, &["latency"], "shown", "nothing"),
    ending(0, &["top"], "ended by a key or a signal, whatever was shown", "nothing"),
    ending(
        0,
        &["dead-letters"],
        "all that were chosen are listed, shown or exported; replay: they are in Kafka",
        "nothing",
    ),
    ending(0, &["healthcheck"], "ready; --live: alive", "nothing"),
    ending(0, &["completions", "man"], "printed", "nothing"),
    ending(0, &["demo", "bench"], "nothing was lost or reordered", "nothing"),
    ending(
        1,
        &["healthcheck"],
        "not ready, or with --live not alive; not reachable, or the configuration is wrong",
        "read stderr, which has the reasons",
    ),
    ending(1, &["check"], "--test: an example does not hold", "read the lines with FAILED"),
    ending(
        1,
        &["map"],
        "a message goes to the dead letter, or no route matches it",
        "mend the route, or the message",
    ),
    ending(
        1,
        &["doctor"],
        "an error was found; --strict: or a warning",
        "each finding says what to do; docs/doctor.md",
    ),
    ending(
        1,
        &["latency"],
        "no timing record, or none that was asked for; a log cannot be read to its end, the page cannot be written, or \
         the bridge cannot be asked",
        "read stderr; log.timing and log.format decide what a log holds",
    ),
    ending(
        1,
        &["top"],
        "the terminal cannot be used, or http.listen has no address to ask",
        "read stderr; mqtt-kafka-bridge latency --watch needs no terminal",
    ),
    ending(
        1,
        &["dead-letters"],
        "list, export: a line or record is no dead letter; export: a file with another content is there; \
         show: none has this id; replay: some are left",
        "read the lines with `left`, and stderr",
    ),
    ending(
        1,
        &["demo", "bench"],
        "something was lost or reordered, or could not be measured",
        "read stderr and the report",
    ),
    ending(2, &["any"], "the command line is wrong", "--help"),
    ending(
        2,
        &["map"],
        "an MQTT topic is illegal (wildcard, empty, too long, null character), even if it is one line of many",
        "read stderr",
    ),
    ending(
        2,
        &["top"],
        "its standard input or output is no terminal",
        "use mqtt-kafka-bridge latency --watch, or the page /status.json",
    ),
    ending(
        3,
        &["run"],
        "the drain deadline passed, or a second signal came; the broker sends the rest again",
        "nothing; if it happens at each stop, Kafka is slow or unreachable",
    ),
    ending(
        3,
        &["leave"],
        "not all was delivered or unsubscribed before nothing moved any more, or a signal came; the session is kept",
        "start Kafka or the broker, look for `cannot unsubscribe` in the log, run it again",
    ),
    ending(3, &["map"], "--live: a second signal came before it had disconnected", "nothing"),
    ending(
        3,
        &["dead-letters"],
        "no word from Kafka; replay: or it cannot be remembered what is in Kafka",
        "run it again: a replay goes on where it was",
    ),
    ending(
        70,
        &["any"],
        "the bridge itself failed; the last log line names the cause",
        "restart it (the restart policy does); see below",
    ),
    ending(
        75,
        &["run", "leave"],
        "an actor made no progress (supervisor.hang_after)",
        "restart it (the restart policy does); keep the log",
    ),
    ending(
        78,
        &["run", "leave"],
        "the configuration is wrong, http.listen is taken, or a file of the bridge cannot be used",
        "read stderr, which has every error, and the log; a restart does not help",
    ),
    ending(
        78,
        &["check", "latency", "map", "top"],
        "the configuration is wrong, or check cannot use a file that it names",
        "read stderr, which has every error",
    ),
    ending(
        78,
        &["doctor"],
        "the configuration is wrong: nothing else was looked at",
        "the findings have every error; docs/configuration.md",
    ),
    ending(
        78,
        &["dead-letters"],
        "the configuration is wrong, or dead letters, progress or exported files cannot be read or written",
        "read stderr",
    ),
    ending(130, &["demo", "bench"], "interrupted before the end", "nothing"),
];

/// Why the bridge itself failed ([`Exit::Failed`]). docs/operations.md says what to do about each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The system gave no thread, no file handle or no memory at the start.
    NotStarted,
    /// An actor failed `supervisor.failures_max` times in a row.
    ActorFailed,
    /// An actor panicked in its constructor.
    ActorNotBuilt,
    /// A thread ended that must not end: log, watchdog, HTTP or Kafka probe.
    ThreadEnded,
    /// SupervisorActor ended.
    SupervisorEnded,
    /// A panic that no guard caught.
    Panic,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::NotStarted,
        Self::ActorFailed,
        Self::ActorNotBuilt,
        Self::ThreadEnded,
        Self::SupervisorEnded,
        Self::Panic,
    ];

    /// The word in the log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotStarted => "not_started",
            Self::ActorFailed => "actor_failed",
            Self::ActorNotBuilt => "actor_not_built",
            Self::ThreadEnded => "thread_ended",
            Self::SupervisorEnded => "supervisor_ended",
            Self::Panic => "panic",
        }
    }
}

/// Whether the system has run out of file handles, threads or memory: the configuration is not at
/// fault.
pub fn is_exhausted(error: &io::Error) -> bool {
    const CODES: [i32; 5] = [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::ENOBUFS, libc::EAGAIN];
    error.raw_os_error().is_some_and(|code| CODES.contains(&code))
}

/// A cause with its detail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The kind.
    pub cause: Cause,
    /// A readable sentence.
    pub detail: String,
}

impl Failure {
    /// A failure with this detail.
    pub fn new(cause: Cause, detail: impl Into<String>) -> Self {
        Self { cause, detail: detail.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.cause.name(), self.detail)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(u8::try_from(exit.code()).unwrap_or(u8::MAX))
    }
}
