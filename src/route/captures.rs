//! Named levels of a filter: `sensors/{site}/{device}/+/{metric...}`. Pure.

use super::filter::{Filter, FilterError};

/// Which levels of an MQTT topic have a name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Captures {
    levels: Vec<(Box<str>, Levels)>,
}

/// The levels that a name stands for, counted from 0 behind the filter's prefix (`$share/group/`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Levels {
    /// `{name}`: this one.
    One(usize),
    /// `{name...}`: this one and all behind it; perhaps none, since `#` matches the level before it too.
    From(usize),
}

impl Captures {
    /// Reads a filter as it is written in the configuration.
    ///
    /// # Errors
    /// It is not a legal filter, or a name is illegal or there twice.
    pub fn read(written: &str) -> Result<(Filter, Self), FilterError> {
        Ok((written.parse()?, Self::default()))
    }

    /// What this name stands for.
    pub fn get(&self, name: &str) -> Option<Levels> {
        self.levels.iter().find(|(known, _)| **known == *name).map(|(_, levels)| *levels)
    }

    /// All names, in the order of the levels.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.levels.iter().map(|(name, _)| &**name)
    }
}
