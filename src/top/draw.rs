//! Draws the whole screen into a buffer. Pure.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::fit::{cut, width, wrap};
use super::look::{Look, bold, chosen, quiet};
use super::numbers::{clock, count, counted, seconds};
use super::screen::{Panel, Screen, Sort};
use super::snapshot::{Identity, Snapshot};
use super::table::{Sheet, below};
use super::verdict::{Level, Verdict, missing, verdict};
use super::{flow, panels, table};

/// Below this height only the verdict stands above the panel.
const LOW: usize = 8;
/// The most lines that the verdict and its advice take.
const VERDICT_MAX: usize = 6;

/// The whole screen.
pub(super) fn draw(screen: &mut Screen, look: Look, area: Rect, to: &mut Buffer) {
    let area = area.intersection(to.area);
    let (most, height) = (usize::from(area.width), usize::from(area.height));
    if most == 0 || height == 0 {
        return;
    }
    let verdict = verdict(screen.snapshot.as_deref(), screen.trouble.as_deref(), screen.interval);
    let sheet = sheet(screen, &verdict, most);
    let is_low = height < LOW;
    let mut lines = Vec::new();
    if !is_low {
        lines.extend(title(screen, most));
    }
    // The first panel lists all of it.
    let is_listed = screen.panel == Panel::Flow && !screen.is_help;
    let room = if is_low { 1 } else { VERDICT_MAX.min(height / 3) };
    lines.extend(verdict_lines(&verdict, !is_listed, most, room));
    if !is_low {
        if let Some(snapshot) = &screen.snapshot {
            let identity = identity(&snapshot.identity, most);
            // A part of an equation says nothing.
            lines.extend(
                Some(identity).filter(|lines| lines.len() <= height / 8).into_iter().flatten(),
            );
        }
        lines.push(tabs(screen, most));
    }
    let foot = usize::from(!is_low);
    let room = height.saturating_sub(lines.len() + foot);
    lines.extend(sheet.head.into_iter().take(room.saturating_sub(1)));
    let room = height.saturating_sub(lines.len() + foot);
    let all = sheet.rows.len();
    let first = screen.first_row(all, room);
    lines.extend(sheet.rows.into_iter().skip(first).take(room));
    lines.resize(height - foot, Line::default());
    if !is_low {
        lines.push(keys(screen, first, all, room, most));
    }
    for (line, y) in lines.iter().take(height).zip(area.y..) {
        to.set_line(area.x, y, line, area.width);
    }
    look.apply(to);
}

fn sheet(screen: &Screen, verdict: &Verdict, most: usize) -> Sheet {
    if screen.is_help {
        return help(most);
    }
    let Some(snapshot) = &screen.snapshot else {
        let told = verdict.told.iter().flat_map(|told| flow::told_lines(told, most));
        return Sheet { head: Vec::new(), rows: told.collect() };
    };
    let sort = screen.sort().unwrap_or(Sort::Name);
    match screen.panel {
        Panel::Flow => flow::sheet(snapshot, &verdict.told, &screen.history, most),
        Panel::Routes => panels::routes(snapshot, &screen.history, sort, most),
        Panel::Latency => panels::latency(snapshot, sort, most),
        Panel::Slowest => panels::slowest(snapshot, most),
        Panel::DeadLetters => panels::dead_letters(snapshot, sort, most),
        Panel::Restarts => panels::restarts(snapshot, most),
        Panel::Warnings => panels::warnings(snapshot, most),
    }
}

/// Who it is, since when, and when it said so.
fn title(screen: &Screen, most: usize) -> Vec<Line<'static>> {
    let mut parts = Vec::new();
    if screen.is_paused {
        parts.push("PAUSED, p goes on".to_owned());
    }
    if let Some(Snapshot { version, uptime_s, at, .. }) = screen.snapshot.as_deref() {
        parts.push(format!("{version}, up {}", seconds(*uptime_s)));
        parts.push(match screen.trouble {
            None => clock(at, at),
            Some(_) => format!("last answer {}", clock(at, at)),
        });
    }
    if screen.history.restarts > 0 {
        let restarts = Some(screen.history.restarts);
        parts.push(format!("started anew {} while watched", counted(restarts, "time", "times")));
    }
    let name = "mqtt-kafka-bridge";
    let rest = cut(&format!(" {}", parts.join("  ")), most.saturating_sub(width(name)));
    vec![Line::from(vec![Span::styled(cut(name, most), bold()), Span::raw(rest)])]
}

/// The sentence, and what to do about the worst of it.
fn verdict_lines(
    verdict: &Verdict,
    is_advised: bool,
    most: usize,
    room: usize,
) -> Vec<Line<'static>> {
    let text = format!("{} {}", verdict.level.mark(), verdict.sentence);
    if room <= 1 {
        return vec![Line::styled(cut(&text, most), verdict.level.style())];
    }
    let mut lines = below(&text, 0, most, verdict.level.style());
    if let Some(worst) = verdict.told.first().filter(|_| is_advised) {
        lines.extend(table::advice(&worst.advice, 2, most));
    }
    lines.truncate(room);
    lines
}

/// Where all messages are that were received.
fn identity(identity: &Identity, most: usize) -> Vec<Line<'static>> {
    let Identity { received, delivered, dead_lettered, filtered, shed, in_flight } = identity;
    // A term stays on one line.
    let mut text = format!("received\u{a0}{}", count(*received)).replace(' ', "\u{a0}");
    for (sign, name, value) in [
        ("=", "delivered", delivered),
        ("+", "dead-lettered", dead_lettered),
        ("+", "filtered", filtered),
        ("+", "shed", shed),
        ("+", "in flight", in_flight),
    ] {
        text += " ";
        text += &format!("{sign} {name} {}", count(*value)).replace(' ', "\u{a0}");
    }
    text += "\u{a0}messages";
    let style = if missing(identity) == 0 { Style::new() } else { Level::Bad.style() };
    let lines = wrap(&text, most).into_iter();
    lines.map(|line| Line::styled(line.replace('\u{a0}', " "), style)).collect()
}

fn tabs(screen: &Screen, most: usize) -> Line<'static> {
    let name = |(nth, panel): (usize, &Panel)| format!(" {} {} ", nth + 1, panel.title());
    let names: Vec<_> = Panel::ALL.iter().enumerate().map(name).collect();
    let is_chosen = |nth: usize| Panel::ALL[nth] == screen.panel && !screen.is_help;
    let all: usize = names.iter().map(|name| width(name)).sum();
    if all > most {
        // Only the chosen one, and that there are others.
        let nth = screen.panel as usize;
        let text = format!("{}of {}", names[nth], names.len());
        return Line::styled(cut(&text, most), chosen());
    }
    let span = |(nth, name): (usize, String)| {
        Span::styled(name, if is_chosen(nth) { chosen() } else { quiet() })
    };
    Line::from(names.into_iter().enumerate().map(span).collect::<Vec<_>>())
}

fn keys(screen: &Screen, first: usize, all: usize, room: usize, most: usize) -> Line<'static> {
    let mut text = String::new();
    if all > room {
        let last = (first + room).min(all);
        text += &format!("lines {}-{last} of {all}  ", (first + 1).min(last));
    }
    text += "q quit  Tab panel  ";
    if all > room {
        text += "↑↓ scroll  ";
    }
    if let Some(sort) = screen.sort().filter(|_| !screen.is_help) {
        text += &format!("s sort: {}  ", sort.title());
    }
    text += "p pause  ? help";
    Line::styled(cut(&text, most), quiet())
}

/// The keys, in words.
const KEYS: &[(&str, &str)] = &[
    ("q, Esc, Ctrl-C", "end"),
    ("Tab, right", "the next panel; Shift-Tab, left: the one before"),
    ("1 to 7", "this panel"),
    ("up, down", "scroll by a line; PageUp, PageDown: by a page; Home, End"),
    ("s", "sort by the next column: Routes, Latency, Dead letters"),
    ("p", "hold the screen as it is, and go on"),
    ("?", "this help, and back"),
];

fn help(most: usize) -> Sheet {
    let mut rows = Vec::new();
    for (key, what) in KEYS {
        rows.extend(below(&format!("{key}: {what}"), 0, most, Style::new()));
    }
    rows.push(Line::default());
    let words = "Everything is of the page /status.json of the bridge; docs/observability.md says what each number \
        means. The documents that are named are in the repository, and the bridge serves most of them below /docs/.";
    rows.extend(below(words, 0, most, Style::new()));
    Sheet { head: Vec::new(), rows }
}
