//! `top`: the status page in a terminal.
//!
//! `snapshot` reads what the bridge says, `screen` is what is shown of it and what keys change, `draw` and what it uses
//! draws that into a buffer; all of them are pure. `terminal` and `happenings` are the shell.

pub(crate) mod args;
mod draw;
mod fit;
mod flow;
mod happenings;
mod history;
mod keys;
mod look;
mod numbers;
mod panels;
mod screen;
mod snapshot;
mod table;
mod terminal;
mod verdict;

#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal as _};
use std::sync::atomic::Ordering::Relaxed;

use mqtt_kafka_bridge::config::HttpConfig;
use mqtt_kafka_bridge::exit::Exit;
use mqtt_kafka_bridge::failpoint::{self, Site};
use mqtt_kafka_bridge::http::check;
use mqtt_kafka_bridge::visible::Visible;
use ratatui::crossterm::event::Event;

use crate::config_args::ConfigArgs;
use args::TopArgs;
use happenings::{Happening, Happenings};
use look::Look;
use screen::{Key, Screen};
use snapshot::Snapshot;
use terminal::Taken;

/// Shows it until a key or a signal ends it.
pub(crate) fn run(args: &TopArgs, config: &ConfigArgs) -> Exit {
    if let Err(exit) = crate::commands::arm_failpoints() {
        return exit;
    }
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        eprintln!(
            "top: expected a terminal for the standard input and output, found none: \
             mqtt-kafka-bridge latency --watch, and the page /status.json, need none"
        );
        return Exit::Usage;
    }
    let pages = match config.load_pages_with_token() {
        Ok(pages) => pages,
        Err(errors) => {
            eprintln!("{errors}");
            return Exit::Configuration;
        }
    };
    // No bridge that runs with this configuration can ever be asked.
    if pages.listen.is_none_or(|listen| listen.port() == 0) {
        if let Err(why) = check::page(&pages, "/status.json") {
            eprintln!("{}", Visible(&why));
        }
        return Exit::Unhealthy;
    }
    match show(args, pages) {
        Ok(()) => Exit::Drained,
        Err(why) => {
            eprintln!("top: {}", Visible(&why));
            Exit::Unhealthy
        }
    }
}

/// The terminal is given back when it returns.
fn show(args: &TopArgs, pages: HttpConfig) -> Result<(), String> {
    let (happenings, sender) = Happenings::listen()?;
    let look = Look::of(|name| std::env::var(name).ok());
    let unusable = |error: io::Error| format!("the terminal cannot be used: {error}");
    let mut taken = Taken::take().map_err(unusable)?;
    happenings.begin(&sender, pages, args.interval)?;
    let mut screen = Screen::new(args.interval);
    loop {
        let drawn = taken.0.draw(|frame| {
            failpoint::hit(Site::TopDraw);
            let area = frame.area();
            draw::draw(&mut screen, look, area, frame.buffer_mut());
        });
        drawn.map_err(unusable)?;
        let Ok(first) = happenings.receiver.recv() else { return Ok(()) };
        // What came with it is drawn with it.
        let mut next = Some(first);
        while let Some(happening) = next {
            if !happen(&mut screen, happening)? {
                return Ok(());
            }
            next = happenings.receiver.try_recv().ok();
        }
        happenings.is_paused.store(screen.is_paused, Relaxed);
    }
}

/// Whether it goes on.
fn happen(screen: &mut Screen, happening: Happening) -> Result<bool, String> {
    match happening {
        Happening::Told(told) => {
            let told = told.and_then(|page| Snapshot::read(&page));
            screen.told(told.map_err(|why| Visible(&why).to_string()));
        }
        Happening::Input(Event::Key(event)) => {
            return Ok(keys::key(event).is_none_or(|key: Key| screen.press(key)));
        }
        // Another size is drawn.
        Happening::Input(_) => {}
        Happening::Signal => return Ok(false),
        Happening::Failed(why) => return Err(why),
    }
    Ok(true)
}
