//! MQTT filters: which are legal, and what they match (MQTT 5, section 4.7).

use std::fmt;
use std::str::FromStr;

/// The longest string that MQTT can carry, in bytes (MQTT 5, section 1.5.4).
const LENGTH_MAX: usize = 65_535;

/// A legal MQTT filter, shared subscriptions (`$share/group/filter`) included.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Filter {
    text: String,
    kind: Kind,
    /// Where the part begins that MQTT topics are matched against: after `$share/group/` and other
    /// prefixes.
    pattern_at: usize,
}

/// What a filter's prefix means to a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    /// No prefix with a meaning.
    Plain,
    /// `$share/GROUP/FILTER`: each message goes to one member of the group.
    Shared,
    /// `$queue/FILTER` of EMQX: a shared subscription without a group's name.
    Queue,
    /// `$exclusive/FILTER` of EMQX: at most one client may have it.
    Exclusive,
}

/// Prefixes of one broker (EMQX). Other brokers take them as the beginning of an ordinary filter, so an
/// MQTT topic with the prefix itself matches too.
const VENDOR_PREFIXES: [(&str, Kind); 2] =
    [("$queue/", Kind::Queue), ("$exclusive/", Kind::Exclusive)];

impl Filter {
    /// As written, for SUBSCRIBE.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it is a shared subscription.
    pub fn is_shared(&self) -> bool {
        matches!(self.kind, Kind::Shared | Kind::Queue)
    }

    /// Whether only one client may have it, at brokers that know such a thing.
    pub fn is_exclusive(&self) -> bool {
        self.kind == Kind::Exclusive
    }

    /// Whether this subscription alone brings every message that `other` would bring, so that `other` need
    /// not be subscribed. Never between a plain and a shared one, nor between two groups: each brings
    /// messages of its own. If in doubt, no: that costs a copy, not a message.
    pub fn covers(&self, other: &Self) -> bool {
        if self.kind != other.kind || self.kind == Kind::Exclusive || self.group() != other.group()
        {
            return false;
        }
        contains(self.pattern(), other.pattern())
    }

    /// Whether every MQTT topic that `other` matches matches this too, whether or not they are shared.
    pub fn takes_all(&self, other: &Self) -> bool {
        other.patterns().all(|other| self.patterns().any(|pattern| contains(pattern, other)))
    }

    /// Whether there is an MQTT topic that both match, whether or not they are shared.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.common(other).is_some()
    }

    /// A filter of MQTT topics that both match, whether or not they are shared: of all of them, but where brokers
    /// disagree about a prefix.
    pub fn common(&self, other: &Self) -> Option<Self> {
        let mut both = self.patterns().flat_map(|a| other.patterns().map(move |b| (a, b)));
        let text = both.find_map(|(a, b)| common(a, b))?.join("/");
        Some(Self { text, kind: Kind::Plain, pattern_at: 0 })
    }

    /// A short MQTT topic that it matches.
    pub fn example(&self) -> String {
        const LEVEL: &str = "x";
        let levels = self.pattern().split('/').filter(|level| *level != "#");
        let levels: Vec<_> = levels.map(|level| if level == "+" { LEVEL } else { level }).collect();
        match levels.join("/") {
            // `#` stands for the level before it too, but no MQTT topic is empty.
            empty if empty.is_empty() => self.pattern().replace('#', LEVEL),
            mqtt_topic => mqtt_topic,
        }
    }

    /// Whether one client may subscribe both although they overlap. Otherwise each brings every message,
    /// perhaps to different members of a group, and copies cannot be told apart.
    pub fn agrees_with(&self, other: &Self) -> bool {
        let same_group = self.is_shared() == other.is_shared() && self.group() == other.group();
        same_group || !self.overlaps(other)
    }

    /// The same, subscribed in this group; as it is if it is shared already.
    #[must_use]
    pub fn shared_in(&self, group: &str) -> Self {
        match self.kind {
            Kind::Plain => Self {
                text: format!("$share/{group}/{}", self.text),
                kind: Kind::Shared,
                pattern_at: "$share//".len() + group.len(),
            },
            Kind::Shared | Kind::Queue | Kind::Exclusive => self.clone(),
        }
    }

    /// The same in another group, if it names one, so that whoever subscribes it takes no message from a member
    /// of the group. `None` for a filter that takes messages, or a place, from others under any name.
    #[must_use]
    pub fn elsewhere(&self, group: &str) -> Option<Self> {
        match self.kind {
            Kind::Plain => Some(self.clone()),
            Kind::Shared => Some(self.watched().shared_in(group)),
            Kind::Queue | Kind::Exclusive => None,
        }
    }

    /// The same without its prefix: whoever subscribes that takes no message from a group, nor the place of an
    /// exclusive subscriber.
    #[must_use]
    pub fn watched(&self) -> Self {
        Self { text: self.pattern().to_owned(), kind: Kind::Plain, pattern_at: 0 }
    }

    /// Whether it has `+` or `#`.
    pub fn has_wildcard(&self) -> bool {
        self.pattern().contains(['+', '#'])
    }

    /// Whether a message published as `mqtt_topic` matches.
    pub fn matches(&self, mqtt_topic: &str) -> bool {
        self.patterns().any(|pattern| matches(pattern, mqtt_topic))
    }

    /// The patterns that MQTT topics are matched against: the part after the prefix, and the whole filter
    /// too if the prefix means something to some brokers only.
    pub(super) fn patterns(&self) -> impl Iterator<Item = &str> {
        let whole = matches!(self.kind, Kind::Queue | Kind::Exclusive);
        std::iter::once(self.pattern()).chain(whole.then_some(&*self.text))
    }

    fn pattern(&self) -> &str {
        &self.text[self.pattern_at..]
    }

    /// What stands before the part that MQTT topics are matched against: `$share/group/` and others.
    pub(super) fn prefix(&self) -> &str {
        &self.text[..self.pattern_at]
    }

    /// A prefix that one broker knows and the others deliver with the MQTT topic; else nothing.
    pub(super) fn vendor_prefix(&self) -> &'static str {
        let known = VENDOR_PREFIXES.iter().find(|(_, kind)| *kind == self.kind);
        known.map_or("", |(prefix, _)| prefix)
    }

    /// The prefix of a shared subscription, which names its group.
    fn group(&self) -> Option<&str> {
        self.is_shared().then(|| &self.text[..self.pattern_at])
    }
}

/// Whether `pattern` begins with a wildcard and `other` with `$`, as `$SYS` does: then they have no MQTT
/// topic in common [MQTT-4.7.2-1].
fn hides_system(pattern: &str, other: &str) -> bool {
    pattern.starts_with(['+', '#']) && other.starts_with('$')
}

/// Whether every MQTT topic that `other` matches matches `pattern` too.
fn contains(pattern: &str, other: &str) -> bool {
    if hides_system(pattern, other) {
        return false;
    }
    let (mut mine, mut its) = (pattern.split('/'), other.split('/'));
    loop {
        match (mine.next(), its.next()) {
            // `#` stands for the level before it too, so that nothing may follow.
            (Some("#"), _) | (None, None) => return true,
            (None, Some(_)) | (Some(_), None | Some("#")) => return false,
            (Some(level), Some(its)) if level == "+" || level == its => {}
            _ => return false,
        }
    }
}

/// The levels of a filter of all MQTT topics that both match, if there are any: no MQTT topic is empty
/// [MQTT-4.7.3-1].
fn common<'a>(a: &'a str, b: &'a str) -> Option<Vec<&'a str>> {
    common_levels(a, b).filter(|levels| **levels != [""])
}

fn common_levels<'a>(a: &'a str, b: &'a str) -> Option<Vec<&'a str>> {
    if hides_system(a, b) || hides_system(b, a) {
        return None;
    }
    let (mut mine, mut its) = (a.split('/'), b.split('/'));
    let mut levels = Vec::new();
    loop {
        let (rest, other) = match (mine.next(), its.next()) {
            (None, None) => return Some(levels),
            (Some("#"), other) => (its, other),
            (other, Some("#")) => (mine, other),
            (Some("+"), Some(level)) | (Some(level), Some("+")) => {
                levels.push(level);
                continue;
            }
            (Some(a), Some(b)) if a == b => {
                levels.push(a);
                continue;
            }
            _ => return None,
        };
        levels.extend(other.into_iter().chain(rest));
        return Some(levels);
    }
}

fn matches(pattern: &str, mqtt_topic: &str) -> bool {
    // A leading wildcard does not match names that begin with `$`, such as `$SYS` [MQTT-4.7.2-1].
    if hides_system(pattern, mqtt_topic) {
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

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Why a string is not a filter.
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
    /// A brace that belongs to no capture.
    #[error(
        "a capture is written `{{name}}` or `{{name...}}`, alone in its level, and braces are `{{{{` and `}}}}`; \
         found `{0}`"
    )]
    CaptureAlone(String),
    /// A capture's name.
    #[error("a capture's name is a letter, then letters, digits, `_` or `-`; found `{0}`")]
    CaptureName(String),
    /// A capture's name that has two levels.
    #[error("each capture has a name of its own, `{0}` is there twice")]
    CaptureTwice(String),
    /// A capture in `$share/group/`.
    #[error("the capture `{0}` is in the prefix, which is no part of an MQTT topic")]
    CaptureInPrefix(String),
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
        let (kind, pattern_at) = match text.strip_prefix("$share/") {
            None if text == "$share" => return Err(FilterError::Share),
            None => vendor_prefix(text),
            Some(rest) => match rest.split_once('/') {
                Some((group, pattern))
                    if !group.is_empty() && !group.contains(['+', '#']) && !pattern.is_empty() =>
                {
                    (Kind::Shared, text.len() - pattern.len())
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
        Ok(Self { text: text.to_owned(), kind, pattern_at })
    }
}

/// The kind that EMQX sees, and where the pattern begins.
fn vendor_prefix(text: &str) -> (Kind, usize) {
    VENDOR_PREFIXES
        .iter()
        .find(|(prefix, _)| text.starts_with(prefix) && text.len() > prefix.len())
        .map_or((Kind::Plain, 0), |(prefix, kind)| (*kind, prefix.len()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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

    fn filter(text: &str) -> Filter {
        text.parse().expect("a legal filter")
    }

    #[test]
    fn who_only_looks_is_in_a_group_of_its_own_or_subscribes_nothing() {
        for (own, elsewhere) in [
            ("t/#", Some("t/#")),
            ("$share/g/t/+", Some("$share/d/t/+")),
            ("$queue/t", None),
            ("$exclusive/t", None),
        ] {
            assert_eq!(filter(own).elsewhere("d"), elsewhere.map(filter), "{own}");
        }
    }

    #[test]
    fn a_filter_covers_what_it_brings_anyway() {
        for (filter_, other, covers) in [
            ("t/#", "t/a", true),
            ("t/#", "t", true),
            ("t/#", "t/+/b/#", true),
            ("t/#", "t/#", true),
            ("#", "+/x", true),
            ("+/x", "t/x", true),
            ("t/a", "t/#", false),
            ("t/+", "t/#", false),
            ("t/+", "t/a/b", false),
            ("t/a", "t/b", false),
            // Nothing that begins with a dollar sign.
            ("#", "$SYS/broker", false),
            ("+/x", "$SYS/x", false),
            ("$SYS/#", "$SYS/broker", true),
            // Shared ones bring messages of their own.
            ("t/#", "$share/g/t/a", false),
            ("$share/g/t/#", "t/a", false),
            ("$share/g/t/#", "$share/g/t/a", true),
            ("$share/g/t/#", "$share/h/t/a", false),
            ("$queue/t/#", "$queue/t/a", true),
            ("$queue/t/#", "t/a", false),
            ("$exclusive/t/#", "$exclusive/t/a", false),
            ("t/#", "$exclusive/t/a", false),
        ] {
            assert_eq!(filter(filter_).covers(&filter(other)), covers, "{filter_} {other}");
        }
    }

    #[test]
    fn filters_of_any_kind_that_share_mqtt_topics_have_an_example_of_them() {
        for (a, b, common) in [
            ("a/+", "+/b", Some("a/b")),
            ("a/+", "+/+/#", Some("a/+")),
            ("#", "+/#", Some("+/#")),
            ("/#", "+/#", Some("/#")),
            ("a/#", "a", Some("a")),
            ("$share/g/a/+", "+/b", Some("a/b")),
            ("$queue/a/+", "+/b", Some("a/b")),
            ("$queue/a/+", "$queue/+/b", Some("a/b")),
            ("$exclusive/a", "$exclusive/#", Some("a")),
            ("#", "$SYS/#", None),
            ("a/+", "a", None),
            // Only what is empty.
            ("+", "/#", None),
        ] {
            let (a, b) = (filter(a), filter(b));
            let found = a.common(&b);
            assert_eq!(found.as_ref().map(Filter::as_str), common, "{a} {b}");
            let example = found.map(|common| common.example());
            assert!(example.is_none_or(|it| a.matches(&it) && b.matches(&it)), "{a} {b}");
        }
        assert!(filter("$queue/#").takes_all(&filter("$queue/a")));
        assert!(filter("$share/g/t/#").takes_all(&filter("t/a")));
        assert!(
            !filter("t/#").takes_all(&filter("$queue/t/a")),
            "some brokers deliver it as $queue/t/a"
        );
        assert_eq!(filter("/#").example(), "/x");
    }

    #[test]
    fn a_plain_and_a_shared_filter_over_the_same_mqtt_topics_do_not_agree() {
        for (a, b, agree) in [
            ("t/#", "t/a", true),
            ("t/+", "+/a", true),
            ("t/#", "$share/g/t/a", false),
            ("t/#", "$queue/t/a", false),
            ("$queue/t/#", "$share/g/t/a", false),
            ("$share/g/t/#", "$share/h/t/a", false),
            ("$share/g/t/#", "$share/g/t/a", true),
            ("t/#", "$share/g/u/a", true),
            ("#", "$share/g/$SYS/a", true),
        ] {
            assert_eq!(filter(a).agrees_with(&filter(b)), agree, "{a} {b}");
            assert_eq!(filter(b).agrees_with(&filter(a)), agree, "{b} {a}");
        }
    }

    #[test]
    fn prefixes_of_one_broker_match_as_it_delivers_and_as_the_others_do() {
        for (filter, mqtt_topic) in [
            ("$queue/t/#", "t/a"),
            ("$queue/t/#", "$queue/t/a"),
            ("$exclusive/t", "t"),
            ("$exclusive/t", "$exclusive/t"),
        ] {
            assert!(matches(filter, mqtt_topic), "{filter} {mqtt_topic}");
        }
        assert!(!matches("$queue/#", "$SYS/a"));
    }

    proptest! {
        /// Against the definition, over all MQTT topics of a small world.
        #[test]
        fn filters_overlap_as_their_definition_says_whatever_their_prefixes(
            a in pattern(), b in pattern(), prefixes in (prefix(), prefix()),
        ) {
            let with = |prefix: &str, pattern: &str| format!("{prefix}{pattern}").parse::<Filter>();
            let (Ok(a), Ok(b)) = (with(prefixes.0, &a), with(prefixes.1, &b)) else { return Ok(()) };
            let all = ["", "$queue/", "$exclusive/"].into_iter().flat_map(|prefix| {
                world().map(move |mqtt_topic| format!("{prefix}{mqtt_topic}"))
            });
            let mut all = all.filter(|mqtt_topic| !mqtt_topic.is_empty());
            let overlaps = all.any(|it| a.matches(&it) && b.matches(&it));
            prop_assert_eq!(a.overlaps(&b), overlaps, "{} {}", a, b);
            prop_assert_eq!(b.overlaps(&a), overlaps, "{} {}", a, b);
        }

        #[test]
        fn covering_and_overlapping_are_what_their_definitions_say(a in pattern(), b in pattern()) {
            let (a, b) = (filter(&a), filter(&b));
            let mut covers = true;
            let mut overlaps = false;
            for mqtt_topic in world() {
                let (in_a, in_b) = (a.matches(&mqtt_topic), b.matches(&mqtt_topic));
                covers &= in_a || !in_b;
                overlaps |= in_a && in_b && !mqtt_topic.is_empty();
            }
            prop_assert_eq!(a.overlaps(&b), overlaps);
            prop_assert_eq!(a.takes_all(&b), a.covers(&b));
            let common = a.common(&b);
            prop_assert_eq!(common.is_some(), overlaps);
            if let Some(common) = common {
                let example = common.example();
                prop_assert!(!example.is_empty() && !example.contains(['+', '#']));
                prop_assert!(a.matches(&example) && b.matches(&example), "{} {}", common, example);
                for mqtt_topic in world() {
                    let in_both = a.matches(&mqtt_topic) && b.matches(&mqtt_topic);
                    prop_assert_eq!(common.matches(&mqtt_topic), in_both, "{} {}", common, mqtt_topic);
                }
            }
            // The one pair that is equal and not the same: not worth a rule of its own.
            if (a.as_str(), b.as_str()) == ("+/#", "#") {
                prop_assert!(!a.covers(&b));
            } else {
                prop_assert_eq!(a.covers(&b), covers);
            }
        }
    }

    fn prefix() -> impl Strategy<Value = &'static str> {
        prop_oneof![Just(""), Just("$share/g/"), Just("$queue/"), Just("$exclusive/")]
    }

    fn pattern() -> impl Strategy<Value = String> {
        let level = prop_oneof![Just("a"), Just("b"), Just("+"), Just(""), Just("$a")];
        (prop::collection::vec(level, 0..4), any::<bool>()).prop_filter_map(
            "an empty one is illegal",
            |(mut levels, rest)| {
                if rest {
                    levels.push("#");
                }
                let text = levels.join("/");
                text.parse::<Filter>().ok().map(|_| text)
            },
        )
    }

    /// All MQTT topics of up to four levels of these names.
    fn world() -> impl Iterator<Item = String> {
        const NAMES: [&str; 4] = ["a", "b", "", "$a"];
        (1..=4_u32).flat_map(|levels| {
            (0..NAMES.len().pow(levels)).map(move |mut number| {
                let mut names = Vec::new();
                for _ in 0..levels {
                    names.push(NAMES[number % NAMES.len()]);
                    number /= NAMES.len();
                }
                names.join("/")
            })
        })
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

    #[test]
    fn a_filter_that_only_watches_has_no_prefix() {
        for (filter, watched) in [
            ("$share/g/t/+", "t/+"),
            ("$queue/t", "t"),
            ("$exclusive/t/#", "t/#"),
            ("$SYS/t", "$SYS/t"),
            ("t", "t"),
        ] {
            assert_eq!(filter.parse::<Filter>().unwrap().watched(), watched.parse().unwrap());
        }
    }
}
