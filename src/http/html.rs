//! The form that asks for the token.

/// Its type.
pub(super) const HTML: &str = "text/html; charset=utf-8";

/// Asks for the token, with a sentence above the field.
pub(super) fn login(sentence: &'static str) -> String {
    format!(
        r#"<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>mqtt-kafka-bridge: login</title>
<main>
<h1>mqtt-kafka-bridge</h1>
<p id="why">{sentence}
<form method="post" action="/login">
<label>Token <input type="password" name="token" autocomplete="current-password" autofocus required aria-describedby="why"></label>
<button>Log in</button>
</form>
</main>
</html>
"#
    )
}
