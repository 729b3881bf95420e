//! From a file and the environment to a configuration.

use std::collections::BTreeMap;
use std::path::Path;

use super::errors::{ConfigError, ConfigErrors, Location};
use super::keys;
use super::properties;
use super::resolve::{resolve, resolve_pages};
use super::resolved::{Config, HttpConfig};
use super::source::Source;
use super::text;

impl Config {
    /// Loads the file, overridden by the environment `env`.
    ///
    /// # Errors
    /// Everything that is wrong with it, or that the file cannot be read.
    pub fn load(
        path: &Path,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigErrors> {
        with_text(path, |text, name| Self::from_toml(text, name, env))
    }

    /// Only what it takes to ask the bridge that runs with this file and this environment: the address of its
    /// pages, and `cert_file` if they are served over TLS, without its path. No other key is judged, and no
    /// other file is read.
    ///
    /// # Errors
    /// What is wrong with `http.listen`, or that the file cannot be read.
    pub fn load_pages(
        path: &Path,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Result<HttpConfig, ConfigErrors> {
        pages(path, env, false)
    }

    /// As [`Config::load_pages`], with what it takes to ask for pages that want a token: `token_file`, which is read
    /// once, and the path of `cert_file`.
    ///
    /// # Errors
    /// What is wrong with these keys, or that the file cannot be read.
    pub fn load_pages_with_token(
        path: &Path,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Result<HttpConfig, ConfigErrors> {
        pages(path, env, true)
    }

    /// Loads `text`, which errors call `name`, overridden by the environment `env`. If it has librdkafka
    /// properties, this creates each producer for a moment, without contacting a broker, to learn
    /// whether librdkafka accepts all properties together.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn from_toml(
        text: &str,
        name: &str,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigErrors> {
        let env = env.into_iter().collect();
        let refused = |errors| ConfigErrors::new(name, errors);
        let source = Source::read(text, &env).map_err(refused)?;
        let location = source.sections.get(keys::PROPERTIES).cloned().unwrap_or(Location::File);
        let config = resolve(source).map_err(refused)?;
        if !config.kafka.properties.is_empty() {
            properties::try_together(&config).map_err(|text| {
                let key = keys::PROPERTIES.to_owned();
                refused(vec![ConfigError { location, key, text }])
            })?;
        }
        Ok(config)
    }
}

fn pages(
    path: &Path,
    env: impl IntoIterator<Item = (String, String)>,
    is_trusted: bool,
) -> Result<HttpConfig, ConfigErrors> {
    let env = env.into_iter().collect();
    with_text(path, |text, name| {
        let resolved =
            Source::read(text, &env).and_then(|source| resolve_pages(source, is_trusted));
        resolved.map_err(|errors| ConfigErrors::new(name, errors))
    })
}

/// What `then` makes of the text of a file and its name.
fn with_text<T>(
    path: &Path,
    then: impl FnOnce(&str, &str) -> Result<T, ConfigErrors>,
) -> Result<T, ConfigErrors> {
    let name = path.display().to_string();
    let read =
        std::fs::read(path).map_err(|error| format!("expected a file that can be read: {error}"));
    let read = read.as_ref().map_err(String::clone).and_then(|bytes| text::decode(bytes));
    match read {
        Ok(text) => then(text, &name),
        Err(text) => {
            let error = ConfigError { location: Location::File, key: String::new(), text };
            Err(ConfigErrors::new(&name, vec![error]))
        }
    }
}

/// The environment of this process, for [`Config::load`]. Bytes that are not UTF-8 are replaced.
pub fn environment() -> BTreeMap<String, String> {
    let lossy = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    std::env::vars_os().map(|(name, value)| (lossy(name), lossy(value))).collect()
}
