//! Named levels of a filter: `sensors/{site}/{device}/+/{metric...}`. Pure.

use std::ops::Range;

use super::filter::{Filter, FilterError};

/// Which levels of an MQTT topic have a name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Captures {
    levels: Vec<(Box<str>, Levels)>,
    /// A prefix that means something to some brokers only: the others deliver it with the MQTT topic.
    prefix: &'static str,
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
    /// Reads a filter as it is written in the configuration: `{name}` is a `+` and `{name...}` a `#` whose
    /// levels have a name; `{{` and `}}` are braces.
    ///
    /// # Errors
    /// It is not a legal filter, or a name is illegal or there twice.
    pub fn read(written: &str) -> Result<(Filter, Self), FilterError> {
        if !written.contains(['{', '}']) {
            return Ok((written.parse()?, Self::default()));
        }
        let mut names = Vec::new();
        let levels = written.split('/').enumerate().map(|(place, level)| {
            let (level, name) = read_level(level)?;
            names.extend(name.map(|(name, is_rest)| (place, name, is_rest)));
            Ok(level)
        });
        let levels = levels.collect::<Result<Vec<_>, FilterError>>()?;
        let in_share = |(place, ..): &&(usize, &str, bool)| levels[0] == "$share" && *place < 2;
        if let Some((_, name, _)) = names.iter().find(in_share) {
            return Err(FilterError::CaptureInPrefix((*name).into()));
        }
        let filter: Filter = levels.join("/").parse()?;
        let skipped = filter.prefix().matches('/').count();
        let mut captures = Self { levels: Vec::new(), prefix: filter.vendor_prefix() };
        for (place, name, is_rest) in names {
            let level = place.saturating_sub(skipped);
            if captures.get(name).is_some() {
                return Err(FilterError::CaptureTwice(name.into()));
            }
            let levels = if is_rest { Levels::From(level) } else { Levels::One(level) };
            captures.levels.push((name.into(), levels));
        }
        Ok((filter, captures))
    }

    /// This filter, whose levels they name, as it is written in the configuration; [`Captures::read`] reads it.
    pub fn write(&self, filter: &Filter) -> String {
        let skipped = filter.prefix().matches('/').count();
        let level = |(place, level): (usize, &str)| {
            let is_here = |(_, levels): &&(Box<str>, Levels)| {
                let (Levels::One(at) | Levels::From(at)) = levels;
                at + skipped == place
            };
            match self.levels.iter().find(is_here) {
                Some((name, Levels::One(_))) => format!("{{{name}}}"),
                Some((name, Levels::From(_))) => format!("{{{name}...}}"),
                None => level.replace('{', "{{").replace('}', "}}"),
            }
        };
        filter.as_str().split('/').enumerate().map(level).collect::<Vec<_>>().join("/")
    }

    /// What this name stands for.
    pub fn get(&self, name: &str) -> Option<Levels> {
        self.levels.iter().find(|(known, _)| **known == *name).map(|(_, levels)| *levels)
    }

    /// All names, in the order of the levels.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.levels.iter().map(|(name, _)| &**name)
    }

    /// Where these levels are in an MQTT topic that the filter matches, if it has them.
    pub fn find(&self, mqtt_topic: &[u8], levels: Levels) -> Option<Range<usize>> {
        let has_prefix = !self.prefix.is_empty() && mqtt_topic.starts_with(self.prefix.as_bytes());
        let skipped = usize::from(has_prefix);
        let (Levels::One(level) | Levels::From(level)) = levels;
        let start = level_start(mqtt_topic, level + skipped)?;
        let end = match levels {
            Levels::One(_) => level_end(mqtt_topic, start),
            Levels::From(_) => mqtt_topic.len(),
        };
        Some(start..end)
    }
}

/// Where a level of an MQTT topic begins, counted from 0.
fn level_start(mqtt_topic: &[u8], level: usize) -> Option<usize> {
    let mut start = 0;
    for _ in 0..level {
        start += mqtt_topic[start..].iter().position(|byte| *byte == b'/')? + 1;
    }
    Some(start)
}

fn level_end(mqtt_topic: &[u8], start: usize) -> usize {
    let length = mqtt_topic[start..].iter().position(|byte| *byte == b'/');
    length.map_or(mqtt_topic.len(), |length| start + length)
}

/// Where a level of an MQTT topic is: from 0, or, if negative, from the last one, which is -1.
pub fn level(mqtt_topic: &[u8], number: i32) -> Option<Range<usize>> {
    let place = usize::try_from(number.unsigned_abs()).ok()?;
    let start = match number < 0 {
        false => level_start(mqtt_topic, place)?,
        true => {
            let levels = mqtt_topic.iter().filter(|byte| **byte == b'/').count() + 1;
            level_start(mqtt_topic, levels.checked_sub(place)?)?
        }
    };
    Some(start..level_end(mqtt_topic, start))
}

/// The name of a level, and whether it stands for all further levels too.
type Name<'a> = (&'a str, bool);

/// A level of a filter as MQTT knows it, and its name.
fn read_level(written: &str) -> Result<(String, Option<Name<'_>>), FilterError> {
    if let Some(inner) = written.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'))
        && !inner.contains(['{', '}'])
    {
        let rest = inner.strip_suffix("...");
        let name = rest.unwrap_or(inner);
        if !is_name(name) {
            return Err(FilterError::CaptureName(name.into()));
        }
        let wildcard = if rest.is_some() { "#" } else { "+" };
        return Ok((wildcard.to_owned(), Some((name, rest.is_some()))));
    }
    let mut level = String::new();
    let mut chars = written.chars().peekable();
    while let Some(char) = chars.next() {
        if matches!(char, '{' | '}') && chars.next_if_eq(&char).is_none() {
            return Err(FilterError::CaptureAlone(written.into()));
        }
        level.push(char);
    }
    Ok((level, None))
}

/// Letters, digits, `_` and `-`, a letter first.
fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.chars().all(|char| char.is_ascii_alphanumeric() || matches!(char, '_' | '-'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(written: &str) -> (Filter, Captures) {
        Captures::read(written).expect("a legal filter")
    }

    fn found<'a>(written: &str, mqtt_topic: &'a str, name: &str) -> Option<&'a str> {
        let (filter, captures) = read(written);
        assert!(filter.matches(mqtt_topic), "{written} {mqtt_topic}");
        let levels = captures.get(name).expect("a name of the filter");
        captures.find(mqtt_topic.as_bytes(), levels).map(|at| &mqtt_topic[at])
    }

    #[test]
    fn a_name_stands_for_its_level_and_with_dots_for_all_that_follow() {
        let filter = "sensors/{site}/{device}/+/{metric...}";
        assert_eq!(read(filter).0.as_str(), "sensors/+/+/+/#");
        let mqtt_topic = "sensors/berlin/d7/x/room/temp";
        assert_eq!(found(filter, mqtt_topic, "site"), Some("berlin"));
        assert_eq!(found(filter, mqtt_topic, "device"), Some("d7"));
        assert_eq!(found(filter, mqtt_topic, "metric"), Some("room/temp"));
        // `#` matches the level before it too.
        assert_eq!(found(filter, "sensors/berlin/d7/x", "metric"), None);
        assert_eq!(found(filter, "sensors//d7/x/", "site"), Some(""));
        assert_eq!(found(filter, "sensors//d7/x/", "metric"), Some(""));
    }

    #[test]
    fn levels_count_from_behind_the_prefix_of_a_shared_subscription() {
        assert_eq!(read("$share/g/{site}/x").0.as_str(), "$share/g/+/x");
        assert_eq!(found("$share/g/{site}/x", "berlin/x", "site"), Some("berlin"));
        // EMQX takes the prefix away, others deliver it.
        assert_eq!(found("$queue/{site}/x", "berlin/x", "site"), Some("berlin"));
        assert_eq!(found("$queue/{site}/x", "$queue/berlin/x", "site"), Some("berlin"));
        assert_eq!(found("$exclusive/{all...}", "$exclusive/a/b", "all"), Some("a/b"));
    }

    #[test]
    fn doubled_braces_are_braces() {
        let (filter, captures) = read("a{{b}}/{{}}/{c}");
        assert_eq!(filter.as_str(), "a{b}/{}/+");
        assert_eq!(captures.names().collect::<Vec<_>>(), ["c"]);
    }

    #[test]
    fn what_is_wrong_with_a_name_is_said() {
        for (written, error) in [
            ("a/{b", "`{b`"),
            ("a/b}", "`b}`"),
            ("a/x{b}", "alone in its level"),
            ("a/{}", "``"),
            ("a/{b c}", "`b c`"),
            ("a/{1}", "`1`"),
            ("a/{b/c}", "`{b`"),
            ("{b}/{b}", "twice"),
            ("$share/{b}/a", "prefix"),
            ("a/{b...}/c", "`#` must stand alone in the last level"),
        ] {
            let found = Captures::read(written).expect_err(written).to_string();
            assert!(found.contains(error), "{written}: {found}");
        }
    }

    #[test]
    fn levels_of_an_mqtt_topic_count_from_both_ends() {
        let at = |mqtt_topic: &'static str, number| {
            level(mqtt_topic.as_bytes(), number).map(|at| &mqtt_topic[at])
        };
        for (number, expected) in [
            (0, Some("a")),
            (1, Some("")),
            (2, Some("c")),
            (3, None),
            (-1, Some("c")),
            (-3, Some("a")),
        ] {
            assert_eq!(at("a//c", number), expected, "{number}");
        }
        for absurd in [-4, i32::MIN, i32::MAX] {
            assert_eq!(at("a//c", absurd), None, "{absurd}");
        }
        assert_eq!(at("", 0), Some(""));
    }

    fn level_written() -> impl Strategy<Value = String> {
        prop_oneof!["[ab]{0,2}", Just("+".to_owned()), Just("{}".to_owned())]
    }

    proptest! {
        /// MQTT 5, section 4.7: a name changes nothing of what a filter matches, and it stands for what its
        /// wildcard matched.
        #[test]
        fn a_filter_with_names_matches_as_without_and_names_what_its_wildcards_match(
            levels in prop::collection::vec(level_written(), 1..5),
            rest in prop_oneof![Just(""), Just("#"), Just("{rest...}")],
            prefix in prop_oneof![Just(""), Just("$share/g/"), Just("$queue/")],
            mqtt_topic in prop::collection::vec("[ab]{0,2}", 1..6),
        ) {
            let named = levels.iter().enumerate().map(|(at, level)| match level.as_str() {
                "{}" => format!("{{n{at}}}"),
                other => other.to_owned(),
            });
            let mut named: Vec<_> = named.collect();
            let mut plain: Vec<_> = levels.iter().map(|level| level.replace("{}", "+")).collect();
            if !rest.is_empty() {
                named.push(rest.to_owned());
                plain.push("#".to_owned());
            }
            let plain: Result<Filter, _> = format!("{prefix}{}", plain.join("/")).parse();
            prop_assume!(plain.is_ok());
            let (plain, written) = (plain.expect("legal"), format!("{prefix}{}", named.join("/")));
            let (filter, captures) = read(&written);
            prop_assert_eq!(&filter, &plain);
            let joined = mqtt_topic.join("/");
            if filter.matches(&joined) {
                for name in captures.names() {
                    let levels = captures.get(name).expect("it is there");
                    let at = captures.find(joined.as_bytes(), levels);
                    let expected = match levels {
                        Levels::One(level) => Some(mqtt_topic[level].clone()),
                        Levels::From(level) => mqtt_topic.get(level..).filter(|rest| !rest.is_empty())
                            .map(|rest| rest.join("/")),
                    };
                    prop_assert_eq!(at.map(|at| joined[at].to_owned()), expected, "{}", name);
                }
            }
        }

        #[test]
        fn no_filter_panics_and_what_is_read_has_no_doubled_braces_left(written in "[a{}./+#$]{0,12}") {
            if let Ok((filter, captures)) = Captures::read(&written) {
                let names = captures.names().count();
                let wildcards = filter.as_str().matches(['+', '#']).count();
                prop_assert!(names <= wildcards);
            }
        }
    }
}
