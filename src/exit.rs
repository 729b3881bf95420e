//! How the process ends, and why.

use std::fmt;
use std::io;
use std::process::ExitCode;

/// Why the process ends, in ascending order of severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// Everything that was in flight is in Kafka or in the dead letter, and acknowledged unless the
    /// MQTT connection was lost: 0.
    Drained,
    /// `healthcheck` found the bridge not ready, or could not reach it; `map` found a message that matches no
    /// route or goes to the dead letter: 1.
    Unhealthy,
    /// The command line is wrong: 2.
    Usage,
    /// `delivery.drain_deadline` passed, or a second signal came, before all was acknowledged, or `leave`
    /// ended before the session, or `dead-letters replay` had no word from Kafka: 3.
    /// The broker sends the rest again at the next start.
    DeadlinePassed,
    /// The bridge itself failed, for one of the [`Cause`]s: 70.
    Failed,
    /// An actor made no progress for `supervisor.hang_after`: 75.
    Hung,
    /// The configuration is wrong, or the address of `http.listen` is taken: 78.
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

    /// What it means, in one line.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Drained => "drained: everything in flight is in Kafka or in the dead letter",
            Self::Unhealthy => {
                "healthcheck: not ready, not alive, or not reachable; map: a message is refused or unmatched; \
                 check --test: an example does not hold; dead-letters: some are left"
            }
            Self::Usage => "the command line is wrong",
            Self::DeadlinePassed => {
                "the drain deadline passed, or a second signal came; leave: not left; dead-letters: no word from Kafka"
            }
            Self::Failed => "the bridge itself failed; the last log line names the cause",
            Self::Hung => "an actor made no progress (supervisor.hang_after)",
            Self::Configuration => {
                "the configuration is wrong, http.listen is taken, or a file of the bridge cannot be used"
            }
        }
    }
}

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
