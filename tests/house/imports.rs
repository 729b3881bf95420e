//! Which file imports which, read from `use` declarations and from paths in the code.
//!
//! A file imports the file in which an item is *defined*, however many re-exports lie between. A parent
//! that only declares its children and re-exports their items imports nothing; one whose code uses them
//! does. Names that a macro makes, and methods, are not seen.

use std::collections::{BTreeMap, BTreeSet};

use super::code::{Token, tokens, without_tests};

/// `from` imports `to`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Import {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) line: usize,
    /// As it is written.
    pub(crate) path: String,
}

/// The files of one crate by their path below `src/`, from its root on: those that its `mod`
/// declarations name outside tests. And what they import.
pub(crate) struct Crate {
    pub(crate) files: BTreeSet<String>,
    pub(crate) imports: BTreeSet<Import>,
}

/// Reads the crate whose root is the file `root`; `read` gives the text of a file, if it exists.
pub(crate) fn read_crate(root: &str, read: &dyn Fn(&str) -> Option<String>) -> Crate {
    let mut modules = Modules::default();
    let text = read(root).unwrap_or_else(|| panic!("{root} is missing"));
    modules.add_file(Vec::new(), root, "", &text, read);
    let files = modules.0.values().map(|module| module.file.clone()).collect();
    Crate { files, imports: modules.imports() }
}

/// A module's path from the crate's root on.
type ModulePath = Vec<String>;

#[derive(Default)]
struct Modules(BTreeMap<ModulePath, Module>);

#[derive(Default)]
struct Module {
    file: String,
    defined: BTreeSet<String>,
    uses: Vec<Use>,
    /// Paths in the code.
    paths: Vec<Path>,
    /// All words in the code.
    words: BTreeSet<String>,
}

struct Use {
    path: Path,
    /// The name that it brings in; `None` for `*`.
    name: Option<String>,
    is_reexport: bool,
}

struct Path {
    segments: Vec<String>,
    line: usize,
}

impl Path {
    fn text(&self) -> String {
        self.segments.join("::")
    }
}

/// What a path leads to.
enum Target {
    Module(ModulePath),
    /// An item, and the file that defines it.
    Item(String),
}

impl Modules {
    /// Adds the module of a file, whose children are in the directory `children`.
    fn add_file(
        &mut self,
        path: ModulePath,
        file: &str,
        children: &str,
        text: &str,
        read: &dyn Fn(&str) -> Option<String>,
    ) {
        let tokens = without_tests(&tokens(text));
        let mut declared = Vec::new();
        self.add_scope(&path, file, &tokens, &mut declared);
        for child in declared {
            let name = child.last().expect("a child has a name").clone();
            let inside = child[path.len()..].join("/");
            let files = [
                (format!("{children}{inside}.rs"), format!("{children}{inside}/")),
                (format!("{children}{inside}/mod.rs"), format!("{children}{inside}/")),
            ];
            let found =
                files.into_iter().find_map(|(file, below)| Some((read(&file)?, file, below)));
            let (text, child_file, below) =
                found.unwrap_or_else(|| panic!("{file} declares {name}, which has no file"));
            self.add_file(child, &child_file, &below, &text, read);
        }
    }

    /// Adds a module's tokens, of a file or between braces, and its inline modules.
    fn add_scope(
        &mut self,
        path: &ModulePath,
        file: &str,
        tokens: &[Token],
        declared: &mut Vec<ModulePath>,
    ) {
        const DEFINING: [&str; 8] =
            ["struct", "enum", "trait", "type", "fn", "const", "static", "union"];
        let mut module = Module { file: file.to_owned(), ..Module::default() };
        let text = |at: usize| tokens.get(at).map_or("", |token| &*token.text);
        let (mut at, mut depth) = (0, 0_usize);
        while at < tokens.len() {
            match text(at) {
                "{" => depth += 1,
                "}" => depth = depth.saturating_sub(1),
                "mod" if text(at + 2) == ";" => {
                    declared.push([&path[..], &[text(at + 1).to_owned()]].concat());
                    at += 2;
                }
                "mod" if text(at + 2) == "{" => {
                    let inner = [&path[..], &[text(at + 1).to_owned()]].concat();
                    let end = closing(tokens, at + 2);
                    self.add_scope(&inner, file, &tokens[at + 3..end], declared);
                    at = end;
                }
                // `use<'a>` is a bound.
                "use" if text(at + 1) != "<" => {
                    let is_reexport = at > 0 && matches!(text(at - 1), "pub" | ")");
                    at = read_use(tokens, at + 1, &[], is_reexport, &mut module.uses);
                    continue;
                }
                word if depth == 0 && DEFINING.contains(&word) => {
                    module.defined.insert(text(at + 1).to_owned());
                }
                "macro_rules" => {
                    module.defined.insert(text(at + 2).to_owned());
                }
                _ => {}
            }
            if tokens.get(at).is_some_and(Token::is_word) {
                at = read_path(tokens, at, &mut module);
            } else {
                at += 1;
            }
        }
        self.0.insert(path.clone(), module);
    }

    fn imports(&self) -> BTreeSet<Import> {
        let mut imports = BTreeSet::new();
        for (at, module) in &self.0 {
            let counts = |declared: &&Use| match &declared.name {
                Some(name) => !declared.is_reexport || module.words.contains(name),
                None => !declared.is_reexport,
            };
            let declared = module.uses.iter().filter(counts);
            let declared = declared.map(|declared| (&declared.path, declared.name.is_none()));
            for (path, is_glob) in declared.chain(module.paths.iter().map(|path| (path, false))) {
                let to = match self.resolve(at, &path.segments, 0) {
                    Some(Target::Item(file)) => file,
                    Some(Target::Module(module)) if is_glob => self.0[&module].file.clone(),
                    // A module's name alone imports nothing: what is used of it does.
                    Some(Target::Module(_)) | None => continue,
                };
                if to != module.file {
                    let (from, line) = (module.file.clone(), path.line);
                    imports.insert(Import { from, to, line, path: path.text() });
                }
            }
        }
        imports
    }

    /// Follows a path as written in the module `at`.
    fn resolve(&self, at: &ModulePath, segments: &[String], hops: usize) -> Option<Target> {
        // As many re-exports of re-exports as nobody writes: there may be a circle of them.
        const HOPS_MAX: usize = 32;
        if hops > HOPS_MAX {
            return None;
        }
        let mut module = at.clone();
        let mut rest = segments;
        match rest.first()?.as_str() {
            "crate" => (module, rest) = (Vec::new(), &rest[1..]),
            "self" => rest = &rest[1..],
            "super" => {
                while rest.first().is_some_and(|segment| segment == "super") {
                    module.pop();
                    rest = &rest[1..];
                }
            }
            _ => {}
        }
        let Some((name, rest)) = rest.split_first() else { return Some(Target::Module(module)) };
        let child = [&module[..], std::slice::from_ref(name)].concat();
        if self.0.contains_key(&child) {
            return match rest {
                [] => Some(Target::Module(child)),
                _ => self.resolve(&child, &[&["self".to_owned()], rest].concat(), hops + 1),
            };
        }
        let here = self.0.get(&module)?;
        if here.defined.contains(name) {
            return Some(Target::Item(here.file.clone()));
        }
        let named = here.uses.iter().filter(|declared| declared.name.as_ref() == Some(name));
        for declared in named {
            // `use log::log`: the name within its own declaration is another's.
            let further = [&declared.path.segments[..], rest].concat();
            if further != segments
                && let Some(target) = self.resolve(&module, &further, hops + 1)
            {
                return Some(target);
            }
        }
        let globs = here.uses.iter().filter(|declared| declared.name.is_none());
        globs
            .filter_map(|declared| {
                let further =
                    [&declared.path.segments[..], std::slice::from_ref(name), rest].concat();
                self.resolve(&module, &further, hops + 1)
            })
            .next()
    }
}

/// The bracket that closes the one at `open`.
fn closing(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match &*token.text {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    tokens.len()
}

/// Reads a tree of `use` from `at` on, below `prefix`; gives where it goes on behind it.
fn read_use(
    tokens: &[Token],
    mut at: usize,
    prefix: &[String],
    is_reexport: bool,
    uses: &mut Vec<Use>,
) -> usize {
    let mut segments = prefix.to_vec();
    let mut alias = None;
    let mut line = tokens.get(at).map_or(0, |token| token.line);
    let mut add = |segments: &[String], alias: Option<String>, line: usize| {
        let Some(last) = segments.last().cloned() else { return };
        let (segments, name) = match &*last {
            "*" => (segments[..segments.len() - 1].to_vec(), None),
            "self" if segments.len() > 1 => {
                let parent = segments[..segments.len() - 1].to_vec();
                let name = parent.last().cloned();
                (parent, alias.or(name))
            }
            _ => (segments.to_vec(), alias.or(Some(last))),
        };
        uses.push(Use { path: Path { segments, line }, name, is_reexport });
    };
    while let Some(token) = tokens.get(at) {
        match &*token.text {
            ":" => at += 1,
            "as" => {
                alias = tokens.get(at + 1).map(|token| token.text.clone());
                at += 2;
            }
            "{" => {
                at += 1;
                while tokens.get(at).is_some_and(|token| token.text != "}") {
                    at = read_use(tokens, at, &segments, is_reexport, uses);
                    if tokens.get(at).is_some_and(|token| token.text == ",") {
                        at += 1;
                    }
                }
                return at + 1;
            }
            ";" | "," | "}" => break,
            word => {
                segments.push(word.to_owned());
                line = token.line;
                at += 1;
            }
        }
    }
    add(&segments, alias, line);
    at
}

/// Reads the path or word at `at`; gives where it goes on behind it.
fn read_path(tokens: &[Token], mut at: usize, module: &mut Module) -> usize {
    let text = |at: usize| tokens.get(at).map_or("", |token| &*token.text);
    // A method, a field or the rest of `<T>::name`: no path of ours.
    let is_inside =
        at > 0 && (text(at - 1) == "." || text(at - 1) == ":" && at > 1 && text(at - 2) == ":");
    let line = tokens[at].line;
    let mut segments = vec![text(at).to_owned()];
    at += 1;
    while text(at) == ":" && text(at + 1) == ":" && tokens.get(at + 2).is_some_and(Token::is_word) {
        segments.push(text(at + 2).to_owned());
        at += 3;
    }
    if !is_inside {
        module.words.insert(segments[0].clone());
        if segments.len() > 1 {
            module.paths.push(Path { segments, line });
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The imports among these files, as `from:line to`.
    fn imports(files: &[(&str, &str)]) -> Vec<String> {
        let read = |name: &str| {
            let file = files.iter().find(|(file, _)| *file == name)?;
            Some(file.1.to_owned())
        };
        let found = read_crate(files[0].0, &read).imports;
        found.iter().map(|found| format!("{}:{} {}", found.from, found.line, found.to)).collect()
    }

    #[test]
    fn use_declarations_and_paths_lead_to_the_file_that_defines_the_item() {
        let found = imports(&[
            ("lib.rs", "pub mod a;\npub mod b;\nmod c;"),
            ("a.rs", "use crate::{b::{self, B}, c::C as D};\nfn f() { b::g::<u8>(); }"),
            ("b.rs", "pub struct B;\npub fn g<T>() {\n crate::c::C;\n}"),
            ("c.rs", "pub enum C { X }\nfn f(x: super::b::B) {}"),
        ]);
        let expected = ["a.rs:1 b.rs", "a.rs:2 b.rs", "a.rs:1 c.rs", "b.rs:3 c.rs", "c.rs:2 b.rs"];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_re_export_is_looked_through_and_is_no_import_itself() {
        let found = imports(&[
            ("lib.rs", "mod a;\nmod b;"),
            ("a/mod.rs", "mod inner;\nmod other;\npub use inner::Inner;\npub(crate) use other::*;"),
            ("a/inner.rs", "pub struct Inner;"),
            ("a/other.rs", "pub struct Other;"),
            ("b.rs", "use crate::a::{Inner, Other};"),
        ]);
        assert_eq!(found, ["b.rs:1 a/inner.rs", "b.rs:1 a/other.rs"]);
    }

    #[test]
    fn a_parent_whose_code_uses_what_it_re_exports_imports_it() {
        let found = imports(&[
            ("lib.rs", "mod a;"),
            ("a/mod.rs", "mod inner;\npub use inner::Inner;\npub struct A(Inner);"),
            ("a/inner.rs", "use super::A;\npub struct Inner(A);"),
        ]);
        assert_eq!(found, ["a/inner.rs:1 a/mod.rs", "a/mod.rs:2 a/inner.rs"]);
    }

    #[test]
    fn a_childs_use_of_its_parent_counts_and_a_parents_use_of_its_child_too() {
        let found = imports(&[
            ("lib.rs", "mod a;"),
            ("a.rs", "mod inner;\nuse inner::f;\npub const A: u8 = 0;\nfn g() { inner::f(); }"),
            ("a/inner.rs", "pub fn f() -> u8 { super::A }"),
        ]);
        assert_eq!(found, ["a.rs:2 a/inner.rs", "a.rs:4 a/inner.rs", "a/inner.rs:1 a.rs"]);
    }

    #[test]
    fn inline_modules_belong_to_their_file() {
        let found = imports(&[
            ("lib.rs", "mod a;\nmod b;"),
            ("a.rs", "mod inner {\n use super::A;\n use super::super::b::B;\n}\npub struct A;"),
            ("b.rs", "pub struct B;"),
        ]);
        assert_eq!(found, ["a.rs:3 b.rs"]);
    }

    #[test]
    fn test_code_and_other_crates_do_not_count() {
        let found = imports(&[
            ("lib.rs", "mod a;\nmod b;"),
            (
                "a.rs",
                "use std::b::B;\n#[cfg(test)]\nmod tests { use crate::b::B; }\n#[cfg(test)] mod x;",
            ),
            ("b.rs", "// use crate::a::A;\npub struct B;"),
        ]);
        assert_eq!(found, [""; 0]);
    }
}
