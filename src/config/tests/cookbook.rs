//! Each recipe of docs/routes.md loads, and its examples hold; its tables are those of the code.

use std::fmt::Write;
use std::path::Path;

use super::{golden, legal};
use crate::config::keys::KEYS;
use crate::route::words::WORDS;

/// Everything but the routes.
const REST: &str = r#"
[mqtt]
url = "mqtt://localhost:1883"
client_id = "bridge-1"

[kafka]
brokers = ["localhost:9092"]
"#;

/// The fewest recipes, and the fewest examples of all of them.
const RECIPES_MIN: usize = 15;

fn document() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/routes.md");
    std::fs::read_to_string(path).expect("it is there")
}

#[test]
fn each_recipe_loads_and_its_examples_hold() {
    let text = document();
    let (_, recipes) = text.split_once("\n# Recipes\n").expect("a part");
    let recipes: Vec<_> = recipes.split("\n## ").skip(1).collect();
    assert!(recipes.len() >= RECIPES_MIN, "{} recipes", recipes.len());
    let mut wrong = String::new();
    for recipe in recipes {
        let title = recipe.lines().next().unwrap_or_default();
        let (_, toml) = recipe.split_once("```toml\n").expect("a recipe");
        let (toml, _) = toml.split_once("```").expect("an end");
        let config = legal(&format!("{toml}{REST}"), &[]);
        assert!(config.routes.iter().all(|route| !route.tests.is_empty()), "{title}");
        for trial in config.trials(Path::new("")) {
            for difference in trial.differences {
                writeln!(wrong, "{title}: {}: {difference}", trial.path).expect("a string");
            }
        }
        assert_eq!(legal(&config.describe(), &[]), config, "{title}");
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// What conditions are made of, each with an example and whether that holds for the message of docs/routes.md.
const CONDITIONS: &[(&str, &str, &str, bool)] = &[
    ("=", "equal", "{site} = \"berlin\"", true),
    ("!=", "not equal", "{json./value} != 21.5", false),
    ("<", "less", "{json./value} < 21.5", false),
    ("<=", "less or equal", "{json./value} <= 21.5", true),
    (">", "greater", "{json./value} > 9", true),
    (">=", "greater or equal", "{json./at} >= \"2026\"", true),
    ("~", "a regular expression is found in it", "{metric} ~ \"^(temp|humidity)$\"", true),
    ("in [..]", "equal to one of these", "{device} in [\"d7\", \"d8\"]", true),
    ("exists", "there is a value, be it `null`", "{json./site} exists", true),
    ("not", "holds if what follows does not", "not {json./error} exists", true),
    ("and", "both hold; binds closer than `or`", "{qos} = 1 and {retain} = true", false),
    ("or", "one of them holds", "{json./error} = null or {json./site} = null", true),
    ("( )", "what belongs together", "not ({qos} = 0 or {json./value} > 100)", true),
];

/// A route for the message of the tables, which stands in docs/routes.md, with these keys and this expectation.
fn route(name: &str, lines: &str, expected: &str) -> String {
    let text = document();
    let (_, message) = text.split_once("<!-- message -->\n```toml\n").expect("a mark");
    let (message, _) = message.split_once("```").expect("an end");
    let (filter, message) = message.split_once("[[routes.tests]]\n").expect("an example");
    format!(
        "[[routes]]\nname = {name:?}\nkafka_topic = \"t\"\n{filter}{lines}\n[[routes.tests]]\n{message}{expected}\n"
    )
}

#[test]
fn each_example_of_a_source_function_or_condition_gives_what_its_table_says() {
    let words = WORDS.iter().map(|word| {
        let (placeholder, gives) = word.example;
        assert!(placeholder.contains(word.name), "{} is not in its example", word.name);
        route(word.name, &format!("key = '{placeholder}'"), &format!("key = '{gives}'"))
    });
    let conditions = CONDITIONS.iter().map(|(written, _, example, holds)| {
        let mut parts = written.split([' ', '.']).filter(|part| !part.is_empty());
        assert!(parts.all(|part| example.contains(part)), "{written} is not in its example");
        let expected = if *holds { "kafka_topic = 't'" } else { "dropped = 'keep_if'" };
        route(written, &format!("keep_if = '{example}'"), expected)
    });
    for route in words.chain(conditions) {
        let trials = legal(&format!("{route}{REST}"), &[]).trials(Path::new(""));
        assert_eq!(trials.len(), 1);
        for trial in trials {
            assert!(trial.differences.is_empty(), "{}: {:?}", trial.route, trial.differences);
        }
    }
}

#[test]
fn each_key_of_a_route_is_explained_and_stands_in_a_recipe() {
    let text = document();
    let (explained, recipes) = text.split_once("\n# Recipes\n").expect("a part");
    for key in KEYS.iter().filter(|key| key.section().starts_with("routes")) {
        let name = key.name();
        let names = [format!("`{name}`"), format!("`{name} = ")];
        assert!(names.iter().any(|it| explained.contains(it)), "{} is explained nowhere", key.path);
        // A file of a payload would have to be there.
        let is_used = name == "payload_file" || recipes.contains(&format!("\n{name} = "));
        assert!(is_used, "{} is in no recipe", key.path);
    }
}

#[test]
fn the_tables_of_sources_functions_and_conditions_are_those_of_the_code() {
    let mut text = document();
    let mut fill = |mark: &str, rows: &str| {
        let begin = format!("<!-- {mark} -->\n");
        let at = text.find(&begin).expect("a mark") + begin.len();
        let to = at + text[at..].find("<!-- end -->").expect("an end");
        text.replace_range(at..to, rows);
    };
    let code = |text: &str| format!("`{}`", text.replace('|', "\\|"));
    for (mark, is_source) in [("sources", true), ("functions", false)] {
        let mut rows =
            "| written | what it is | for example | is |\n|---|---|---|---|\n".to_owned();
        for word in WORDS.iter().filter(|word| word.is_source() == is_source) {
            let (written, meaning) = (code(word.written), word.meaning.replace('|', "\\|"));
            let (example, gives) = (code(word.example.0), code(word.example.1));
            writeln!(rows, "| {written} | {meaning} | {example} | {gives} |").expect("a string");
        }
        fill(mark, &rows);
    }
    let mut rows = "| written | what it is | for example | holds |\n|---|---|---|---|\n".to_owned();
    for (written, meaning, example, holds) in CONDITIONS {
        let holds = if *holds { "yes" } else { "no" };
        writeln!(rows, "| `{written}` | {meaning} | {} | {holds} |", code(example))
            .expect("a string");
    }
    fill("conditions", &rows);
    golden("docs/routes.md", &text);
}
