//! The files that the compiler reads, tests included.

use std::collections::BTreeSet;

use super::code::{Token, tokens};

/// The files of the crate whose root is `root`, by their path below `src/`; `read` gives the text of a file, if it
/// exists.
pub(crate) fn modules(root: &str, read: &dyn Fn(&str) -> Option<String>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    add(root, "", read, &mut found);
    found
}

/// Adds a file, whose children are in the directory `children`.
fn add(
    file: &str,
    children: &str,
    read: &dyn Fn(&str) -> Option<String>,
    found: &mut BTreeSet<String>,
) {
    let Some(text) = read(file) else { return };
    found.insert(file.to_owned());
    let tokens = tokens(&text);
    let text = |at: usize| tokens.get(at).map_or("", |token| &*token.text);
    // The inline modules that are open, and at which depth.
    let mut inside: Vec<(&str, usize)> = Vec::new();
    let mut depth = 0_usize;
    for at in 0..tokens.len() {
        match text(at) {
            "{" => depth += 1,
            "}" => {
                depth = depth.saturating_sub(1);
                inside.pop_if(|(_, opened)| *opened == depth);
            }
            "mod" if text(at + 2) == "{" => inside.push((text(at + 1), depth)),
            "mod" if text(at + 2) == ";" => {
                let within: String = inside.iter().map(|(name, _)| format!("{name}/")).collect();
                let name = text(at + 1);
                if let Some(path) = path(&tokens[..at]) {
                    let (directory, _) = file.rsplit_once('/').map_or(("", file), |it| it);
                    let directory = match (directory, inside.is_empty()) {
                        (_, false) => format!("{children}{within}"),
                        ("", true) => String::new(),
                        (directory, true) => format!("{directory}/"),
                    };
                    let file = format!("{directory}{path}");
                    let below =
                        file.rsplit_once('/').map_or(String::new(), |(at, _)| format!("{at}/"));
                    add(&file, &below, read, found);
                } else {
                    let below = format!("{children}{within}{name}");
                    add(&format!("{below}.rs"), &format!("{below}/"), read, found);
                    add(&format!("{below}/mod.rs"), &format!("{below}/"), read, found);
                }
            }
            _ => {}
        }
    }
}

/// What `#[path = "..."]` says among the attributes that `before` ends with.
fn path(before: &[Token]) -> Option<&str> {
    let behind = before.iter().rposition(|token| matches!(&*token.text, ";" | "}" | "{"));
    let attributes = &before[behind.map_or(0, |at| at + 1)..];
    let at = attributes.windows(2).position(|two| two[0].text == "path" && two[1].text == "=")?;
    Some(attributes.get(at + 2)?.text.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declarations_and_paths_are_followed_through_tests_and_inline_modules() {
        let files = [
            ("lib.rs", "mod a; #[cfg(test)] mod tests; mod b { mod inner; } // mod not;"),
            ("a/mod.rs", "pub mod c;\n#[cfg(test)]\n#[path = \"x_tests.rs\"]\nmod tests;"),
            ("a/c.rs", "#[cfg(test)] #[path = \"c_tests.rs\"] mod tests; mod d;"),
            ("a/c/d.rs", ""),
            ("a/c_tests.rs", ""),
            ("a/x_tests.rs", ""),
            ("b/inner.rs", "use mod_x;"),
            ("tests.rs", ""),
            ("a/orphan.rs", "mod c;"),
            ("not.rs", ""),
        ];
        let read = |name: &str| {
            let file = files.iter().find(|(file, _)| *file == name)?;
            Some(file.1.to_owned())
        };
        let found = modules("lib.rs", &read);
        let missing = files.iter().map(|(file, _)| *file).filter(|file| !found.contains(*file));
        assert_eq!(missing.collect::<Vec<_>>(), ["a/orphan.rs", "not.rs"]);
    }
}
