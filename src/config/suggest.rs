//! What an error says of a name or a value that nobody knows: the nearest that is known, and what was
//! written, in quotes and cut. Pure.

/// The most of a string that an error repeats, in characters.
pub(super) const FOUND_MAX: usize = 100;
/// The most of a name that is compared with others, in characters: it is longer than any key.
const NAME_MAX: usize = 64;

/// How far `name` is from what was meant. Part of the right name is close: `topic`, `kafka_topic`.
pub(super) fn distance(name: &str, known: &str) -> usize {
    if name.len() >= 4 && known.contains(name) || known.len() >= 4 && name.contains(known) {
        return 1;
    }
    strsim::damerau_levenshtein(name, known)
}

/// The candidate with the least distance, the first of several.
pub(super) fn nearest<C: AsRef<str>>(
    name: &str,
    candidates: impl Iterator<Item = C>,
    distance: impl Fn(&str, &str) -> usize,
) -> String {
    let name: String = name.chars().take(NAME_MAX).collect();
    candidates
        .min_by_key(|candidate| distance(&name, candidate.as_ref()))
        .map_or_else(|| quoted(&name), |candidate| candidate.as_ref().to_owned())
}

/// `text` in quotes, escaped and cut.
pub(super) fn quoted(text: &str) -> String {
    match text.char_indices().nth(FOUND_MAX) {
        Some((cut, _)) => format!("{:?}...", &text[..cut]),
        None => format!("{text:?}"),
    }
}
