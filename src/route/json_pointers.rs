//! Fields of a JSON document by JSON pointer (RFC 6901), all of them in one pass over its text, without a
//! tree of the document. Pure.
//!
//! Values stay as they are written: a number keeps its digits, which an identifier of twenty of them needs,
//! and no parser that makes numbers of them would. A document is read, and checked (RFC 8259), until all fields are
//! found; so of a name that is there twice the first value counts.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

/// The deepest nesting of a document.
pub const DEPTH_MAX: u32 = 128;

/// The pointers that are looked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JsonPointers {
    /// As written, by slot.
    written: Vec<Box<str>>,
    root: Node,
}

/// What pointers with the same beginning have next.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Node {
    /// The pointer that ends here.
    slot: Option<usize>,
    children: Vec<Child>,
}

/// Where no pointer goes.
static NOWHERE: Node = Node { slot: None, children: Vec::new() };

#[derive(Debug, Clone, PartialEq, Eq)]
struct Child {
    /// Its name in an object.
    name: Box<str>,
    /// Its place in an array, if the name is a number.
    index: Option<usize>,
    node: Node,
}

impl Child {
    fn new(name: &str) -> Self {
        let is_index = name == "0" || !name.starts_with(['0', '+']);
        let index = name.parse().ok().filter(|_| is_index);
        Self { name: name.into(), index, node: Node::default() }
    }
}

/// What a document has at each pointer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fields {
    /// Those of the first slots, which need no allocation.
    few: [Option<Found>; FEW],
    /// Those of the other slots.
    more: Vec<Option<Found>>,
}

/// Most routes have no more pointers.
const FEW: usize = 4;

/// A value of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What it is.
    pub kind: Kind,
    /// Where it is in the document, quotation marks included.
    pub at: Range<usize>,
}

/// The types of values of JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// null
    Null,
    /// true or false
    Bool,
    /// A number.
    Number,
    /// A string without escapes.
    Text,
    /// A string with escapes.
    EscapedText,
    /// An object or an array.
    Document,
}

/// Where a text is not JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotJson {
    expected: &'static str,
    byte: usize,
}

impl fmt::Display for NotJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {} at byte {}", self.expected, self.byte)
    }
}

/// Whether `pointer` is a JSON pointer (RFC 6901, section 3).
///
/// # Errors
/// What was found and expected.
pub fn check(pointer: &str) -> Result<(), String> {
    if !pointer.is_empty() && !pointer.starts_with('/') {
        return Err(format!(
            "a JSON pointer begins with `/`, as in `/{pointer}`; found `{pointer}`"
        ));
    }
    let illegal = pointer.split('~').skip(1).any(|rest| !rest.starts_with(['0', '1']));
    match illegal {
        true => {
            Err(format!("in a JSON pointer `~` is written `~0` and `/` is `~1`; found `{pointer}`"))
        }
        false => Ok(()),
    }
}

impl JsonPointers {
    /// Of these pointers.
    pub fn of<'a>(pointers: impl IntoIterator<Item = &'a str>) -> Self {
        let mut root = Node::default();
        for pointer in pointers {
            let mut node = &mut root;
            for token in pointer.split('/').skip(1) {
                node = node.child_or_insert(&token.replace("~1", "/").replace("~0", "~"));
            }
            node.slot = Some(0);
        }
        let mut written = Vec::new();
        root.number("", &mut written);
        Self { written, root }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.written.is_empty()
    }

    /// Where [`Fields::get`] has the value of this pointer.
    pub fn slot(&self, pointer: &str) -> Option<usize> {
        self.written.iter().position(|known| **known == *pointer)
    }

    /// What is at each pointer. White space, a byte order mark and trailing NULs around the document are
    /// ignored. What is behind the last field that is looked for is not read.
    ///
    /// # Errors
    /// It is not one JSON document, as far as it is read.
    pub fn read(&self, document: &[u8]) -> Result<Fields, NotJson> {
        let mut text = document;
        while let [rest @ .., 0] = text {
            text = rest;
        }
        let (found, missing) = (Fields::of(self.written.len()), self.written.len());
        let wrong = NotJson { expected: "a JSON value", byte: 0 };
        let mut scan =
            Scan { document: text, is_ascii: true, found, missing, is_done: false, wrong };
        let is_json = scan.document(&self.root).is_some() || scan.is_done;
        if is_json && scan.is_ascii {
            return Ok(scan.found);
        }
        match std::str::from_utf8(document) {
            Ok(_) if is_json => Ok(scan.found),
            Ok(_) => Err(scan.wrong),
            // Of what is wrong, this says most.
            Err(error) => Err(NotJson { expected: "UTF-8", byte: error.valid_up_to() }),
        }
    }
}

impl Node {
    fn child_or_insert(&mut self, name: &str) -> &mut Self {
        let at = self.children.iter().position(|child| *child.name == *name);
        let at = at.unwrap_or_else(|| {
            self.children.push(Child::new(name));
            self.children.len() - 1
        });
        &mut self.children[at].node
    }

    /// Numbers the pointers from here on.
    fn number(&mut self, path: &str, written: &mut Vec<Box<str>>) {
        if let Some(slot) = &mut self.slot {
            *slot = written.len();
            written.push(path.into());
        }
        for Child { name, node, .. } in &mut self.children {
            let token = name.replace('~', "~0").replace('/', "~1");
            node.number(&format!("{path}/{token}"), written);
        }
    }

    fn child(&self, name: &[u8]) -> Option<&Self> {
        // Names are short: a call of memcmp would cost more.
        let is = |known: &str| known.len() == name.len() && known.bytes().eq(name.iter().copied());
        self.children.iter().find(|child| is(&child.name)).map(|child| &child.node)
    }

    fn element(&self, index: usize) -> Option<&Self> {
        self.children.iter().find(|child| child.index == Some(index)).map(|child| &child.node)
    }
}

impl Fields {
    /// Nothing in each of these slots.
    fn of(slots: usize) -> Self {
        Self { few: [const { None }; FEW], more: vec![None; slots.saturating_sub(FEW)] }
    }

    /// The value in this slot, if the document has it.
    pub fn get(&self, slot: usize) -> Option<&Found> {
        match self.few.get(slot) {
            Some(found) => found.as_ref(),
            None => self.more.get(slot - FEW)?.as_ref(),
        }
    }

    fn set(&mut self, slot: usize, found: Found) {
        match slot < FEW {
            true => self.few[slot] = Some(found),
            false => self.more[slot - FEW] = Some(found),
        }
    }
}

impl Found {
    /// Its text in the document that it was found in; that of a string without quotation marks and escapes.
    /// `None` if it names half of a surrogate pair, which is no character.
    pub fn text<'a>(&self, document: &'a [u8]) -> Option<Cow<'a, str>> {
        let written = document.get(self.at.clone())?;
        match self.kind {
            Kind::EscapedText => serde_json::from_slice(written).ok().map(Cow::Owned),
            Kind::Text => utf8(written.strip_prefix(b"\"")?.strip_suffix(b"\"")?),
            _ => utf8(written),
        }
    }
}

fn utf8(text: &[u8]) -> Option<Cow<'_, str>> {
    std::str::from_utf8(text).ok().map(Cow::Borrowed)
}

/// One pass over a document. What reads a part of it takes the text from there on and returns what is behind that
/// part; `None` if everything is found, or if it is not JSON, and then `wrong` says where. Every message on a route that reads a field passes
/// through here, hence the attributes for inlining: tests/instructions.rs counts what they are for.
struct Scan<'a> {
    /// All of it.
    document: &'a [u8],
    /// Whether all strings are ASCII. Nothing else can have other characters.
    is_ascii: bool,
    found: Fields,
    /// How many fields are not found yet.
    missing: usize,
    /// All are, and what is behind them is not read.
    is_done: bool,
    wrong: NotJson,
}

impl<'a> Scan<'a> {
    /// The whole document.
    fn document(&mut self, root: &Node) -> Option<()> {
        let text = self.document.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(self.document);
        match space(self.value(text, root, 0)?) {
            [] => Some(()),
            rest => self.wrong("the end", rest),
        }
    }

    #[cold]
    fn wrong<T>(&mut self, expected: &'static str, rest: &[u8]) -> Option<T> {
        self.wrong = NotJson { expected, byte: self.document.len() - rest.len() };
        None
    }

    /// A value inside of `depth` objects and arrays, and what pointers find in it.
    #[inline(always)]
    fn value(&mut self, text: &'a [u8], node: &Node, depth: u32) -> Option<&'a [u8]> {
        let text = space(text);
        let (kind, rest) = match text {
            [b'"', text @ ..] => self.string(text)?,
            [b'-' | b'0'..=b'9', ..] => (Kind::Number, self.number(text)?),
            [b'{' | b'[', ..] if depth == DEPTH_MAX => {
                return self.wrong("at most 128 levels of nesting", text);
            }
            [b'{', text @ ..] => (Kind::Document, self.object(text, node, depth + 1)?),
            [b'[', text @ ..] => (Kind::Document, self.array(text, node, depth + 1)?),
            [b'n', ..] => (Kind::Null, self.word(text, b"null")?),
            [b't', ..] => (Kind::Bool, self.word(text, b"true")?),
            [b'f', ..] => (Kind::Bool, self.word(text, b"false")?),
            _ => return self.wrong("a JSON value", text),
        };
        if let Some(slot) = node.slot.filter(|slot| self.found.get(*slot).is_none()) {
            let at = self.document.len() - text.len()..self.document.len() - rest.len();
            self.found.set(slot, Found { kind, at });
            self.missing -= 1;
            // Who asks for the whole document gets a whole one.
            self.is_done = self.missing == 0 && depth > 0;
            if self.is_done {
                return None;
            }
        }
        Some(rest)
    }

    /// An object behind its opening bracket.
    fn object(&mut self, text: &'a [u8], node: &Node, depth: u32) -> Option<&'a [u8]> {
        if let Some(rest) = behind(b'}', text) {
            return Some(rest);
        }
        let mut text = text;
        loop {
            let (child, rest) = self.name(text, node)?;
            let rest = self.value(rest, child, depth)?;
            match behind(b',', rest) {
                Some(rest) => text = rest,
                None => return self.expect(b'}', rest, "`,` or `}`"),
            }
        }
    }

    /// An array behind its opening bracket.
    fn array(&mut self, text: &'a [u8], node: &Node, depth: u32) -> Option<&'a [u8]> {
        if let Some(rest) = behind(b']', text) {
            return Some(rest);
        }
        let mut text = text;
        for index in 0.. {
            let child = node.element(index).unwrap_or(&NOWHERE);
            let rest = self.value(text, child, depth)?;
            match behind(b',', rest) {
                Some(rest) => text = rest,
                None => return self.expect(b']', rest, "`,` or `]`"),
            }
        }
        None
    }

    /// A name and the colon behind it; what pointers have there.
    #[inline(always)]
    fn name<'n>(&mut self, text: &'a [u8], node: &'n Node) -> Option<(&'n Node, &'a [u8])> {
        let name = self.expect(b'"', text, "a name in quotation marks")?;
        let (kind, end) = self.string(name)?;
        let rest = self.expect(b':', end, "`:`")?;
        if node.children.is_empty() {
            return Some((&NOWHERE, rest));
        }
        let name = name.get(..name.len() - end.len() - 1)?;
        let child = match kind {
            Kind::Text => node.child(name),
            _ => unescaped(name).and_then(|name| node.child(name.as_bytes())),
        };
        Some((child.unwrap_or(&NOWHERE), rest))
    }

    /// What is behind this byte, which is `expected` next.
    #[inline(always)]
    fn expect(&mut self, byte: u8, text: &'a [u8], expected: &'static str) -> Option<&'a [u8]> {
        match behind(byte, text) {
            None => self.wrong(expected, space(text)),
            rest => rest,
        }
    }

    fn word(&mut self, text: &'a [u8], word: &[u8]) -> Option<&'a [u8]> {
        match text.strip_prefix(word) {
            None => self.wrong("a JSON value", text),
            rest => rest,
        }
    }

    /// A string behind its first quotation mark.
    #[inline(always)]
    fn string(&mut self, text: &'a [u8]) -> Option<(Kind, &'a [u8])> {
        match plain(text) {
            [b'"', rest @ ..] => Some((Kind::Text, rest)),
            special => self.special(special),
        }
    }

    /// What is left of a string, from a character that is not plain on.
    fn special(&mut self, text: &'a [u8]) -> Option<(Kind, &'a [u8])> {
        let mut text = text;
        let mut kind = Kind::Text;
        loop {
            text = match text {
                [b'"', rest @ ..] => return Some((kind, rest)),
                [b'\\', rest @ ..] => {
                    kind = Kind::EscapedText;
                    self.escape(rest)?
                }
                [0x80..=0xFF, rest @ ..] => {
                    self.is_ascii = false;
                    rest
                }
                [b' '..=0x7F, ..] => plain(text),
                _ => return self.wrong("`\"`, and no control characters before it", text),
            };
        }
    }

    /// What follows a backslash.
    fn escape(&mut self, text: &'a [u8]) -> Option<&'a [u8]> {
        match text {
            [b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', rest @ ..] => Some(rest),
            [b'u', rest @ ..] => match rest.split_first_chunk::<4>() {
                Some((digits, rest)) if digits.iter().all(u8::is_ascii_hexdigit) => Some(rest),
                _ => self.wrong("four hexadecimal digits", text),
            },
            _ => self.wrong("an escape", text),
        }
    }

    #[inline(always)]
    fn number(&mut self, text: &'a [u8]) -> Option<&'a [u8]> {
        let rest = match text.strip_prefix(b"-").unwrap_or(text) {
            [b'0', rest @ ..] => rest,
            rest => self.digits(rest)?,
        };
        let rest = match rest {
            [b'.', rest @ ..] => self.digits(rest)?,
            _ => rest,
        };
        match rest {
            [b'e' | b'E', b'+' | b'-', rest @ ..] | [b'e' | b'E', rest @ ..] => self.digits(rest),
            _ => Some(rest),
        }
    }

    fn digits(&mut self, text: &'a [u8]) -> Option<&'a [u8]> {
        let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 { self.wrong("a digit", text) } else { text.get(digits..) }
    }
}

/// Without the white space at its start. Most documents have little.
fn space(text: &[u8]) -> &[u8] {
    match text {
        [b'!'..=0xFF, ..] => text,
        _ => trim_space(text),
    }
}

#[inline(never)]
fn trim_space(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\n' | b'\r' | b'\t', rest @ ..] = text {
        text = rest;
    }
    text
}

/// What is behind this byte, if that is the next one but for white space.
fn behind(byte: u8, text: &[u8]) -> Option<&[u8]> {
    match text {
        [first, rest @ ..] if *first == byte => Some(rest),
        _ => space(text).strip_prefix(&[byte]),
    }
}

/// A name that is written with escapes, here without its quotation marks.
#[cold]
fn unescaped(name: &[u8]) -> Option<String> {
    serde_json::from_slice(&[b"\"", name, b"\""].concat()).ok()
}

/// The text of a string from the first character on that is not plain. Plain are those of ASCII but `"`, `\` and
/// control characters.
fn plain(text: &[u8]) -> &[u8] {
    let mut rest = text;
    while let Some((eight, behind)) = rest.split_first_chunk() {
        let special = special(u64::from_le_bytes(*eight));
        if special != 0 {
            return rest.get(special.trailing_zeros() as usize / 8..).unwrap_or_default();
        }
        rest = behind;
    }
    while let [b' ' | b'!' | b'#'..=b'[' | b']'..=0x7F, behind @ ..] = rest {
        rest = behind;
    }
    rest
}

/// Of eight characters at once, the first one in the lowest byte: the highest bit of those that are not plain. What
/// is behind the first of these can be wrong, since a subtraction borrows.
fn special(eight: u64) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    // With this bit turned, `"` stands directly behind the control characters.
    let control = (eight ^ (EACH * 0x02)).wrapping_sub(EACH * 0x21);
    let backslash = (eight ^ (EACH * 0x5C)).wrapping_sub(EACH);
    // Each byte that is not ASCII keeps its highest bit in at least one of them.
    (control | backslash) & (EACH * 0x80)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::IgnoredAny;
    use serde_json::Value;

    use super::*;

    fn read(pointer: &str, document: &str) -> Option<String> {
        let pointers = JsonPointers::of([pointer]);
        let fields = pointers.read(document.as_bytes()).expect("JSON");
        fields.get(0).map(|found| document[found.at.clone()].to_owned())
    }

    #[test]
    fn pointers_follow_the_examples_of_their_specification() {
        let document = r#"{"foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "e^f": 3, "g|h": 4,
            "i\\j": 5, "k\"l": 6, " ": 7, "m~n": 8}"#;
        for (pointer, value) in [
            ("", document),
            ("/foo", r#"["bar", "baz"]"#),
            ("/foo/0", r#""bar""#),
            ("/", "0"),
            ("/a~1b", "1"),
            ("/c%d", "2"),
            ("/e^f", "3"),
            ("/g|h", "4"),
            ("/i\\j", "5"),
            ("/k\"l", "6"),
            ("/ ", "7"),
            ("/m~0n", "8"),
        ] {
            assert_eq!(check(pointer), Ok(()));
            assert_eq!(read(pointer, document).as_deref(), Some(value), "{pointer}");
        }
        for missing in ["/foo/2", "/foo/00", "/foo/+1", "/foo/-", "/foo/bar", "/no", "/foo/0/1"] {
            assert_eq!(read(missing, document), None, "{missing}");
        }
    }

    #[test]
    fn a_pointer_that_is_none_is_refused() {
        for pointer in ["a", "a/b", "/~", "/~2", "/a~"] {
            assert!(check(pointer).is_err(), "{pointer}");
        }
    }

    #[test]
    fn the_first_of_two_values_counts() {
        assert_eq!(read("/a", r#"{"a": 1, "a": 2}"#).as_deref(), Some("1"));
        assert_eq!(read("/a/b", r#"{"a": {"b": 1}, "a": {"b": 2}}"#).as_deref(), Some("1"));
        // Also where something else is still looked for.
        let document = br#"{"a": 1, "a": 2, "b": {"c": 3}, "b": {"c": 4, "d": 5}}"#;
        let pointers = JsonPointers::of(["/a", "/b/c", "/none"]);
        let fields = pointers.read(document).expect("JSON");
        let text = |pointer| fields.get(pointers.slot(pointer)?)?.text(document);
        assert_eq!((text("/a").as_deref(), text("/b/c").as_deref()), (Some("1"), Some("3")));
    }

    #[test]
    fn what_is_behind_the_last_field_is_not_read() {
        let pointers = JsonPointers::of(["/a", "/b/c"]);
        for behind in ["}}", "", "}, \"a\": 01", ", x", "\u{FFFD}"] {
            let document = format!("{{\"a\": \"\u{e9}\", \"b\": {{\"c\": [1]{behind}");
            let fields = pointers.read(document.as_bytes()).expect(behind);
            let found = fields.get(pointers.slot("/b/c").expect("it is looked for"));
            let text = found.and_then(|found| found.text(document.as_bytes()));
            assert_eq!(text.as_deref(), Some("[1]"));
        }
        assert!(pointers.read(b"{\"b\": {\"c\": [1}, \"a\": 1}").is_err(), "a field is whole");
        assert!(JsonPointers::of([""]).read(b"{} x").is_err(), "the whole document is all of it");
    }

    #[test]
    fn a_number_keeps_its_digits() {
        let document = r#"{"id": 123456789012345678901234567890, "v": 21.50, "e": 1e400}"#;
        assert_eq!(read("/id", document).as_deref(), Some("123456789012345678901234567890"));
        assert_eq!(read("/v", document).as_deref(), Some("21.50"));
        assert_eq!(read("/e", document).as_deref(), Some("1e400"));
    }

    #[test]
    fn what_surrounds_a_document_is_ignored_and_nothing_else() {
        let pointers = JsonPointers::of(["/none"]);
        assert!(pointers.read(b"\xEF\xBB\xBF \n{\"a\": 1}\r\n\x00\x00").is_ok());
        for document in
            [&b""[..], b"{\"a\": 1} x", b"{\"a\":", b"{\"a\" 1}", b"\"\xff\"", b"{\"a\": 01}"]
        {
            assert!(pointers.read(document).is_err(), "{document:?}");
        }
    }

    #[test]
    fn nesting_has_a_bound() {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let nested = |levels: usize| {
                format!("{}0{}", open.repeat(levels), close.repeat(levels)).into_bytes()
            };
            for pointers in [JsonPointers::default(), JsonPointers::of(["/0/0/0", "/a/a/a"])] {
                assert!(pointers.read(&nested(128)).is_ok());
                for levels in [129, 1_000_000] {
                    let error = pointers.read(&nested(levels)).expect_err("too deep").to_string();
                    let at = 128 * open.len();
                    let expected = format!("expected at most 128 levels of nesting at byte {at}");
                    assert_eq!(error, expected);
                }
            }
        }
    }

    #[test]
    fn each_byte_that_is_not_plain_is_found_at_each_place() {
        for byte in 0..=u8::MAX {
            let is_plain = matches!(byte, 0x20..0x80) && !matches!(byte, b'"' | b'\\');
            for (before, behind) in
                (0..20).flat_map(|before| [0, 1, 7, 8].map(|behind| (before, behind)))
            {
                let mut text = vec![b'a'; before + 1 + behind];
                text[before] = byte;
                let found = if is_plain { text.len() } else { before };
                assert_eq!(plain(&text), &text[found..], "{byte:#x} at {before} of {}", text.len());
            }
        }
    }

    #[test]
    fn what_is_no_json_is_told_with_what_was_expected_and_where() {
        let pointers = JsonPointers::of(["/none"]);
        for (document, expected) in [
            ("", "a JSON value at byte 0"),
            ("  ", "a JSON value at byte 2"),
            ("nul", "a JSON value at byte 0"),
            ("{a", "a name in quotation marks at byte 1"),
            ("{\"a\"  1", "`:` at byte 6"),
            ("{\"a\": 1 \"b\"", "`,` or `}` at byte 8"),
            ("{\"a\": [1 2", "`,` or `]` at byte 9"),
            ("{\"a\": -}", "a digit at byte 7"),
            ("{\"a\": 1.}", "a digit at byte 8"),
            ("{\"a\": 1e+}", "a digit at byte 9"),
            ("\"\\x\"", "an escape at byte 2"),
            ("\"\\u12g4\"", "four hexadecimal digits at byte 2"),
            ("\"twelve bytes\n", "`\"`, and no control characters before it at byte 13"),
            ("\"without end", "`\"`, and no control characters before it at byte 12"),
            ("\u{FEFF}1 2", "the end at byte 5"),
        ] {
            let error = pointers.read(document.as_bytes()).expect_err(document);
            assert_eq!(error.to_string(), format!("expected {expected}"), "{document}");
        }
        let error = pointers.read(b"{ \"a\": x \xff").expect_err("not UTF-8");
        assert_eq!(error.to_string(), "expected UTF-8 at byte 9", "which says most");
    }

    #[test]
    fn a_route_can_read_more_fields_than_most_do() {
        let names: Vec<_> = (0..3 * FEW).map(|number| format!("/{number}")).collect();
        let pointers = JsonPointers::of(names.iter().map(String::as_str));
        let members: Vec<_> = (1..3 * FEW).map(|number| format!("\"{number}\":{number}")).collect();
        let document = format!("{{{}}}", members.join(","));
        let fields = pointers.read(document.as_bytes()).expect("JSON");
        for (number, name) in names.iter().enumerate() {
            let found = fields.get(pointers.slot(name).expect("it is looked for"));
            let text = found.and_then(|found| found.text(document.as_bytes()));
            assert_eq!(text.as_deref(), (number > 0).then_some(&name[1..]));
        }
        assert_eq!(fields.get(3 * FEW), None);
    }

    fn json() -> impl Strategy<Value = Value> {
        let scalar = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<i32>().prop_map(|number| Value::from(f64::from(number) / 4.0)),
            "[a-c~/\"\\\\\n\u{e9}\u{1F600}]{0,4}".prop_map(Value::from),
        ];
        scalar.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map("[abc~/\"]{0,2}", inner, 0..4)
                    .prop_map(|map| Value::from(serde_json::Map::from_iter(map))),
            ]
        })
    }

    fn pointer() -> impl Strategy<Value = String> {
        let token =
            prop_oneof!["[abc]{0,2}", "[0-3]", Just("~0".to_owned()), Just("~1".to_owned())];
        prop::collection::vec(token, 0..4)
            .prop_map(|tokens| tokens.iter().map(|token| format!("/{token}")).collect())
    }

    proptest! {
        /// serde_json, which makes a tree, is the judge.
        #[test]
        fn each_pointer_finds_what_a_tree_of_the_document_has_there(
            value in json(),
            pointers in prop::collection::vec(pointer(), 1..5),
            pretty in any::<bool>(),
        ) {
            let text = if pretty { format!("{value:#}") } else { value.to_string() };
            let read = JsonPointers::of(pointers.iter().map(String::as_str));
            let fields = read.read(text.as_bytes()).expect("JSON");
            for pointer in &pointers {
                let slot = read.slot(pointer).expect("it is looked for");
                let found = fields.get(slot).map(|found| &text[found.at.clone()]);
                let found = found.map(|text| serde_json::from_str::<Value>(text).expect("JSON"));
                prop_assert_eq!(found.as_ref(), value.pointer(pointer), "{}", pointer);
            }
        }

        /// Of any length, with whatever is special in a string at any place.
        #[test]
        fn a_string_is_judged_and_read_as_by_serde_json(
            pieces in prop::collection::vec(
                prop_oneof![
                    4 => "[ -~]{0,20}",
                    1 => prop::sample::select(vec![
                        "\\", "\\\\", "\\\"", "\\n", "\\u00e9", "\\ud83d\\ude00", "\u{e9}", "\u{1F600}",
                        "\u{1f}", "\u{7f}", "\n", "\u{2028}", "\"",
                    ]).prop_map(str::to_owned),
                ],
                0..4,
            ),
            before in " {0,9}",
            behind in " {0,9}",
        ) {
            let string = format!("\"{}\"", pieces.concat());
            let document = format!("{before}{{{string}: {string}{behind}}}");
            let is_json = serde_json::from_str::<IgnoredAny>(&document).is_ok();
            // None for half of a surrogate pair as well, which the grammar allows.
            let expected = serde_json::from_str::<Value>(&document).ok();
            let name = expected.as_ref().and_then(|object| object.as_object()?.keys().next());
            let pointer = name.map_or(String::new(), |name| {
                format!("/{}", name.replace('~', "~0").replace('/', "~1"))
            });
            let fields = JsonPointers::of([pointer.as_str()]).read(document.as_bytes());
            prop_assert_eq!(fields.is_ok(), is_json, "{}", document);
            if let (Ok(fields), Some(name)) = (fields, name) {
                let text = fields.get(0).and_then(|found| found.text(document.as_bytes()));
                prop_assert_eq!(text.as_deref(), Some(name.as_str()), "{}", document);
            }
        }

        /// Where not all pointers can be found, so that all of it is read.
        #[test]
        fn exactly_what_serde_json_takes_is_json(
            text in "[\\[\\]{}:,\"\\\\a0-1.eE+\\- ntrufls]{0,12}",
        ) {
            let is_json = serde_json::from_str::<IgnoredAny>(&text).is_ok();
            prop_assert_eq!(JsonPointers::of(["/a", "/0"]).read(text.as_bytes()).is_ok(), is_json);
            prop_assert_eq!(JsonPointers::default().read(text.as_bytes()).is_ok(), is_json);
        }

        #[test]
        fn a_document_with_one_byte_changed_is_judged_as_by_serde_json(
            value in json(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
        ) {
            let mut text = value.to_string().into_bytes();
            let at = at.index(text.len());
            text[at] = byte;
            // Padding is another matter.
            prop_assume!(!text.ends_with(b"\0"));
            let is_json = std::str::from_utf8(&text).is_ok()
                && serde_json::from_slice::<IgnoredAny>(&text).is_ok();
            prop_assert_eq!(JsonPointers::of(["/a/b", "/0"]).read(&text).is_ok(), is_json);
        }
    }
}
