//! Text with placeholders: `plant.{site}.{json./unit|lower}`. Pure.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use winnow::combinator::{alt, opt, repeat};
use winnow::prelude::*;
use winnow::token::take_while;

use super::input::View;
use super::placeholder::{Lacking, Placeholder, braced};
use super::source::Source;

/// How much of an MQTT topic a sentence shows, in characters.
const SHOWN_MAX: usize = 200;

/// A parsed template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// As written.
    written: Arc<str>,
    /// The text, if it has no placeholders.
    fixed: Option<Arc<str>>,
    /// Otherwise its parts.
    parts: Box<[Part]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
    Placeholder(Placeholder),
}

/// A value that a template needs is missing or empty, and has no default.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unfilled(pub String);

impl Template {
    /// This text, without placeholders.
    pub fn fixed(text: &str) -> Self {
        let fixed: Arc<str> = text.into();
        let written = match text.contains(['{', '}']) {
            true => text.replace('{', "{{").replace('}', "}}").into(),
            false => Arc::clone(&fixed),
        };
        Self { written, fixed: Some(fixed), parts: [].into() }
    }

    /// Reads one as it is written in the configuration; `{{` and `}}` are braces.
    ///
    /// # Errors
    /// Where it is wrong, what was found and what was expected.
    pub fn parse(written: &str) -> Result<Self, String> {
        let (mut rest, mut parts) = (written, Vec::new());
        while !rest.is_empty() {
            if let Ok(Some(text)) = opt(literal).parse_next(&mut rest) {
                parts.push(Part::Text(text.into()));
            } else if let Ok(Some(placeholder)) = opt(braced).parse_next(&mut rest) {
                parts.push(Part::Placeholder(Placeholder::parse(placeholder)?));
            } else {
                return Err(format!(
                    "expected a placeholder such as `{{mqtt_topic}}`, or braces, which are written `{{{{` and `}}}}`; \
                     found `{rest}`"
                ));
            }
        }
        match &parts[..] {
            [] => Ok(Self::fixed("")),
            [Part::Text(text)] => Ok(Self { written: written.into(), ..Self::fixed(text) }),
            _ => Ok(Self { written: written.into(), fixed: None, parts: parts.into() }),
        }
    }

    /// The text, if it has no placeholders.
    #[inline]
    pub fn as_fixed(&self) -> Option<&Arc<str>> {
        self.fixed.as_ref()
    }

    /// Its placeholders.
    pub fn placeholders(&self) -> impl Iterator<Item = &Placeholder> {
        self.parts.iter().filter_map(|part| match part {
            Part::Text(_) => None,
            Part::Placeholder(placeholder) => Some(placeholder),
        })
    }

    /// Its placeholders, to be bound to a route's captures.
    pub(super) fn placeholders_mut(&mut self) -> impl Iterator<Item = &mut Placeholder> {
        self.parts.iter_mut().filter_map(|part| match part {
            Part::Text(_) => None,
            Part::Placeholder(placeholder) => Some(placeholder),
        })
    }

    /// The text before its first placeholder.
    pub fn beginning(&self) -> &str {
        match (&self.fixed, self.parts.first()) {
            (Some(text), _) => text,
            (None, Some(Part::Text(text))) => text,
            (None, _) => "",
        }
    }

    /// Whether its placeholders could be filled so that it is this text.
    pub fn may_be(&self, text: &str) -> bool {
        if let Some(fixed) = &self.fixed {
            return **fixed == *text;
        }
        // What no part of it has taken yet, and whether the next part must stand at its beginning.
        let (mut rest, mut is_next) = (text, true);
        for (at, part) in self.parts.iter().enumerate() {
            let Part::Text(part) = part else {
                is_next = false;
                continue;
            };
            let behind = match is_next {
                true => rest.strip_prefix(&**part),
                false if at + 1 == self.parts.len() => rest.ends_with(&**part).then_some(""),
                false => rest.split_once(&**part).map(|(_, behind)| behind),
            };
            let Some(behind) = behind else { return false };
            (rest, is_next) = (behind, true);
        }
        rest.is_empty() || !is_next
    }

    /// What it is for this message.
    ///
    /// # Errors
    /// See [`Unfilled`].
    pub fn fill(&self, view: &View<'_>) -> Result<String, Unfilled> {
        let mut text = String::new();
        self.fill_into(view, &mut text)?;
        Ok(text)
    }

    /// Appends what it is for this message.
    ///
    /// # Errors
    /// See [`Unfilled`].
    pub fn fill_into(&self, view: &View<'_>, text: &mut String) -> Result<(), Unfilled> {
        if let Some(fixed) = &self.fixed {
            text.push_str(fixed);
        }
        for part in &self.parts {
            match part {
                Part::Text(part) => text.push_str(part),
                Part::Placeholder(placeholder) => match placeholder.text(view) {
                    Ok(value) => text.push_str(&value),
                    Err(lacking) => return Err(unfilled(placeholder, lacking, view)),
                },
            }
        }
        Ok(())
    }

    /// What it is for this message, as bytes of their own or, where it is nothing but a part of the message, as
    /// that part. `scratch` is cleared and written to.
    ///
    /// # Errors
    /// See [`Unfilled`].
    pub fn fill_bytes(&self, view: &View<'_>, scratch: &mut String) -> Result<Bytes, Unfilled> {
        if let [Part::Placeholder(placeholder)] = &*self.parts {
            let text = placeholder.text(view);
            let text = text.map_err(|lacking| unfilled(placeholder, lacking, view))?;
            return Ok(view.part(&text).unwrap_or_else(|| Bytes::copy_from_slice(text.as_bytes())));
        }
        scratch.clear();
        self.fill_into(view, scratch)?;
        Ok(Bytes::copy_from_slice(scratch.as_bytes()))
    }
}

/// Text without placeholders, with doubled braces as one.
fn literal(input: &mut &str) -> ModalResult<String> {
    let text = take_while(1.., |char| !matches!(char, '{' | '}'));
    repeat(1.., alt((text, "{{".value("{"), "}}".value("}"))))
        .fold(String::new, |text: String, part: &str| text + part)
        .parse_next(input)
}

#[cold]
fn unfilled(placeholder: &Placeholder, lacking: Lacking, view: &View<'_>) -> Unfilled {
    let mqtt_topic = String::from_utf8_lossy(view.input.mqtt_topic);
    let shown: String = mqtt_topic.chars().take(SHOWN_MAX).collect();
    let cut = if shown.len() < mqtt_topic.len() { "..." } else { "" };
    let mut sentence =
        format!("`{placeholder}` is {lacking} and has no default; MQTT topic {shown}{cut}");
    if let (Source::Json(_), Some(error)) = (placeholder.source(), view.not_json()) {
        sentence.push_str(&format!("; the payload is not JSON: {error}"));
    }
    Unfilled(sentence)
}

/// As written.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

#[cfg(test)]
#[path = "template_tests.rs"]
mod tests;
