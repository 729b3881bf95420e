//! `map`: what a configuration makes of messages, seen before it runs. Nothing is connected to.
//!
//! What becomes of a message is [`Router::route`]'s word alone; here it is only shown.

mod args;
mod examined;
mod live;
mod outcome;
mod pretty;
mod printer;

use std::collections::BTreeSet;
use std::io::{self, BufRead as _};

use mqtt_kafka_bridge::config::Config;
use mqtt_kafka_bridge::exit::Exit;
use mqtt_kafka_bridge::route::Router;

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
    let mut show = |mqtt_topic: &str| {
        let message = match examined.message(mqtt_topic) {
            Ok(message) => message,
            Err(error) => {
                eprintln!("{error}");
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
        Some(mqtt_topic) => show(mqtt_topic),
        None => each_line(&mut show),
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

/// Each line of the standard input but empty ones.
fn each_line(show: &mut impl FnMut(&str) -> io::Result<()>) -> io::Result<()> {
    use std::io::Read as _;
    let mut input = io::stdin().lock();
    let mut line = Vec::new();
    while input.by_ref().take(LINE_MAX).read_until(b'\n', &mut line)? > 0 {
        let text = std::str::from_utf8(&line).map_err(|error| {
            io::Error::new(io::ErrorKind::InvalidData, format!("--stdin: expected UTF-8: {error}"))
        })?;
        let text = text.strip_suffix('\n').unwrap_or(text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        if !text.is_empty() {
            show(text)?;
        }
        line.clear();
    }
    Ok(())
}
