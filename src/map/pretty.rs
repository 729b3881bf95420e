//! Lays JSON out for people. Its numbers and strings keep their text.

/// How much a level is indented.
const INDENT: usize = 2;
/// From this level on nothing is indented further, so that deep nesting does not grow by its square.
const LEVELS_MAX: usize = 32;

/// The lines of a JSON document, or `None` if the text is neither an object nor an array.
pub(super) fn lines(json: &str) -> Option<Vec<String>> {
    let json = json.trim();
    if !json.starts_with(['{', '[']) || serde_json::from_str::<serde::de::IgnoredAny>(json).is_err()
    {
        return None;
    }
    let (mut lines, mut line, mut level) = (Vec::new(), String::new(), 0_usize);
    let mut turn = |line: &mut String, level: usize| {
        let next = " ".repeat(INDENT * level.min(LEVELS_MAX));
        lines.push(std::mem::replace(line, next));
    };
    let mut rest = json.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '"' => {
                line.push(c);
                let mut is_escaped = false;
                for c in rest.by_ref() {
                    line.push(c);
                    if c == '"' && !is_escaped {
                        break;
                    }
                    is_escaped = c == '\\' && !is_escaped;
                }
            }
            '{' | '[' => {
                line.push(c);
                while rest.next_if(char::is_ascii_whitespace).is_some() {}
                match rest.next_if(|next| matches!(next, '}' | ']')) {
                    Some(end) => line.push(end),
                    None => {
                        level += 1;
                        turn(&mut line, level);
                    }
                }
            }
            '}' | ']' => {
                level = level.saturating_sub(1);
                turn(&mut line, level);
                line.push(c);
            }
            ',' => {
                line.push(c);
                turn(&mut line, level);
            }
            ':' => line.push_str(": "),
            c if c.is_ascii_whitespace() => {}
            c => line.push(c),
        }
    }
    lines.push(line);
    Some(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_laid_out_and_its_scalars_keep_their_text() {
        let json = " {\"a\" :[1.50,-2E+3 , {} ,[ ]],\"b:{,\\\"\\\\\":\"x, y\", \"c\": null}\n";
        let expected = [
            "{",
            "  \"a\": [",
            "    1.50,",
            "    -2E+3,",
            "    {},",
            "    []",
            "  ],",
            "  \"b:{,\\\"\\\\\": \"x, y\",",
            "  \"c\": null",
            "}",
        ];
        assert_eq!(lines(json).expect("an object"), expected);
        for other in ["", "1", "\"{\"", "{", "[1,]", "{} {}"] {
            assert_eq!(lines(other), None, "{other}");
        }
    }

    #[test]
    fn deep_nesting_is_laid_out_in_proportion_to_its_size() {
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        let size: usize = lines(&deep).expect("an array").iter().map(String::len).sum();
        assert!(size < 200_000 * (INDENT * LEVELS_MAX + 2), "{size}");
    }
}
