//! Rust source as tokens: comments and the insides of literals are gone, test code can be left out.

/// A word, a punctuation character, or a literal (`"..."` for a string, `'` for a character).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) text: String,
    /// From 1.
    pub(crate) line: usize,
}

impl Token {
    pub(crate) fn is_word(&self) -> bool {
        self.text.starts_with(|c: char| c.is_alphabetic() || c == '_')
    }
}

/// The tokens of `source`, test code included.
pub(crate) fn tokens(source: &str) -> Vec<Token> {
    let mut lexer = Lexer { rest: source, line: 1, tokens: Vec::new() };
    while lexer.step() {}
    lexer.tokens
}

/// `tokens` without what stands behind `#[cfg(test)]`, and without attributes.
pub(crate) fn without_tests(tokens: &[Token]) -> Vec<Token> {
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let Some(end) = attribute(tokens, at) else {
            kept.push(tokens[at].clone());
            at += 1;
            continue;
        };
        let words: Vec<_> = tokens[at..end].iter().map(|token| &*token.text).collect();
        let concerns_tests =
            words.contains(&"cfg") && words.contains(&"test") && !words.contains(&"not");
        at = if concerns_tests { item_end(tokens, end) } else { end };
    }
    kept
}

/// Where the attribute ends that begins at `at`, if one does.
fn attribute(tokens: &[Token], at: usize) -> Option<usize> {
    let text = |at: usize| tokens.get(at).map(|token| &*token.text);
    let open = match (text(at), text(at + 1), text(at + 2)) {
        (Some("#"), Some("["), _) => at + 1,
        (Some("#"), Some("!"), Some("[")) => at + 2,
        _ => return None,
    };
    Some(group_end(tokens, open))
}

/// Behind the bracket that closes the one at `open`.
fn group_end(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match &*token.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    tokens.len()
}

/// Behind the item (or field, or match arm) at `at` and its further attributes.
fn item_end(tokens: &[Token], mut at: usize) -> usize {
    const ITEMS: [&str; 13] = [
        "use", "mod", "fn", "struct", "enum", "trait", "impl", "const", "static", "type", "unsafe",
        "async", "let",
    ];
    while let Some(end) = attribute(tokens, at) {
        at = end;
    }
    let text = |at: usize| tokens.get(at).map_or("", |token| &*token.text);
    let mut first = at;
    if text(first) == "pub" {
        first = if text(first + 1) == "(" { group_end(tokens, first + 1) } else { first + 1 };
    }
    let is_item = ITEMS.contains(&text(first));
    let is_use = text(first) == "use";
    while at < tokens.len() {
        match &*tokens[at].text {
            ";" => return at + 1,
            "," if !is_item => return at + 1,
            // The end of what encloses it.
            ")" | "]" | "}" => return at,
            "{" if !is_use => return group_end(tokens, at),
            "(" | "[" | "{" => at = group_end(tokens, at),
            _ => at += 1,
        }
    }
    at
}

struct Lexer<'a> {
    rest: &'a str,
    line: usize,
    tokens: Vec<Token>,
}

impl Lexer<'_> {
    /// Takes one token, comment or space; false at the end.
    fn step(&mut self) -> bool {
        let Some(first) = self.rest.chars().next() else { return false };
        if first.is_whitespace() {
            self.skip(first.len_utf8());
        } else if self.rest.starts_with("//") {
            self.skip(self.rest.find('\n').unwrap_or(self.rest.len()));
        } else if self.rest.starts_with("/*") {
            self.skip(comment(self.rest));
        } else if let Some((text, length)) = literal(self.rest) {
            self.push(text, length);
        } else if first.is_alphanumeric() || first == '_' {
            let end = self.rest.find(|c: char| !c.is_alphanumeric() && c != '_');
            let length = end.unwrap_or(self.rest.len());
            self.push(self.rest[..length].to_owned(), length);
        } else {
            self.push(first.to_string(), first.len_utf8());
        }
        true
    }

    fn push(&mut self, text: String, length: usize) {
        self.tokens.push(Token { text, line: self.line });
        self.skip(length);
    }

    fn skip(&mut self, length: usize) {
        self.line += self.rest[..length].matches('\n').count();
        self.rest = &self.rest[length..];
    }
}

/// The length of the block comment that `rest` begins with; they nest.
fn comment(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest[at..].starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                break;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    at
}

/// The string or character that `rest` begins with, and its length. A string keeps what it holds.
fn literal(rest: &str) -> Option<(String, usize)> {
    let bare = rest.trim_start_matches(['b', 'c', 'r']);
    let prefix = rest.len() - bare.len();
    let is_raw = rest[..prefix].contains('r');
    if prefix > 2 {
        return None;
    }
    if is_raw {
        let inner = bare.trim_start_matches('#');
        let hashes = &bare[..bare.len() - inner.len()];
        let body = inner.strip_prefix('"')?;
        let close = format!("\"{hashes}");
        let end = body.find(&close).unwrap_or(body.len());
        let length = rest.len() - body.len() + (end + close.len()).min(body.len());
        return Some((format!("\"{}\"", &body[..end]), length));
    }
    if let Some(body) = bare.strip_prefix('"') {
        let end = escaped_end(body, '"');
        return Some((format!("\"{}\"", &body[..end]), prefix + 1 + (end + 1).min(body.len())));
    }
    let body = bare.strip_prefix('\'')?;
    let mut chars = body.chars();
    let is_char = match (chars.next()?, chars.next()) {
        ('\\', _) => true,
        (_, second) => second == Some('\''),
    };
    // Else it is a lifetime, whose name is a word of its own.
    is_char.then(|| ("'".to_owned(), prefix + 1 + (escaped_end(body, '\'') + 1).min(body.len())))
}

/// Where the unescaped `quote` is.
fn escaped_end(body: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in body.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at,
            _ => {}
        }
    }
    body.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(source: &str) -> String {
        let kept = without_tests(&tokens(source));
        kept.iter().map(|token| &*token.text).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn comments_are_gone_and_what_strings_hold_is_one_token() {
        let source =
            "a // unsafe\nb /* unsafe /* nested */ */ c \"unsafe \\\" {\" r#\"un\"safe\"# d";
        assert_eq!(words(source), "a b c \"unsafe \\\" {\" \"un\"safe\" d");
    }

    #[test]
    fn a_character_is_no_lifetime() {
        assert_eq!(words("'{' '\\'' b'\"' &'a str 'x: loop"), "' ' ' & ' a str ' x : loop");
    }

    #[test]
    fn lines_are_counted_through_comments_and_strings() {
        let found = tokens("/*\n\n*/ a \"x\ny\" b");
        assert_eq!(found.iter().map(|token| token.line).collect::<Vec<_>>(), [3, 3, 4]);
    }

    #[test]
    fn what_is_for_tests_alone_is_left_out() {
        assert_eq!(words("a #[cfg(test)] mod tests { use x::{y}; } b"), "a b");
        assert_eq!(words("a #[cfg(test)] mod tests; b"), "a b");
        assert_eq!(words("a #[cfg(test)] use x::{y, z}; b"), "a b");
        assert_eq!(words("#[cfg(test)] #[allow(x)] pub(crate) fn f<A, B>(a: A) -> B {} b"), "b");
        assert_eq!(words("struct S { #[cfg(test)] pub a: Vec<u8>, b: u8 }"), "struct S { b : u8 }");
        assert_eq!(words("#[cfg(not(test))] fn f() {}"), "fn f ( ) { }");
        assert_eq!(words("#![deny(x)] #[cfg(feature = \"demo\")] mod demo;"), "mod demo ;");
    }
}
