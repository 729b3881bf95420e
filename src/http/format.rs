//! The two text formats of `/metrics`: which one a request asks for, and the older one made from the newer.

use actix_web::http::header::{ACCEPT, HeaderMap};

/// How `/metrics` is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// Prometheus text 0.0.4, which every scraper reads: for who asks for nothing else.
    Classic,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

impl Format {
    /// What the header Accept asks for: OpenMetrics if it names that, whatever else it takes.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let accepted = headers.get_all(ACCEPT).filter_map(|value| value.to_str().ok());
        match accepted.flat_map(|value| value.split(',')).any(names_openmetrics) {
            true => Self::OpenMetrics,
            false => Self::Classic,
        }
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Classic => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Whether an element of Accept names OpenMetrics, and does not refuse it by `q=0`.
fn names_openmetrics(element: &str) -> bool {
    let mut parts = element.split(';').map(str::trim);
    let is_named =
        parts.next().is_some_and(|it| it.eq_ignore_ascii_case("application/openmetrics-text"));
    let weight = parts.filter_map(|it| it.split_once('=')).find_map(|(name, value)| {
        name.trim().eq_ignore_ascii_case("q").then(|| value.trim().parse::<f32>())
    });
    is_named && weight.is_none_or(|weight| weight.is_ok_and(|weight| weight > 0.0))
}

/// OpenMetrics text as Prometheus text 0.0.4: that names a family as its samples, knows no units and no kind
/// `info`, and has no end mark.
pub(super) fn classic(text: &str) -> String {
    let mut all = String::with_capacity(text.len());
    let mut help = "";
    for line in text.lines() {
        let Some(comment) = line.strip_prefix("# ") else {
            push(&mut all, [line]);
            continue;
        };
        if comment.starts_with("HELP ") {
            // Its name depends on the kind, which comes behind it.
            help = comment
                .strip_prefix("HELP ")
                .and_then(|it| it.split_once(' '))
                .map_or("", |it| it.1);
        } else if let Some((name, kind)) =
            comment.strip_prefix("TYPE ").and_then(|it| it.split_once(' '))
        {
            let (suffix, kind) = match kind {
                "counter" => ("_total", kind),
                "info" => ("_info", "gauge"),
                _ => ("", kind),
            };
            push(&mut all, ["# HELP ", name, suffix, " ", help]);
            push(&mut all, ["# TYPE ", name, suffix, " ", kind]);
        }
    }
    all
}

fn push<const N: usize>(all: &mut String, parts: [&str; N]) {
    all.extend(parts);
    all.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openmetrics_is_for_who_names_it() {
        for (accept, format) in [
            ("", Format::Classic),
            ("*/*", Format::Classic),
            ("text/plain;version=0.0.4", Format::Classic),
            ("application/openmetrics-text", Format::OpenMetrics),
            (
                "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.9,*/*;q=0.1",
                Format::OpenMetrics,
            ),
            ("text/plain, Application/OpenMetrics-Text ; Q=1", Format::OpenMetrics),
            ("application/openmetrics-text;q=0, text/plain", Format::Classic),
            ("application/openmetrics-text;q=x", Format::Classic),
            ("application/openmetrics-textual", Format::Classic),
            (",;=,;q", Format::Classic),
        ] {
            let mut headers = HeaderMap::new();
            headers.append(ACCEPT, "text/html".parse().expect("legal"));
            headers.append(ACCEPT, accept.parse().expect("legal"));
            assert_eq!(Format::of(&headers), format, "{accept}");
        }
        assert_eq!(Format::of(&HeaderMap::new()), Format::Classic);
    }

    #[test]
    fn the_older_format_names_families_as_their_samples() {
        let text = "# HELP a What a is.\n# TYPE a counter\na_total{x=\"# HELP\"} 1\n# HELP b_seconds B.\n\
                    # TYPE b_seconds gauge\n# UNIT b_seconds seconds\nb_seconds 2.0\n# HELP c C.\n\
                    # TYPE c info\nc_info{v=\"1\"} 1\n# EOF\n";
        let expected = "# HELP a_total What a is.\n# TYPE a_total counter\na_total{x=\"# HELP\"} 1\n\
                        # HELP b_seconds B.\n# TYPE b_seconds gauge\nb_seconds 2.0\n# HELP c_info C.\n\
                        # TYPE c_info gauge\nc_info{v=\"1\"} 1\n";
        assert_eq!(classic(text), expected);
    }
}
