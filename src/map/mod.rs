//! `map`: what a configuration makes of messages, seen before it runs. Nothing is produced. Nothing is connected to
//! either, but with `--live` the MQTT brokers.
//!
//! What becomes of a message is [`Router::route`]'s word alone; here it is only shown.

mod args;
mod examined;
mod live;
mod outcome;
mod pretty;
mod printer;

use std::collections::BTreeSet;
use std::io::{self, BufRead, Read as _};

use mqtt_kafka_bridge::config::Config;
use mqtt_kafka_bridge::exit::Exit;
use mqtt_kafka_bridge::route::Router;

use crate::lines::skip_line;
pub(crate) use args::MapArgs;
use examined::Examined;
use outcome::{Outcome, outcomes};
use printer::{Form, Printer};

/// The longest line of `--stdin`, in bytes: an MQTT topic of [`args::MQTT_TOPIC_MAX`] and its end.
const LINE_MAX: u64 = args::MQTT_TOPIC_MAX as u64 + 2;

/// Shows what becomes of the messages that the arguments name. Exit code 0 if each becomes a record, or is
/// dropped by a filter; 1 if one matches no route or goes to the dead letter.
pub(crate) fn run(args: &MapArgs, config: &Config) -> Exit {
    if args.live {
        return live::run(args, config);
    }
    let mut seen = BTreeSet::new();
    // The connections of a group have the same routes.
    let sections = config.connections.iter().filter(|mqtt| seen.insert(mqtt.section.clone()));
    let wanted = |name: &str, section: &str| {
        args.connection.as_ref().is_none_or(|wanted| wanted == name || wanted == section)
    };
    let mut routers: Vec<_> = sections
        .filter(|mqtt| {
            let group = config.connections.iter().filter(|other| other.section == mqtt.section);
            group.into_iter().any(|other| wanted(&other.name, &other.section))
        })
        .map(|mqtt| (mqtt.section.clone(), Router::new(&config.routes_of(mqtt), config.match_)))
        .collect();
    if routers.is_empty() {
        let names: Vec<_> = config.connection_names().map(|name| name.to_string()).collect();
        let found = args.connection.as_deref().unwrap_or_default();
        eprintln!("--connection: expected one of {}, found {found}", names.join(", "));
        return Exit::Usage;
    }
    let examined = match Examined::new(args) {
        Ok(examined) => examined,
        Err(error) => {
            eprintln!("{error}");
            return Exit::Usage;
        }
    };
    let form = if args.json { Form::Json } else { Form::Text };
    let mut printer = Printer::new(anstream::stdout(), form);
    let mut exit = Exit::Drained;
    let mut show = |place: &str, mqtt_topic: Result<&str, String>| {
        let message = match mqtt_topic.and_then(|mqtt_topic| examined.message(mqtt_topic)) {
            Ok(message) => message,
            Err(error) => {
                eprintln!("{place}: {error}");
                exit = Exit::Usage;
                return Ok(());
            }
        };
        for (section, router) in &mut routers {
            let outcomes = outcomes(router, &message.input(section));
            if exit == Exit::Drained && outcomes.iter().any(Outcome::is_refused) {
                exit = Exit::Unhealthy;
            }
            printer.print(&outcomes)?;
        }
        Ok(())
    };
    let shown = match &args.mqtt_topic {
        Some(mqtt_topic) => show("MQTT_TOPIC", Ok(mqtt_topic)),
        None => each_line(&mut io::stdin().lock(), &mut show),
    };
    match shown {
        // Whoever closed the pipe has seen enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("{error}");
            Exit::Usage
        }
        _ => exit,
    }
}

/// Each line of the standard input: where it is, and what it says or why it says nothing.
fn each_line(
    input: &mut impl BufRead,
    show: &mut impl FnMut(&str, Result<&str, String>) -> io::Result<()>,
) -> io::Result<()> {
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        if input.by_ref().take(LINE_MAX).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let place = format!("--stdin, line {number}");
        let is_whole = line.ends_with(b"\n");
        if !is_whole && line.len() as u64 == LINE_MAX {
            let size = LINE_MAX + skip_line(input)?.unwrap_or_default();
            let most = args::MQTT_TOPIC_MAX;
            show(&place, Err(format!("expected at most {most} bytes, found a line of {size}")))?;
            continue;
        }
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        let text = std::str::from_utf8(text);
        show(&place, text.map_err(|error| format!("expected UTF-8, found {error}")))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_no_mqtt_topic_is_refused_alone() {
        let longest = "t".repeat(args::MQTT_TOPIC_MAX);
        // One that ends within a piece, one over several, and one that does not end.
        let (long, longer) = (format!("{longest}tail"), longest.repeat(3));
        let whole = format!("a\r\n\n{longest}\r\n{long}\n{longer}\nb\n");
        let text = [whole.as_bytes(), b"c\xff\nd\n", longer.as_bytes()].concat();
        let mut seen = Vec::new();
        let mut show = |place: &str, line: Result<&str, String>| {
            seen.push((place.to_owned(), line.map(str::to_owned)));
            Ok(())
        };
        each_line(&mut &text[..], &mut show).expect("it can be read");
        let told = seen.iter().map(|(place, line)| (place.as_str(), line.as_deref().ok()));
        let expected = [
            ("--stdin, line 1", Some("a")),
            // An empty one is refused behind this, like any other that is illegal.
            ("--stdin, line 2", Some("")),
            ("--stdin, line 3", Some(longest.as_str())),
            ("--stdin, line 4", None),
            ("--stdin, line 5", None),
            ("--stdin, line 6", Some("b")),
            ("--stdin, line 7", None),
            ("--stdin, line 8", Some("d")),
            ("--stdin, line 9", None),
        ];
        assert!(told.eq(expected), "lines were cut or lost");
    }
}
