//! How the process ends, for whoever started it.

use std::process::ExitCode;

/// Why the process ends, the graver the higher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// All that was in flight is in Kafka or in the dead letter, and acknowledged where there was a
    /// connection for that: 0.
    Drained,
    /// `healthcheck` found the bridge not ready, or did not find it: 1.
    Unhealthy,
    /// The command line is wrong: 2.
    Usage,
    /// `delivery.drain_deadline` passed, or a second signal came, before all was acknowledged: 3.
    /// The broker sends the rest again at the next start.
    DeadlinePassed,
    /// An actor failed `supervisor.failures_max` times in a row, or something ended that must not
    /// (a thread, SupervisorActor): 70.
    BudgetSpent,
    /// An actor made no progress for `supervisor.hang_after`: 75.
    Hung,
    /// The configuration is wrong, or `http.listen` is not to be had: 78.
    Configuration,
}

impl Exit {
    /// All of them, ascending.
    pub const ALL: [Self; 7] = [
        Self::Drained,
        Self::Unhealthy,
        Self::Usage,
        Self::DeadlinePassed,
        Self::BudgetSpent,
        Self::Hung,
        Self::Configuration,
    ];

    /// The exit code. The graver, the higher.
    pub const fn code(self) -> i32 {
        match self {
            Self::Drained => 0,
            Self::Unhealthy => 1,
            Self::Usage => 2,
            Self::DeadlinePassed => 3,
            // As in sysexits.h: EX_SOFTWARE, EX_TEMPFAIL, EX_CONFIG.
            Self::BudgetSpent => 70,
            Self::Hung => 75,
            Self::Configuration => 78,
        }
    }

    /// The exit with this code; one that is not ours is a failure.
    pub fn of_code(code: i32) -> Self {
        Self::ALL.into_iter().find(|exit| exit.code() == code).unwrap_or(Self::BudgetSpent)
    }

    /// What it means, in one line.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Drained => "drained: everything in flight is in Kafka",
            Self::Unhealthy => "healthcheck: not ready, not alive, or not there",
            Self::Usage => "the command line is wrong",
            Self::DeadlinePassed => "the drain deadline passed, or a second signal came",
            Self::BudgetSpent => "an actor failed too often in a row (supervisor.failures_max)",
            Self::Hung => "an actor made no progress (supervisor.hang_after)",
            Self::Configuration => "the configuration is wrong, or http.listen is taken",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(u8::try_from(exit.code()).unwrap_or(u8::MAX))
    }
}
