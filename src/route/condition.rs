//! `drop_if` and `keep_if`: `{json./value} > 5 and {site} in ["a", "b"]`. Pure.
//!
//! ```text
//! condition  = all *("or" all)
//! all        = one *("and" one)
//! one        = "not" one / "(" condition ")" / comparison
//! comparison = placeholder ("=" / "!=" / "<" / "<=" / ">" / ">=") (placeholder / constant)
//!            / placeholder "~" text               ; a regular expression is found in it
//!            / placeholder "in" "[" [constant *("," constant)] "]"
//!            / placeholder "exists"
//! constant   = text / number / "true" / "false" / "null"
//! text       = between "..", where \" and \\ stand for one character, or between '..', as it is
//! ```

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use regex::{Regex, RegexBuilder};
use winnow::ascii::{digit1, multispace0};
use winnow::combinator::{alt, delimited, not, opt, repeat, terminated};
use winnow::prelude::*;
use winnow::token::{none_of, one_of, take_while};

use super::decimal::Decimal;
use super::input::{Value, View};
use super::placeholder::{Placeholder, braced};
use super::source::Source;

/// The longest condition, in bytes.
pub const LENGTH_MAX: usize = 4096;
/// How deep `not` and parentheses may stand in one another.
pub const DEPTH_MAX: usize = 32;
/// The most bytes that a regular expression may take once it is compiled.
pub const REGEX_BYTES_MAX: usize = 1024 * 1024;
/// How much of what was found an error shows, in characters.
const SHOWN_MAX: usize = 20;

/// A parsed condition.
#[derive(Debug, Clone)]
pub struct Condition {
    /// As written.
    text: Arc<str>,
    root: Node,
}

/// Two that are written alike are the same.
impl PartialEq for Condition {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Condition {}

#[derive(Debug, Clone)]
enum Node {
    Any(Vec<Node>),
    All(Vec<Node>),
    Not(Box<Node>),
    Compare(Placeholder, Operator, Operand),
    Matches(Placeholder, Regex),
    In(Placeholder, Vec<Value<'static>>),
    Exists(Placeholder),
}

/// What a placeholder is for an empty payload, if that follows from the payload alone.
enum Known<'p> {
    Value(Option<Value<'p>>),
    Not,
}

impl<'p> Known<'p> {
    fn of(placeholder: &'p Placeholder) -> Self {
        match placeholder.source() {
            Source::Json(_) => Self::Value(placeholder.of_nothing()),
            _ => Self::Not,
        }
    }
}

#[derive(Debug, Clone)]
enum Operand {
    Placeholder(Placeholder),
    Constant(Value<'static>),
}

#[derive(Debug, Clone, Copy)]
enum Operator {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Operator {
    /// `order` is that of two values, if they have one.
    fn holds(self, order: Option<Ordering>) -> bool {
        match self {
            Self::Equal => order == Some(Ordering::Equal),
            Self::Unequal => order != Some(Ordering::Equal),
            Self::Less => order.is_some_and(Ordering::is_lt),
            Self::LessOrEqual => order.is_some_and(Ordering::is_le),
            Self::Greater => order.is_some_and(Ordering::is_gt),
            Self::GreaterOrEqual => order.is_some_and(Ordering::is_ge),
        }
    }
}

impl Condition {
    /// Reads one as it is written in the configuration.
    ///
    /// # Errors
    /// Where it is wrong, what was found and what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > LENGTH_MAX {
            return Err(format!("expected at most {LENGTH_MAX} bytes, found {}", text.len()));
        }
        let mut reader = Reader { whole: text, rest: text };
        let root = reader.any(0)?;
        match reader.rest.is_empty() {
            true => Ok(Self { text: text.into(), root }),
            false => Err(reader.expected("`and`, `or` or the end")),
        }
    }

    /// Whether this message fulfils it. A comparison with a value that is missing is not fulfilled, `!=`
    /// included; `not` turns that round as it does everything.
    pub fn holds(&self, view: &View<'_>) -> bool {
        self.root.holds(view)
    }

    /// Whether messages whose payload is empty fulfil it; `None` if that follows from more than their payload. An
    /// empty payload has no JSON fields.
    pub fn of_empty_payload(&self) -> Option<bool> {
        self.root.of_empty_payload()
    }

    /// Its placeholders.
    pub fn placeholders(&self) -> Vec<Placeholder> {
        let mut all = Vec::new();
        self.root.clone().each_placeholder(&mut |placeholder| all.push(placeholder.clone()));
        all
    }

    /// Shows each of its placeholders, to be bound to a route's captures.
    pub(super) fn each_placeholder(&mut self, visit: &mut dyn FnMut(&mut Placeholder)) {
        self.root.each_placeholder(visit);
    }
}

/// As written.
impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Node {
    fn holds(&self, view: &View<'_>) -> bool {
        match self {
            Self::Any(nodes) => nodes.iter().any(|node| node.holds(view)),
            Self::All(nodes) => nodes.iter().all(|node| node.holds(view)),
            Self::Not(node) => !node.holds(view),
            Self::Exists(placeholder) => placeholder.value(view).is_some(),
            Self::Compare(placeholder, operator, operand) => {
                let Some(value) = placeholder.value(view) else { return false };
                match operand {
                    Operand::Constant(other) => operator.holds(order(&value, other)),
                    Operand::Placeholder(other) => {
                        let other = other.value(view);
                        other.is_some_and(|other| operator.holds(order(&value, &other)))
                    }
                }
            }
            Self::Matches(placeholder, regex) => {
                let text = placeholder.value(view).and_then(Value::into_text);
                text.is_some_and(|text| regex.is_match(&text))
            }
            Self::In(placeholder, constants) => {
                let Some(value) = placeholder.value(view) else { return false };
                constants.iter().any(|other| order(&value, other) == Some(Ordering::Equal))
            }
        }
    }

    fn of_empty_payload(&self) -> Option<bool> {
        let all_are = |nodes: &[Self], expected| {
            nodes.iter().all(|node| node.of_empty_payload() == Some(expected)).then_some(expected)
        };
        let one_is = |nodes: &[Self], expected| {
            nodes.iter().any(|node| node.of_empty_payload() == Some(expected)).then_some(expected)
        };
        match self {
            Self::Any(nodes) => one_is(nodes, true).or_else(|| all_are(nodes, false)),
            Self::All(nodes) => one_is(nodes, false).or_else(|| all_are(nodes, true)),
            Self::Not(node) => node.of_empty_payload().map(|holds| !holds),
            Self::Exists(placeholder) => match Known::of(placeholder) {
                Known::Value(value) => Some(value.is_some()),
                Known::Not => None,
            },
            Self::Compare(placeholder, operator, operand) => {
                let other = match operand {
                    Operand::Constant(other) => Known::Value(Some(other.clone())),
                    Operand::Placeholder(other) => Known::of(other),
                };
                match (Known::of(placeholder), other) {
                    (Known::Value(None), _) | (_, Known::Value(None)) => Some(false),
                    (Known::Value(Some(one)), Known::Value(Some(other))) => {
                        Some(operator.holds(order(&one, &other)))
                    }
                    _ => None,
                }
            }
            Self::Matches(placeholder, regex) => match Known::of(placeholder) {
                Known::Value(value) => {
                    let text = value.and_then(Value::into_text);
                    Some(text.is_some_and(|text| regex.is_match(&text)))
                }
                Known::Not => None,
            },
            Self::In(placeholder, constants) => match Known::of(placeholder) {
                Known::Value(None) => Some(false),
                Known::Value(Some(value)) => {
                    let is_it = |other: &Value<'_>| order(&value, other) == Some(Ordering::Equal);
                    Some(constants.iter().any(is_it))
                }
                Known::Not => None,
            },
        }
    }

    fn each_placeholder(&mut self, visit: &mut dyn FnMut(&mut Placeholder)) {
        match self {
            Self::Any(nodes) | Self::All(nodes) => {
                nodes.iter_mut().for_each(|node| node.each_placeholder(visit));
            }
            Self::Not(node) => node.each_placeholder(visit),
            Self::Compare(placeholder, _, operand) => {
                visit(placeholder);
                if let Operand::Placeholder(other) = operand {
                    visit(other);
                }
            }
            Self::Matches(placeholder, _)
            | Self::In(placeholder, _)
            | Self::Exists(placeholder) => {
                visit(placeholder);
            }
        }
    }
}

/// How two values stand to each other; `None` if they are of different types. Much of MQTT is text where a
/// number is meant, such as levels and user properties: so a text that is written as JSON writes a number
/// counts as that number where the other side is one, and `true` and `false` likewise. Two texts are compared
/// as texts, by their bytes; an object or array counts as the text that it is written as.
fn order(one: &Value<'_>, other: &Value<'_>) -> Option<Ordering> {
    use Value::{Bool, Document, Null, Number, Text};
    let truth = |text: &str| match text {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    };
    match (one, other) {
        (Null, Null) => Some(Ordering::Equal),
        (Bool(one), Bool(other)) => Some(one.cmp(other)),
        (Bool(one), Text(other)) => Some(one.cmp(&truth(other)?)),
        (Text(one), Bool(other)) => Some(truth(one)?.cmp(other)),
        (Number(one), Number(other) | Text(other)) | (Text(one), Number(other)) => {
            Some(Decimal::read(one)?.cmp(&Decimal::read(other)?))
        }
        (Text(one) | Document(one), Text(other) | Document(other)) => Some(one.cmp(other)),
        _ => None,
    }
}

/// Reads a condition.
struct Reader<'t> {
    whole: &'t str,
    /// What is not read yet.
    rest: &'t str,
}

impl<'t> Reader<'t> {
    fn any(&mut self, depth: usize) -> Result<Node, String> {
        let mut nodes = vec![self.all(depth)?];
        while self.word("or") {
            nodes.push(self.all(depth)?);
        }
        Ok(one_or(nodes, Node::Any))
    }

    fn all(&mut self, depth: usize) -> Result<Node, String> {
        let mut nodes = vec![self.one(depth)?];
        while self.word("and") {
            nodes.push(self.one(depth)?);
        }
        Ok(one_or(nodes, Node::All))
    }

    fn one(&mut self, depth: usize) -> Result<Node, String> {
        if depth > DEPTH_MAX {
            return Err(
                self.expected(&format!("at most {DEPTH_MAX} levels of `not` and parentheses"))
            );
        }
        if self.word("not") {
            return Ok(Node::Not(Box::new(self.one(depth + 1)?)));
        }
        if self.sign("(") {
            let node = self.any(depth + 1)?;
            return match self.sign(")") {
                true => Ok(node),
                false => Err(self.expected("`and`, `or` or `)`")),
            };
        }
        let placeholder = self.placeholder()?;
        let placeholder = placeholder.ok_or_else(|| {
            self.expected("a placeholder such as `{json./value}`, or `not` or `(`")
        })?;
        self.comparison(placeholder)
    }

    fn comparison(&mut self, placeholder: Placeholder) -> Result<Node, String> {
        if self.word("exists") {
            return Ok(Node::Exists(placeholder));
        }
        if self.word("in") {
            return Ok(Node::In(placeholder, self.list()?));
        }
        if self.sign("~") {
            self.space();
            let before = self.rest;
            let Some(Value::Text(pattern)) = self.constant() else {
                self.rest = before;
                return Err(self.expected("a regular expression in quotation marks"));
            };
            let regex = RegexBuilder::new(&pattern).size_limit(REGEX_BYTES_MAX).build();
            return regex.map(|regex| Node::Matches(placeholder, regex)).map_err(|error| {
                self.rest = before;
                self.expected(&format!("a regular expression ({})", one_line(&error.to_string())))
            });
        }
        let operator = alt((
            "!=".value(Operator::Unequal),
            "<=".value(Operator::LessOrEqual),
            ">=".value(Operator::GreaterOrEqual),
            "=".value(Operator::Equal),
            "<".value(Operator::Less),
            ">".value(Operator::Greater),
        ));
        let operator = self.take(operator).ok_or_else(|| {
            self.expected("`=`, `!=`, `<`, `<=`, `>`, `>=`, `~`, `in` or `exists`")
        })?;
        if let Some(other) = self.placeholder()? {
            return Ok(Node::Compare(placeholder, operator, Operand::Placeholder(other)));
        }
        let constant = self.constant().ok_or_else(|| {
            self.expected(
                "a text in quotation marks, a number, `true`, `false`, `null` or a placeholder",
            )
        })?;
        Ok(Node::Compare(placeholder, operator, Operand::Constant(constant)))
    }

    fn list(&mut self) -> Result<Vec<Value<'static>>, String> {
        if !self.sign("[") {
            return Err(self.expected("`[`"));
        }
        let mut constants = Vec::new();
        if self.sign("]") {
            return Ok(constants);
        }
        loop {
            constants.push(self.constant().ok_or_else(|| {
                self.expected("a text in quotation marks, a number, `true`, `false` or `null`")
            })?);
            match self.sign("]") {
                true => return Ok(constants),
                false if self.sign(",") => {}
                false => return Err(self.expected("`,` or `]`")),
            }
        }
    }

    /// A placeholder, if there is one.
    fn placeholder(&mut self) -> Result<Option<Placeholder>, String> {
        self.space();
        let before = self.rest;
        match self.take(braced) {
            Some(written) => Placeholder::parse(written).map(Some).map_err(|error| {
                self.rest = before;
                format!("{}: {error}", self.place())
            }),
            None if self.rest.starts_with('{') => {
                Err(self.expected("a placeholder such as `{json./value}`"))
            }
            None => Ok(None),
        }
    }

    fn constant(&mut self) -> Option<Value<'static>> {
        if self.word("true") || self.word("false") {
            let is_true = self.whole[..self.whole.len() - self.rest.len()].ends_with("true");
            return Some(Value::Bool(is_true));
        }
        if self.word("null") {
            return Some(Value::Null);
        }
        self.take(alt((
            number.map(|written: &str| Value::Number(written.to_owned().into())),
            quoted.map(|text| Value::Text(text.into())),
        )))
    }

    fn word(&mut self, word: &'static str) -> bool {
        let end = not(one_of(|char: char| char.is_alphanumeric() || char == '_'));
        self.take(terminated(word, end)).is_some()
    }

    fn sign(&mut self, sign: &'static str) -> bool {
        self.take(sign).is_some()
    }

    /// What `parser` reads behind white space; nothing is read where it fails.
    fn take<O>(
        &mut self,
        parser: impl Parser<&'t str, O, winnow::error::ErrMode<winnow::error::ContextError>>,
    ) -> Option<O> {
        self.space();
        opt(parser).parse_next(&mut self.rest).ok().flatten()
    }

    fn space(&mut self) {
        let _: ModalResult<&str> = multispace0.parse_next(&mut self.rest);
    }

    fn place(&self) -> String {
        let read = &self.whole[..self.whole.len() - self.rest.len()];
        format!("at character {}", read.chars().count() + 1)
    }

    fn expected(&mut self, what: &str) -> String {
        self.space();
        let mut shown: String = self.rest.chars().take(SHOWN_MAX).collect();
        if shown.len() < self.rest.len() {
            shown.push_str("...");
        }
        match shown.is_empty() {
            true => format!("{}: expected {what}, found the end", self.place()),
            false => format!("{}: expected {what}, found `{shown}`", self.place()),
        }
    }
}

fn one_or(mut nodes: Vec<Node>, many: fn(Vec<Node>) -> Node) -> Node {
    match nodes.len() {
        1 => nodes.remove(0),
        _ => many(nodes),
    }
}

/// A number as JSON writes it.
fn number<'i>(input: &mut &'i str) -> ModalResult<&'i str> {
    let sign = one_of(['-', '+', '.', 'e', 'E']).void();
    let written = repeat::<_, _, (), _, _>(1.., alt((digit1.void(), sign))).take();
    let is_number = |written: &&str| Decimal::read(written).is_some();
    let end = not(one_of(|char: char| char.is_alphanumeric() || char == '_'));
    terminated(written.verify(is_number), end).parse_next(input)
}

/// A text in quotation marks.
fn quoted(input: &mut &str) -> ModalResult<String> {
    let escaped = ('\\', one_of(['"', '\\'])).map(|(_, char)| char);
    let char = alt((escaped, none_of('"')));
    let double = delimited('"', repeat(0.., char), '"');
    let single = delimited('\'', take_while(0.., |char| char != '\''), '\'');
    alt((double, single.map(str::to_owned))).parse_next(input)
}

/// The last line of an error of several: what is wrong, without the picture of where.
fn one_line(error: &str) -> &str {
    error.lines().last().map_or(error, |line| line.trim_start_matches("error: ").trim())
}

#[cfg(test)]
#[path = "condition_tests.rs"]
mod tests;
