//! The order of the house: no circle of imports among the files of `src/`, no `unsafe` but in one of
//! them, and docs/architecture.md names what there is.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use architecture::{Named, Names, named, unnamed};
use circles::circles;
use imports::read_crate;

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

/// Directories that still have circles.
const KNOWN_CIRCLES: [&str; 0] = [];
/// Files that still have `unsafe`.
const KNOWN_UNSAFE: [&str; 0] = [];
/// What the architecture names before it is there.
const KNOWN_MISSING: [&str; 0] = [];
/// Files that the architecture does not name yet.
const KNOWN_UNNAMED: [&str; 0] = [];

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

/// Fails for what is found and not known, and for what is known and not found any more.
fn assert_known(found: &[(String, String)], known: &[&str]) {
    let new: Vec<_> = found.iter().filter(|(name, _)| !known.contains(&&**name)).collect();
    let gone: Vec<_> =
        known.iter().filter(|name| !found.iter().any(|(at, _)| at == *name)).collect();
    let told: String = new.iter().map(|(_, why)| format!("\n{why}")).collect();
    assert!(new.is_empty(), "{told}");
    assert!(gone.is_empty(), "take off the list what is no longer so: {gone:#?}");
}

/// The directory in which all these files are.
fn directory(files: &BTreeSet<String>) -> String {
    let (first, last) = (files.first().expect("a file"), files.last().expect("a file"));
    let common = first.split('/').zip(last.split('/')).take_while(|(one, other)| one == other);
    common.map(|(segment, _)| segment).collect::<Vec<_>>().join("/")
}

#[test]
fn no_file_imports_another_in_a_circle() {
    let imports = ["lib.rs", "main.rs"].iter().flat_map(|root| read_crate(root, &read).imports);
    let found = circles(&imports.collect()).into_iter().map(|circle| {
        let files = circle.files.iter().map(|file| &**file).collect::<Vec<_>>().join(" ");
        let way: String = circle
            .way
            .iter()
            .map(|import| {
                format!(
                    "\n  src/{}:{} uses {} of src/{}",
                    import.from, import.line, import.path, import.to
                )
            })
            .collect();
        let why = format!("a circle of imports ({files}):{way}");
        (directory(&circle.files), why)
    });
    assert_known(&found.collect::<Vec<_>>(), &KNOWN_CIRCLES);
}

#[test]
fn what_is_unsafe_is_in_one_file() {
    let mut found = Vec::new();
    for file in sources().into_iter().filter(|file| file != MAY_BE_UNSAFE) {
        let tokens = code::tokens(&read(&file).expect("a source"));
        if let Some(token) = tokens.iter().find(|token| token.text == "unsafe") {
            found.push((file.clone(), format!("unsafe in src/{file}:{}", token.line)));
        }
    }
    assert_known(&found, &KNOWN_UNSAFE);
}

#[test]
fn the_architecture_names_what_there_is() {
    let document = fs::read_to_string(root().join("docs/architecture.md")).expect("the document");
    let mut names = Names::default();
    for file in sources() {
        names.add(&file, &read(&file).expect("a source"));
    }
    let mut missing = Vec::new();
    for (line, named) in named(&document) {
        let (name, is_there) = match &named {
            Named::Path(path) => (
                path.clone(),
                ["src", "", "docs"].iter().any(|at| root().join(at).join(path).exists()),
            ),
            Named::Item(segments) => (segments.join("::"), names.contains(segments)),
        };
        if !is_there {
            missing.push((
                name.clone(),
                format!("docs/architecture.md:{line} names {name}, which is nowhere"),
            ));
        }
    }
    assert_known(&missing, &KNOWN_MISSING);
}

#[test]
fn the_architecture_names_every_file() {
    let document = fs::read_to_string(root().join("docs/architecture.md")).expect("the document");
    let files: Vec<_> =
        ["lib.rs", "main.rs"].iter().flat_map(|root| read_crate(root, &read).files).collect();
    let unnamed = unnamed(&files, &named(&document)).into_iter();
    let unnamed =
        unnamed.map(|file| (file.to_owned(), format!("docs/architecture.md does not name {file}")));
    assert_known(&unnamed.collect::<Vec<_>>(), &KNOWN_UNNAMED);
}

#[test]
fn a_list_of_what_is_known_must_be_right_both_ways() {
    let found = [("a b".to_owned(), "a circle".to_owned())];
    assert_known(&found, &["a b"]);
    assert!(std::panic::catch_unwind(|| assert_known(&found, &[])).is_err());
    assert!(std::panic::catch_unwind(|| assert_known(&[], &["a b"])).is_err());
}
