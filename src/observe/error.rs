//! An error with its causes, each said once.

use std::error::Error;
use std::fmt::{self, Display, Formatter, Write};

use slog::{KV, Key, Record, Serializer, Value};

use super::keys;

/// Prints an error and its sources as `a: b: c`. A source whose text already ends its
/// parent's is left out.
///
/// As a value it goes under any key; alone in a logging statement it goes under [`keys::ERROR`]:
/// `warn!(log, "connect failed"; ErrorChain(&error))`.
#[derive(Debug, Clone, Copy)]
pub struct ErrorChain<'a>(pub &'a (dyn Error + 'static));

impl Display for ErrorChain<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut said = self.0.to_string();
        let mut cause = self.0.source();
        while let Some(error) = cause {
            let text = error.to_string();
            if !said.ends_with(&text) {
                write!(said, ": {text}")?;
            }
            cause = error.source();
        }
        f.write_str(&said)
    }
}

impl Value for ErrorChain<'_> {
    fn serialize(&self, _: &Record<'_>, key: Key, serializer: &mut dyn Serializer) -> slog::Result {
        serializer.emit_str(key, &self.to_string())
    }
}

impl KV for ErrorChain<'_> {
    fn serialize(&self, record: &Record<'_>, serializer: &mut dyn Serializer) -> slog::Result {
        Value::serialize(self, record, keys::ERROR, serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot connect to {0}")]
    struct Outer(&'static str, #[source] std::io::Error);

    #[derive(Debug, thiserror::Error)]
    #[error("cannot start: {0}")]
    struct SaysItsSource(#[source] Outer);

    #[test]
    fn every_cause_is_said_once() {
        let refused = || std::io::Error::other("refused");
        let outer = Outer("a:1", refused());
        assert_eq!(ErrorChain(&outer).to_string(), "cannot connect to a:1: refused");
        let outermost = SaysItsSource(Outer("a:1", refused()));
        assert_eq!(
            ErrorChain(&outermost).to_string(),
            "cannot start: cannot connect to a:1: refused"
        );
    }
}
