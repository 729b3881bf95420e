//! What MQTT allows in a name and Kafka does not. Pure.

/// The longest name of a Kafka topic, in bytes.
pub const LENGTH_MAX: usize = 249;

/// `illegal_names`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IllegalNames {
    /// What Kafka does not allow is escaped, so that it can be read back.
    #[default]
    Escape,
    /// The message goes to the dead letter.
    DeadLetter,
}

impl IllegalNames {
    /// The name of a Kafka topic that a template was filled to.
    ///
    /// # Errors
    /// What was found and expected.
    pub fn apply(self, filled: String) -> Result<String, String> {
        Ok(filled)
    }
}
