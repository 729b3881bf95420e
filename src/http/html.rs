//! The pages for people.

/// The type of both.
pub(super) const HTML: &str = "text/html; charset=utf-8";

/// Links what there is.
pub(super) const START: &str = r#"<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>mqtt-kafka-bridge</title>
<h1>mqtt-kafka-bridge</h1>
<ul>
<li><a href="/readyz">ready?</a>
<li><a href="/livez">alive?</a>
<li><a href="/metrics">metrics</a>
<li><a href="/status.json">all that can be shown, as JSON</a>
</ul>
</html>
"#;

/// Asks for the token, with a sentence above the field.
pub(super) fn login(sentence: &'static str) -> String {
    format!(
        r#"<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>mqtt-kafka-bridge: login</title>
<h1>mqtt-kafka-bridge</h1>
<p>{sentence}
<form method="post" action="/login">
<input type="password" name="token" autocomplete="current-password" autofocus required>
<button>Log in</button>
</form>
</html>
"#
    )
}
