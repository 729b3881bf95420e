//! The events of log lines: each line has one, each one has a line, and the documents say what to do.

use std::collections::BTreeSet;

use mqtt_kafka_bridge::observe::events::Event;
use mqtt_kafka_bridge::observe::level_name;
use slog::Level;

use super::code::{Token, tokens, without_tests};

/// The macros that make a log line, with the level of those that have one.
const MACROS: [(&str, Option<Level>); 7] = [
    ("crit", Some(Level::Critical)),
    ("error", Some(Level::Error)),
    ("warn", Some(Level::Warning)),
    ("info", Some(Level::Info)),
    ("debug", Some(Level::Debug)),
    ("trace", Some(Level::Trace)),
    ("record", None),
];

/// What a file logs.
#[derive(Debug, Default)]
pub(crate) struct Logged {
    /// Its log lines, but for the timing record.
    pub(crate) lines: Vec<Line>,
    /// The constants of the events that it names.
    pub(crate) events: BTreeSet<String>,
}

/// A place in the sources that makes a log line.
#[derive(Debug, PartialEq)]
pub(crate) struct Line {
    /// From 1.
    pub(crate) line: usize,
    /// As the macro says.
    pub(crate) level: Option<Level>,
    pub(crate) event: Named,
}

/// The event of a line.
#[derive(Debug, PartialEq)]
pub(crate) enum Named {
    /// `events::CONSTANT`
    Constant(String),
    /// A variable, which can only have come from the table.
    Variable,
    Missing,
}

/// What the source text logs, its tests left out.
pub(crate) fn logged(source: &str) -> Logged {
    let tokens = without_tests(&tokens(source));
    let lines = (0..tokens.len()).filter_map(|at| line(&tokens, at)).collect();
    Logged { lines, events: constants(&tokens).collect() }
}

fn line(tokens: &[Token], at: usize) -> Option<Line> {
    let text = |at: usize| tokens.get(at).map(|token| &*token.text);
    let (_, level) = MACROS.into_iter().find(|(name, _)| text(at) == Some(name))?;
    if text(at + 1) != Some("!") || !matches!(text(at + 2), Some("(" | "[" | "{")) {
        return None;
    }
    let call = &tokens[at..group_end(tokens, at + 2)];
    let is_timing = call.iter().any(|token| token.text == "\"timing\"");
    let event = match constants(call).next() {
        Some(constant) => Named::Constant(constant),
        None if call.iter().any(|token| token.text == "event") => Named::Variable,
        None => Named::Missing,
    };
    (!is_timing).then(|| Line { line: tokens[at].line, level, event })
}

/// All of `events::CONSTANT`.
fn constants(tokens: &[Token]) -> impl Iterator<Item = String> + '_ {
    tokens.windows(4).filter_map(|four| match four {
        [module, colon, colon_too, constant]
            if module.text == "events" && colon.text == ":" && colon_too.text == ":" =>
        {
            let is_constant = constant.text.starts_with(|c: char| c.is_ascii_uppercase())
                && constant.text.chars().all(|c| !c.is_lowercase());
            is_constant.then(|| constant.text.clone())
        }
        _ => None,
    })
}

/// Behind the bracket that closes the one at `open`.
fn group_end(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0_usize;
    let end = tokens.iter().skip(open).position(|token| {
        match &*token.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0
    });
    end.map_or(tokens.len(), |length| open + length + 1)
}

/// What is wrong with the lines of `file`, by the table `all`.
pub(crate) fn wrong(file: &str, logged: &Logged, all: &[Event]) -> Vec<String> {
    let wrong = logged.lines.iter().filter_map(|Line { line, level, event }| {
        let what = match event {
            Named::Variable => return None,
            Named::Missing => "this log line has no event".to_owned(),
            Named::Constant(constant) => {
                let name = constant.to_lowercase();
                match all.iter().find(|event| event.name() == name).map(Event::level) {
                    None => format!("the event {name} is not in the table"),
                    Some(Some(of_event)) if level.is_some_and(|level| level != of_event) => {
                        format!("the event {name} has the level {of_event} in the table")
                    }
                    Some(_) => return None,
                }
            }
        };
        Some(format!("src/{file}:{line}: {what}"))
    });
    wrong.collect()
}

/// The table of docs/observability.md.
pub(crate) fn table(all: &[Event]) -> String {
    let mut table = String::from("| event | level | meaning | what to do |\n|---|---|---|---|\n");
    for event in all {
        let level = event.level().map_or("any", level_name);
        let help = event.help().map(|anchor| format!("[{anchor}](operations.md#{anchor})"));
        let help = help.unwrap_or_default();
        table += &format!("| `{}` | {level} | {} | {help} |\n", event.name(), event.meaning());
    }
    table
}

/// The anchors of a document's headings, as GitHub makes them.
pub(crate) fn anchors(document: &str) -> BTreeSet<String> {
    let mut in_code = false;
    let headings = document.lines().filter_map(|line| {
        in_code ^= line.starts_with("```");
        let heading = line.trim_start_matches('#');
        (!in_code && heading.len() < line.len()).then(|| heading.strip_prefix(' '))?
    });
    let anchor = |heading: &str| {
        let kept = heading.to_lowercase();
        let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(anchor).collect()
}

#[cfg(test)]
mod tests {
    use mqtt_kafka_bridge::observe::events;

    use super::*;

    fn found(source: &str) -> Vec<String> {
        wrong("a.rs", &logged(source), events::ALL)
    }

    #[test]
    fn a_line_needs_an_event_of_the_table_at_its_level() {
        assert_eq!(found("warn!(log, \"x (\"; events::NOT_READY, keys::A => b())"), [""; 0]);
        assert_eq!(found("slog::warn!(log, \"x\"; event, keys::A => 1)"), [""; 0]);
        assert_eq!(found("\ninfo!(log, \"x\")"), ["src/a.rs:2: this log line has no event"]);
        assert_eq!(
            found("info!(log, \"x\"; keys::A => events(1))"),
            ["src/a.rs:1: this log line has no event"]
        );
        assert_eq!(
            found("warn!(log, \"x\"; events::NEVER_HEARD_OF)"),
            ["src/a.rs:1: the event never_heard_of is not in the table"]
        );
        assert_eq!(
            found("info!(log, \"x\"; events::NOT_READY)"),
            ["src/a.rs:1: the event not_ready has the level WARN in the table"]
        );
        assert_eq!(found("debug!(log, \"x\"; events::LIBRARY_SAID)"), [""; 0]);
        assert_eq!(found("record!(Level::Info, \"\", &format_args!(\"timing\"), b!())"), [""; 0]);
        assert_eq!(found("record!(Level::Info, \"\", &format_args!(\"other\"), b!())").len(), 1);
        assert_eq!(found("#[cfg(test)] mod tests { fn f() { info!(log, \"x\"); } }"), [""; 0]);
    }

    #[test]
    fn anchors_are_those_of_headings() {
        let document = "# A\n## What `x` is, and why\n```\n# no\n```\n#none\n### Exit code 70";
        let expected = ["a", "exit-code-70", "what-x-is-and-why"];
        assert_eq!(anchors(document), expected.map(str::to_owned).into());
    }
}
