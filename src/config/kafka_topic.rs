//! The names that Kafka accepts for a Kafka topic; librdkafka accepts any. Pure.

/// The rule, for an error.
pub(super) const LEGAL: &str = "1 to 249 of the characters a-z, A-Z, 0-9, `.`, `_` and `-`, and \
                                neither `.` nor `..`";

/// Whether Kafka accepts `name`.
pub(crate) fn is_legal(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=249).contains(&name.len()) && name.bytes().all(legal) && name != "." && name != ".."
}
