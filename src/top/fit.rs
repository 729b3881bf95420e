//! Texts that fill so many columns of a terminal. Pure.

use ratatui::text::Line;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// How many columns it takes.
pub(super) fn width(text: &str) -> usize {
    text.width()
}

/// The beginning of it that takes at most `most` columns, with a mark where something is missing.
pub(super) fn cut(text: &str, most: usize) -> String {
    if width(text) <= most {
        return text.to_owned();
    }
    let mut short = head(text, most.saturating_sub(1)).to_owned();
    if most > 0 {
        short.push('…');
    }
    short
}

/// The longest beginning that takes at most `most` columns.
fn head(text: &str, most: usize) -> &str {
    let mut columns = 0;
    for (at, char) in text.char_indices() {
        columns += char.width().unwrap_or(0);
        if columns > most {
            return &text[..at];
        }
    }
    text
}

/// Cut, and filled up to the right, or with `is_number` to the left.
pub(super) fn fill(text: &str, columns: usize, is_number: bool) -> String {
    let text = cut(text, columns);
    let rest = " ".repeat(columns.saturating_sub(width(&text)));
    if is_number { rest + &text } else { text + &rest }
}

/// Its words on lines of at most `columns`, but one at the least. A word that is longer is broken.
pub(super) fn wrap(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(1);
    let (mut lines, mut line) = (Vec::new(), String::new());
    for mut word in text.split(' ').filter(|word| !word.is_empty()) {
        let gap = usize::from(!line.is_empty());
        if width(&line) + gap + width(word) <= columns {
            line.extend((gap > 0).then_some(' '));
            line.push_str(word);
            continue;
        }
        if !line.is_empty() {
            lines.push(std::mem::take(&mut line));
        }
        while width(word) > columns {
            let part = head(word, columns);
            if part.is_empty() {
                // Not one character has room.
                word = "";
                break;
            }
            lines.push(part.to_owned());
            word = &word[part.len()..];
        }
        line.push_str(word);
    }
    if !line.is_empty() || lines.is_empty() {
        lines.push(line);
    }
    lines
}

/// Lines side by side, each of `columns`; what is wider was made by somebody else, and is cut when it is drawn.
pub(super) fn beside(
    parts: Vec<Vec<Line<'static>>>,
    columns: usize,
    gap: &str,
) -> Vec<Line<'static>> {
    let rows = parts.iter().map(Vec::len).max().unwrap_or(0);
    let mut parts: Vec<_> = parts.into_iter().map(Vec::into_iter).collect();
    let last = parts.len().saturating_sub(1);
    let row = |_| {
        let mut row = Line::default();
        for (nth, part) in parts.iter_mut().enumerate() {
            let line = part.next().unwrap_or_default();
            let rest = columns.saturating_sub(line.width());
            row.spans.extend(line.spans);
            if nth < last {
                row.push_span(" ".repeat(rest));
                row.push_span(gap.to_owned());
            }
        }
        row
    };
    (0..rows).map(row).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_text_fills_its_columns() {
        for (text, columns, is_number, filled) in [
            ("abc", 5, false, "abc  "),
            ("abc", 5, true, "  abc"),
            ("abcdef", 4, false, "abc…"),
            ("温度温度", 5, false, "温度…"),
            ("温度温度", 4, false, "温… "),
            ("abc", 0, false, ""),
            ("abc", 1, false, "…"),
        ] {
            assert_eq!(fill(text, columns, is_number), filled);
        }
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefghij k", 4), ["abcd", "efgh", "ij k"]);
        assert_eq!(wrap("", 4), [""]);
        let parts = vec![vec![Line::raw("a"), Line::raw("b")], vec![Line::raw("c")]];
        let rows: Vec<_> = beside(parts, 3, "|").iter().map(ToString::to_string).collect();
        assert_eq!(rows, ["a  |c", "b  |"]);
    }

    proptest! {
        #[test]
        fn nothing_is_wider_than_its_room(text in any::<String>(), columns in 0..30_usize) {
            prop_assert_eq!(width(&fill(&text, columns, false)), columns);
            // A wide character has no room in one column, and is left out.
            for line in wrap(&text, columns) {
                prop_assert!(width(&line) <= columns.max(1), "{line:?}");
            }
        }
    }
}
