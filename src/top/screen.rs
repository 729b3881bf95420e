//! What is shown, and what keys and answers of the bridge change about it. Pure.

use std::time::Duration;

use super::history::History;
use super::snapshot::Snapshot;

/// A part of the screen that takes turns with the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Panel {
    Flow,
    Routes,
    Latency,
    Slowest,
    DeadLetters,
    Restarts,
    Warnings,
}

impl Panel {
    /// In the order of Tab.
    pub(super) const ALL: [Self; 7] = [
        Self::Flow,
        Self::Routes,
        Self::Latency,
        Self::Slowest,
        Self::DeadLetters,
        Self::Restarts,
        Self::Warnings,
    ];

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Flow => "Flow",
            Self::Routes => "Routes",
            Self::Latency => "Latency",
            Self::Slowest => "Slowest",
            Self::DeadLetters => "Dead letters",
            Self::Restarts => "Restarts",
            Self::Warnings => "Warnings",
        }
    }

    /// By what its rows can be sorted; the first one at the start. Numbers begin with the greatest.
    pub(super) fn sorts(self) -> &'static [Sort] {
        match self {
            Self::Routes => &[Sort::Name, Sort::Rate, Sort::Records, Sort::Bytes, Sort::Drops],
            Self::Latency => &[Sort::Name, Sort::P50, Sort::P99, Sort::Max, Sort::Records],
            Self::DeadLetters => &[Sort::Records, Sort::Name],
            Self::Flow | Self::Slowest | Self::Restarts | Self::Warnings => &[],
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    Name,
    Rate,
    Records,
    Bytes,
    Drops,
    P50,
    P99,
    Max,
}

impl Sort {
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Rate => "rate",
            Self::Records => "count",
            Self::Bytes => "bytes",
            Self::Drops => "drops",
            Self::P50 => "p50",
            Self::P99 => "p99",
            Self::Max => "max",
        }
    }
}

/// What a person asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Quit,
    Next,
    Previous,
    /// By its number, from 0.
    Panel(usize),
    Up,
    Down,
    PageUp,
    PageDown,
    First,
    Last,
    Sort,
    Pause,
    Help,
}

/// How a panel is looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct View {
    scroll: usize,
    sort: usize,
}

/// All of it.
#[derive(Debug)]
pub(super) struct Screen {
    pub(super) panel: Panel,
    views: [View; Panel::ALL.len()],
    pub(super) is_paused: bool,
    pub(super) is_help: bool,
    /// The last answer.
    pub(super) snapshot: Option<Box<Snapshot>>,
    /// Why there is no newer one.
    pub(super) trouble: Option<String>,
    pub(super) history: History,
    pub(super) interval: Duration,
    /// How many rows fitted when it was drawn.
    rows: usize,
}

impl Screen {
    /// Before the first answer.
    pub(super) fn new(interval: Duration) -> Self {
        Self {
            panel: Panel::Flow,
            views: Default::default(),
            is_paused: false,
            is_help: false,
            snapshot: None,
            trouble: None,
            history: History::default(),
            interval,
            rows: 1,
        }
    }

    /// The bridge has answered, or has not. A screen that is held stays as it is.
    pub(super) fn told(&mut self, told: Result<Snapshot, String>) {
        if self.is_paused {
            return;
        }
        match told {
            Ok(snapshot) => {
                self.history.add(&snapshot);
                self.snapshot = Some(Box::new(snapshot));
                self.trouble = None;
            }
            Err(why) => self.trouble = Some(why),
        }
    }

    /// Whether it goes on.
    pub(super) fn press(&mut self, key: Key) -> bool {
        let page = self.rows.saturating_sub(1).max(1);
        match key {
            Key::Quit => return false,
            Key::Next => self.turn(1),
            Key::Previous => self.turn(Panel::ALL.len() - 1),
            Key::Panel(nth) => {
                if let Some(panel) = Panel::ALL.get(nth) {
                    self.panel = *panel;
                    self.is_help = false;
                }
            }
            Key::Up => self.scroll(|at| at.saturating_sub(1)),
            Key::Down => self.scroll(|at| at.saturating_add(1)),
            Key::PageUp => self.scroll(|at| at.saturating_sub(page)),
            Key::PageDown => self.scroll(|at| at.saturating_add(page)),
            Key::First => self.scroll(|_| 0),
            // What is too far is taken back when it is drawn.
            Key::Last => self.scroll(|_| usize::MAX),
            Key::Sort => {
                let sorts = self.panel.sorts().len().max(1);
                let view = self.view();
                *view = View { scroll: 0, sort: (view.sort + 1) % sorts };
            }
            Key::Pause => self.is_paused = !self.is_paused,
            Key::Help => self.is_help = !self.is_help,
        }
        true
    }

    /// By what the panel is sorted.
    pub(super) fn sort(&self) -> Option<Sort> {
        self.panel.sorts().get(self.views[self.panel as usize].sort).copied()
    }

    /// The first row that is shown, of `all` of which `fitting` have room.
    pub(super) fn first_row(&mut self, all: usize, fitting: usize) -> usize {
        self.rows = fitting;
        let view = self.view();
        view.scroll = view.scroll.min(all.saturating_sub(fitting));
        view.scroll
    }

    fn view(&mut self) -> &mut View {
        &mut self.views[self.panel as usize]
    }

    fn scroll(&mut self, to: impl Fn(usize) -> usize) {
        let view = self.view();
        view.scroll = to(view.scroll);
    }

    fn turn(&mut self, by: usize) {
        self.panel = Panel::ALL[(self.panel as usize + by) % Panel::ALL.len()];
        self.is_help = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn screen() -> Screen {
        Screen::new(Duration::from_secs(1))
    }

    #[test]
    fn panels_take_turns_and_each_keeps_where_it_was() {
        let mut screen = screen();
        assert_eq!(screen.first_row(100, 10), 0);
        assert!(screen.press(Key::PageDown) && screen.press(Key::Down));
        assert_eq!(screen.first_row(100, 10), 10);
        screen.press(Key::Next);
        assert_eq!((screen.panel, screen.first_row(100, 20)), (Panel::Routes, 0));
        screen.press(Key::Last);
        assert_eq!(screen.first_row(100, 20), 80);
        screen.press(Key::PageUp);
        assert_eq!(screen.first_row(100, 20), 61);
        // There are fewer now.
        assert_eq!(screen.first_row(5, 20), 0);
        screen.press(Key::Previous);
        assert_eq!((screen.panel, screen.first_row(100, 10)), (Panel::Flow, 10));
        screen.press(Key::First);
        assert_eq!(screen.first_row(100, 10), 0);
        screen.press(Key::Previous);
        assert_eq!(screen.panel, Panel::Warnings);
        screen.press(Key::Panel(2));
        screen.press(Key::Panel(99));
        assert_eq!(screen.panel, Panel::Latency);
    }

    #[test]
    fn s_goes_through_the_sorts_of_its_panel() {
        let mut screen = screen();
        screen.press(Key::Sort);
        assert_eq!(screen.sort(), None);
        screen.press(Key::Next);
        let mut seen = Vec::new();
        for _ in 0..=Panel::Routes.sorts().len() {
            seen.push(screen.sort().expect("routes are sorted"));
            screen.press(Key::Last);
            screen.press(Key::Sort);
            assert_eq!(screen.first_row(100, 10), 0);
        }
        assert_eq!(seen[..5], *Panel::Routes.sorts());
        assert_eq!(seen[5], Sort::Name);
    }

    #[test]
    fn a_screen_that_is_held_stays_and_the_end_is_always_one_key_away() {
        let mut screen = screen();
        screen.told(Err("nobody".to_owned()));
        screen.press(Key::Pause);
        screen.told(Ok(Snapshot::default()));
        assert!(screen.snapshot.is_none() && screen.trouble.is_some());
        screen.press(Key::Pause);
        screen.told(Ok(Snapshot::default()));
        assert!(screen.snapshot.is_some() && screen.trouble.is_none());
        screen.told(Err("nobody".to_owned()));
        assert!(screen.snapshot.is_some() && screen.trouble.is_some());
        screen.press(Key::Help);
        assert!(screen.is_help && !screen.press(Key::Quit));
        assert!(screen.press(Key::Help) && !screen.is_help && !screen.press(Key::Quit));
    }
}
