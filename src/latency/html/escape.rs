//! Text from strangers in a page. Pure.

use mqtt_kafka_bridge::visible::Visible;

/// Text as it stands in a page: nothing of it is taken for markup, and what has no width is shown.
pub(super) fn escaped(text: &str) -> String {
    let visible = Visible(text).to_string();
    let mut escaped = String::with_capacity(visible.len());
    for character in visible.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}
