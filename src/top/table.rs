//! Tables whose columns share the width that there is. Pure.

use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::fit::{fill, width, wrap};
use super::look::{ARROW, bold, quiet};
use super::snapshot::Advice;
use super::verdict::Level;

/// Between columns.
const GAP: usize = 2;
/// A text is not made narrower than this, nor wider than that.
const TEXT_MIN: usize = 12;
const TEXT_MAX: usize = 60;

/// What a panel shows: the head stays where it is, the rows are scrolled.
#[derive(Debug, Default)]
pub(super) struct Sheet {
    pub(super) head: Vec<Line<'static>>,
    pub(super) rows: Vec<Line<'static>>,
}

/// A column. Where there is no room for all, the last ones go first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    pub(super) title: &'static str,
    pub(super) is_number: bool,
}

pub(super) const fn text(title: &'static str) -> Column {
    Column { title, is_number: false }
}

pub(super) const fn number(title: &'static str) -> Column {
    Column { title, is_number: true }
}

/// One row, and what is said below it.
#[derive(Debug, Default)]
pub(super) struct Row {
    pub(super) level: Option<Level>,
    pub(super) cells: Vec<String>,
    pub(super) below: Vec<Line<'static>>,
}

/// A row as wide as the terminal at most; `none` is said if there is no row.
pub(super) fn table(columns: &[Column], rows: Vec<Row>, most: usize, none: &str) -> Sheet {
    if rows.is_empty() {
        let rows = wrap(none, most).into_iter().map(|line| Line::styled(line, quiet()));
        return Sheet { head: Vec::new(), rows: rows.collect() };
    }
    let marked = rows.iter().any(|row| row.level.is_some());
    let mark = if marked { 2 } else { 0 };
    let widths = widths(columns, &rows, most.saturating_sub(mark));
    let row_of = |cells: &mut dyn Iterator<Item = &str>| {
        let cells = cells.zip(columns).zip(&widths);
        let cells = cells.map(|((cell, column), columns)| fill(cell, *columns, column.is_number));
        cells.collect::<Vec<_>>().join(&" ".repeat(GAP)).trim_end().to_owned()
    };
    let titles = row_of(&mut columns.iter().map(|column| column.title));
    let head = vec![Line::styled(" ".repeat(mark) + &titles, bold())];
    let mut lines = Vec::new();
    for row in rows {
        let style = row.level.map_or(Style::new(), Level::style);
        let cells = row_of(&mut row.cells.iter().map(String::as_str));
        let mark = match row.level {
            Some(level) => format!("{} ", level.mark()),
            None => " ".repeat(mark),
        };
        // Words say the same as the colour.
        lines.push(Line::from(vec![Span::styled(mark, style), Span::raw(cells)]));
        lines.extend(row.below);
    }
    Sheet { head, rows: lines }
}

/// The widths of those columns that have room, from the first on.
fn widths(columns: &[Column], rows: &[Row], most: usize) -> Vec<usize> {
    let natural = |(nth, column): (usize, &Column)| {
        let cells = rows.iter().filter_map(|row| row.cells.get(nth)).map(|cell| width(cell));
        let widest = cells.max().unwrap_or(0);
        let widest = if column.is_number { widest } else { widest.min(TEXT_MAX) };
        widest.max(width(column.title))
    };
    let mut widths: Vec<_> = columns.iter().enumerate().map(natural).collect();
    let least = |nth: usize, width: usize| match columns[nth].is_number {
        true => width,
        false => width.min(TEXT_MIN),
    };
    let sum = |widths: &mut dyn Iterator<Item = usize>| {
        let (count, sum) =
            widths.fold((0_usize, 0), |(count, sum), width| (count + 1, sum + width));
        sum + GAP * count.saturating_sub(1)
    };
    while widths.len() > 1
        && sum(&mut widths.iter().enumerate().map(|(nth, width)| least(nth, *width))) > most
    {
        widths.pop();
    }
    // The widest text gives first.
    while sum(&mut widths.iter().copied()) > most {
        let texts = widths.iter_mut().enumerate();
        let texts = texts.filter(|(nth, width)| **width > least(*nth, **width));
        let Some((_, widest)) = texts.max_by_key(|(_, width)| **width) else { break };
        *widest -= 1;
    }
    widths
}

/// What to do, and the document about it.
pub(super) fn advice(advice: &Advice, indent: usize, most: usize) -> Vec<Line<'static>> {
    let Advice { what_to_do, document } = advice;
    if what_to_do.is_empty() && document.is_empty() {
        return Vec::new();
    }
    let document = if document.is_empty() { String::new() } else { format!("({document})") };
    below(&format!("{ARROW} {what_to_do} {document}"), indent, most, Style::new())
}

/// A text below something, indented.
pub(super) fn below(text: &str, indent: usize, most: usize, style: Style) -> Vec<Line<'static>> {
    let indent = indent.min(most / 4);
    let lines = wrap(text, most.saturating_sub(indent)).into_iter();
    lines.map(|line| Line::styled(" ".repeat(indent) + &line, style)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 3] = [text("route"), number("count"), text("more")];

    fn shown(most: usize) -> Vec<String> {
        let row =
            |cells: [&str; 3]| Row { cells: cells.map(str::to_owned).to_vec(), ..Row::default() };
        let rows = vec![
            row(["a long name of a route", "1,234", "nothing that matters"]),
            Row { level: Some(Level::Bad), ..row(["b", "5", "none"]) },
        ];
        let sheet = table(&COLUMNS, rows, most, "none");
        sheet.head.iter().chain(&sheet.rows).map(ToString::to_string).collect()
    }

    #[test]
    fn columns_share_the_room_and_the_last_go_first() {
        assert_eq!(
            shown(80),
            [
                "  route                   count  more",
                "  a long name of a route  1,234  nothing that matters",
                "✖ b                           5  none",
            ]
        );
        for most in 0..60 {
            let found = shown(most);
            let widest = found.iter().map(|line| width(line)).max();
            // The first column stays, whatever the room.
            assert!(widest <= Some(most.max(2 + TEXT_MIN)), "{most}: {found:?}");
        }
        assert_eq!(shown(21)[1], "  a long name…  1,234");
        assert_eq!(shown(20)[1], "  a long name of a …");
    }

    #[test]
    fn a_table_without_rows_says_so() {
        let sheet = table(&COLUMNS, Vec::new(), 80, "No routes.");
        assert!(sheet.head.is_empty());
        assert_eq!(sheet.rows[0].to_string(), "No routes.");
    }
}
