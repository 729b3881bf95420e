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
    /// Functions and closures that are handed the event of a line of this level.
    pub(crate) takers: Vec<(String, Level)>,
    /// What is handed an event: its name, the event's constant, and where.
    pub(crate) handed: Vec<(String, String, usize)>,
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
    /// A variable, which can only have come from the table: one of these, or what was handed over.
    Variable(Vec<String>),
    Missing,
}

/// The one file with a log line that needs no event: the timing record.
const TIMING: &str = "observe/timing.rs";

/// Whether a file of `src/` is for tests alone, by its name.
pub(crate) fn is_for_tests(file: &str) -> bool {
    let (directories, name) = file.rsplit_once('/').unwrap_or(("", file));
    let names = ["tests.rs", "test_support.rs", "test_host.rs", "for_test.rs"];
    names.contains(&name)
        || name.ends_with("_tests.rs")
        || directories.split('/').any(|directory| directory == "tests")
}

/// What the source text of `file` logs, its tests left out.
pub(crate) fn logged(file: &str, source: &str) -> Logged {
    let tokens = without_tests(&tokens(source));
    let found: Vec<_> = (0..tokens.len()).filter_map(|at| line(file, &tokens, at)).collect();
    let takers = found.iter().filter_map(|(at, line)| match line {
        Line { level: Some(level), event: Named::Variable(_), .. } => {
            Some((taker(&tokens[..*at])?, *level))
        }
        _ => None,
    });
    Logged {
        events: constants(&tokens).collect(),
        takers: takers.collect(),
        handed: handed(&tokens),
        lines: found.into_iter().map(|(_, line)| line).collect(),
    }
}

/// The function or closure that was handed `event: Event`, if the line behind `before` is in one.
fn taker(before: &[Token]) -> Option<String> {
    let text = |at: usize| before.get(at).map_or("", |token| &*token.text);
    let begin = before.iter().rposition(|token| token.text == "fn")?;
    let given = (begin..before.len())
        .rev()
        .find(|&at| text(at) == "event" && text(at + 1) == ":" && text(at + 2) == "Event")?;
    let closure = (begin..given).rev().find(|&at| text(at) == "=" && text(at + 1) == "|");
    Some(text(closure.map_or(begin + 1, |at| at - 1)).to_owned())
}

/// Each event that stands among the arguments of a call.
fn handed(tokens: &[Token]) -> Vec<(String, String, usize)> {
    let text = |at: usize| tokens.get(at).map_or("", |token| &*token.text);
    let call = |at: usize| {
        let mut depth = 0_usize;
        let open = (0..at).rev().find(|&at| match text(at) {
            ")" | "]" | "}" => {
                depth += 1;
                false
            }
            "(" | "[" | "{" if depth == 0 => true,
            "(" | "[" | "{" => {
                depth -= 1;
                false
            }
            _ => false,
        })?;
        let name = tokens.get(open.checked_sub(1)?)?;
        (text(open) == "(" && name.is_word()).then(|| name.text.clone())
    };
    let constants =
        (0..tokens.len()).filter_map(|at| Some((at, constant(tokens.get(at..at + 4)?)?)));
    constants.filter_map(|(at, constant)| Some((call(at)?, constant, tokens[at].line))).collect()
}

/// The constants between the beginning of the function and the line behind `before` that are bound to a name, alone or
/// in a tuple.
fn bound(before: &[Token]) -> Vec<String> {
    let begin = before.iter().rposition(|token| token.text == "fn").unwrap_or_default();
    let here = &before[begin..];
    let text = |at: Option<usize>| at.and_then(|at| here.get(at)).map_or("", |token| &*token.text);
    let is_bound = |at: usize| match text(at.checked_sub(1)) {
        "=" | ">" => true,
        "(" => !at.checked_sub(2).and_then(|at| here.get(at)).is_some_and(Token::is_word),
        _ => false,
    };
    let all = (0..here.len()).filter(|at| is_bound(*at));
    all.filter_map(|at| constant(here.get(at..at + 4)?)).collect()
}

fn line(file: &str, tokens: &[Token], at: usize) -> Option<(usize, Line)> {
    let text = |at: usize| tokens.get(at).map(|token| &*token.text);
    let (_, level) = MACROS.into_iter().find(|(name, _)| text(at) == Some(name))?;
    if text(at + 1) != Some("!") || !matches!(text(at + 2), Some("(" | "[" | "{")) {
        return None;
    }
    let call = &tokens[at..group_end(tokens, at + 2)];
    let is_timing = file == TIMING && call.iter().any(|token| token.text == "\"timing\"");
    // `record!` has it among its arguments.
    let level = level.or_else(|| {
        let words = |four: &[Token]| four[0].text == "Level" && four[1].text == ":";
        let named = call.windows(4).find(|four| words(four))?;
        named[3].text.to_uppercase().parse().ok()
    });
    let event = match constants(call).next() {
        Some(constant) => Named::Constant(constant),
        None if call.iter().any(|token| token.text == "event") => {
            Named::Variable(bound(&tokens[..at]))
        }
        None => Named::Missing,
    };
    (!is_timing).then(|| (at, Line { line: tokens[at].line, level, event }))
}

/// All of `events::CONSTANT`.
fn constants(tokens: &[Token]) -> impl Iterator<Item = String> + '_ {
    tokens.windows(4).filter_map(constant)
}

/// The constant in `events::CONSTANT`.
fn constant(four: &[Token]) -> Option<String> {
    match four {
        [module, colon, colon_too, constant]
            if module.text == "events" && colon.text == ":" && colon_too.text == ":" =>
        {
            let is_constant = constant.text.starts_with(|c: char| c.is_ascii_uppercase())
                && constant.text.chars().all(|c| !c.is_lowercase());
            is_constant.then(|| constant.text.clone())
        }
        _ => None,
    }
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
    let wrong = logged.lines.iter().flat_map(|Line { line, level, event }| {
        let what: Vec<_> = match event {
            Named::Variable(bound) => {
                bound.iter().filter_map(|it| differs(it, *level, all)).collect()
            }
            Named::Missing => vec!["this log line has no event".to_owned()],
            Named::Constant(constant) => differs(constant, *level, all).into_iter().collect(),
        };
        what.into_iter().map(move |what| format!("src/{file}:{line}: {what}"))
    });
    wrong.collect()
}

/// What is wrong with the events that are handed to those who make a line of them, in all files.
pub(crate) fn wrongly_handed(logged: &[(String, Logged)], all: &[Event]) -> Vec<String> {
    let takers: Vec<_> = logged.iter().flat_map(|(_, logged)| &logged.takers).collect();
    let handed =
        logged.iter().flat_map(|(file, logged)| logged.handed.iter().map(move |it| (file, it)));
    let wrong = handed.filter_map(|(file, (name, constant, line))| {
        let (_, level) = takers.iter().find(|(taker, _)| taker == name)?;
        Some(format!("src/{file}:{line}: {}", differs(constant, Some(*level), all)?))
    });
    wrong.collect()
}

/// How an event differs from the table, if it is that of a line of this level.
fn differs(constant: &str, level: Option<Level>, all: &[Event]) -> Option<String> {
    let name = constant.to_lowercase();
    match all.iter().find(|event| event.name() == name).map(Event::level) {
        None => Some(format!("the event {name} is not in the table")),
        Some(Some(of_event)) if level.is_some_and(|level| level != of_event) => {
            Some(format!("the event {name} has the level {of_event} in the table"))
        }
        Some(_) => None,
    }
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
        wrong("a.rs", &logged("a.rs", source), events::ALL)
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
        let timing = "record!(Level::Info, \"\", &format_args!(\"timing\"), b!())";
        assert_eq!(found(timing).len(), 1, "elsewhere");
        assert_eq!(logged(TIMING, timing).lines, []);
        let other = "record!(Level::Info, \"\", &format_args!(\"other\"), b!())";
        assert_eq!(logged(TIMING, other).lines.len(), 1);
        assert_eq!(
            found("record!(Level::Info, \"\", &format_args!(\"x\"), b!(events::NOT_READY))"),
            ["src/a.rs:1: the event not_ready has the level WARN in the table"]
        );
        assert_eq!(found("#[cfg(test)] mod tests { fn f() { info!(log, \"x\"); } }"), [""; 0]);
    }

    #[test]
    fn an_event_in_a_variable_has_the_level_of_its_line() {
        let source = "fn f() { let (event, what) = match x { 0 => (events::NOT_READY, 1), _ => (events::READY, 2) };
            pass(events::SUMMARY); warn!(log, \"{}\", what; event) }";
        assert_eq!(found(source), ["src/a.rs:2: the event ready has the level INFO in the table"]);
        let takes = "fn tell(&self, event: Event) { warn!(log, \"x\"; event) }
            fn f() { let mut say = |x: u8, event: Event| { record!(Level::Warning, \"\", b!(event)) };
            say(1, events::READY); say(g(), events::NOT_READY); }";
        let hands = "fn f() { a.tell(events::SUMMARY); b.tell(events::NOT_READY); c.untold(events::READY) }";
        let all = [("a.rs", takes), ("b.rs", hands)];
        let all = all.map(|(file, source)| (file.to_owned(), logged(file, source)));
        assert_eq!(
            wrongly_handed(&all, events::ALL),
            [
                "src/a.rs:3: the event ready has the level INFO in the table",
                "src/b.rs:1: the event summary has the level INFO in the table",
            ]
        );
    }

    #[test]
    fn what_is_for_tests_is_told_by_its_name() {
        for file in ["a/b_tests.rs", "a/tests.rs", "a/tests/mod.rs", "a/test_support.rs"] {
            assert!(is_for_tests(file), "{file}");
        }
        for file in ["config/test_draft.rs", "latest.rs", "a/contests/b.rs"] {
            assert!(!is_for_tests(file), "{file}");
        }
    }

    #[test]
    fn anchors_are_those_of_headings() {
        let document = "# A\n## What `x` is, and why\n```\n# no\n```\n#none\n### Exit code 70";
        let expected = ["a", "exit-code-70", "what-x-is-and-why"];
        assert_eq!(anchors(document), expected.map(str::to_owned).into());
    }
}
