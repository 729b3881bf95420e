//! `drop_if` and `keep_if`: `{json./value} > 5 and {site} in ["a", "b"]`. Pure.

use std::fmt;
use std::sync::Arc;

use super::input::View;
use super::placeholder::Placeholder;

/// A parsed condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// As written.
    text: Arc<str>,
}

impl Condition {
    /// Reads one as it is written in the configuration.
    ///
    /// # Errors
    /// Where it is wrong, what was found and what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        Ok(Self { text: text.into() })
    }

    /// Shows each of its placeholders, to be bound to a route's captures.
    pub(super) fn each_placeholder(&mut self, _visit: &mut dyn FnMut(&mut Placeholder)) {}

    /// Whether this message fulfils it. A comparison with a value that is missing is not fulfilled.
    pub fn holds(&self, _view: &View<'_>) -> bool {
        false
    }
}

/// As written.
impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
