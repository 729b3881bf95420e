//! Prints outcomes, for people or as JSON lines. What a stranger has sent steers no terminal.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};

use mqtt_kafka_bridge::visible::{Visible, escape_json};

use super::outcome::{Made, Outcome, Shown, Text};
use super::pretty;

/// How many bytes of a value are printed for people.
const VALUE_MAX: usize = 4096;
/// How many lines of a value are printed for people.
const LINES_MAX: usize = 100;

const NAME: Style = Style::new().dimmed();
const TITLE: Style = Style::new().bold();
const GOOD: Style = AnsiColor::Green.on_default().bold();
const DROPPED: Style = AnsiColor::Yellow.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();

/// How outcomes are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// For people, in colours.
    Text,
    /// One JSON object a line.
    Json,
}

/// Prints to `out`, which removes colours where they are not wanted.
pub(crate) struct Printer<W> {
    out: W,
    form: Form,
}

impl<W: Write> Printer<W> {
    /// Prints in this form.
    pub(crate) fn new(out: W, form: Form) -> Self {
        Self { out, form }
    }

    /// Prints all outcomes of one message.
    ///
    /// # Errors
    /// Nothing can be printed any more.
    pub(crate) fn print(&mut self, outcomes: &[Outcome]) -> io::Result<()> {
        for outcome in outcomes {
            match self.form {
                Form::Json => {
                    let mut line = serde_json::to_vec(outcome)?;
                    escape_json(&mut line, 0);
                    line.push(b'\n');
                    self.out.write_all(&line)?;
                }
                Form::Text => self.text(outcome)?,
            }
        }
        self.out.flush()
    }

    fn text(&mut self, outcome: &Outcome) -> io::Result<()> {
        let out = &mut self.out;
        let (mqtt_topic, connection) = (Visible(&outcome.mqtt_topic), Visible(&outcome.connection));
        write!(out, "{TITLE}{mqtt_topic}{TITLE:#}  {NAME}connection{NAME:#} {connection}")?;
        if let Some(route) = &outcome.route {
            write!(out, "  {NAME}route{NAME:#} {}", Visible(route))?;
        }
        writeln!(out)?;
        match &outcome.made {
            Made::Record(record) => self.record(record),
            Made::Dropped { reason } => {
                writeln!(out, "  {DROPPED}dropped{DROPPED:#}      {reason}")
            }
            Made::DeadLetter { reason, detail } => {
                writeln!(out, "  {BAD}dead letter{BAD:#}  {reason}: {}", Visible(detail))
            }
            Made::Unmatched => writeln!(out, "  {BAD}no route{BAD:#}     none matches"),
        }
    }

    fn record(&mut self, record: &Shown) -> io::Result<()> {
        let missing = match record.if_missing {
            "hold" => "held while it does not exist",
            "create" => "created if it does not exist",
            _ => "the dead letter if it does not exist",
        };
        let kafka_topic = Visible(&record.kafka_topic);
        let out = &mut self.out;
        writeln!(out, "  {GOOD}record{GOOD:#}       {kafka_topic}  {NAME}({missing}){NAME:#}")?;
        let key = record.key.as_ref().map_or_else(|| "none".to_owned(), one_line);
        writeln!(out, "  {NAME}key{NAME:#}          {key}")?;
        let partition = match (record.partition, record.partition_by) {
            (Some(partition), _) => partition.to_string(),
            (None, "key") => "by the key".to_owned(),
            (None, _) => "by the MQTT topic".to_owned(),
        };
        writeln!(out, "  {NAME}partition{NAME:#}    {partition}")?;
        let order = record.order.replace("mqtt_topic", "MQTT topic");
        writeln!(out, "  {NAME}order{NAME:#}        by {order}")?;
        let timestamp = record.timestamp.as_deref().unwrap_or("when it is produced");
        writeln!(out, "  {NAME}timestamp{NAME:#}    {timestamp}")?;
        for header in &record.headers {
            let value = header.value.as_ref().map_or_else(|| "null".to_owned(), one_line);
            let name = Visible(&header.name);
            writeln!(out, "  {NAME}header{NAME:#}       {name} = {value}")?;
        }
        for note in &record.notes {
            writeln!(out, "  {DROPPED}note{DROPPED:#}         {note}")?;
        }
        match &record.value {
            None => writeln!(out, "  {NAME}value{NAME:#}        null (a tombstone)"),
            Some(Text::Plain(text)) if text.is_empty() => {
                writeln!(out, "  {NAME}value{NAME:#}        empty")
            }
            Some(value) => self.value(value),
        }
    }

    fn value(&mut self, value: &Text) -> io::Result<()> {
        let lines = match value {
            Text::Plain(text) => pretty::lines(text),
            Text::Base64 { .. } => None,
        };
        let lines = lines.unwrap_or_else(|| vec![plain(value)]);
        let (mut left, mut name) = (VALUE_MAX, "value");
        for (at, line) in lines.iter().enumerate() {
            let shown = cut(line, left);
            writeln!(self.out, "  {NAME}{name:<12}{NAME:#} {}", Visible(shown))?;
            left -= shown.len();
            name = "";
            if shown.len() < line.len()
                || (left == 0 || at + 1 == LINES_MAX) && at + 1 < lines.len()
            {
                let all: usize = lines.iter().map(String::len).sum();
                return writeln!(self.out, "  {name:<12} {NAME}... of {all} bytes{NAME:#}");
            }
        }
        Ok(())
    }
}

/// As it is, or as base64.
fn plain(text: &Text) -> String {
    match text {
        Text::Plain(text) => text.clone(),
        Text::Base64 { base64 } => format!("base64:{base64}"),
    }
}

/// On one line, and not too long.
fn one_line(text: &Text) -> String {
    let text = plain(text);
    let shown = cut(&text, VALUE_MAX);
    let more = if shown.len() < text.len() {
        format!("... of {} bytes", text.len())
    } else {
        String::new()
    };
    format!("{}{more}", Visible(shown))
}

/// The beginning of at most `most` bytes.
fn cut(text: &str, most: usize) -> &str {
    let mut end = most.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
