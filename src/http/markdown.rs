//! Markdown as docs/ writes it, as HTML: headings, paragraphs, tables, lists, code, links. Pure.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::iter::Peekable;
use std::str::Lines;

/// The HTML of a document; `is_served` says which other documents a link may name.
pub(super) fn html(markdown: &str, is_served: &dyn Fn(&str) -> bool) -> String {
    let mut to = Html { text: String::new(), slugs: BTreeMap::new(), is_served };
    let mut lines = markdown.lines().peekable();
    while let Some(line) = lines.next() {
        to.block(line, &mut lines);
    }
    to.text
}

/// The name by which a heading is linked, as GitHub makes it.
pub(super) fn slug(heading: &str) -> String {
    let letters = heading.chars().filter_map(|letter| match letter {
        ' ' => Some('-'),
        '-' | '_' => Some(letter),
        _ if letter.is_alphanumeric() => Some(letter.to_ascii_lowercase()),
        _ => None,
    });
    letters.collect()
}

struct Html<'a> {
    text: String,
    /// How often each has been given.
    slugs: BTreeMap<String, usize>,
    is_served: &'a dyn Fn(&str) -> bool,
}

impl Html<'_> {
    fn block(&mut self, line: &str, lines: &mut Peekable<Lines<'_>>) {
        let level = line.bytes().take_while(|byte| *byte == b'#').count();
        if line.trim().is_empty() {
        } else if (1..=6).contains(&level) && line[level..].starts_with(' ') {
            self.heading(level, line[level..].trim());
        } else if line.starts_with("```") {
            let code = lines.by_ref().take_while(|line| !line.starts_with("```"));
            self.code(&code.collect::<Vec<_>>());
        } else if let Some(first) = line.strip_prefix("    ") {
            let mut code = vec![first];
            while let Some(next) = lines.next_if(|next| next.starts_with("    ")) {
                code.push(&next[4..]);
            }
            self.code(&code);
        } else if line.starts_with('|') {
            self.table(line, lines);
        } else if let Some((marker, _)) = item(line) {
            self.list(line, if marker == "-" { "ul" } else { "ol" }, lines);
        } else {
            let mut text = line.to_owned();
            while let Some(next) = lines.next_if(|next| continues(next)) {
                text.push(' ');
                text.push_str(next.trim());
            }
            self.put("<p>");
            self.inline(&text);
            self.put("</p>\n");
        }
    }

    fn put(&mut self, html: &str) {
        self.text.push_str(html);
    }

    fn escaped(&mut self, text: &str) {
        for letter in text.chars() {
            match letter {
                '&' => self.put("&amp;"),
                '<' => self.put("&lt;"),
                '>' => self.put("&gt;"),
                '"' => self.put("&quot;"),
                _ => self.text.push(letter),
            }
        }
    }

    fn heading(&mut self, level: usize, text: &str) {
        let slug = slug(text);
        let before = self.slugs.entry(slug.clone()).or_default();
        let id = if *before == 0 { slug } else { format!("{slug}-{before}") };
        *before += 1;
        // Writing to a String does not fail.
        let _ = write!(self.text, "<h{level} id=\"{id}\">");
        self.inline(text);
        let _ = writeln!(self.text, "</h{level}>");
    }

    fn code(&mut self, lines: &[&str]) {
        self.put("<pre tabindex=\"0\"><code>");
        self.escaped(&lines.join("\n"));
        self.put("</code></pre>\n");
    }

    fn table(&mut self, first: &str, lines: &mut Peekable<Lines<'_>>) {
        self.put("<div class=\"scroll wholly\" tabindex=\"0\" role=\"group\" aria-label=\"Table\"><table><thead>");
        self.row(first, "th scope=\"col\"");
        self.put("</thead><tbody>");
        // The line of dashes.
        lines.next();
        while let Some(row) = lines.next_if(|next| next.starts_with('|')) {
            self.row(row, "td");
        }
        self.put("</tbody></table></div>\n");
    }

    fn row(&mut self, row: &str, cell: &str) {
        self.put("<tr>");
        for text in cells(row) {
            // A heading that says nothing is none.
            let cell = if text.is_empty() { "td" } else { cell };
            let _ = write!(self.text, "<{cell}>");
            self.inline(&text);
            let _ = write!(self.text, "</{}>", &cell[..2]);
        }
        self.put("</tr>");
    }

    fn list(&mut self, first: &str, kind: &str, lines: &mut Peekable<Lines<'_>>) {
        let _ = write!(self.text, "<{kind}>");
        let mut line = Some(first);
        while let Some((_, text)) = line.and_then(item) {
            let mut text = text.to_owned();
            while let Some(next) = lines.next_if(|next| item(next).is_none() && continues(next)) {
                text.push(' ');
                text.push_str(next.trim());
            }
            self.put("<li>");
            self.inline(&text);
            self.put("</li>");
            line = lines.next_if(|next| item(next).is_some());
        }
        let _ = writeln!(self.text, "</{kind}>");
    }

    /// What stands within a paragraph.
    fn inline(&mut self, text: &str) {
        let mut rest = text;
        while let Some(at) = rest.find(['`', '*', '[', '!']) {
            self.escaped(&rest[..at]);
            rest = &rest[at..];
            rest = self
                .code_span(rest)
                .or_else(|| self.strong(rest))
                .or_else(|| self.link(rest))
                .unwrap_or_else(|| {
                    self.put(&rest[..1]);
                    &rest[1..]
                });
        }
        self.escaped(rest);
    }

    fn code_span<'t>(&mut self, text: &'t str) -> Option<&'t str> {
        let ticks = text.bytes().take_while(|byte| *byte == b'`').count();
        let (mark, rest) = text.split_at(ticks);
        let (code, rest) = rest.split_once(mark).filter(|_| ticks > 0)?;
        self.put("<code>");
        self.escaped(code.trim());
        self.put("</code>");
        Some(rest)
    }

    fn strong<'t>(&mut self, text: &'t str) -> Option<&'t str> {
        let (mark, name) = if text.starts_with("**") { ("**", "strong") } else { ("*", "em") };
        let (inner, rest) = text.strip_prefix(mark)?.split_once(mark)?;
        if inner.is_empty() || inner.starts_with(' ') {
            return None;
        }
        let _ = write!(self.text, "<{name}>");
        self.inline(inner);
        let _ = write!(self.text, "</{name}>");
        Some(rest)
    }

    fn link<'t>(&mut self, text: &'t str) -> Option<&'t str> {
        let is_image = text.starts_with('!');
        let (shown, rest) = text[usize::from(is_image)..].strip_prefix('[')?.split_once("](")?;
        let (target, rest) = rest.split_once(')')?;
        let file = target.split('#').next().unwrap_or_default();
        let href = match target {
            _ if is_image => None,
            _ if target.starts_with('#') || target.starts_with("https://") => {
                Some(target.to_owned())
            }
            _ => (self.is_served)(file).then(|| format!("/docs/{target}")),
        };
        match href {
            Some(href) => {
                self.put("<a href=\"");
                self.escaped(&href);
                self.put("\">");
                self.inline(shown);
                self.put("</a>");
            }
            None => self.inline(shown),
        }
        Some(rest)
    }
}

/// The marker of a list's item, and its text.
fn item(line: &str) -> Option<(&str, &str)> {
    let line = line.trim_start();
    let (marker, text) = line.split_once(' ')?;
    let number = marker
        .strip_suffix('.')
        .is_some_and(|it| !it.is_empty() && it.bytes().all(|byte| byte.is_ascii_digit()));
    (marker == "-" || number).then_some((marker, text))
}

/// Whether it belongs to the paragraph above it.
fn continues(line: &str) -> bool {
    !line.trim().is_empty()
        && !line.starts_with(['#', '|'])
        && !line.starts_with("```")
        && item(line).is_none()
}

/// The cells of a table's row; a bar in code, or behind a backslash, divides none.
fn cells(row: &str) -> Vec<String> {
    let (mut cells, mut cell, mut in_code, mut escaped) = (Vec::new(), String::new(), false, false);
    let row = row.trim();
    for letter in row.strip_prefix('|').unwrap_or(row).chars() {
        match letter {
            '\\' if !escaped => {
                escaped = true;
                continue;
            }
            '|' if !escaped && !in_code => cells.push(std::mem::take(&mut cell).trim().to_owned()),
            _ => {
                if escaped && letter != '|' {
                    cell.push('\\');
                }
                in_code ^= letter == '`';
                cell.push(letter);
            }
        }
        escaped = false;
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(markdown: &str) -> String {
        html(markdown, &|file| file == "known.md")
    }

    #[test]
    fn what_the_documents_use_becomes_html() {
        for (markdown, expected) in [
            ("# A `b` & C", "<h1 id=\"a-b--c\">A <code>b</code> &amp; C</h1>\n"),
            ("## X\n## X", "<h2 id=\"x\">X</h2>\n<h2 id=\"x-1\">X</h2>\n"),
            ("one\ntwo\n\nthree", "<p>one two</p>\n<p>three</p>\n"),
            ("a **b *c* d** e", "<p>a <strong>b <em>c</em> d</strong> e</p>\n"),
            ("2 * 3 * 4", "<p>2 * 3 * 4</p>\n"),
            ("- a\n  b\n- c", "<ul><li>a b</li><li>c</li></ul>\n"),
            ("1. a\n2. b", "<ol><li>a</li><li>b</li></ol>\n"),
            ("```toml\na < 1\n```", "<pre tabindex=\"0\"><code>a &lt; 1</code></pre>\n"),
            ("    x\n    y", "<pre tabindex=\"0\"><code>x\ny</code></pre>\n"),
            ("[a](known.md#b)", "<p><a href=\"/docs/known.md#b\">a</a></p>\n"),
            ("[a](other.md) [b](#c)", "<p>a <a href=\"#c\">b</a></p>\n"),
            ("![a picture](images/x.png)", "<p>a picture</p>\n"),
            ("`a*b*[c](known.md)`", "<p><code>a*b*[c](known.md)</code></p>\n"),
        ] {
            assert_eq!(of(markdown), expected, "{markdown}");
        }
        let table = of("| a | |\n|---|---|\n| `b|c` | d \\| e |");
        assert!(table.contains("<tr><th scope=\"col\">a</th><td></td></tr>"), "{table}");
        assert!(table.contains("<tr><td><code>b|c</code></td><td>d | e</td></tr>"), "{table}");
    }

    #[test]
    fn no_text_becomes_html() {
        let hostile = of(
            "<img src=x> [<b>](javascript:x) [y](https://\"><i>) `<s>`\n\n| <u> |\n|---|\n| <u> |",
        );
        for tag in ["<img", "<b>", "<i>", "<s>", "<u>", "javascript:"] {
            assert!(!hostile.contains(tag), "{hostile}");
        }
    }
}
