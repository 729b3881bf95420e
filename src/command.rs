//! Commands that print a secret: in a process group of their own, with a bound for what they print.

use std::io;
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};

/// A command that runs in a process group of its own. Dropped before it has ended, the whole group is
/// killed: a shell's children must not live on.
pub(crate) struct Running(Child);

impl Running {
    /// Starts it, without input. What it writes to its standard error is nobody's: it may be a secret.
    ///
    /// # Errors
    /// It cannot be started.
    pub(crate) fn start(program: &str, arguments: &[&str]) -> io::Result<Self> {
        let mut command = Command::new(program);
        command.args(arguments).process_group(0).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        Ok(Self(command.spawn()?))
    }

    /// What it writes, up to `most` bytes, and how it ends. A child that it leaves behind with its standard
    /// output is waited for too.
    ///
    /// # Errors
    /// The system's.
    pub(crate) async fn finish(&mut self, most: usize) -> io::Result<(Vec<u8>, ExitStatus)> {
        let mut bytes = Vec::new();
        if let Some(stdout) = self.0.stdout.take() {
            let most = u64::try_from(most).unwrap_or(u64::MAX);
            // Its end of the pipe is closed behind that, so that it cannot wait for us.
            stdout.take(most).read_to_end(&mut bytes).await?;
        }
        Ok((bytes, self.0.wait().await?))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Only while it has not been waited for: later the number may be another's.
        let group = self.0.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        if let Some(group) = group {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}
