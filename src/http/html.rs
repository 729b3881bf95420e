//! The form that asks for the token.

/// Its type.
pub(super) const HTML: &str = "text/html; charset=utf-8";

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
