//! How things look: colours, marks, and what a terminal without them shows instead. Pure.

use ratatui::buffer::Buffer;
use ratatui::style::{Color, Modifier, Style};

use super::verdict::Level;

/// What a terminal can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) has_colours: bool,
    /// Bold, dim and reversed.
    pub(super) has_modes: bool,
    /// It shows UTF-8. One that does not could obey a part of a character.
    pub(super) is_utf8: bool,
}

impl Look {
    /// By the environment. `NO_COLOR` counts if it is not empty (no-color.org).
    pub(super) fn of(variable: impl Fn(&str) -> Option<String>) -> Self {
        let of = |name: &str| variable(name).filter(|value| !value.is_empty());
        let is_dumb = of("TERM").is_none_or(|name| name == "dumb");
        let locale = of("LC_ALL").or_else(|| of("LC_CTYPE")).or_else(|| of("LANG"));
        let is_utf8 = locale.is_some_and(|locale| {
            let locale = locale.to_ascii_lowercase();
            locale.contains("utf-8") || locale.contains("utf8")
        });
        Self { has_colours: !is_dumb && of("NO_COLOR").is_none(), has_modes: !is_dumb, is_utf8 }
    }

    /// Takes out of a screen what the terminal does not have.
    pub(super) fn apply(self, screen: &mut Buffer) {
        if self == (Self { has_colours: true, has_modes: true, is_utf8: true }) {
            return;
        }
        for cell in &mut screen.content {
            if !self.has_colours {
                cell.fg = Color::Reset;
                cell.bg = Color::Reset;
            }
            if !self.has_modes {
                cell.modifier = Modifier::empty();
            }
            if !self.is_utf8 && !cell.symbol().is_ascii() {
                let plain = PLAIN.iter().find(|(own, _)| *own == cell.symbol());
                cell.set_symbol(plain.map_or("?", |(_, plain)| plain));
            }
        }
    }
}

/// A part of a gauge that is used, and the rest.
pub(super) const USED: &str = "█";
pub(super) const FREE: &str = "░";
/// Of a chart, from nothing to the greatest.
pub(super) const BARS: [&str; 9] = [" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];
/// In front of what to do.
pub(super) const ARROW: &str = "→";

/// What stands for our own characters where there is only ASCII.
const PLAIN: &[(&str, &str)] = &[
    ("✔", "+"),
    ("✖", "x"),
    ("▲", "!"),
    ("·", "-"),
    ("…", "~"),
    ("→", ">"),
    ("─", "-"),
    ("│", "|"),
    ("µ", "u"),
    ("█", "#"),
    ("░", "."),
    ("▁", "_"),
    ("▂", "_"),
    ("▃", "-"),
    ("▄", "-"),
    ("▅", "="),
    ("▆", "="),
    ("▇", "#"),
    ("↑", "^"),
    ("↓", "v"),
];

impl Level {
    /// Beside the words that say the same.
    pub(super) fn mark(self) -> &'static str {
        match self {
            Self::Bad => "✖",
            Self::Warn => "▲",
            Self::Unknown => "·",
            Self::Good => "✔",
        }
    }

    pub(super) fn style(self) -> Style {
        match self {
            Self::Bad => Style::new().fg(Color::Red).add_modifier(Modifier::BOLD),
            Self::Warn => Style::new().fg(Color::Yellow),
            Self::Unknown => quiet(),
            Self::Good => Style::new().fg(Color::Green),
        }
    }
}

pub(super) fn quiet() -> Style {
    Style::new().add_modifier(Modifier::DIM)
}

pub(super) fn bold() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}

pub(super) fn chosen() -> Style {
    Style::new().add_modifier(Modifier::REVERSED)
}

#[cfg(test)]
mod tests {
    use ratatui::layout::Rect;

    use super::*;

    #[test]
    fn the_environment_says_what_a_terminal_can_show() {
        let all = Look { has_colours: true, has_modes: true, is_utf8: true };
        for (variables, look) in [
            (&[("TERM", "xterm"), ("LANG", "C.UTF-8")][..], all),
            (&[("TERM", "xterm"), ("LANG", "de_DE.utf8"), ("NO_COLOR", "")], all),
            (
                &[("TERM", "xterm"), ("LANG", "C.UTF-8"), ("NO_COLOR", "1")],
                Look { has_colours: false, ..all },
            ),
            (
                &[("TERM", "xterm"), ("LANG", "C.UTF-8"), ("LC_ALL", "C")],
                Look { is_utf8: false, ..all },
            ),
            (&[("TERM", "dumb")], Look { has_colours: false, has_modes: false, is_utf8: false }),
        ] {
            let variable = |name: &str| {
                let found = variables.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            assert_eq!(Look::of(variable), look, "{variables:?}");
        }
    }

    #[test]
    fn a_plain_terminal_gets_ascii_without_colours() {
        let mut screen = Buffer::empty(Rect::new(0, 0, 8, 1));
        screen.set_string(0, 0, "✖µś温x", Level::Bad.style());
        Look { has_colours: false, has_modes: false, is_utf8: false }.apply(&mut screen);
        let shown: String = screen.content.iter().map(|cell| cell.symbol()).collect();
        assert_eq!(shown, "xu?? x  ");
        assert!(
            screen
                .content
                .iter()
                .all(|cell| cell.style() == Style::reset().remove_modifier(Modifier::empty())
                    || (cell.fg == Color::Reset && cell.modifier.is_empty()))
        );
    }

    #[test]
    fn each_mark_has_something_that_stands_for_it() {
        let marks = [Level::Bad, Level::Warn, Level::Unknown, Level::Good].map(Level::mark);
        for own in marks.into_iter().chain(BARS).chain([USED, FREE, ARROW]) {
            assert!(own.is_ascii() || PLAIN.iter().any(|(known, _)| *known == own), "{own}");
        }
    }
}
