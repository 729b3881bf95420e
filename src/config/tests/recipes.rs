//! Each recipe of docs/security.md is a legal configuration, which librdkafka accepts.

use std::fs;

use super::legal;
use crate::pki::{Authority, Wish};

/// Everything but `[kafka]`.
const REST: &str = r#"
[mqtt]
url = "mqtt://localhost:1883"
client_id = "bridge-1"

[[routes]]
filter = "sensors/#"
kafka_topic = "sensors"
"#;

#[test]
fn each_recipe_for_kafka_loads() {
    let directory = tempfile::tempdir().expect("a directory");
    let put = |name: &str, content: &[u8]| {
        fs::write(directory.path().join(name), content).expect("written");
    };
    let authority = Authority::new("plant");
    let client = authority.issue(&Wish::client("bridge"));
    put("kafka_ca.pem", &authority.pem());
    put("kafka.crt", &client.certificate_pem());
    put("kafka.key", &client.key_pem());
    put("kafka.encrypted.key", &client.encrypted_key_pem("hunter2"));
    for name in ["kafka_key_password", "kafka_password", "kafka_client_secret"] {
        put(name, b"hunter2\n");
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/security.md");
    let text = fs::read_to_string(path).expect("it is there");
    let (_, kafka) = text.split_once("\n## Kafka\n").expect("a section");
    let kafka = kafka.split("\n## ").next().expect("its text");
    let recipes: Vec<_> = kafka.split("```toml\n").skip(1).collect();
    assert_eq!(recipes.len(), 11, "the recipes of the section");
    for recipe in recipes {
        let (recipe, _) = recipe.split_once("```").expect("an end");
        let here = format!("{}/", directory.path().display());
        let config = legal(&format!("{REST}{}", recipe.replace("/run/secrets/", &here)), &[]);
        assert!(!config.describe().contains("hunter2"), "{recipe}");
        // By token, exactly where the recipe says so.
        let properties = crate::config::filled(&config.kafka).expect("the files are there");
        let is_by_token = config.kafka.token_source(&properties).is_some();
        assert_eq!(
            is_by_token,
            recipe.contains("OAUTHBEARER") || recipe.contains("IAM"),
            "{recipe}"
        );
    }
}
