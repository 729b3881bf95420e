//! The order of the house: no circle of imports among the files of `src/`, no `unsafe` but in one of
//! them, and docs/architecture.md names what there is.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use architecture::{Named, Names, named, unnamed};
use circles::circles;
use imports::{Import, read_crate};

#[path = "house/architecture.rs"]
mod architecture;
#[path = "house/circles.rs"]
mod circles;
#[path = "house/code.rs"]
mod code;
#[path = "house/imports.rs"]
mod imports;

/// The one file that may call C.
const MAY_BE_UNSAFE: &str = "kafka/librdkafka.rs";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text of a file below `src/`.
fn read(file: &str) -> Option<String> {
    fs::read_to_string(root().join("src").join(file)).ok()
}

/// All files of `src/`, tests included, by their path below it.
fn sources() -> BTreeSet<String> {
    fn add(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                add(&path, found);
            } else if path.extension().is_some_and(|end| end == "rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    let src = root().join("src");
    add(&src, &mut found);
    let below = |path: PathBuf| path.strip_prefix(&src).expect("below src").display().to_string();
    found.into_iter().map(below).collect()
}

/// Fails with all of them, one a line.
fn assert_none(wrong: impl IntoIterator<Item = String>) {
    let wrong: Vec<_> = wrong.into_iter().collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

fn architecture() -> Vec<(usize, Named)> {
    named(&fs::read_to_string(root().join("docs/architecture.md")).expect("the document"))
}

#[test]
fn no_file_imports_another_in_a_circle() {
    let imports = ["lib.rs", "main.rs"].iter().flat_map(|root| read_crate(root, &read).imports);
    assert_none(circles(&imports.collect()).into_iter().map(|circle| {
        let files = circle.files.iter().map(|file| &**file).collect::<Vec<_>>().join(" ");
        let step = |Import { from, to, line, path }| {
            format!("\n  src/{from}:{line} uses {path} of src/{to}")
        };
        let way: String = circle.way.into_iter().map(step).collect();
        format!("a circle of imports ({files}):{way}")
    }));
}

#[test]
fn what_is_unsafe_is_in_one_file() {
    let elsewhere = sources().into_iter().filter(|file| file != MAY_BE_UNSAFE);
    assert_none(elsewhere.filter_map(|file| {
        let tokens = code::tokens(&read(&file).expect("a source"));
        let found = tokens.iter().find(|token| token.text == "unsafe")?;
        Some(format!("unsafe in src/{file}:{}", found.line))
    }));
}

#[test]
fn the_architecture_names_what_there_is() {
    let mut names = Names::default();
    for file in sources() {
        names.add(&file, &read(&file).expect("a source"));
    }
    assert_none(architecture().into_iter().filter_map(|(line, named)| {
        let (name, is_there) = match named {
            Named::Path(path) => {
                let is_there =
                    ["src", "", "docs"].iter().any(|at| root().join(at).join(&path).exists());
                (path, is_there)
            }
            Named::Item(segments) => (segments.join("::"), names.contains(&segments)),
        };
        (!is_there).then(|| format!("docs/architecture.md:{line} names {name}, which is nowhere"))
    }));
}

#[test]
fn the_architecture_names_every_file() {
    let files: Vec<_> =
        ["lib.rs", "main.rs"].iter().flat_map(|root| read_crate(root, &read).files).collect();
    let named = architecture();
    let unnamed = unnamed(&files, &named).into_iter();
    assert_none(unnamed.map(|file| format!("docs/architecture.md does not name {file}")));
}
