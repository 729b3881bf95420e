//! Signals that ask this program to stop, or to read its configuration again.

use std::fs::File;
use std::io;
use std::task::Poll;
use std::time::Duration;

use mqtt_kafka_bridge::exit::{Cause, Exit};
use mqtt_kafka_bridge::observe::log::Logging;
use mqtt_kafka_bridge::observe::{events, keys, panics};
use slog::{error, info, o, warn};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::UnboundedSender;

/// A signal and its name.
pub(crate) type Named = (SignalKind, &'static str);

pub(crate) const TERMINATE: Named = (SignalKind::terminate(), "SIGTERM");
pub(crate) const INTERRUPT: Named = (SignalKind::interrupt(), "SIGINT");
const QUIT: Named = (SignalKind::quit(), "SIGQUIT");
const HANGUP: Named = (SignalKind::hangup(), "SIGHUP");

/// Exit code of the demo and the bench after a signal: 128 + SIGINT, as shells have it.
#[cfg(feature = "demo")]
pub(crate) const INTERRUPTED: u8 = 130;

/// Completes at the first SIGTERM, SIGINT or SIGQUIT, or when its terminal has closed. At a second signal it
/// flushes the log and ends the process at once. It must be polled on a Tokio runtime; signals count from the
/// first poll.
///
/// SIGHUP asks `reload`, if there is one; else it ends too. Where it comes because the terminal has closed, nobody
/// sits there any more who could end the bridge, and it ends by itself. It never counts as the second signal: a
/// closed terminal sends it twice, and systemd right behind SIGTERM. Where it is ignored from the start (`nohup`), it
/// stays ignored. SIGPIPE is ignored, as in every Rust program: the bridge goes on when a reader of its log has gone.
pub(crate) async fn shutdown_signal(logging: Logging, reload: Option<UnboundedSender<()>>) {
    let log = logging.logger().new(o!(keys::COMPONENT => "signal"));
    let mut wanted = vec![TERMINATE, INTERRUPT, QUIT];
    if !is_ignored(HANGUP.0) {
        wanted.push(HANGUP);
    }
    let at_start = Terminal::now();
    let mut signals = match Signals::listen(&wanted) {
        Ok(signals) => signals,
        Err(error) => {
            // Nothing has been received yet, and without signals the bridge could never drain.
            let exit = Exit::Failed;
            error!(log, "cannot handle signals"; events::SIGNALS_UNUSABLE, keys::ERROR => error,
                keys::REASON => Cause::NotStarted.name(), keys::EXIT_CODE => exit.code());
            logging.flush();
            std::process::exit(exit.code());
        }
    };
    let name = loop {
        let name = signals.next().await;
        let Some(reload) = reload.as_ref().filter(|_| name == HANGUP.1) else { break name };
        if is_terminal_gone(at_start).await {
            break name;
        }
        // Whoever reads the configuration lives as long as the bridge.
        let _ = reload.send(());
    };
    info!(log, "stopping"; events::SIGNAL_RECEIVED, keys::SIGNAL => name);
    actix_rt::spawn(async move {
        let name = loop {
            match signals.next().await {
                name if name == HANGUP.1 => {}
                name => break name,
            }
        };
        let exit = Exit::DeadlinePassed;
        warn!(log, "second signal, exiting at once"; events::SECOND_SIGNAL,
            keys::SIGNAL => name, keys::EXIT_CODE => exit.code());
        logging.flush();
        std::process::exit(exit.code());
    });
}

/// How long a terminal may take to be gone after its SIGHUP.
const TERMINAL_GOES_WITHIN: Duration = Duration::from_millis(100);

/// What opening `/dev/tty` tells of the terminal that controls this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Terminal {
    /// It is there.
    There,
    /// There is none, or none any more.
    None,
    /// Nobody can say: no file handle is left, or `/dev` is not mounted.
    Unknown,
}

impl Terminal {
    fn now() -> Self {
        Self::of(File::open("/dev/tty").map(drop))
    }

    /// tty(4): without a terminal that controls the process, open(2) fails with ENXIO.
    fn of(opened: io::Result<()>) -> Self {
        match opened {
            Ok(()) => Self::There,
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) => Self::None,
            Err(_) => Self::Unknown,
        }
    }

    /// Whether a SIGHUP came because the terminal that was there `at_start` is gone `now`. Else a person, or a
    /// service manager, asks for a reload.
    fn is_gone(at_start: Self, now: Self) -> bool {
        (at_start, now) == (Self::There, Self::None)
    }
}

/// Where the leader of its session ends before a terminal closes, SIGHUP comes first: it is looked at twice.
async fn is_terminal_gone(at_start: Terminal) -> bool {
    if at_start != Terminal::There {
        return false;
    }
    if Terminal::now() == Terminal::There {
        tokio::time::sleep(TERMINAL_GOES_WITHIN).await;
    }
    Terminal::is_gone(at_start, Terminal::now())
}

/// Receives some signals.
pub(crate) struct Signals(Vec<(Signal, &'static str)>);

impl Signals {
    /// Listens for these from now on. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// The system has no file handle left, or refuses.
    pub(crate) fn listen(wanted: &[Named]) -> Result<Self, String> {
        let listen = |(kind, name): &Named| Ok((signal(*kind)?, *name));
        // Tokio panics if the system has no file handle left.
        let listening: Result<io::Result<Vec<_>>, _> =
            panics::catch(|| wanted.iter().map(listen).collect());
        match listening {
            Ok(Ok(signals)) => Ok(Self(signals)),
            Ok(Err(error)) => Err(error.to_string()),
            Err(panic) => Err(panic.message),
        }
    }

    /// Waits for the next one and gives its name.
    pub(crate) async fn next(&mut self) -> &'static str {
        std::future::poll_fn(|cx| {
            for (signal, name) in &mut self.0 {
                if signal.poll_recv(cx).is_ready() {
                    return Poll::Ready(*name);
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// Whether this process ignores the signal, as `nohup` makes it. Read from /proc, because asking
/// sigaction(2) takes unsafe code.
fn is_ignored(kind: SignalKind) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    mask & (1 << (kind.as_raw_value() - 1)) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_terminal_that_was_there_and_is_gone_makes_sighup_an_end() {
        use Terminal::{None, There, Unknown};
        for (at_start, now, is_gone) in [
            (There, None, true),
            // A person asks from the terminal.
            (There, There, false),
            // No file handle is left: that is no reason to end.
            (There, Unknown, false),
            // A service has none.
            (None, None, false),
            (None, There, false),
            (None, Unknown, false),
            (Unknown, None, false),
            (Unknown, There, false),
            (Unknown, Unknown, false),
        ] {
            assert_eq!(Terminal::is_gone(at_start, now), is_gone, "{at_start:?} {now:?}");
        }
    }

    #[test]
    fn only_enxio_says_that_there_is_no_terminal() {
        for (code, terminal) in [
            (libc::ENXIO, Terminal::None),
            (libc::EMFILE, Terminal::Unknown),
            (libc::ENFILE, Terminal::Unknown),
            (libc::EACCES, Terminal::Unknown),
            (libc::ENOENT, Terminal::Unknown),
            (libc::EIO, Terminal::Unknown),
        ] {
            assert_eq!(Terminal::of(Err(io::Error::from_raw_os_error(code))), terminal, "{code}");
        }
        assert_eq!(Terminal::of(Ok(())), Terminal::There);
    }
}
