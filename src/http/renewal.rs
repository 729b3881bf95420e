//! The files of the server: read at the start, and again when they change.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use slog::{Logger, info, o, warn};

use super::login::{Logins, Token};
use super::tls::Certificate;
use crate::config::HttpConfig;
use crate::file_watch::FileWatch;
use crate::observe::{events, keys};

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What the files say, and who looks at them.
pub(super) struct Files {
    token: Option<Watched<Arc<Logins>>>,
    certificate: Option<Watched<Certificate>>,
}

/// Whether the server could use the files that the configuration names.
///
/// # Errors
/// A readable sentence.
pub fn check_files(config: &HttpConfig) -> Result<(), String> {
    Files::read(config).map(drop)
}

/// What was read from some files.
struct Watched<T> {
    watch: FileWatch,
    paths: Vec<PathBuf>,
    found: T,
}

impl Files {
    /// Reads the files that the configuration names.
    ///
    /// # Errors
    /// A readable sentence.
    pub(super) fn read(config: &HttpConfig) -> Result<Self, String> {
        // Watched before they are read, so that no change is missed.
        let watch = |paths: Vec<PathBuf>| (FileWatch::new(paths.clone()), paths);
        let token = match &config.token_file {
            Some(path) => {
                let (watch, paths) = watch(vec![path.clone()]);
                let found = Logins::new(Token::read(path)?).map_err(|error| error.to_string())?;
                Some(Watched { watch, paths, found: Arc::new(found) })
            }
            None => None,
        };
        let certificate = match (&config.cert_file, &config.key_file) {
            (Some(cert_file), Some(key_file)) => {
                let (watch, paths) = watch(vec![cert_file.clone(), key_file.clone()]);
                let found = Certificate::read(cert_file, key_file)?;
                Some(Watched { watch, paths, found })
            }
            _ => None,
        };
        Ok(Self { token, certificate })
    }

    /// The logins, with `http.token_file`.
    pub(super) fn logins(&self) -> Option<Arc<Logins>> {
        self.token.as_ref().map(|watched| Arc::clone(&watched.found))
    }

    /// The certificate, with `http.cert_file`.
    pub(super) fn certificate(&self) -> Option<&Certificate> {
        self.certificate.as_ref().map(|watched| &watched.found)
    }

    /// Looks for changes as long as it is polled.
    pub(super) async fn renew(mut self, log: Logger) {
        let log = log.new(o!(keys::COMPONENT => "http"));
        if self.token.is_none() && self.certificate.is_none() {
            return;
        }
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            self.look(&log);
        }
    }

    fn look(&mut self, log: &Logger) {
        if let Some(Watched { watch, paths, found }) = &mut self.token
            && watch.has_changed()
        {
            let read = paths
                .iter()
                .try_for_each(|path| Token::read(path).map(|token| found.replace(token)));
            tell(log, "http token", read);
        }
        if let Some(Watched { watch, paths, found }) = &mut self.certificate
            && watch.has_changed()
            && let [cert_file, key_file] = &paths[..]
        {
            tell(log, "http certificate", found.read_again(cert_file, key_file));
        }
    }
}

/// Each change of a file is told once, so that no limit is needed.
fn tell(log: &Logger, what: &str, read: Result<(), String>) {
    match read {
        Ok(()) => info!(log, "{} read again", what; events::HTTP_FILE_RENEWED),
        Err(error) => {
            warn!(log, "{} changed and cannot be used, the one before stays", what; events::HTTP_FILE_REFUSED,
                keys::ERROR => error);
        }
    }
}
