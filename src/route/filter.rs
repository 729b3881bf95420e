//! MQTT topic filters: which are legal, and what they match (MQTT 5, section 4.7).

use std::fmt;
use std::str::FromStr;

/// The longest string that MQTT can carry, in bytes (MQTT 5, section 1.5.4).
const LENGTH_MAX: usize = 65_535;

/// A legal MQTT filter, shared subscriptions (`$share/group/filter`) included.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Filter {
    text: String,
    /// Where the part that topics are matched against begins: behind `$share/group/`.
    pattern_at: usize,
}

impl Filter {
    /// As written, for SUBSCRIBE.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it is a shared subscription.
    pub fn is_shared(&self) -> bool {
        self.pattern_at > 0
    }

    /// Whether it has `+` or `#`.
    pub fn has_wildcard(&self) -> bool {
        self.pattern().contains(['+', '#'])
    }

    /// Whether a message published as `mqtt_topic` matches.
    pub fn matches(&self, mqtt_topic: &str) -> bool {
        let pattern = self.pattern();
        // A wildcard in first place does not match `$SYS` and its like [MQTT-4.7.2-1].
        if mqtt_topic.starts_with('$') && pattern.starts_with(['+', '#']) {
            return false;
        }
        let mut levels = mqtt_topic.split('/');
        for part in pattern.split('/') {
            if part == "#" {
                return true;
            }
            match levels.next() {
                Some(level) if part == "+" || part == level => {}
                _ => return false,
            }
        }
        levels.next().is_none()
    }

    pub(super) fn pattern(&self) -> &str {
        &self.text[self.pattern_at..]
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Why a string is no filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// [MQTT-4.7.3-1].
    #[error("a filter must not be empty")]
    Empty,
    /// [MQTT-4.7.3-3].
    #[error("a filter has at most 65535 bytes, this one has {0}")]
    TooLong(usize),
    /// [MQTT-4.7.3-2].
    #[error("a filter must not contain the NUL character")]
    Nul,
    /// [MQTT-4.7.1-1].
    #[error("`#` must stand alone in the last level")]
    MultiLevelWildcard,
    /// [MQTT-4.7.1-2].
    #[error("`+` must stand alone in its level")]
    SingleLevelWildcard,
    /// MQTT 5, section 4.8.2.
    #[error(
        "a shared subscription is written `$share/GROUP/FILTER`, the group without `+` and `#`"
    )]
    Share,
}

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        if text.is_empty() {
            return Err(FilterError::Empty);
        }
        if text.len() > LENGTH_MAX {
            return Err(FilterError::TooLong(text.len()));
        }
        if text.contains('\0') {
            return Err(FilterError::Nul);
        }
        let pattern_at = match text.strip_prefix("$share/") {
            None if text == "$share" => return Err(FilterError::Share),
            None => 0,
            Some(rest) => match rest.split_once('/') {
                Some((group, pattern))
                    if !group.is_empty() && !group.contains(['+', '#']) && !pattern.is_empty() =>
                {
                    text.len() - pattern.len()
                }
                _ => return Err(FilterError::Share),
            },
        };
        let mut levels = text[pattern_at..].split('/').peekable();
        while let Some(level) = levels.next() {
            if level.contains('#') && (level != "#" || levels.peek().is_some()) {
                return Err(FilterError::MultiLevelWildcard);
            }
            if level.contains('+') && level != "+" {
                return Err(FilterError::SingleLevelWildcard);
            }
        }
        Ok(Self { text: text.to_owned(), pattern_at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(filter: &str, mqtt_topic: &str) -> bool {
        filter.parse::<Filter>().expect("a legal filter").matches(mqtt_topic)
    }

    #[test]
    fn matching_follows_the_examples_of_the_specification() {
        for (filter, mqtt_topic) in [
            ("sport/tennis/player1/#", "sport/tennis/player1"),
            ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon"),
            ("#", "sport"),
            ("sport/tennis/+", "sport/tennis/player1"),
            ("sport/+", "sport/"),
            ("+/+", "/finance"),
            ("/+", "/finance"),
            ("$SYS/#", "$SYS/broker/uptime"),
            ("$share/group/sport/+", "sport/tennis"),
        ] {
            assert!(matches(filter, mqtt_topic), "{filter} {mqtt_topic}");
        }
        for (filter, mqtt_topic) in [
            ("sport/tennis/+", "sport/tennis/player1/ranking"),
            ("sport/+", "sport"),
            ("+", "/finance"),
            ("#", "$SYS/broker"),
            ("+/monitor/Clients", "$SYS/monitor/Clients"),
            ("sport", "sport/tennis"),
            ("sport/tennis", "sport"),
            ("Sport", "sport"),
        ] {
            assert!(!matches(filter, mqtt_topic), "{filter} {mqtt_topic}");
        }
    }

    #[test]
    fn illegal_filters_say_what_is_wrong() {
        for (filter, error) in [
            ("", FilterError::Empty),
            ("a\0", FilterError::Nul),
            ("sport/tennis#", FilterError::MultiLevelWildcard),
            ("sport/#/ranking", FilterError::MultiLevelWildcard),
            ("sport+", FilterError::SingleLevelWildcard),
            ("$share/group", FilterError::Share),
            ("$share/g+/a", FilterError::Share),
            ("$share//a", FilterError::Share),
        ] {
            assert_eq!(filter.parse::<Filter>(), Err(error), "{filter:?}");
        }
        let long = "a".repeat(65_536);
        assert_eq!(long.parse::<Filter>(), Err(FilterError::TooLong(65_536)));
    }
}
