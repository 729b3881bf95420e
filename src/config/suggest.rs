//! For errors: the known name that is nearest to an unknown one, and values in quotes, cut to a length.
//! Pure.

/// The longest part of a value that an error shows, in characters.
pub(super) const FOUND_MAX: usize = 100;
/// The longest part of a name that is compared, in characters; every key is shorter.
const NAME_MAX: usize = 64;

/// How different `name` is from `known`. A part of the name counts as close: `topic`, `kafka_topic`.
pub(super) fn distance(name: &str, known: &str) -> usize {
    if name.len() >= 4 && known.contains(name) || known.len() >= 4 && name.contains(known) {
        return 1;
    }
    strsim::damerau_levenshtein(name, known)
}

/// The first of the candidates with the least distance.
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
