//! The thread that watches the files of the login and fetches tokens: neither is to keep an actor waiting.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use slog::{Logger, info, o, warn};

use super::{Login, fetch};
use crate::backoff::Backoff;
use crate::config::{TokenSource, filled, try_together};
use crate::file_watch::FileWatch;
use crate::observe::events::Event;
use crate::observe::{LogLimiters, events, keys};
use crate::supervisor::{Stop, StoppableThread};

/// How often the files are looked at. A change is used once two looks have found the same.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The first pause after a token could not be fetched; it doubles.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// The longest such pause.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// No token is asked for sooner than this after the last one, however short its lifetime is.
const FETCH_PAUSE_MIN: Duration = Duration::from_secs(1);
/// A repeated warning appears once in this time.
const WARN_INTERVAL: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug)]
pub struct LoginThread(StoppableThread);

impl LoginThread {
    /// Starts the thread, if there are files to watch or tokens to fetch.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(login: &Arc<Login>, log: &Logger) -> io::Result<Option<Self>> {
        let Some(mut worker) = Worker::new(login, log) else { return Ok(None) };
        let work = move |stop: &Stop| {
            loop {
                let pause = worker.work(Instant::now());
                if stop.wait(pause) {
                    return;
                }
            }
        };
        Ok(Some(Self(StoppableThread::start("kafka-login", work)?)))
    }

    /// Something that says whether the thread has ended, for `SupervisorActor` to watch.
    pub fn finished(&self) -> impl Fn() -> bool + Send + Sync + use<> {
        self.0.finished()
    }
}

/// Does not wait for the thread: an endpoint that does not answer takes its time.
impl Drop for LoginThread {
    fn drop(&mut self) {
        self.0.stop();
    }
}

struct Worker {
    login: Arc<Login>,
    log: Logger,
    password: FileWatch,
    client_secret: FileWatch,
    certificates: FileWatch,
    tokens: Option<Tokens>,
    warnings: LogLimiters,
}

/// When the next token is fetched.
struct Tokens {
    at: Instant,
    /// The same by the wall clock, in milliseconds since 1970. The first of the two counts: one stands still
    /// while the machine sleeps, and the other may be set right after the token has come.
    at_ms: i64,
    /// When the last one was asked for.
    asked_at: Option<Instant>,
    backoff: Backoff,
    /// What was said last is that there is none.
    is_failing: bool,
    /// There has been one.
    had_one: bool,
}

impl Tokens {
    fn new(now: Instant) -> Self {
        Self {
            at: now,
            at_ms: i64::MAX,
            asked_at: None,
            backoff: Backoff::new(RETRY_MIN, RETRY_MAX),
            is_failing: false,
            had_one: false,
        }
    }

    fn is_due(&self, now: Instant, now_ms: i64) -> bool {
        self.at <= now || self.at_ms <= now_ms
    }

    /// Kafka has refused the token: another one is asked for, but not all the time.
    fn doubt(&mut self, now: Instant) {
        let soonest = self.asked_at.map_or(now, |at| at + RETRY_MAX);
        self.at = self.at.min(soonest);
    }

    /// The next one is asked for after this time.
    fn wait(&mut self, pause: Duration) {
        self.at = Instant::now() + pause;
        let pause_ms = i64::try_from(pause.as_millis()).unwrap_or(i64::MAX);
        self.at_ms = now_ms().saturating_add(pause_ms);
    }
}

impl Worker {
    fn new(login: &Arc<Login>, log: &Logger) -> Option<Self> {
        let kafka = login.kafka();
        let watch = |path: &Option<_>| FileWatch::new(path.clone().into_iter().collect());
        // Where a file cannot be read just now, the fetch will say so.
        let by_token = match filled(kafka) {
            Ok(properties) => kafka.token_source(&properties).is_some(),
            Err(_) => kafka.oauth_client_secret_file.is_some(),
        };
        let tokens = by_token.then(|| Tokens::new(Instant::now()));
        let worker = Self {
            password: watch(&kafka.sasl_password_file),
            client_secret: watch(&kafka.oauth_client_secret_file),
            certificates: FileWatch::new(kafka.tls_files()),
            tokens,
            log: log.new(o!(keys::COMPONENT => "kafka")),
            warnings: LogLimiters::every(WARN_INTERVAL),
            login: Arc::clone(login),
        };
        let has_files = !worker.password.is_empty() || !worker.certificates.is_empty();
        (has_files || worker.tokens.is_some()).then_some(worker)
    }

    /// Does what is due, and returns how long there is nothing to do.
    fn work(&mut self, now: Instant) -> Duration {
        if self.password.has_changed() {
            match self.login.renew_password() {
                Ok(()) => {
                    info!(self.log, "kafka password changed, it is used from the next login on"; events::KAFKA_PASSWORD_RENEWED)
                }
                Err(why) => {
                    let what = "kafka password changed and cannot be read, keeping the last";
                    self.warn(events::KAFKA_PASSWORD_UNUSABLE, what, &why);
                }
            }
        }
        if self.certificates.has_changed() {
            match try_together(&self.login.config) {
                Ok(()) => self.login.change_version(),
                Err(why) => {
                    let why = self.login.secrets().hide(&why);
                    self.warn(
                        events::KAFKA_CERTIFICATE_UNUSABLE,
                        "kafka certificate files changed and cannot be used, keeping the last",
                        &why,
                    );
                }
            }
        }
        if self.client_secret.has_changed()
            && let Some(tokens) = &mut self.tokens
        {
            tokens.at = now;
        }
        let is_doubted = self.login.doubt().take();
        let Some(tokens) = &mut self.tokens else { return LOOK_EVERY };
        if is_doubted {
            tokens.doubt(now);
        }
        if tokens.is_due(now, now_ms()) {
            tokens.asked_at = Some(now);
            self.fetch();
        }
        let next = self
            .tokens
            .as_ref()
            .map_or(LOOK_EVERY, |tokens| tokens.at.saturating_duration_since(Instant::now()));
        next.min(LOOK_EVERY)
    }

    fn fetch(&mut self) {
        let fetched = filled(self.login.kafka()).and_then(|properties| {
            let secrets = self.login.secrets();
            secrets.learn(&properties);
            let source = self.login.kafka().token_source(&properties);
            let source = source.ok_or("the login by token is not complete")?;
            if let TokenSource::Oidc(oidc) = &source {
                secrets.learn_login(&oidc.client_id, oidc.client_secret.expose());
            }
            fetch::token(&source)
        });
        let lifetime = fetched.as_ref().map(|token| token.refresh_after(now_ms())).ok();
        let renewed = self.login.renew_token(fetched);
        let Some(tokens) = &mut self.tokens else { return };
        match (renewed, lifetime) {
            (Ok(()), Some(pause)) => {
                if tokens.is_failing || !tokens.had_one {
                    info!(self.log, "token for kafka fetched"; events::KAFKA_TOKEN_FETCHED);
                }
                (tokens.is_failing, tokens.had_one) = (false, true);
                tokens.backoff.reset();
                tokens.wait(pause.max(FETCH_PAUSE_MIN));
                self.warnings.reset(events::KAFKA_TOKEN_MISSING);
            }
            (Err(why), _) => {
                tokens.is_failing = true;
                let pause = tokens.backoff.pause(fastrand::f64());
                tokens.wait(pause);
                self.warn(events::KAFKA_TOKEN_MISSING, "no token for kafka", &why);
            }
            (Ok(()), None) => {}
        }
    }

    fn warn(&mut self, event: Event, what: &'static str, why: &str) {
        if let Some(suppressed) = self.warnings.pass(event, Instant::now()) {
            warn!(self.log, "{}", what; event, keys::ERROR => why, keys::SUPPRESSED => suppressed);
        }
    }
}

/// Since 1970.
pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_token_is_due_by_whichever_clock_comes_first() {
        let now = Instant::now();
        let mut tokens = Tokens::new(now);
        assert!(tokens.is_due(now, now_ms()), "the first at once");
        tokens.wait(Duration::from_secs(3600));
        let (soon, soon_ms) = (Instant::now(), now_ms());
        assert!(!tokens.is_due(soon, soon_ms));
        assert!(tokens.is_due(soon + Duration::from_secs(3600), soon_ms), "a clock set back");
        assert!(tokens.is_due(soon, soon_ms + 3_600_000), "a clock set right, or a sleep");
    }

    #[test]
    fn a_token_that_kafka_refuses_is_replaced_once_in_half_a_minute() {
        let now = Instant::now();
        let login = Login::new(Arc::new(crate::config::Config::for_test()));
        let mut tokens = Tokens::new(now);
        tokens.asked_at = Some(now);
        tokens.wait(Duration::from_secs(3600));
        login.doubt().heard(-195);
        assert!(!login.doubt().take(), "no connection is no refusal");
        for code in [-169, 58] {
            login.doubt().clone().heard(code);
            assert!(login.doubt().take() && !login.doubt().take());
        }
        tokens.doubt(now);
        let wall = now_ms();
        assert!(!tokens.is_due(now + RETRY_MAX - Duration::from_secs(1), wall));
        assert!(tokens.is_due(now + RETRY_MAX, wall));
        tokens.doubt(now + Duration::from_secs(60));
        assert_eq!(tokens.at, now + RETRY_MAX, "it comes no later");
    }
}
