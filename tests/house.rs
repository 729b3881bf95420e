//! The order of the house: no circle of imports among the files of `src/`, no `unsafe` but in one of
//! them, each file is a module, docs/architecture.md names what there is, and each log line has an event.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use architecture::{Named, Names, named, unnamed};
use circles::circles;
use imports::{Import, read_crate};
use modules::modules;
use mqtt_kafka_bridge::observe::events::{ALL, Event};
use mqtt_kafka_bridge::observe::health::{CODES, WARNINGS};

#[path = "house/architecture.rs"]
mod architecture;
#[path = "house/circles.rs"]
mod circles;
#[path = "house/code.rs"]
mod code;
#[path = "house/events.rs"]
mod events;
#[path = "house/imports.rs"]
mod imports;
#[path = "house/modules.rs"]
mod modules;

/// The one file that may call C.
const MAY_BE_UNSAFE: &str = "kafka/librdkafka.rs";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text of a file below `src/`.
fn read(file: &str) -> Option<String> {
    fs::read_to_string(root().join("src").join(file)).ok()
}

/// All files of `src/`, tests included, by their path below it.
fn sources() -> BTreeSet<String> {
    fn add(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                add(&path, found);
            } else if path.extension().is_some_and(|end| end == "rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    let src = root().join("src");
    add(&src, &mut found);
    let below = |path: PathBuf| path.strip_prefix(&src).expect("below src").display().to_string();
    found.into_iter().map(below).collect()
}

/// Fails with all of them, one a line.
fn assert_none(wrong: impl IntoIterator<Item = String>) {
    let wrong: Vec<_> = wrong.into_iter().collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

fn architecture() -> Vec<(usize, Named)> {
    named(&fs::read_to_string(root().join("docs/architecture.md")).expect("the document"))
}

#[test]
fn no_file_imports_another_in_a_circle() {
    let imports = ["lib.rs", "main.rs"].iter().flat_map(|root| read_crate(root, &read).imports);
    assert_none(circles(&imports.collect()).into_iter().map(|circle| {
        let files = circle.files.iter().map(|file| &**file).collect::<Vec<_>>().join(" ");
        let step = |Import { from, to, line, path }| {
            format!("\n  src/{from}:{line} uses {path} of src/{to}")
        };
        let way: String = circle.way.into_iter().map(step).collect();
        format!("a circle of imports ({files}):{way}")
    }));
}

#[test]
fn every_file_is_a_module() {
    let roots = ["lib.rs", "main.rs"];
    let modules: BTreeSet<_> = roots.iter().flat_map(|root| modules(root, &read)).collect();
    assert_none(
        sources()
            .difference(&modules)
            .map(|file| format!("src/{file} is no module of the library or the program")),
    );
}

#[test]
fn what_is_unsafe_is_in_one_file() {
    let elsewhere = sources().into_iter().filter(|file| file != MAY_BE_UNSAFE);
    assert_none(elsewhere.filter_map(|file| {
        let tokens = code::tokens(&read(&file).expect("a source"));
        let found = tokens.iter().find(|token| token.text == "unsafe")?;
        Some(format!("unsafe in src/{file}:{}", found.line))
    }));
}

#[test]
fn the_architecture_names_what_there_is() {
    let mut names = Names::default();
    for file in sources() {
        names.add(&file, &read(&file).expect("a source"));
    }
    assert_none(architecture().into_iter().filter_map(|(line, named)| {
        let (name, is_there) = match named {
            Named::Path(path) => {
                let is_there =
                    ["src", "", "docs"].iter().any(|at| root().join(at).join(&path).exists());
                (path, is_there)
            }
            Named::Item(segments) => (segments.join("::"), names.contains(&segments)),
        };
        (!is_there).then(|| format!("docs/architecture.md:{line} names {name}, which is nowhere"))
    }));
}

#[test]
fn the_architecture_names_every_file() {
    let files: Vec<_> =
        ["lib.rs", "main.rs"].iter().flat_map(|root| read_crate(root, &read).files).collect();
    let named = architecture();
    let unnamed = unnamed(&files, &named).into_iter();
    assert_none(unnamed.map(|file| format!("docs/architecture.md does not name {file}")));
}

/// What each file logs, without those that are for tests alone.
fn logged() -> Vec<(String, events::Logged)> {
    let files = sources().into_iter().filter(|file| !events::is_for_tests(file));
    let logged = files.map(|file| {
        let logged = events::logged(&file, &read(&file).expect("a source"));
        (file, logged)
    });
    logged.collect()
}

#[test]
fn each_log_line_has_an_event_of_the_table_at_its_level() {
    let logged = logged();
    let lines: usize = logged.iter().map(|(_, logged)| logged.lines.len()).sum();
    assert!(lines > 80, "the log lines were found: {lines}");
    assert_none(logged.iter().flat_map(|(file, logged)| events::wrong(file, logged, ALL)));
    let takers: Vec<_> = logged.iter().flat_map(|(_, logged)| &logged.takers).collect();
    assert!(takers.len() >= 3, "those that are handed an event were found: {takers:?}");
    assert_none(events::wrongly_handed(&logged, ALL));
}

#[test]
fn each_event_of_the_table_is_that_of_a_line() {
    let used: BTreeSet<_> = logged().into_iter().flat_map(|(_, logged)| logged.events).collect();
    let unused = ALL.iter().map(Event::name).filter(|name| !used.contains(&name.to_uppercase()));
    assert_none(unused.map(|name| format!("no log line has the event {name}")));
}

#[test]
fn names_of_events_are_different_and_snake_case() {
    let names: BTreeSet<_> = ALL.iter().map(Event::name).collect();
    assert_eq!(names.len(), ALL.len());
    let is_snake = |name: &&str| name.chars().all(|c| c.is_ascii_lowercase() || "_0".contains(c));
    assert_none(names.into_iter().filter(|name| !is_snake(name)).map(str::to_owned));
}

#[test]
fn each_event_of_a_warning_or_worse_says_where_help_is_and_it_is_there() {
    let document = fs::read_to_string(root().join("docs/operations.md")).expect("the document");
    let anchors = events::anchors(&document);
    assert_none(ALL.iter().filter_map(|event| {
        let name = event.name();
        let is_alert = event.level().is_none_or(|level| level.is_at_least(slog::Level::Warning));
        match event.help() {
            None if is_alert => Some(format!("{name} does not say what to do")),
            Some(help) if !anchors.contains(help) => {
                Some(format!("{name}: docs/operations.md has no heading #{help}"))
            }
            _ => None,
        }
    }));
}

#[test]
fn links_to_the_symptoms_and_to_what_is_observed_lead_somewhere() {
    let documents = ["README.md", "CHANGELOG.md", "docs/operations/README.md"];
    let documents = documents.map(PathBuf::from).into_iter();
    let below = fs::read_dir(root().join("docs")).expect("a directory");
    let below = below.map(|entry| Path::new("docs").join(entry.expect("an entry").file_name()));
    let documents: Vec<_> = documents
        .chain(below)
        .filter(|path| path.extension().is_some_and(|end| end == "md"))
        .collect();
    for target in ["operations.md", "observability.md"] {
        let path = Path::new("docs").join(target);
        let anchors =
            events::anchors(&fs::read_to_string(root().join(&path)).expect("the document"));
        assert_none(documents.iter().flat_map(|document| {
            let text = fs::read_to_string(root().join(document)).expect("a document");
            let own = if *document == path { "(" } else { target };
            let link = format!("{own}#");
            let links = text.split(&link).skip(1);
            let to = links.filter_map(|rest| rest.split_once(')')).map(|(to, _)| to.to_owned());
            let lost = to.filter(|to| !anchors.contains(to)).collect::<Vec<_>>();
            lost.into_iter()
                .map(|to| format!("{}: {target} has no heading #{to}", document.display()))
        }));
    }
}

/// In the alerts, their tests and the dashboard.
#[test]
fn what_monitoring_names_of_the_documents_is_there_and_each_alert_says_what_to_do() {
    let read = |path: &str| fs::read_to_string(root().join(path)).expect(path);
    for file in ["alerts.yml", "alerts_test.yml", "dashboard.json"] {
        let text = read(&format!("docs/operations/{file}"));
        let mut links = 0;
        for link in text.split("docs/").skip(1).filter(|rest| !rest.starts_with("operations/")) {
            let end = |c: char| !(c.is_ascii_alphanumeric() || "-_.#".contains(c));
            let link = link.split(end).next().expect("there is one").trim_end_matches('.');
            let (document, anchor) = link.split_once('#').unwrap_or((link, ""));
            let anchors = events::anchors(&read(&format!("docs/{document}")));
            assert!(anchor.is_empty() || anchors.contains(anchor), "{file}: {document}#{anchor}");
            links += usize::from(!anchor.is_empty());
        }
        assert!(links > 5, "{file}: the links were found");
    }
    let alerts = read("docs/operations/alerts.yml");
    for alert in alerts.split("- alert: ").skip(1) {
        let runbook = alert.contains("\n          runbook_url: docs/operations.md#");
        assert!(runbook, "no runbook_url: {}", alert.lines().next().unwrap_or_default());
    }
}

/// Reasons of `/readyz` with no alert of their own: alerts on other metrics tell of them, or MqttKafkaBridgeNotReady does
/// when they last.
const TOLD_OTHERWISE: [&str; 7] = [
    "draining",
    "actor_hangs",
    "actor_restarting",
    "mqtt_disconnected",
    "kafka_pending",
    "kafka_topic_held",
    "certificate_expires",
];

#[test]
fn each_reason_and_each_warning_has_an_alert_and_no_alert_waits_for_another() {
    let path = root().join("docs/operations/alerts.yml");
    let text = fs::read_to_string(path).expect("the alerts");
    let mut told = BTreeSet::new();
    for begin in ["bridge_not_ready{reason=", "bridge_warning{reason="] {
        for rest in text.split(begin).skip(1) {
            let wanted = rest.trim_start_matches('~').trim_start_matches('"');
            let wanted = wanted.split('"').next().expect("a value");
            // One word, or `begin(one|other)`.
            let (begin, ends) = wanted.split_once('(').unwrap_or((wanted, ""));
            let ends = ends.trim_end_matches(')').split('|');
            told.extend(ends.map(|end| format!("{begin}{end}")));
        }
    }
    let otherwise = TOLD_OTHERWISE.map(str::to_owned);
    assert!(otherwise.iter().all(|code| !told.contains(code)), "{told:?}");
    let told: BTreeSet<_> = told.into_iter().chain(otherwise).collect();
    let codes = CODES.iter().chain(&WARNINGS).map(|code| (*code).to_owned());
    let codes: BTreeSet<_> = codes.collect();
    assert_none(told.symmetric_difference(&codes).cloned());
}

/// A service of docker-compose.yml, with its lines.
fn services() -> Vec<(String, String)> {
    let text = fs::read_to_string(root().join("docker-compose.yml")).expect("the file");
    let (_, services) = text.split_once("\nservices:\n").expect("services");
    let (services, _) = services.split_once("\nvolumes:\n").expect("volumes behind them");
    let mut all: Vec<(String, String)> = Vec::new();
    for line in services.lines() {
        match line.strip_prefix("  ").and_then(|line| line.strip_suffix(':')) {
            Some(name) if !name.starts_with([' ', '#']) => {
                all.push((name.to_owned(), String::new()))
            }
            _ => {
                if let Some((_, lines)) = all.last_mut() {
                    *lines += &format!("{line}\n");
                }
            }
        }
    }
    all
}

/// What the stories on containers see of some services holds for all: those of a profile, too.
#[test]
fn each_service_of_compose_is_pinned_bounded_and_published_on_loopback_alone() {
    let services = services();
    let names: Vec<_> = services.iter().map(|(name, _)| name.as_str()).collect();
    let expected = ["mosquitto", "kafka", "topics", "bridge", "traffic", "prometheus", "grafana"];
    assert_eq!(names, expected);
    for (name, lines) in &services {
        let key = |key: &str| {
            let found = lines.lines().find_map(|line| line.strip_prefix(&format!("    {key}: ")));
            found.unwrap_or_else(|| panic!("{name} has no {key}"))
        };
        let tag = key("image").split_once(':').map(|(_, tag)| tag);
        assert!(tag.is_some_and(|tag| tag != "latest") || name == "bridge", "{name} is pinned");
        assert_eq!(key("logging"), "*logging", "{name}");
        assert!(key("mem_limit").ends_with(['m', 'g']), "{name}");
        assert!(!key("restart").is_empty(), "{name}");
        for port in lines.lines().filter(|line| line.starts_with("    ports:")) {
            assert!(port.starts_with("    ports: [\"127.0.0.1:"), "{name}: {port}");
            assert_eq!(port.matches('"').count(), 2, "{name}: {port}");
        }
        for file in lines.lines().filter_map(|line| line.strip_prefix("      - ./")) {
            let file = file.split(':').next().expect("a file");
            assert!(root().join(file).is_file(), "{name}: {file} is mounted, and is not there");
        }
    }
}

/// `UPDATE_GOLDEN=1` writes it.
#[test]
fn the_document_has_the_table_of_events() {
    let path = root().join("docs/observability.md");
    let is = fs::read_to_string(&path).expect("the document");
    let (begin, end) = ("<!-- events -->\n", "<!-- end -->");
    let at = is.find(begin).expect("the mark is there") + begin.len();
    let to = at + is[at..].find(end).expect("the table has an end");
    let mut should = is.clone();
    should.replace_range(at..to, &events::table(ALL));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &should).expect("the document is written");
    } else {
        let lines = is.lines().zip(should.lines());
        let wrong = lines.filter(|(is, should)| is != should);
        assert_none(wrong.map(|(is, _)| format!("not as in src/observe/events.rs: {is}")).take(3));
        assert_eq!(is.len(), should.len());
    }
}
