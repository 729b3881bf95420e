//! The report as one page: no script, no other file, no network. Pure.
//!
//! MQTT topics and names come from strangers: all text is escaped, and the page's content security policy allows its one
//! style sheet and nothing else.

mod chart;
mod escape;
mod palette;

use std::fmt::{Display, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use super::hop::{Hop, Part};
use super::report::{LogReport, RouteRow, bands};
use super::spread::Percentiles;
use super::tally::Tally;
use super::words::{count, plural, time};
use chart::{Failed, LINES, Size};
use escape::escaped;

/// The rules up to those for dark charts, which belong into the last one.
const STYLE: &str = include_str!("page.css");

/// The whole page.
///
/// # Errors
/// A chart cannot be drawn.
pub(super) fn page(report: &LogReport, tally: &Tally<'_>) -> Result<String, Failed> {
    let style = format!("{STYLE}{}}}\n", palette::dark_rules());
    let hash = STANDARD.encode(Sha256::digest(style.as_bytes()));
    let mut page = String::new();
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{hash}'; \
         base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Where the time goes: mqtt-kafka-bridge</title>\n<style>{style}</style>\n</head>\n<body>\n<main>\n"
    );
    head(&mut page, report);
    if report.hops.is_empty() {
        page.push_str("</main>\n</body>\n</html>\n");
        return Ok(page);
    }
    hops(&mut page, report);
    charts(&mut page, tally)?;
    slowest(&mut page, report);
    routes(&mut page, &report.routes);
    let _ = write!(
        page,
        "<p class=\"note\">Made by mqtt-kafka-bridge {} latency; docs/latency.md says how to read it. Times are UTC.</p>\n\
         </main>\n</body>\n</html>\n",
        env!("CARGO_PKG_VERSION")
    );
    Ok(page)
}

/// The title, what was looked at, and what it means.
fn head(page: &mut String, report: &LogReport) {
    page.push_str("<h1>Where the time goes</h1>\n");
    let shown: Vec<_> = report.files.iter().take(5).map(|file| escaped(file)).collect();
    let more = match report.files.len() - shown.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let records = plural(report.lines.timing, "timing record", "timing records");
    let _ = write!(page, "<p class=\"of\">{records} of {}{more}", shown.join(", "));
    if let Some(received) = &report.received {
        let _ = write!(
            page,
            "<br>received {} to {} ({})",
            received.from,
            received.to,
            time(received.us)
        );
    }
    page.push_str("</p>\n");
    if let Some(first) = &report.lines.first_damaged {
        let damaged = plural(report.lines.damaged, "damaged line", "damaged lines");
        let _ = writeln!(page, "<p class=\"warn\">{damaged}, the first: {}</p>", escaped(first));
    }
    page.push_str("<ul class=\"verdict\">\n");
    for sentence in &report.verdict {
        let _ = writeln!(page, "<li>{}</li>", escaped(sentence));
    }
    page.push_str("</ul>\n");
}

/// A table that can be moved sideways where the screen is narrow.
fn table(page: &mut String, caption: &str, names: &[&str], rows: impl FnOnce(&mut String)) {
    let _ = write!(
        page,
        "<div class=\"scroll\" role=\"region\" aria-label=\"{caption}\" tabindex=\"0\"><table><caption>{caption}</caption>\n<thead><tr>"
    );
    for name in names {
        let class = match *name {
            "MQTT topic" => " class=\"text\"",
            "" => " class=\"words\"",
            "records" | "p90" => " class=\"extra\"",
            _ => "",
        };
        let _ = write!(page, "<th scope=\"col\"{class}>{name}</th>");
    }
    page.push_str("</tr></thead>\n<tbody>\n");
    rows(page);
    page.push_str("</tbody></table></div>\n");
}

const COLUMNS: [&str; 8] = ["hop", "", "records", "p50", "p90", "p99", "p99.9", "max"];

fn hop_row(page: &mut String, hop: &str, words: &str, percentiles: &Percentiles) {
    let number = count(percentiles.count);
    let _ = write!(
        page,
        "<tr><td>{}</td><td class=\"words\">{words}</td><td class=\"extra\">{number}</td>",
        escaped(hop)
    );
    for (name, us) in percentiles.columns() {
        let class = match name {
            "p99" => " class=\"main\"",
            "p90" => " class=\"extra\"",
            _ => "",
        };
        let _ = write!(page, "<td{class}>{}</td>", time(us));
    }
    page.push_str("</tr>\n");
}

fn hops(page: &mut String, report: &LogReport) {
    page.push_str("<h2>Each hop</h2>\n");
    table(page, "All records", &COLUMNS, |page| {
        for row in &report.hops {
            hop_row(page, row.hop, row.words, &row.percentiles);
        }
    });
}

/// A chart for screens and one for phones.
fn figure(
    page: &mut String,
    title: &str,
    caption: impl Display,
    height: u32,
    draw: impl Fn(Size) -> Result<String, Failed>,
) -> Result<(), Failed> {
    let _ = writeln!(page, "<h2>{title}</h2>\n<figure>\n<figcaption>{caption}</figcaption>");
    for (class, size) in
        [("wide", Size { width: 900, height }), ("narrow", Size { width: 400, height })]
    {
        let _ = writeln!(page, "<div class=\"{class}\">{}</div>", draw(size)?);
    }
    page.push_str("</figure>\n");
    Ok(())
}

fn key(class: &str, name: &str) -> String {
    format!("<span class=\"keyed\"><span class=\"key {class}\"></span>{name}</span> ")
}

fn charts(page: &mut String, tally: &Tally<'_>) -> Result<(), Failed> {
    let Some(total) = &tally.hops[Hop::Total as usize] else { return Ok(()) };
    let Some(percentiles) = total.percentiles() else { return Ok(()) };
    let parts = [
        key("violet", Part::Routing.words()),
        key("amber", Part::Waiting.words()),
        key("blue", Part::Kafka.words()),
        key("green", Part::Puback.words()),
    ]
    .concat();
    let bands = bands(&tally.makeups, &percentiles);
    figure(page, "What the time is made up of", &parts, 70 * bands.len() as u32 + 12, |size| {
        chart::bands(size, &bands)
    })?;
    let values: Vec<_> = total.values().collect();
    let marks =
        [("p50", percentiles.p50_us), ("p99", percentiles.p99_us), ("p99.9", percentiles.p999_us)];
    let caption = "Records by the time from receipt to delivery; each step to the right is as many times as long.";
    figure(page, "How long most took", caption, 300, |size| {
        chart::histogram(size, &values, &marks)
    })?;
    let width = u64::try_from(tally.timeline.width_us()).unwrap_or(0);
    let classes = ["green", "blue", "amber", "pink"];
    let lines = LINES.iter().zip(classes).map(|((name, ..), class)| key(class, name));
    let caption = format!(
        "{}<br>From receipt to delivery, of all records received in {}; a gap is a time without any.",
        lines.collect::<String>(),
        time(width)
    );
    figure(page, "When it was slow", caption, 300, |size| chart::over_time(size, &tally.timeline))?;
    let caption = "The stronger the colour, the more records took so long at that time.";
    figure(page, "All of them over time", caption, 300, |size| chart::heat(size, &tally.timeline))?;
    figure(page, "The hops over time", &parts, 280, |size| chart::stacked(size, &tally.timeline))
}

fn slowest(page: &mut String, report: &LogReport) {
    if report.slowest.is_empty() {
        return;
    }
    let names =
        ["total", "routed", "produced", "delivered", "acknowledged", "received", "MQTT topic"];
    page.push_str("<h2>The slowest</h2>\n");
    table(page, "The slowest records, with their hops", &names, |page| {
        for row in &report.slowest {
            let maybe = |us: Option<u64>| us.map_or_else(|| "-".to_owned(), time);
            let _ = write!(page, "<tr><td class=\"main\">{}</td>", time(row.total_us));
            for shown in
                [maybe(row.routed_us), time(row.queue_us), time(row.kafka_us), maybe(row.ack_us)]
            {
                let _ = write!(page, "<td>{shown}</td>");
            }
            let _ = writeln!(
                page,
                "<td>{}</td><td class=\"name\">{}</td></tr>",
                escaped(&row.received_at),
                escaped(&row.mqtt_topic)
            );
        }
    });
}

fn routes(page: &mut String, rows: &[RouteRow]) {
    let mut rest = rows;
    if rows.iter().all(|row| row.route.is_empty() && row.connection.is_empty()) {
        return;
    }
    page.push_str("<h2>Each route</h2>\n");
    while let Some(first) = rest.first() {
        let is_same =
            |row: &RouteRow| row.route == first.route && row.connection == first.connection;
        let end = rest.iter().position(|row| !is_same(row)).unwrap_or(rest.len());
        let (of_route, others) = rest.split_at(end);
        rest = others;
        let route = if first.route.is_empty() { "(no name)" } else { &first.route };
        let on = match first.connection.is_empty() {
            true => String::new(),
            false => format!(", connection {}", escaped(&first.connection)),
        };
        table(page, &format!("Route {}{on}", escaped(route)), &COLUMNS, |page| {
            for row in of_route {
                let hop = Hop::ALL.into_iter().find(|hop| hop.name() == row.hop);
                hop_row(page, &row.hop, hop.map_or("", Hop::words), &row.percentiles);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::{Line, Text, Timing};
    use super::super::tally::Choice;
    use super::*;

    const HOSTILE: &str =
        "<script>alert('x')</script><img src=//evil onerror=\"x()\">&\u{202e}\u{1b}[2J";

    fn drawn(times: impl Iterator<Item = (i64, u64, u64)>) -> String {
        let choice = Choice { slowest: 5, ..Choice::default() };
        let mut tally = Tally::new(&choice);
        for (received_us, queue_us, kafka_us) in times {
            let hostile = Text::of_plain(HOSTILE);
            let timing = Timing {
                mqtt_topic: hostile,
                route: hostile,
                connection: hostile,
                ack_reason: hostile,
                received_us,
                queue_us,
                kafka_us,
                total_us: queue_us.saturating_add(kafka_us),
                ..Timing::default()
            };
            tally.add(0, 1, Ok(Line::Timing(timing)));
        }
        let report = LogReport::new(&[HOSTILE.into()], &tally);
        page(&report, &tally).expect("it can be drawn")
    }

    /// The start tags of a page with their attributes, as a browser sees them.
    fn tags(page: &str) -> Vec<&str> {
        let body = page.split_once("</style>").expect("a style sheet").1;
        let tags = body.split('<').skip(1).filter(|tag| !tag.starts_with('/'));
        tags.map(|tag| tag.split_once('>').expect("each tag has its end").0).collect()
    }

    #[test]
    fn a_page_has_each_chart_twice_and_what_a_stranger_sent_as_text_alone() {
        let page =
            drawn((0..5_000).map(|nth| (nth * 1_000, 100 + nth as u64 % 7, 900 + nth as u64)));
        assert_eq!(page.matches("<svg role=\"img\" aria-label=\"").count(), 10);
        for part in ["<script", "<img", "\u{202e}", "\u{1b}"] {
            assert!(!page.contains(part), "{part:?}");
        }
        assert!(page.contains("&lt;script&gt;alert(&#39;x&#39;)"));
        let known = [
            "h1",
            "h2",
            "p",
            "br",
            "ul",
            "li",
            "div",
            "table",
            "caption",
            "thead",
            "tr",
            "th",
            "tbody",
            "td",
            "figure",
            "figcaption",
            "span",
            "svg",
            "rect",
            "line",
            "polyline",
            "text",
            "circle",
            "body",
            "main",
        ];
        for tag in tags(&page) {
            let name = tag.split([' ', '/']).next().unwrap_or_default();
            assert!(known.contains(&name), "{tag}");
            for outside in [" on", "style=", "href", "src=", "url("] {
                let attributes = tag.replace("aria-label=\"Route &lt;script", "");
                let is_text = attributes.contains("&lt;");
                assert!(is_text || !attributes.contains(outside), "{outside} in {tag}");
            }
        }
        // The policy allows this style sheet alone.
        let style =
            page.split_once("<style>").expect("one").1.split_once("</style>").expect("its end").0;
        let hash = STANDARD.encode(Sha256::digest(style.as_bytes()));
        assert!(page.contains(&format!("default-src 'none'; style-src 'sha256-{hash}'")));
        assert_eq!(style.matches('{').count(), style.matches('}').count());
    }

    #[test]
    fn whatever_the_latencies_and_the_times_are_a_page_can_be_drawn() {
        for times in [
            vec![],
            vec![(0, 0, 0)],
            vec![(i64::MIN, 0, 0), (i64::MAX, u64::MAX, u64::MAX)],
            vec![(1_767_323_045_000_000, 5, 5); 3],
            vec![(0, 1, 1), (86_400_000_000 * 365 * 50, 1 << 50, 7)],
        ] {
            let page = drawn(times.clone().into_iter());
            assert!(page.ends_with("</html>\n"), "{times:?}");
            assert!(!page.contains("NaN") && !page.contains("inf\""), "{times:?}");
        }
    }
}
