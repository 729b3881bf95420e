//! The options of `doctor`.

use clap::Args;

/// How the findings are told.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// One JSON object with all findings, on the standard output
    #[arg(long)]
    pub json: bool,
    /// Count a warning as an error: exit code 1
    #[arg(long)]
    pub strict: bool,
    /// Leave out what is as it should be
    #[arg(short, long)]
    pub quiet: bool,
}
