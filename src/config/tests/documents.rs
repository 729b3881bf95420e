//! `config.toml` and `docs/configuration.md` agree with the table of keys.

use std::fmt::Write;
use std::path::Path;

use super::{MINIMAL, golden, legal};
use crate::config::keys::{Fallback, KEYS, Key, PROPERTIES, SECTIONS, Section};
use crate::config::{Config, KAFKA_SETTINGS};
use crate::exit::{ENDINGS, Ending, Exit};

const HEAD: &str = "\
# mqtt-kafka-bridge: every key, with its unit, its default and its purpose.
#
# The lines without # are enough to start. A line with # shows the default, or an
# example where it says so. Durations and sizes have a unit: \"5s\", \"10 MiB\".
# The environment overrides each key, as BRIDGE_SECTION__KEY (docs/configuration.md).
# ${VARIABLE} in a value is replaced by the environment variable; write $$ for a dollar sign.
";

/// The shipped `config.toml`.
pub(in crate::config) fn example() -> String {
    let mut out = HEAD.to_owned();
    for section in SECTIONS {
        let header = header(section.name);
        out.push_str(&format!("\n{}{header}", comment(section.about)));
        for key in KEYS.iter().filter(|key| key.section() == section.name) {
            out.push_str(&entry(key));
        }
    }
    out
}

fn header(section: &str) -> String {
    match section {
        "" => String::new(),
        "routes" => "[[routes]]\n".to_owned(),
        "routes.tests" => "#[[routes.tests]]\n".to_owned(),
        section => format!("[{section}]\n"),
    }
}

fn entry(key: &Key) -> String {
    if key.path == PROPERTIES {
        return properties();
    }
    let name = key.name();
    let (note, sign, text) = match key.fallback {
        Fallback::Required(text) => (" Required.".to_owned(), "", text),
        Fallback::RequiredUnless(text, other) => (format!(" Required, or {other}."), "", text),
        // Part of the minimum, because the session is persistent by default.
        Fallback::Unset(text) if key.path == "mqtt.client_id" => (String::new(), "", text),
        Fallback::Unset(text) => (" No default. Example:".to_owned(), "#", text),
        Fallback::Value(text) if key.path == "routes.qos" => (String::new(), "", text),
        Fallback::Value(text) => (String::new(), "#", text),
    };
    let sign = if key.is_of_test() { "#" } else { sign };
    let limits = key.form.limits().map_or_else(String::new, |limits| format!(" ({limits})"));
    format!("{}{sign}{name} = {}\n", comment(&format!("{}{limits}{note}", key.why)), key.toml(text))
}

fn properties() -> String {
    let key = KEYS.iter().find(|key| key.path == PROPERTIES).expect("it is in the table");
    let set: Vec<_> =
        KAFKA_SETTINGS.iter().map(|(name, value, _)| format!("{name}={value}")).collect();
    format!(
        "\n{}[kafka.properties]\n#compression.type = \"lz4\"\n#security.protocol = \"SASL_SSL\"\n\
         #sasl.mechanism = \"SCRAM-SHA-256\"\n#sasl.username = \"bridge\"\n\
         #sasl.password = \"${{KAFKA_PASSWORD}}\"\n#ssl.ca.location = \"/etc/ssl/private-ca.pem\"\n",
        comment(&format!(
            "{} The bridge sets these itself, and refuses other values: {}. Examples:",
            key.why,
            set.join(", ")
        ))
    )
}

/// A file of the repository.
fn shipped(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"))
}

/// Lines of at most 100 characters, each after `# `.
fn comment(text: &str) -> String {
    let mut lines = vec![String::from("#")];
    for word in text.split_whitespace() {
        let last = lines.last_mut().expect("there is one");
        if last.len() + 1 + word.len() > 100 {
            lines.push(format!("# {word}"));
        } else {
            last.push_str(&format!(" {word}"));
        }
    }
    lines.join("\n") + "\n"
}

#[test]
fn the_shipped_file_is_what_the_table_says() {
    golden("config.toml", &example());
}

#[test]
fn the_shipped_file_loads_and_is_the_minimal_example() {
    assert_eq!(legal(&shipped("config.toml"), &[]), legal(MINIMAL, &[]));
}

#[test]
fn what_the_shipped_file_shows_as_defaults_are_the_defaults() {
    let text = shipped("config.toml");
    let shipped = text.as_str();
    let mut shown = 0;
    for key in KEYS {
        let Fallback::Value(text) = key.fallback else { continue };
        if key.is_of_test() {
            continue;
        }
        let setting = format!("{} = {}", key.name(), key.toml(text));
        let section = match key.section() {
            "" => shipped,
            name => shipped.split(&header(name)).nth(1).unwrap_or_default(),
        };
        let section = section.split("\n[").next().unwrap_or_default();
        let (commented, live) = (format!("\n#{setting}\n"), format!("\n{setting}\n"));
        assert!(section.contains(&commented) || section.contains(&live), "{setting}");
        let uncommented = shipped.replacen(&commented, &live, 1);
        assert_eq!(legal(&uncommented, &[]), legal(shipped, &[]), "{setting}");
        shown += 1;
    }
    assert!(shown > 20);
    for key in KEYS {
        assert!(shipped.contains(key.name()), "{} is missing", key.path);
    }
}

#[test]
fn the_example_of_a_route_in_the_shipped_file_is_legal_without_its_signs() {
    let text = shipped("config.toml");
    let (before, after) = text.split_once("#[[routes.tests]]\n").expect("it is there");
    let (section, rest) = after.split_once("\n\n").expect("another section follows");
    // What excludes one another is taken one at a time.
    let several =
        ["payload_base64", "payload_file", "tombstone", "dropped", "dead_letter", "connection"];
    let keys = section.lines().filter_map(|line| line.strip_prefix('#'));
    let keys = keys.filter(|line| !line.starts_with(' '));
    let keys: Vec<_> =
        keys.filter(|line| !several.iter().any(|key| line.starts_with(key))).collect();
    let config = legal(&format!("{before}[[routes.tests]]\n{}\n\n{rest}", keys.join("\n")), &[]);
    assert_eq!(config.routes[0].tests.len(), 1);
    assert!(keys.len() > 10);
}

/// The tables of `docs/configuration.md` come from the table of keys; the prose does not.
#[test]
fn the_documentation_is_what_the_table_says() {
    let mut document = shipped("docs/configuration.md");
    for section in SECTIONS {
        let (begin, end) = (format!("<!-- keys of {} -->\n", name_of(section)), "<!-- end -->");
        let at =
            document.find(&begin).unwrap_or_else(|| panic!("{begin} is missing")) + begin.len();
        let to = at + document[at..].find(end).expect("each table has an end");
        document.replace_range(at..to, &table(section.name));
    }
    for key in KEYS {
        assert!(document.contains(&format!("`{}`", key.path)), "{} is missing", key.path);
    }
    golden("docs/configuration.md", &document);
}

/// As the mark in the document has it.
fn name_of(section: &Section) -> &'static str {
    if section.name.is_empty() { "no section" } else { section.name }
}

fn table(section: &str) -> String {
    let mut out =
        String::from("| key | value | default | purpose | on failure |\n|---|---|---|---|---|\n");
    for key in KEYS.iter().filter(|key| key.section() == section) {
        let default = match key.fallback {
            Fallback::Required(_) => "required".to_owned(),
            Fallback::RequiredUnless(_, other) => format!("required, or `{other}`"),
            Fallback::Unset(_) => "none".to_owned(),
            Fallback::Value(text) => format!("`{}`", key.toml(text)),
        };
        let Key { path, form, why, failure, .. } = key;
        let why = why.replace('|', "\\|");
        writeln!(out, "| `{path}` | {form} | {default} | {why} | {failure} |")
            .expect("writing to a string cannot fail");
    }
    out
}

#[test]
fn every_cause_of_exit_code_70_is_documented() {
    let document = shipped("docs/operations.md");
    for cause in crate::exit::Cause::ALL {
        assert!(document.contains(&format!("\n| `{}` | ", cause.name())), "{cause:?}");
    }
}

/// The one table of exit codes; the other documents refer to it.
#[test]
fn the_table_of_exit_codes_is_that_of_the_code() {
    let mut table = String::from("| code | from | meaning | what to do |\n|---|---|---|---|\n");
    for Ending { code, from, meaning, advice } in ENDINGS {
        let from: Vec<_> = from.iter().map(|name| format!("`{name}`")).collect();
        let from = from.join(", ").replace("`any`", "any");
        writeln!(table, "| {code} | {from} | {meaning} | {advice} |").expect("a string grows");
    }
    let mut document = shipped("docs/operations.md");
    let (begin, end) = ("<!-- exit codes -->\n", "<!-- end -->");
    let at = document.find(begin).expect("the mark is there") + begin.len();
    let to = at + document[at..].find(end).expect("the table has an end");
    document.replace_range(at..to, &table);
    golden("docs/operations.md", &document);
    for exit in Exit::ALL {
        assert!(ENDINGS.iter().any(|ending| i32::from(ending.code) == exit.code()), "{exit:?}");
    }
    assert!(ENDINGS.is_sorted_by_key(|ending| ending.code));
    for other in ["README.md", "docs/configuration.md", "docs/map.md", "docs/scaling.md"] {
        let text = shipped(other);
        assert!(text.contains("operations.md#exit-codes)"), "{other} refers to the table");
        assert!(!text.contains("| 78 |"), "{other} has a table of its own");
    }
}

#[test]
fn defaults_are_legal_and_within_their_own_limits() {
    for key in KEYS {
        if let (Fallback::Value(text), Some(variable)) = (&key.fallback, key.variable()) {
            let variable = (variable, (*text).to_owned());
            let config = Config::from_toml(MINIMAL, "config.toml", [variable]);
            assert_eq!(config, Ok(legal(MINIMAL, &[])), "{}", key.path);
        }
    }
}
