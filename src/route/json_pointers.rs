//! Fields of a JSON document by JSON pointer (RFC 6901), all of them in one pass over its text, without a
//! tree of the document. Pure.
//!
//! Values stay as they are written: a number keeps its digits, which an identifier of twenty of them needs,
//! and no parser that makes numbers of them would. The whole document is checked (RFC 8259). Where a name is
//! there twice, its last value counts, as with most parsers.

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
    /// The slots of all pointers that go through here.
    slots: Range<usize>,
    children: Vec<(Box<str>, Node)>,
}

/// What a document has at each pointer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fields(Vec<Option<Found>>);

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
    /// A string.
    Text,
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
    /// ignored.
    ///
    /// # Errors
    /// It is not one JSON document.
    pub fn read(&self, document: &[u8]) -> Result<Fields, NotJson> {
        let text = match std::str::from_utf8(document) {
            Ok(text) => text.trim_end_matches('\0'),
            Err(error) => return Err(NotJson { expected: "UTF-8", byte: error.valid_up_to() }),
        };
        let start = if text.starts_with('\u{FEFF}') { 3 } else { 0 };
        let mut scan = Scan { text, at: start, found: vec![None; self.written.len()] };
        scan.value(&self.root)?;
        scan.space();
        match scan.at == text.len() {
            true => Ok(Fields(scan.found)),
            false => Err(scan.error("the end")),
        }
    }
}

impl Node {
    fn child_or_insert(&mut self, name: &str) -> &mut Self {
        let at = self.children.iter().position(|(known, _)| **known == *name);
        let at = at.unwrap_or_else(|| {
            self.children.push((name.into(), Self::default()));
            self.children.len() - 1
        });
        &mut self.children[at].1
    }

    /// Numbers the pointers from here on, so that those with the same beginning stand together.
    fn number(&mut self, path: &str, written: &mut Vec<Box<str>>) {
        let first = written.len();
        if let Some(slot) = &mut self.slot {
            *slot = first;
            written.push(path.into());
        }
        for (name, child) in &mut self.children {
            let token = name.replace('~', "~0").replace('/', "~1");
            child.number(&format!("{path}/{token}"), written);
        }
        self.slots = first..written.len();
    }

    fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|(known, _)| **known == *name).map(|(_, child)| child)
    }

    fn element(&self, index: usize) -> Option<&Self> {
        let is = |name: &str| {
            !(name.len() > 1 && name.starts_with(['0', '+'])) && name.parse() == Ok(index)
        };
        self.children.iter().find(|(name, _)| is(name)).map(|(_, child)| child)
    }
}

impl Fields {
    /// The value in this slot, if the document has it.
    pub fn get(&self, slot: usize) -> Option<&Found> {
        self.0.get(slot)?.as_ref()
    }
}

/// The text of a JSON string that is written with quotation marks and escapes. `None` if it names half of a
/// surrogate pair, which is no character.
pub fn unescape(written: &str) -> Option<Cow<'_, str>> {
    match written.contains('\\') {
        true => serde_json::from_str(written).ok().map(Cow::Owned),
        false => written.strip_prefix('"')?.strip_suffix('"').map(Cow::Borrowed),
    }
}

/// One pass over a document.
struct Scan<'a> {
    text: &'a str,
    at: usize,
    found: Vec<Option<Found>>,
}

impl Scan<'_> {
    fn error(&self, expected: &'static str) -> NotJson {
        NotJson { expected, byte: self.at }
    }

    fn peek(&self) -> u8 {
        // NUL is nowhere legal.
        self.text.as_bytes().get(self.at).copied().unwrap_or(0)
    }

    fn space(&mut self) {
        while matches!(self.peek(), b' ' | b'\n' | b'\r' | b'\t') {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8, expected: &'static str) -> Result<(), NotJson> {
        self.space();
        if self.peek() != byte {
            return Err(self.error(expected));
        }
        self.at += 1;
        Ok(())
    }

    /// A value that pointers end at or go through.
    fn value(&mut self, node: &Node) -> Result<(), NotJson> {
        self.space();
        let start = self.at;
        let kind = match self.peek() {
            b'{' if !node.children.is_empty() => self.object(node)?,
            b'[' if !node.children.is_empty() => self.array(node)?,
            _ => self.skip()?,
        };
        if let Some(slot) = node.slot {
            self.found[slot] = Some(Found { kind, at: start..self.at });
        }
        Ok(())
    }

    /// Its depth is bounded by that of the pointers.
    fn object(&mut self, node: &Node) -> Result<Kind, NotJson> {
        self.at += 1;
        self.space();
        if self.peek() == b'}' {
            self.at += 1;
            return Ok(Kind::Document);
        }
        loop {
            let (name, is_escaped) = self.name()?;
            let child = match is_escaped {
                false => node.child(&self.text[name.start + 1..name.end - 1]),
                true => unescape(&self.text[name]).and_then(|name| node.child(&name)),
            };
            match child {
                Some(child) => {
                    self.found[child.slots.clone()].fill(None);
                    self.value(child)?;
                }
                None => {
                    self.skip()?;
                }
            }
            self.space();
            match self.peek() {
                b',' => self.at += 1,
                b'}' => break,
                _ => return Err(self.error("`,` or `}`")),
            }
        }
        self.at += 1;
        Ok(Kind::Document)
    }

    fn array(&mut self, node: &Node) -> Result<Kind, NotJson> {
        self.at += 1;
        self.space();
        if self.peek() == b']' {
            self.at += 1;
            return Ok(Kind::Document);
        }
        for index in 0.. {
            match node.element(index) {
                Some(child) => self.value(child)?,
                None => {
                    self.skip()?;
                }
            }
            self.space();
            match self.peek() {
                b',' => self.at += 1,
                b']' => break,
                _ => return Err(self.error("`,` or `]`")),
            }
        }
        self.at += 1;
        Ok(Kind::Document)
    }

    /// A name and the colon behind it: where the name is, quotation marks included, and whether it has
    /// escapes.
    fn name(&mut self) -> Result<(Range<usize>, bool), NotJson> {
        self.space();
        let start = self.at;
        if self.peek() != b'"' {
            return Err(self.error("a name in quotation marks"));
        }
        let is_escaped = self.string()?;
        let name = start..self.at;
        self.expect(b':', "`:`")?;
        Ok((name, is_escaped))
    }

    /// A value that no pointer goes through, whatever is in it.
    fn skip(&mut self) -> Result<Kind, NotJson> {
        self.space();
        let kind = match self.peek() {
            b'{' | b'[' => Kind::Document,
            _ => return self.scalar(),
        };
        // Of each open object or array, the last one first: whether it is an object.
        let (mut open, mut depth) = (0_u128, 0);
        loop {
            self.space();
            let container = self.peek();
            let is_empty = match container {
                b'{' | b'[' if depth == DEPTH_MAX => {
                    return Err(self.error("at most 128 levels of nesting"));
                }
                b'{' | b'[' => {
                    (open, depth) = (open << 1 | u128::from(container == b'{'), depth + 1);
                    self.at += 1;
                    self.space();
                    self.peek() == if container == b'{' { b'}' } else { b']' }
                }
                _ => {
                    self.scalar()?;
                    true
                }
            };
            if !is_empty {
                if container == b'{' {
                    self.name()?;
                }
                continue;
            }
            // A value, or an empty container but for its bracket, is behind us.
            loop {
                self.space();
                let is_object = open & 1 == 1;
                match self.peek() {
                    b'}' if is_object => {}
                    b']' if !is_object => {}
                    b',' => {
                        self.at += 1;
                        if is_object {
                            self.name()?;
                        }
                        break;
                    }
                    _ if is_object => return Err(self.error("`,` or `}`")),
                    _ => return Err(self.error("`,` or `]`")),
                }
                self.at += 1;
                (open, depth) = (open >> 1, depth - 1);
                if depth == 0 {
                    return Ok(kind);
                }
            }
        }
    }

    fn scalar(&mut self) -> Result<Kind, NotJson> {
        match self.peek() {
            b'"' => self.string().map(|_| Kind::Text),
            b'n' => self.word(b"null", Kind::Null),
            b't' => self.word(b"true", Kind::Bool),
            b'f' => self.word(b"false", Kind::Bool),
            b'-' | b'0'..=b'9' => self.number(),
            _ => Err(self.error("a JSON value")),
        }
    }

    fn word(&mut self, word: &[u8], kind: Kind) -> Result<Kind, NotJson> {
        if !self.text.as_bytes()[self.at..].starts_with(word) {
            return Err(self.error("a JSON value"));
        }
        self.at += word.len();
        Ok(kind)
    }

    /// From its first quotation mark to behind its last; whether it has escapes.
    fn string(&mut self) -> Result<bool, NotJson> {
        self.at += 1;
        let mut is_escaped = false;
        loop {
            let rest = &self.text.as_bytes()[self.at..];
            let plain = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20));
            self.at += plain.unwrap_or(rest.len());
            match self.peek() {
                b'"' => break,
                b'\\' => {
                    is_escaped = true;
                    self.at += 1;
                    match self.peek() {
                        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {}
                        b'u' => {
                            let digits = self.text.as_bytes().get(self.at + 1..self.at + 5);
                            let all = |digits: &[u8]| digits.iter().all(u8::is_ascii_hexdigit);
                            if !digits.is_some_and(all) {
                                return Err(self.error("four hexadecimal digits"));
                            }
                            self.at += 4;
                        }
                        _ => return Err(self.error("an escape")),
                    }
                }
                0..0x20 => return Err(self.error("`\"`, and no control characters before it")),
                _ => {}
            }
            self.at += 1;
        }
        self.at += 1;
        Ok(is_escaped)
    }

    fn number(&mut self) -> Result<Kind, NotJson> {
        if self.peek() == b'-' {
            self.at += 1;
        }
        match self.peek() {
            b'0' => self.at += 1,
            _ => self.digits()?,
        }
        if self.peek() == b'.' {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), b'e' | b'E') {
            self.at += 1;
            if matches!(self.peek(), b'+' | b'-') {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(Kind::Number)
    }

    fn digits(&mut self) -> Result<(), NotJson> {
        if !self.peek().is_ascii_digit() {
            return Err(self.error("a digit"));
        }
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
        Ok(())
    }
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
    fn the_last_of_two_values_counts_with_all_that_is_in_it() {
        assert_eq!(read("/a", r#"{"a": 1, "a": 2}"#).as_deref(), Some("2"));
        assert_eq!(read("/a/b", r#"{"a": {"b": 1}, "a": {"c": 2}}"#), None);
        assert_eq!(read("/a/b", r#"{"a": {"b": 1}, "a": 2}"#), None);
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
        let pointers = JsonPointers::of(["/a"]);
        assert!(pointers.read(b"\xEF\xBB\xBF \n{\"a\": 1}\r\n\x00\x00").is_ok());
        for document in
            [&b""[..], b"{\"a\": 1} x", b"{\"a\":", b"{\"a\" 1}", b"\"\xff\"", b"{\"a\": 01}"]
        {
            assert!(pointers.read(document).is_err(), "{document:?}");
        }
    }

    #[test]
    fn nesting_has_a_bound() {
        let pointers = JsonPointers::default();
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(pointers.read(nested(128).as_bytes()).is_ok());
        let error = pointers.read(nested(1_000_000).as_bytes()).expect_err("too deep");
        assert_eq!(error.to_string(), "expected at most 128 levels of nesting at byte 128");
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
