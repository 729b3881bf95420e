//! The bill of materials (docs/deploy/sbom) names what is linked, C included, and nothing that is only tested with.

use std::path::Path;

use serde_json::Value;

use crate::read;

fn bill() -> Value {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("target/tmp has a parent");
    let path = target.join("mqtt-kafka-bridge.cdx.json");
    let text = std::fs::read_to_string(&path);
    let text =
        text.unwrap_or_else(|error| panic!("{}: {error}; tests/run makes it", path.display()));
    serde_json::from_str(&text).unwrap()
}

/// The version of a crate in the bill.
fn version(bill: &Value, name: &str) -> Option<String> {
    let components = bill["components"].as_array().expect("components");
    let component = components.iter().find(|component| component["name"] == name)?;
    Some(component["version"].as_str().expect("a version").to_owned())
}

#[test]
fn the_bill_names_the_c_libraries_with_their_versions() {
    let bill = bill();
    // Their versions carry those of librdkafka, OpenSSL and zstd.
    for (name, of_c) in [("rdkafka-sys", "+2."), ("openssl-src", "+3."), ("zstd-sys", "+zstd.1.")] {
        let version = version(&bill, name).unwrap_or_else(|| panic!("no {name}"));
        assert!(version.contains(of_c), "{name} {version}");
        let lock = read("Cargo.lock");
        assert!(
            lock.contains(&format!("name = \"{name}\"\nversion = \"{version}\"")),
            "{name} {version}"
        );
    }
    for name in ["rdkafka", "openssl", "libz-sys", "actix", "tokio"] {
        assert!(version(&bill, name).is_some(), "no {name}");
    }
}

#[test]
fn the_bill_has_licences_and_nothing_that_is_not_released() {
    let bill = bill();
    for name in ["criterion", "proptest", "mqtt5"] {
        assert_eq!(version(&bill, name), None, "{name} is not in the released program");
    }
    let components = bill["components"].as_array().expect("components");
    assert!(components.len() > 100, "{}", components.len());
    let licences = |component: &&Value| component["licenses"].as_array().is_none_or(Vec::is_empty);
    let without: Vec<&Value> =
        components.iter().filter(licences).map(|component| &component["name"]).collect();
    assert_eq!(without, [&Value::Null; 0]);
}
