//! Circles in a graph of imports.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::imports::Import;

/// Files that import each other, directly or around.
#[derive(Debug)]
pub(crate) struct Circle {
    pub(crate) files: BTreeSet<String>,
    /// A shortest way from the first file back to it.
    pub(crate) way: Vec<Import>,
}

/// All circles: the strongly connected components of more than one file.
pub(crate) fn circles(imports: &BTreeSet<Import>) -> Vec<Circle> {
    let mut to: BTreeMap<&str, Vec<&Import>> = BTreeMap::new();
    for import in imports {
        to.entry(&import.from).or_default().push(import);
    }
    let reached: BTreeMap<_, _> = to.keys().map(|file| (*file, reachable(&to, file))).collect();
    let mut found: BTreeMap<BTreeSet<String>, Circle> = BTreeMap::new();
    for (file, ways) in &reached {
        let Some(way) = ways.get(file) else { continue };
        let is_back = |other: &&str| reached.get(other).is_some_and(|ways| ways.contains_key(file));
        let files: BTreeSet<_> =
            ways.keys().filter(|other| is_back(other)).map(|other| (*other).to_owned()).collect();
        found.entry(files.clone()).or_insert_with(|| Circle { files, way: way.clone() });
    }
    found.into_values().collect()
}

/// What can be reached from `start` by at least one import, each by a shortest way.
fn reachable<'a>(
    to: &BTreeMap<&'a str, Vec<&'a Import>>,
    start: &str,
) -> BTreeMap<&'a str, Vec<Import>> {
    let mut ways: BTreeMap<&str, Vec<Import>> = BTreeMap::new();
    let mut waiting = VecDeque::from([(start.to_owned(), Vec::new())]);
    while let Some((file, way)) = waiting.pop_front() {
        for import in to.get(&*file).into_iter().flatten() {
            if !ways.contains_key(&*import.to) {
                let way = [&way[..], &[(*import).clone()]].concat();
                ways.insert(&import.to, way.clone());
                waiting.push_back((import.to.clone(), way));
            }
        }
    }
    ways
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(edges: &[(&str, &str)]) -> Vec<String> {
        let import = |(line, (from, to)): (usize, &(&str, &str))| Import {
            from: (*from).to_owned(),
            to: (*to).to_owned(),
            line,
            path: String::new(),
        };
        let found = circles(&edges.iter().enumerate().map(import).collect());
        let line = |circle: &Circle| {
            let files: Vec<_> = circle.files.iter().map(|file| &**file).collect();
            format!("{} in {}", files.join(" "), circle.way.len())
        };
        found.iter().map(line).collect()
    }

    #[test]
    fn imports_in_one_direction_are_no_circle() {
        assert_eq!(of(&[("a", "b"), ("b", "c"), ("a", "c")]), [""; 0]);
    }

    #[test]
    fn two_that_import_each_other_and_three_around_are_circles() {
        assert_eq!(of(&[("a", "b"), ("b", "a"), ("b", "c")]), ["a b in 2"]);
        assert_eq!(of(&[("a", "b"), ("b", "c"), ("c", "a")]), ["a b c in 3"]);
    }

    #[test]
    fn circles_that_share_a_file_are_one_and_those_that_do_not_are_two() {
        assert_eq!(of(&[("a", "b"), ("b", "a"), ("b", "c"), ("c", "b")]), ["a b c in 2"]);
        assert_eq!(
            of(&[("a", "b"), ("b", "a"), ("c", "d"), ("d", "c"), ("a", "c")]),
            ["a b in 2", "c d in 2"]
        );
    }
}
