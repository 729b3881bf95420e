//! What fits on a terminal, drawn over what was there before. Pure.

use std::fmt::Write as _;

use terminal_size::{Height, Width};
use unicode_width::UnicodeWidthChar as _;

/// To the upper left corner; the rest of the line; the rest of the screen.
const HOME: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";
/// No colour.
const PLAIN: &str = "\x1b[0m";

/// The lines of `text` that fit, without wrapping or scrolling. `text` may have colours and no other control sequence.
pub(super) fn fitted(text: &str, size: Option<(Width, Height)>) -> String {
    let (Width(width), Height(height)) = size.unwrap_or((Width(80), Height(24)));
    let (width, height) = (usize::from(width.max(1)), usize::from(height.max(2)));
    let lines: Vec<_> = text.lines().collect();
    // The cursor stands on the last line of the screen.
    let shown = match lines.len() < height {
        true => lines.len(),
        false => height - 2,
    };
    let mut drawn = String::from(HOME);
    for line in &lines[..shown] {
        drawn.push_str(cut(line, width));
        drawn.push_str(PLAIN);
        drawn.push_str(CLEAR_LINE);
        drawn.push('\n');
    }
    if shown < lines.len() {
        let _ = writeln!(drawn, "... {} lines more{CLEAR_LINE}", lines.len() - shown);
    }
    drawn.push_str(CLEAR_BELOW);
    drawn
}

/// The beginning of a line that fills at most `width` columns.
fn cut(line: &str, width: usize) -> &str {
    let mut columns = 0;
    let mut is_escape = false;
    for (at, character) in line.char_indices() {
        if is_escape {
            is_escape = character != 'm';
        } else if character == '\x1b' {
            is_escape = true;
        } else {
            columns += character.width().unwrap_or(0);
            if columns > width {
                return &line[..at];
            }
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_wide_or_too_long_is_cut_and_colours_take_no_room() {
        let text = "\x1b[1mtitle\x1b[0m\nabcdefghij\none\ntwo\nthree\n";
        let size = |width, height| Some((Width(width), Height(height)));
        let drawn = fitted(text, size(5, 5));
        let expected = "\x1b[H\x1b[1mtitle\x1b[0m\x1b[0m\x1b[K\nabcde\x1b[0m\x1b[K\none\x1b[0m\x1b[K\n\
                        ... 2 lines more\x1b[K\n\x1b[J";
        assert_eq!(drawn, expected);
        assert!(
            fitted("漢字漢字", size(5, 5)).starts_with("\x1b[H漢字\x1b[0m"),
            "two columns each"
        );
        let all = fitted(text, size(80, 6));
        assert!(all.contains("three") && !all.contains("more"), "{all:?}");
        assert!(fitted(text, size(0, 0)).lines().count() <= 2);
        assert!(fitted("", None).starts_with(HOME));
    }
}
