//! How findings are written: for people as they come, or as one JSON object at the end.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use serde_json::{Value, json};

use mqtt_kafka_bridge::visible::escape_json;

use super::finding::{Finding, Level, Part, worst};

/// The version of the JSON object; it changes when a field changes its meaning or goes.
const VERSION: u32 = 1;

const TITLE: Style = Style::new().bold();
const NAME: Style = Style::new().dimmed();

fn style(level: Level) -> Style {
    match level {
        Level::Ok => AnsiColor::Green.on_default(),
        Level::Info => AnsiColor::Cyan.on_default(),
        Level::Warning => AnsiColor::Yellow.on_default().bold(),
        Level::Error => AnsiColor::Red.on_default().bold(),
    }
}

/// Findings for people. `out` removes colours where they are not wanted.
pub(crate) struct Text<W> {
    out: W,
    is_quiet: bool,
    part: Option<Part>,
}

impl<W: Write> Text<W> {
    /// Nothing is written yet. `is_quiet`: what is as it should be is left out.
    pub(crate) fn new(out: W, is_quiet: bool) -> Self {
        Self { out, is_quiet, part: None }
    }

    /// Writes one finding, below the heading of its part.
    ///
    /// # Errors
    /// Nothing can be written any more.
    pub(crate) fn write(&mut self, finding: &Finding) -> io::Result<()> {
        let Finding { level, check, of, found, expected, advice, .. } = finding;
        if self.is_quiet && *level == Level::Ok {
            return Ok(());
        }
        let out = &mut self.out;
        if self.part != Some(check.part) {
            writeln!(out, "{TITLE}{}{TITLE:#}", check.part.title())?;
            self.part = Some(check.part);
        }
        let style = style(*level);
        writeln!(
            out,
            "  {style}{:<8}{style:#} {:<19} {NAME}{of}:{NAME:#} {found}",
            level.name(),
            check.name
        )?;
        if !expected.is_empty() {
            writeln!(out, "           {NAME}expected{NAME:#} {expected}")?;
        }
        if !advice.is_empty() {
            writeln!(out, "           {NAME}do{NAME:#}       {advice}")?;
            writeln!(out, "           {NAME}see{NAME:#}      {}", check.link)?;
        }
        out.flush()
    }

    /// Writes how many there were of each level.
    ///
    /// # Errors
    /// Nothing can be written any more.
    pub(crate) fn finish(&mut self, findings: &[Finding]) -> io::Result<()> {
        let counts = counts(findings);
        let style = style(worst(findings));
        let text = counts.iter().rev().map(|(level, count)| match (level, count) {
            (Level::Ok | Level::Info, _) => format!("{count} {}", level.name()),
            (_, 1) => format!("1 {}", level.name()),
            _ => format!("{count} {}s", level.name()),
        });
        writeln!(self.out, "{style}{}{style:#}", text.collect::<Vec<_>>().join(", "))?;
        self.out.flush()
    }
}

fn counts(findings: &[Finding]) -> [(Level, usize); 4] {
    Level::ALL.map(|level| (level, findings.iter().filter(|it| it.level == level).count()))
}

/// All findings as one JSON object, with a newline behind it.
pub(crate) fn json(config: &str, findings: &[Finding]) -> Vec<u8> {
    let finding = |it: &Finding| -> Value {
        json!({
            "check": it.check.name,
            "part": it.check.part,
            "level": it.level,
            "skipped": it.is_skipped,
            "of": it.of,
            "found": it.found,
            "expected": it.expected,
            "advice": it.advice,
            "link": it.check.link,
        })
    };
    let counts = counts(findings).map(|(level, count)| (level.name().to_owned(), count.into()));
    let report = json!({
        "version": VERSION,
        "program": env!("CARGO_PKG_VERSION"),
        "config": config,
        "worst": worst(findings),
        "counts": serde_json::Map::from_iter(counts),
        "findings": findings.iter().map(finding).collect::<Vec<_>>(),
    });
    let mut text = report.to_string().into_bytes();
    escape_json(&mut text, 0);
    text.push(b'\n');
    text
}

#[cfg(test)]
mod tests {
    use super::super::finding::{BRIDGE, CLOCK, CONFIG, cure};
    use super::*;

    fn some() -> [Finding; 3] {
        [
            CONFIG.ok("config.toml", "legal"),
            CLOCK.warning("the clock", "not synchronised", cure("synchronised", "start chrony")),
            CLOCK.skipped("Kafka's clock", "Kafka does not answer"),
        ]
    }

    fn text(findings: &[Finding], is_quiet: bool) -> String {
        let mut out = anstream::StripStream::new(Vec::new());
        let mut text = Text::new(&mut out, is_quiet);
        for finding in findings {
            text.write(finding).expect("written");
        }
        text.finish(findings).expect("written");
        String::from_utf8(out.into_inner()).expect("UTF-8")
    }

    #[test]
    fn people_read_one_line_each_and_what_to_do() {
        let expected = "\
Configuration
  ok       config              config.toml: legal
This host
  warning  clock               the clock: not synchronised
           expected synchronised
           do       start chrony
           see      docs/doctor.md#this-host
  info     clock               Kafka's clock: skipped: Kafka does not answer
0 error, 1 warning, 1 info, 1 ok
";
        assert_eq!(text(&some(), false), expected.replace("0 error,", "0 errors,"));
        assert!(!text(&some(), true).contains("config.toml"));
    }

    #[test]
    fn programs_read_one_object() {
        let text = json("config.toml", &some());
        let report: Value = serde_json::from_slice(&text).expect("JSON");
        assert_eq!(report["version"], 1);
        assert_eq!(report["worst"], "warning");
        assert_eq!(report["counts"], json!({"ok": 1, "info": 1, "warning": 1, "error": 0}));
        let expected = json!({
            "check": "clock", "part": "host", "level": "warning", "skipped": false,
            "of": "the clock", "found": "not synchronised", "expected": "synchronised",
            "advice": "start chrony", "link": "docs/doctor.md#this-host",
        });
        assert_eq!(report["findings"][1], expected);
        assert_eq!(report["findings"][2]["skipped"], true);
        let hidden = json("c", &[BRIDGE.info("x\u{202e}", "y")]);
        assert!(hidden.is_ascii());
    }
}
