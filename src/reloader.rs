//! Reads the configuration again while the bridge runs, and tells everybody who uses it.
//! [`crate::reload`] decides what of it is applied.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use actix::Recipient;
use slog::{Logger, error, info, warn};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

use crate::config::{Config, ConfigErrors, Reload};
use crate::file_watch::FileWatch;
use crate::kafka::ProbeConfig;
use crate::mqtt::Reroute;
use crate::observe::{Logging, Metrics, ReloadOutcome, events, keys};
use crate::reload::Plan;
use crate::supervisor::{Readiness, Reloading};

/// How often the file is looked at with `reload = "watch"`. A change is taken when two looks find the same.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Where the configuration comes from, and when it is to be read again.
pub struct Reloads {
    /// Reads it.
    pub load: Arc<dyn Fn() -> Result<Config, ConfigErrors> + Send + Sync>,
    /// Its files as they were before it was read.
    pub watch: FileWatch,
    /// A person asks for it.
    pub asked: UnboundedReceiver<()>,
}

impl fmt::Debug for Reloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloads").field("watch", &self.watch).finish_non_exhaustive()
    }
}

impl Reloads {
    /// With `load`, from this file.
    pub fn new(
        file: PathBuf,
        load: impl Fn() -> Result<Config, ConfigErrors> + Send + Sync + 'static,
        asked: UnboundedReceiver<()>,
    ) -> Self {
        Self { load: Arc::new(load), watch: FileWatch::new(vec![file]), asked }
    }
}

/// Who uses the configuration, or tells what becomes of it.
pub(crate) struct Reloader {
    /// In force.
    pub(crate) config: Arc<Config>,
    pub(crate) connections: Vec<Recipient<Reroute>>,
    pub(crate) supervisor: Recipient<Reloading>,
    pub(crate) readiness: Arc<Readiness>,
    pub(crate) probe: Option<ProbeConfig>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) logging: Logging,
    pub(crate) log: Logger,
}

impl Reloader {
    /// Reloads whenever it is asked to, or the file has changed, until nobody can ask any more and nothing is
    /// watched. A drain is not disturbed.
    pub(crate) async fn run(mut self, reloads: Reloads) {
        let Reloads { load, mut watch, mut asked } = reloads;
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut has_failed = false;
        loop {
            let is_due = tokio::select! {
                request = asked.recv() => match request {
                    Some(()) => {
                        // One that is not begun yet serves all who have asked.
                        while asked.try_recv().is_ok() {}
                        true
                    }
                    None => return,
                },
                _ = looks.tick(), if self.config.reload == Reload::Watch => {
                    // A slow disk must not stop the supervisor, whose thread this is.
                    let mut looking = watch.clone();
                    let look = spawn_blocking(move || {
                        let has_changed = looking.has_changed();
                        (looking, has_changed)
                    });
                    match look.await {
                        Ok((looked, has_changed)) => {
                            watch = looked;
                            has_failed = false;
                            has_changed
                        }
                        // The next look begins where this one did. Each may fail: it is told once.
                        Err(panicked) => {
                            if !std::mem::replace(&mut has_failed, true) {
                                self.look_failed(&panicked.to_string());
                            }
                            false
                        }
                    }
                }
            };
            if is_due && !self.metrics.health().is_draining() {
                self.reload(Arc::clone(&load)).await;
            }
        }
    }

    async fn reload(&mut self, load: Arc<dyn Fn() -> Result<Config, ConfigErrors> + Send + Sync>) {
        info!(self.log, "reading the configuration again"; events::CONFIG_RELOADING);
        self.supervisor.do_send(Reloading { is_over: false });
        // What many routes take must not stop the supervisor, whose thread this is.
        let with_warnings = |new: Config| (new.warnings(), new);
        let loaded = spawn_blocking(move || load().map(with_warnings)).await;
        let outcome = match loaded {
            Ok(Ok((warnings, new))) => {
                for warning in warnings {
                    warn!(self.log, "configuration warning"; events::CONFIGURATION_WARNING, keys::DETAIL => warning);
                }
                self.apply(new)
            }
            Ok(Err(errors)) => {
                let lines: Vec<_> = errors.to_string().lines().map(str::to_owned).collect();
                self.refuse(&lines)
            }
            Err(panicked) => self.refuse(&[panicked.to_string()]),
        };
        self.metrics.count_reload(outcome);
        self.supervisor.do_send(Reloading { is_over: true });
    }

    fn apply(&mut self, new: Config) -> ReloadOutcome {
        let Plan { config, is_changed, mut restart, routes_wait_for } =
            Plan::new(&self.config, new, self.metrics.route_names());
        self.metrics.let_routes_go();
        if !restart.is_empty() {
            warn!(self.log, "changed keys wait for a restart"; events::CONFIG_WAITS_FOR_RESTART, keys::DETAIL => restart.join(", "));
        }
        if !routes_wait_for.is_empty() {
            let keys = routes_wait_for.join(", ");
            warn!(self.log, "no route is applied, they may have been made for keys that wait for a restart"; events::CONFIG_WAITS_FOR_RESTART,
                keys::DETAIL => &keys);
            restart.push(format!("routes (with {keys})"));
        }
        self.metrics.health().set_reloaded(restart);
        if !is_changed {
            info!(self.log, "configuration read again, nothing to apply"; events::CONFIG_UNCHANGED);
            return ReloadOutcome::Unchanged;
        }
        self.config = Arc::new(config);
        self.logging.set_level(self.config.log.level);
        self.readiness.configure(&self.config);
        if let Some(probe) = &self.probe {
            probe.set(Arc::clone(&self.config));
        }
        for connection in &self.connections {
            connection.do_send(Reroute { config: Arc::clone(&self.config) });
        }
        info!(self.log, "configuration applied"; events::CONFIG_RELOADED, keys::COUNT => self.config.routes.len());
        ReloadOutcome::Applied
    }

    /// A person can still ask for a reload, and the file is looked at again.
    fn look_failed(&self, why: &str) {
        error!(self.log, "the configuration cannot be watched"; events::CONFIG_NOT_WATCHED, keys::ERROR => why);
        self.metrics.health().set_reload_failed(format!("it cannot be watched: {why}"));
    }

    fn refuse(&self, errors: &[String]) -> ReloadOutcome {
        for line in errors {
            error!(self.log, "configuration refused, the old one stays"; events::CONFIG_REFUSED, keys::ERROR => line);
        }
        let first = errors.first().map_or("", String::as_str);
        let detail = match errors.len() {
            0 | 1 => first.to_owned(),
            more => format!("{first} (and {} more)", more - 1),
        };
        self.metrics.health().set_reload_failed(detail);
        ReloadOutcome::Refused
    }
}
