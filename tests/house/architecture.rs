//! What docs/architecture.md names, and whether it exists.

use std::collections::{BTreeMap, BTreeSet};

use super::code::{Token, tokens};

/// Something that the document names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Named {
    /// A file, or a directory with a slash at its end.
    Path(String),
    /// `name`, `name()`, `Type::name`, or `section.key` of the configuration.
    Item(Vec<String>),
}

/// What `document` names in backticks, and what looks like a path or `Type::name` in its diagrams;
/// with the line.
pub(crate) fn named(document: &str) -> Vec<(usize, Named)> {
    let mut found = Vec::new();
    let mut in_diagram = false;
    for (line, text) in (1..).zip(document.lines()) {
        if text.trim_start().starts_with("```") {
            in_diagram = !in_diagram;
        } else if in_diagram {
            let words = text
                .split_whitespace()
                .map(|word| word.trim_matches([',', ';', ':', '.', '(', ')']));
            let telling = words.filter(|word| word.contains("::") || is_path(word));
            found.extend(telling.filter_map(of_text).map(|named| (line, named)));
        } else {
            let quoted = text.split('`').skip(1).step_by(2);
            found.extend(quoted.filter_map(of_text).map(|named| (line, named)));
        }
    }
    found
}

fn of_text(text: &str) -> Option<Named> {
    if is_path(text) {
        return Some(Named::Path(text.to_owned()));
    }
    let name = text.strip_suffix("()").unwrap_or(text);
    let segments: Vec<_> = match name.contains("::") {
        true => name.split("::").map(str::to_owned).collect(),
        false => name.split('.').map(str::to_owned).collect(),
    };
    let is_name = |segment: &String| {
        segment.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && segment.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
    };
    // Anything else is a quotation.
    segments.iter().all(is_name).then_some(Named::Item(segments))
}

/// `dir/`, `dir/file`, `file.rs`; a path of HTTP begins with a slash.
fn is_path(text: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
    let ends = [".rs", ".toml", ".md", ".yml"];
    text.chars().all(legal)
        && text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '.')
        && (text.contains('/') || ends.iter().any(|end| text.ends_with(end)))
}

/// All names in some files: what items can be found in.
#[derive(Default)]
pub(crate) struct Names {
    /// Words, and what strings hold, by file.
    words: BTreeMap<String, BTreeSet<String>>,
    /// The files in which a type or trait is defined, or has an `impl`.
    types: BTreeMap<String, BTreeSet<String>>,
}

impl Names {
    /// Adds a file.
    pub(crate) fn add(&mut self, file: &str, source: &str) {
        let tokens = tokens(source);
        let unquoted = |token: &Token| token.text.trim_matches('"').to_owned();
        self.words.insert(file.to_owned(), tokens.iter().map(unquoted).collect());
        for (at, token) in tokens.iter().enumerate() {
            let concerned: Vec<_> = match &*token.text {
                "struct" | "enum" | "trait" | "type" | "mod" => {
                    tokens[at + 1..].iter().take(1).collect()
                }
                "impl" => tokens[at..].iter().take_while(|token| token.text != "{").collect(),
                _ => continue,
            };
            for name in concerned {
                self.types.entry(name.text.clone()).or_default().insert(file.to_owned());
            }
        }
    }

    /// Whether there is such an item: a single name anywhere, one below a type where that is defined
    /// or has an `impl`, a key of the configuration by its last part.
    pub(crate) fn contains(&self, segments: &[String]) -> bool {
        let has = |file: &String, name: &String| self.words[file].contains(name);
        match segments {
            [.., parent, name] if parent.starts_with(|c: char| c.is_ascii_uppercase()) => {
                self.types.get(parent).is_some_and(|files| files.iter().any(|file| has(file, name)))
            }
            [.., name] => self.words.keys().any(|file| has(file, name)),
            [] => false,
        }
    }
}

/// Which of `files` (below `src/`) the document names neither itself nor by a directory. What only
/// holds a directory together is named with any file of it.
pub(crate) fn unnamed<'a>(
    files: impl IntoIterator<Item = &'a String>,
    named: &[(usize, Named)],
) -> Vec<&'a str> {
    let is_named = |file: &&str| {
        named.iter().any(|(_, named)| match named {
            Named::Path(path) if path.ends_with('/') => file.starts_with(path),
            Named::Path(path) => match file.strip_suffix("mod.rs") {
                Some(directory) if !directory.is_empty() => path.starts_with(directory),
                _ => path == file,
            },
            Named::Item(_) => false,
        })
    };
    files.into_iter().map(|file| &**file).filter(|file| !is_named(file)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(document: &str) -> Vec<String> {
        let text = |(line, named): (usize, Named)| match named {
            Named::Path(path) => format!("{line} {path}"),
            Named::Item(segments) => format!("{line} {}", segments.join(" ")),
        };
        named(document).into_iter().map(text).collect()
    }

    #[test]
    fn backticks_and_diagrams_name_paths_and_items() {
        let document = "See `mqtt/window.rs` and `Window::admit`, `route/`; not `acks=all`, `a b`, `/livez`.\n\
            `admit()` (`mqtt.url`)\n\
            ```\nmqtt/frame.rs   bytes, by Frame::read; and so on (mqtt/wire.rs):\n```\n`README.md`";
        let expected = [
            "1 mqtt/window.rs",
            "1 Window admit",
            "1 route/",
            "2 admit",
            "2 mqtt url",
            "4 mqtt/frame.rs",
            "4 Frame read",
            "4 mqtt/wire.rs",
            "6 README.md",
        ];
        assert_eq!(texts(document), expected);
    }

    #[test]
    fn an_item_is_found_where_its_type_is_and_not_elsewhere() {
        let mut names = Names::default();
        names.add(
            "a.rs",
            "pub struct Window; impl Window { fn admit() {} } const X: &str = \"no_route\";",
        );
        names.add("b.rs", "enum Other { A } fn release() {} // fn gone() {}");
        let contains = |text: &str| match of_text(text) {
            Some(Named::Item(segments)) => names.contains(&segments),
            other => panic!("{other:?}"),
        };
        assert!(contains("Window::admit") && contains("Other::A"));
        assert!(contains("release()") && contains("no_route") && contains("log.no_route"));
        assert!(!contains("Window::release") && !contains("Nobody::admit") && !contains("gone"));
    }

    #[test]
    fn a_file_is_named_itself_or_by_its_directory() {
        let files = ["lib.rs", "mqtt/mod.rs", "mqtt/window.rs", "route/index.rs", "kafka/mod.rs"];
        let files = files.map(str::to_owned);
        let named = named("`mqtt/window.rs` `route/`");
        assert_eq!(unnamed(&files, &named), ["lib.rs", "kafka/mod.rs"]);
    }
}
