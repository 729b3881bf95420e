//! `dead-letters list` and `show`: what a terminal displays and does not obey.

use std::io::{self, Write};
use std::ops::ControlFlow;

use mqtt_kafka_bridge::exit::Exit;
use mqtt_kafka_bridge::kafka::dead_letter::letter::Letter;
use mqtt_kafka_bridge::visible::{Visible, escape_json};

use super::args::{From, failed};
use super::select::time;

/// The columns of the list, and their widths in characters.
const COLUMNS: [(&str, usize); 6] =
    [("ID", 16), ("TIME", 20), ("REASON", 24), ("ROUTE", 20), ("BYTES", 9), ("MQTT TOPIC", 60)];
/// Bytes in one line of a payload that is not text.
const HEX_LINE: usize = 16;

/// Goes through those that are meant. Returns how many there were, and how many could not be read.
pub(super) fn each_selected(
    from: &From,
    mut each: impl FnMut(&Letter<'_>) -> ControlFlow<()>,
) -> Result<(u64, u64), Exit> {
    let (_config, source) = from.open()?;
    let (mut count, mut unreadable) = (0, 0);
    let limit = from.select.limit.unwrap_or(u64::MAX);
    let read = source.read(|found| {
        if count >= limit {
            return ControlFlow::Break(());
        }
        match found.letter {
            Ok(letter) if from.select.wants(&letter) => {
                count += 1;
                each(&letter)
            }
            Ok(_) => ControlFlow::Continue(()),
            Err(why) => {
                unreadable += 1;
                eprintln!("{}: {}", Visible(&found.place), Visible(&why));
                ControlFlow::Continue(())
            }
        }
    });
    read.map_err(|unread| failed(unread.exit)(unread.why))?;
    Ok((count, unreadable))
}

/// One a line.
pub(super) fn list(from: &From, json: bool) -> Result<Exit, Exit> {
    let mut out = io::stdout().lock();
    let mut begun = json;
    let (count, unreadable) = each_selected(from, |letter| {
        let mut text = String::new();
        if !std::mem::replace(&mut begun, true) {
            text = row(&COLUMNS.map(|(name, _)| name.to_owned()));
        }
        text.push_str(&if json { json_line(letter) } else { table_line(letter) });
        write(&mut out, text.as_bytes())
    })?;
    if !json {
        eprintln!("{count} dead letters, {unreadable} lines or records that are none");
    }
    Ok(if unreadable == 0 { Exit::Drained } else { Exit::Unhealthy })
}

/// All that those whose id begins so say.
pub(super) fn show(from: &From, id: &str) -> Result<Exit, Exit> {
    let mut out = io::stdout().lock();
    let mut found = false;
    each_selected(from, |letter| {
        if !letter.fields.id.starts_with(id) {
            return ControlFlow::Continue(());
        }
        found = true;
        write(&mut out, whole(letter).as_bytes())
    })?;
    if !found {
        eprintln!("expected the id of a dead letter, found {}", Visible(id));
        return Ok(Exit::Unhealthy);
    }
    Ok(Exit::Drained)
}

/// Ends the reading if nobody reads what is written.
pub(super) fn write(out: &mut impl Write, bytes: &[u8]) -> ControlFlow<()> {
    match out.write_all(bytes) {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break(()),
    }
}

fn table_line(letter: &Letter<'_>) -> String {
    let fields = &letter.fields;
    let cut = if fields.payload_cut { "*" } else { "" };
    row(&[
        fields.id.to_string(),
        // Without fractions of a second.
        time(fields).split('.').next().unwrap_or_default().to_owned(),
        fields.reason.to_string(),
        fields.route.as_deref().unwrap_or("-").to_owned(),
        format!("{}{cut}", fields.payload_bytes),
        fields.mqtt_topic.to_string(),
    ])
}

/// Each cell as wide as its column; a longer one ends in `~`.
fn row(cells: &[String; COLUMNS.len()]) -> String {
    let cells = COLUMNS.iter().zip(cells).map(|((_, width), cell)| {
        // What is hidden grows when it is shown: it is shortened before and after.
        let most: String = cell.chars().take(width + 1).collect();
        let shown = Visible(&most).to_string();
        match shown.chars().count() > *width {
            true => format!("{}~", shown.chars().take(width - 1).collect::<String>()),
            false => format!("{shown:width$}"),
        }
    });
    let row = cells.collect::<Vec<_>>().join("  ");
    format!("{}\n", row.trim_end())
}

fn json_line(letter: &Letter<'_>) -> String {
    let mut json = serde_json::to_vec(&letter.fields).unwrap_or_default();
    escape_json(&mut json, 0);
    json.push(b'\n');
    String::from_utf8_lossy(&json).into_owned()
}

/// Each field on a line, then the payload.
fn whole(letter: &Letter<'_>) -> String {
    let mut text = String::new();
    for (name, value) in letter.headers() {
        let name = name.to_string_lossy();
        text.push_str(&format!("{name:20} {}\n", Visible(&value)));
    }
    text.push('\n');
    match std::str::from_utf8(&letter.payload) {
        Ok(payload) => {
            payload.lines().for_each(|line| text.push_str(&format!("{}\n", Visible(line))));
        }
        Err(_) => {
            for (at, bytes) in letter.payload.chunks(HEX_LINE).enumerate() {
                let hex: String = bytes.iter().map(|byte| format!(" {byte:02x}")).collect();
                let ascii = bytes.iter().map(|byte| match byte {
                    b' '..=b'~' => char::from(*byte),
                    _ => '.',
                });
                let ascii: String = ascii.collect();
                text.push_str(&format!("{:08x} {hex:48}  {ascii}\n", at * HEX_LINE));
            }
        }
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use mqtt_kafka_bridge::kafka::dead_letter::letter::Fields;

    #[test]
    fn a_row_is_bounded_and_obeyed_by_no_terminal_whatever_a_publisher_wrote() {
        let fields = Fields {
            id: "0123456789abcdef".into(),
            reason: "payload_not_json".into(),
            mqtt_topic: "\u{1b}[2J\u{202e}".repeat(10_000).into(),
            route: Some("r".repeat(10_000).into()),
            received_at: "2026-11-26T20:00:00.000000Z".into(),
            payload_bytes: 7,
            payload_cut: true,
            ..Fields::default()
        };
        let letter = Letter { fields, payload: b"\xff\x1b[2J".to_vec().into() };
        let line = table_line(&letter);
        let width: usize = COLUMNS.iter().map(|(_, width)| width + 2).sum();
        assert!(line.chars().count() <= width, "{line}");
        assert!(line.starts_with("0123456789abcdef  2026-11-26T20:00:00 "), "{line}");
        assert!(line.contains("7*") && line.trim_end().ends_with('~'), "{line}");
        let shown = whole(&letter);
        assert!(shown.contains("00000000  ff 1b 5b 32 4a"), "{shown}");
        for text in [line, shown, json_line(&letter)] {
            assert!(!text.replace('\n', "").contains(|c: char| c.is_control() || c == '\u{202e}'));
        }
    }
}
