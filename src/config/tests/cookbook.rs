//! Each recipe of docs/routes.md loads, and its examples hold; its tables are those of the code.

use std::fmt::Write;
use std::path::Path;

use super::{golden, legal};
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

#[test]
fn the_tables_of_sources_and_functions_are_those_of_the_code() {
    let mut text = document();
    for (mark, is_source) in [("sources", true), ("functions", false)] {
        let begin = format!("<!-- {mark} -->\n");
        let at = text.find(&begin).expect("a mark") + begin.len();
        let to = at + text[at..].find("<!-- end -->").expect("an end");
        let mut table = String::from("| written | what it is |\n|---|---|\n");
        for word in WORDS.iter().filter(|word| word.is_source() == is_source) {
            let written = word.written.replace('|', "\\|");
            let meaning = word.meaning.replace('|', "\\|");
            writeln!(table, "| `{written}` | {meaning} |").expect("a string");
        }
        text.replace_range(at..to, &table);
    }
    golden("docs/routes.md", &text);
}
