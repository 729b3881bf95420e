//! Errors in a configuration, one line each: location, key, what was expected, what was found.

use std::fmt;

use crate::visible::Visible;

/// Where something was written. The order is that of the report.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Location {
    /// The file as a whole.
    File,
    /// A line of the file, from 1.
    Line(usize),
    /// An environment variable.
    Variable(String),
}

/// One error.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConfigError {
    /// Where.
    pub location: Location,
    /// The key, such as `mqtt.url` or `routes[1].filter`; empty if there is none.
    pub key: String,
    /// What was expected and what was found. Never contains a secret.
    pub text: String,
}

/// Everything that is wrong with a configuration, by line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors {
    file: String,
    errors: Vec<ConfigError>,
}

impl ConfigErrors {
    /// The errors in the file of this name.
    pub(super) fn new(file: &str, mut errors: Vec<ConfigError>) -> Self {
        errors.sort();
        errors.dedup();
        Self { file: one_line(file), errors }
    }

    /// The errors, by line.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        self.errors.iter()
    }
}

/// One line for each error, without a newline at the end.
impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, ConfigError { location, key, text }) in self.errors.iter().enumerate() {
            let file = &self.file;
            let newline = if index == 0 { "" } else { "\n" };
            match location {
                Location::File => write!(f, "{newline}{file}: ")?,
                Location::Line(line) => write!(f, "{newline}{file}:{line}: ")?,
                Location::Variable(name) => write!(f, "{newline}{}: ", one_line(name))?,
            }
            // The name of a variable contains the key.
            if !key.is_empty() && !matches!(location, Location::Variable(_)) {
                write!(f, "{}: ", one_line(key))?;
            }
            f.write_str(&one_line(text))?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// `text` on one line, without anything that a terminal would obey.
fn one_line(text: &str) -> String {
    Visible(text.trim_end()).to_string()
}
