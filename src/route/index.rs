//! Finds the first filter, in the order of the configuration, that matches an MQTT topic, or all of them: a
//! tree of levels, so that the cost grows with the length of the MQTT topic and not with the number of filters.

use super::filter::Filter;

/// No filter matches: greater than every place.
const NONE: usize = usize::MAX;

/// A node of the tree: what filters with the same beginning have next.
#[derive(Debug, Clone)]
pub(super) struct Level {
    /// By the next level's name, in order.
    named: Vec<(Box<[u8]>, Level)>,
    /// By `+`.
    any: Option<Box<Level>>,
    /// Filters that end here.
    end: Places,
    /// Filters that continue with `#`.
    rest: Places,
}

/// Filters, by their places.
#[derive(Debug, Clone)]
struct Places {
    first: usize,
    /// Behind the first one, ascending.
    others: Vec<usize>,
}

impl Places {
    fn none() -> Self {
        Self { first: NONE, others: Vec::new() }
    }

    /// Adds a place that is not before those that are here.
    fn push(&mut self, place: usize) {
        match self.first {
            NONE => self.first = place,
            _ => self.others.push(place),
        }
    }

    fn append_to(&self, places: &mut Vec<usize>) {
        if self.first != NONE {
            places.push(self.first);
            places.extend(&self.others);
        }
    }
}

impl Level {
    pub(super) fn empty() -> Self {
        Self { named: Vec::new(), any: None, end: Places::none(), rest: Places::none() }
    }

    /// The tree of these filters; their places count from 0.
    pub(super) fn of<'a>(filters: impl IntoIterator<Item = &'a Filter>) -> Self {
        let mut root = Self::empty();
        for (place, filter) in filters.into_iter().enumerate() {
            root.add(filter, place);
        }
        root
    }

    /// Adds a filter whose place is behind all that are here.
    pub(super) fn add(&mut self, filter: &Filter, place: usize) {
        for pattern in filter.patterns() {
            self.insert(pattern, place);
        }
    }

    fn insert(&mut self, pattern: &str, place: usize) {
        let mut level = self;
        let mut rest = false;
        for part in pattern.split('/') {
            match part {
                "#" => rest = true,
                "+" => level = level.any.get_or_insert_with(|| Box::new(Self::empty())),
                name => level = level.named(name.as_bytes()),
            }
        }
        let places = if rest { &mut level.rest } else { &mut level.end };
        places.push(place);
    }

    fn named(&mut self, name: &[u8]) -> &mut Self {
        let at = self.named.binary_search_by(|(known, _)| known.as_ref().cmp(name));
        let at = at.unwrap_or_else(|at| {
            self.named.insert(at, (name.into(), Self::empty()));
            at
        });
        &mut self.named[at].1
    }

    /// The place of the first filter that matches `mqtt_topic` (MQTT 5, section 4.7).
    pub(super) fn first_match(&self, mqtt_topic: &[u8]) -> Option<usize> {
        // A leading wildcard does not match names that begin with `$`, such as `$SYS` [MQTT-4.7.2-1].
        let place = self.first(Some(mqtt_topic), !mqtt_topic.starts_with(b"$"));
        (place != NONE).then_some(place)
    }

    /// `levels` are those levels of the MQTT topic that remain to be matched.
    fn first(&self, levels: Option<&[u8]>, wildcards: bool) -> usize {
        // `#` matches the level before it too.
        let rest = if wildcards { self.rest.first } else { NONE };
        let Some(levels) = levels else { return rest.min(self.end.first) };
        let (name, deeper) = split(levels);
        let named = self.named.binary_search_by(|(known, _)| known.as_ref().cmp(name));
        let named = named.map_or(NONE, |at| self.named[at].1.first(deeper, true));
        let any = self.any.as_ref().filter(|_| wildcards);
        let any = any.map_or(NONE, |level| level.first(deeper, true));
        rest.min(named).min(any)
    }

    /// Appends the places of all filters that match `mqtt_topic` to `places`, ascending.
    pub(super) fn all_matches(&self, mqtt_topic: &[u8], places: &mut Vec<usize>) {
        let before = places.len();
        self.all(Some(mqtt_topic), !mqtt_topic.starts_with(b"$"), places);
        places[before..].sort_unstable();
        // One filter may be here under two patterns.
        places.dedup();
    }

    fn all(&self, levels: Option<&[u8]>, wildcards: bool, places: &mut Vec<usize>) {
        if wildcards {
            self.rest.append_to(places);
        }
        let Some(levels) = levels else { return self.end.append_to(places) };
        let (name, deeper) = split(levels);
        if let Ok(at) = self.named.binary_search_by(|(known, _)| known.as_ref().cmp(name)) {
            self.named[at].1.all(deeper, true, places);
        }
        if let Some(any) = self.any.as_ref().filter(|_| wildcards) {
            any.all(deeper, true, places);
        }
    }

    /// The places, ascending, of all filters that have an MQTT topic in common with `filter`, and of some that differ
    /// from such only in a `$` at the beginning or an empty level. Each node that is looked at and each place that is
    /// found takes one of `steps`; without any left, some are missing.
    pub(super) fn meeting(&self, filter: &Filter, steps: &mut usize) -> Vec<usize> {
        let mut places = Vec::new();
        let mut open: Vec<_> =
            filter.patterns().map(|pattern| (self, Some(pattern.as_bytes()))).collect();
        while let Some((level, levels)) = open.pop() {
            let before = places.len();
            level.rest.append_to(&mut places);
            let below = || level.named.iter().map(|(_, level)| level).chain(level.any.as_deref());
            match levels.map(split) {
                None => level.end.append_to(&mut places),
                // `#` stands for the level before it too, and for any number behind it.
                Some((b"#", _)) => {
                    level.end.append_to(&mut places);
                    open.extend(below().map(|level| (level, levels)));
                }
                Some((b"+", deeper)) => open.extend(below().map(|level| (level, deeper))),
                Some((name, deeper)) => {
                    let named = level.named.binary_search_by(|(known, _)| known.as_ref().cmp(name));
                    let named = named.ok().map(|at| &level.named[at].1);
                    let next = named.into_iter().chain(level.any.as_deref());
                    open.extend(next.map(|level| (level, deeper)));
                }
            }
            *steps = steps.saturating_sub(1 + places.len() - before);
            if *steps == 0 {
                break;
            }
        }
        places.sort_unstable();
        // One filter may be here under two patterns.
        places.dedup();
        places
    }
}

/// The first of these levels, and those behind it.
#[inline]
fn split(levels: &[u8]) -> (&[u8], Option<&[u8]>) {
    match levels.iter().position(|byte| *byte == b'/') {
        Some(end) => (&levels[..end], Some(&levels[end + 1..])),
        None => (levels, None),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filter() -> impl Strategy<Value = Filter> {
        let level = prop_oneof![Just("a"), Just("b"), Just("+"), Just(""), Just("$a")];
        let prefix = prop_oneof![Just(""), Just("$share/group/"), Just("$queue/")];
        (prop::collection::vec(level, 1..4), any::<bool>(), prefix).prop_filter_map(
            "an empty one is illegal",
            |(mut levels, rest, prefix)| {
                if rest {
                    levels.push("#");
                }
                format!("{prefix}{}", levels.join("/")).parse().ok()
            },
        )
    }

    proptest! {
        #[test]
        fn the_tree_finds_all_that_a_filter_overlaps(
            filters in prop::collection::vec(filter(), 0..8),
            sought in filter(),
        ) {
            let overlaps = |place: &usize| filters[*place].common(&sought).is_some();
            let expected: Vec<_> = (0..filters.len()).filter(overlaps).collect();
            let mut found = Level::of(&filters).meeting(&sought, &mut usize::MAX.clone());
            found.retain(overlaps);
            prop_assert_eq!(found, expected);
            let takes_all = |place: &usize| filters[*place].takes_all(&sought);
            let found = Level::of(&filters).meeting(&sought, &mut 1_000);
            prop_assert!((0..filters.len()).filter(takes_all).all(|place| found.contains(&place)));
        }

        #[test]
        fn the_tree_finds_what_trying_one_after_the_other_finds(
            filters in prop::collection::vec(filter(), 0..8),
            levels in prop::collection::vec(prop_oneof!["a", "b", "c", "", "\\$a"], 1..5),
        ) {
            let mqtt_topic = levels.join("/");
            let matching = filters.iter().enumerate().filter(|(_, filter)| filter.matches(&mqtt_topic));
            let matching: Vec<_> = matching.map(|(place, _)| place).collect();
            let (tree, mut all) = (Level::of(&filters), Vec::new());
            tree.all_matches(mqtt_topic.as_bytes(), &mut all);
            prop_assert_eq!(tree.first_match(mqtt_topic.as_bytes()), matching.first().copied());
            prop_assert_eq!(all, matching);
        }
    }
}
