//! Which filters of many may have MQTT topics in common, found in bounded work. Pure.

use super::filter::Filter;
use super::index::Level;

/// Most steps of the search: nodes of the tree that are looked at, and filters that are found. It takes a fraction of a
/// second, and suffices for as many filters as there may be unless each overlaps hundreds of others.
const STEPS_MAX: usize = 1_000_000;

/// Filters by their places, and what the search found.
#[derive(Debug)]
pub struct Pairs {
    tree: Level,
    earlier: Vec<Vec<usize>>,
    /// That remain; with none the search has ended early.
    steps: usize,
}

impl Pairs {
    /// Compares each filter with those before it.
    pub fn of<'a>(filters: impl IntoIterator<Item = &'a Filter>) -> Self {
        let mut pairs = Self { tree: Level::empty(), earlier: Vec::new(), steps: STEPS_MAX };
        for (place, filter) in filters.into_iter().enumerate() {
            let earlier = pairs.meeting(filter);
            pairs.earlier.push(earlier);
            pairs.tree.add(filter, place);
        }
        pairs
    }

    /// The places, ascending, of all filters before this place that have an MQTT topic in common with the one there,
    /// and of some that nearly have one.
    pub fn earlier(&self, place: usize) -> &[usize] {
        self.earlier.get(place).map_or(&[], Vec::as_slice)
    }

    /// The same for any filter, among all.
    pub fn meeting(&mut self, filter: &Filter) -> Vec<usize> {
        self.tree.meeting(filter, &mut self.steps)
    }

    /// Whether nothing was left out.
    pub fn are_all(&self) -> bool {
        self.steps > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(texts: impl Iterator<Item = String>) -> Vec<Filter> {
        texts.map(|text| text.parse().expect("a legal filter")).collect()
    }

    #[test]
    fn as_many_filters_as_there_may_be_are_compared_in_few_steps() {
        let apart = filters((0..10_000).map(|n| format!("plant/berlin/line/{n}/+")));
        let pairs = Pairs::of(&apart);
        assert!(STEPS_MAX - pairs.steps < 100_000, "{} steps are left", pairs.steps);
        assert!((0..apart.len()).all(|place| pairs.earlier(place).is_empty()));
        // One that overlaps them all.
        let general = filters((0..10_000).map(|n| format!("a/{n}")).chain(["#".to_owned()]));
        let pairs = Pairs::of(&general);
        assert_eq!(pairs.earlier(10_000).len(), 10_000);
        assert!(pairs.are_all());
    }

    #[test]
    fn where_each_of_very_many_overlaps_most_others_the_search_ends() {
        let halves =
            (0..5_000).map(|n| format!("{n}/+")).chain((0..5_000).map(|n| format!("+/{n}")));
        let crossing = filters(halves);
        let pairs = Pairs::of(&crossing);
        assert!(!pairs.are_all());
        let found: usize = (0..crossing.len()).map(|place| pairs.earlier(place).len()).sum();
        assert!(found <= STEPS_MAX, "{found}");
    }
}
