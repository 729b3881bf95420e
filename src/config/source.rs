//! Reads the file and the environment into one value for each key. Refuses unknown keys.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::errors::{ConfigError, Location};
use super::keys::{KEYS, Key, PREFIX, PROPERTIES, SECTIONS, TESTS};
use super::property_table;
use super::suggest::{distance, nearest};
use super::value::Value;

/// The value that a user wrote for one key, and its location.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) location: Location,
    pub(super) value: Value,
}

/// Everything that a user wrote.
#[derive(Debug, Default)]
pub(super) struct Source {
    /// By path: `mqtt.url`, `mqtt[1].tls.ca_file`, `routes[0].filter`.
    pub(super) keys: BTreeMap<String, Entry>,
    /// `[kafka.properties]`, by librdkafka's names.
    pub(super) properties: BTreeMap<String, Entry>,
    /// Where each section of the file begins, as paths name it: `mqtt.tls`, `routes[0]`.
    pub(super) sections: BTreeMap<String, Location>,
    /// The number of sections `[mqtt]`; none counts as one, whose keys are missing.
    pub(super) mqtt: usize,
    /// The number of routes.
    pub(super) routes: usize,
    /// The examples of all routes: the route of each, and its number among those of that route.
    pub(super) tests: Vec<(usize, usize)>,
    /// The errors so far.
    pub(super) errors: Vec<ConfigError>,
}

impl Source {
    /// Reads the file, overrides it from the environment, then replaces `${VAR}`.
    ///
    /// # Errors
    /// Where the text is not TOML. Other errors would be misleading then.
    pub(super) fn read(
        text: &str,
        env: &BTreeMap<String, String>,
    ) -> Result<Self, Vec<ConfigError>> {
        let mut source = Self::default();
        source.read_file(text, env)?;
        source.read_environment(env);
        source.expand_variables(env);
        Ok(source)
    }

    /// How many sections of this name there are.
    pub(super) fn count(&self, root: &str) -> usize {
        match root {
            "mqtt" => self.mqtt.max(1),
            "routes" => self.routes,
            TESTS => self.tests.len(),
            _ => 1,
        }
    }

    /// What the `at`-th section of this name is called in paths: `mqtt`, or `mqtt[1]` where there are
    /// several.
    pub(super) fn label(&self, root: &str, at: usize) -> String {
        match root {
            "mqtt" if self.mqtt <= 1 => root.to_owned(),
            "mqtt" | "routes" => format!("{root}[{at}]"),
            TESTS => match self.tests.get(at) {
                Some((route, nth)) => format!("routes[{route}].tests[{nth}]"),
                None => root.to_owned(),
            },
            _ => root.to_owned(),
        }
    }

    fn refuse(&mut self, location: Location, key: &str, text: String) {
        self.errors.push(ConfigError { location, key: key.to_owned(), text });
    }

    fn read_file(
        &mut self,
        text: &str,
        env: &BTreeMap<String, String>,
    ) -> Result<(), Vec<ConfigError>> {
        let lines = Lines::new(text);
        let (document, syntax) = DeTable::parse_recoverable(text);
        for error in &syntax {
            let location = error.span().map_or(Location::File, |span| lines.location(span));
            let more = if mixes_one_and_several(text) { MIXED } else { "" };
            let what = error.message().replace('\n', ", ");
            self.refuse(location, "", format!("invalid TOML: {what}{more}"));
        }
        if !syntax.is_empty() {
            return Err(std::mem::take(&mut self.errors));
        }
        // Before any path is made: the paths of several have an index.
        self.mqtt = count_mqtt(document.get_ref(), env);
        for (name, content) in document.get_ref() {
            let location = lines.location(name.span());
            match (name.get_ref().as_ref(), content.get_ref()) {
                ("mqtt", DeValue::Array(sections)) => {
                    for (at, section) in sections.iter().enumerate() {
                        let label = self.label("mqtt", at);
                        self.read_element(section, "mqtt", &label, &["url"], &lines);
                    }
                }
                ("routes", DeValue::Array(routes)) => {
                    for route in routes {
                        let label = self.label("routes", self.routes);
                        self.routes += 1;
                        let required = ["filter", "kafka_topic"];
                        self.read_element(route, "routes", &label, &required, &lines);
                    }
                }
                ("routes", other) => {
                    self.refuse_kind(location, "routes", "[[routes]], in double brackets", other);
                    // The user meant a route, so it is not reported as missing too.
                    self.routes = self.routes.max(1);
                    self.keys.extend(["filter", "kafka_topic"].map(|name| {
                        let entry = Entry { location: Location::File, value: Value::Refused };
                        (format!("routes[0].{name}"), entry)
                    }));
                }
                (name, DeValue::Table(table)) if is_section(name) && !name.contains('.') => {
                    let label = self.label(name, 0);
                    self.sections.insert(label.clone(), location);
                    self.read_section(name, &label, table, &lines);
                }
                (name, other) if is_section(name) => {
                    self.refuse_kind(location, name, &format!("a section [{name}]"), other);
                }
                (name, DeValue::Table(_) | DeValue::Array(_)) => {
                    let near = nearest_section("", name);
                    self.refuse(location, name, format!("unknown section, did you mean {near}?"));
                }
                (name, value) if KEYS.iter().any(|key| key.path == name) => {
                    self.keys.insert(name.to_owned(), Entry { location, value: value_of(value) });
                }
                (name, _) => {
                    let near = nearest_key("", name);
                    self.refuse(location, name, format!("unknown key, did you mean {near}?"));
                }
            }
        }
        Ok(())
    }

    fn refuse_kind(&mut self, location: Location, key: &str, expected: &str, found: &DeValue<'_>) {
        let found = value_of(found).found();
        self.refuse(location, key, format!("expected {expected}, found {found}"));
    }

    /// One of several sections of this name. If it is none, its `required` keys are not reported as
    /// missing too.
    fn read_element(
        &mut self,
        element: &Spanned<DeValue<'_>>,
        section: &str,
        label: &str,
        required: &[&str],
        lines: &Lines,
    ) {
        let location = lines.location(element.span());
        self.sections.insert(label.to_owned(), location.clone());
        match element.get_ref() {
            DeValue::Table(table) => self.read_section(section, label, table, lines),
            other => {
                self.refuse_kind(location, label, "a table", other);
                self.keys.extend(required.iter().map(|name| {
                    let entry = Entry { location: Location::File, value: Value::Refused };
                    (format!("{label}.{name}"), entry)
                }));
            }
        }
    }

    /// The keys of `section`, which is called `label` in paths.
    fn read_section(&mut self, section: &str, label: &str, table: &DeTable<'_>, lines: &Lines) {
        for (name, content) in table {
            let location = lines.location(name.span());
            let path = format!("{label}.{}", name.get_ref());
            let name_of = name.get_ref().as_ref();
            let known = KEYS.iter().any(|key| key.section() == section && key.name() == name_of);
            let inner = format!("{section}.{name_of}");
            match content.get_ref() {
                DeValue::Table(properties) if path == PROPERTIES => {
                    self.sections.insert(path, location);
                    self.read_properties("", properties, lines);
                }
                other if path == PROPERTIES => {
                    self.refuse_kind(
                        location,
                        PROPERTIES,
                        "a table of librdkafka properties",
                        other,
                    );
                }
                DeValue::Array(tests) if inner == TESTS => {
                    let route = self.routes.saturating_sub(1);
                    for (nth, test) in tests.iter().enumerate() {
                        self.tests.push((route, nth));
                        let label = format!("{path}[{nth}]");
                        self.read_element(test, TESTS, &label, &["mqtt_topic"], lines);
                    }
                }
                other if inner == TESTS => {
                    self.refuse_kind(
                        location,
                        &path,
                        "[[routes.tests]], in double brackets",
                        other,
                    );
                }
                value if known => {
                    self.keys.insert(path, Entry { location, value: value_of(value) });
                }
                DeValue::Table(table) if is_section(&inner) => {
                    self.sections.insert(path.clone(), location);
                    self.read_section(&inner, &path, table, lines);
                }
                other if is_section(&inner) => {
                    self.refuse_kind(location, &path, &format!("a section [{inner}]"), other);
                }
                DeValue::Table(_) if has_sections(section) => {
                    let near = nearest_section(section, name_of);
                    self.refuse(location, &path, format!("unknown section, did you mean {near}?"));
                }
                _ => {
                    let text = match property_of(section, name_of) {
                        _ if KEYS.iter().any(|key| key.path == name_of) => format!(
                            "`{name_of}` stands at the top of the file, before the first section"
                        ),
                        Some(property) => format!(
                            "it is a property of librdkafka: write {property} below [{PROPERTIES}]"
                        ),
                        None => {
                            format!("unknown key, did you mean {}?", nearest_key(section, name_of))
                        }
                    };
                    self.refuse(location, &path, text);
                }
            }
        }
    }

    /// `linger.ms = 1` is a table within a table to TOML, and one property to librdkafka.
    fn read_properties(&mut self, prefix: &str, table: &DeTable<'_>, lines: &Lines) {
        for (name, content) in table {
            let property = format!("{prefix}{}", name.get_ref());
            match content.get_ref() {
                DeValue::Table(inner) => {
                    self.read_properties(&format!("{property}."), inner, lines)
                }
                value => {
                    let location = lines.location(name.span());
                    let is_key = |key: &Key| key.section() == "kafka" && key.name() == property;
                    if KEYS.iter().any(is_key) {
                        let text = "it is a key of [kafka]: write it above [kafka.properties]";
                        self.refuse(location, &format!("{PROPERTIES}.{property}"), text.to_owned());
                        continue;
                    }
                    self.properties.insert(property, Entry { location, value: value_of(value) });
                }
            }
        }
    }

    fn read_environment(&mut self, env: &BTreeMap<String, String>) {
        let mut routes = BTreeMap::new();
        for (variable, text) in env {
            if let Some(key) = KEYS
                .iter()
                .find(|key| key.section().is_empty() && key.variable().as_ref() == Some(variable))
            {
                let value = Value::Text(text.clone());
                let location = Location::Variable(variable.clone());
                self.keys.insert(key.path.to_owned(), Entry { location, value });
                continue;
            }
            // Orchestrators inject names such as BRIDGE_PORT; all other names of the bridge have a double
            // underscore.
            let Some(name) = variable.strip_prefix(PREFIX).filter(|name| name.contains("__"))
            else {
                continue;
            };
            let entry = Entry {
                location: Location::Variable(variable.clone()),
                value: Value::Text(text.clone()),
            };
            let parts: Vec<_> = name.split("__").collect();
            match parts[..] {
                ["KAFKA", "PROPERTIES", property] if is_upper(property) => {
                    let property = property.to_lowercase().replace('_', ".");
                    self.properties.insert(property, entry);
                }
                ["ROUTES", index, key] if is_known("ROUTES", &[key]) && is_index(index) => {
                    let index: u32 = index.parse().unwrap_or_default();
                    routes.entry(index).or_insert_with(Vec::new).push((key.to_lowercase(), entry));
                }
                ["MQTT", index, ref keys @ ..] if is_known("MQTT", keys) && is_index(index) => {
                    let index = index.parse().unwrap_or(usize::MAX);
                    if index >= self.mqtt {
                        let text = format!(
                            "expected the index of a connection, 0 to {} (the last one appends a \
                             connection), found {index}",
                            self.mqtt
                        );
                        self.refuse(entry.location, "", text);
                        continue;
                    }
                    let path = format!("{}.{}", self.label("mqtt", index), keys.join("."));
                    self.keys.insert(path.to_lowercase(), entry);
                }
                [root, ref keys @ ..] if is_known(root, keys) && root != "ROUTES" => {
                    let label = self.label(&root.to_lowercase(), 0);
                    self.keys.insert(format!("{label}.{}", keys.join(".")).to_lowercase(), entry);
                }
                _ => {
                    let names = KEYS.iter().filter_map(Key::variable);
                    let near = nearest(variable, names, distance);
                    self.refuse(
                        entry.location,
                        "",
                        format!("this variable names no key, did you mean {near}?"),
                    );
                }
            }
        }
        for (index, entry) in routes {
            let index = index as usize;
            for (key, entry) in entry {
                if index > self.routes {
                    let text = format!(
                        "expected the index of a route, 0 to {} (the last one appends a route), found {index}",
                        self.routes
                    );
                    self.refuse(entry.location, "", text);
                } else {
                    self.keys.insert(format!("routes[{index}].{key}"), entry);
                }
            }
            if index == self.routes {
                self.routes += 1;
            }
        }
    }

    /// Replaces `${VAR}` in the values of the file, but not in the values of variables.
    fn expand_variables(&mut self, env: &BTreeMap<String, String>) {
        let keys = self.keys.iter_mut().map(|(path, entry)| (path.clone(), entry));
        let properties =
            self.properties.iter_mut().map(|(name, entry)| (format!("{PROPERTIES}.{name}"), entry));
        for (path, Entry { location, value }) in keys.chain(properties) {
            if matches!(location, Location::Line(_))
                && let Err(text) = expand_value(value, env)
            {
                self.errors.push(ConfigError { location: location.clone(), key: path, text });
                *value = Value::Refused;
            }
        }
    }
}

fn is_section(name: &str) -> bool {
    !name.is_empty() && SECTIONS.iter().any(|section| section.name == name)
}

/// Whether there are sections below this one.
fn has_sections(section: &str) -> bool {
    SECTIONS.iter().any(|other| other.root() == section && other.name != section)
}

/// The section that the user probably meant by `name` in `section`, as it is written.
fn nearest_section(section: &str, name: &str) -> String {
    let names = SECTIONS.iter().map(|section| section.name).filter(|name| !name.is_empty());
    let names = names.filter(|name| section.is_empty() || name.contains('.'));
    let near = nearest(name, names, |name, known| {
        let tail = known.rsplit_once('.').map_or(known, |(_, tail)| tail);
        distance(name, known).min(distance(name, tail))
    });
    match near.as_str() {
        // Other clients' names for it.
        _ if ["birth", "last_will", "lwt", "will"].contains(&name) => "[mqtt.status]".to_owned(),
        "routes" => "[[routes]]".to_owned(),
        TESTS => "[[routes.tests]]".to_owned(),
        near => format!("[{near}]"),
    }
}

fn is_upper(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_lowercase())
}

/// The number that an environment variable has for one of several sections.
fn is_index(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u32>().is_ok()
}

/// What the error for a duplicate key says too where `[mqtt]` stands beside `[[mqtt]]`.
const MIXED: &str = " (of several connections each is written [[mqtt]], the first too)";

/// Whether `[mqtt]` and `[[mqtt]]` are both in this text.
fn mixes_one_and_several(text: &str) -> bool {
    let has = |header: &str| text.lines().any(|line| line.trim_start().starts_with(header));
    has("[mqtt]") && has("[[mqtt]]")
}

/// How many sections `[mqtt]` or `[[mqtt]]` there are: those of the file, and those that the environment
/// appends.
fn count_mqtt(document: &DeTable<'_>, env: &BTreeMap<String, String>) -> usize {
    let in_file = document.iter().find(|(name, _)| name.get_ref() == "mqtt");
    let mut count = match in_file.map(|(_, content)| content.get_ref()) {
        None => 0,
        Some(DeValue::Array(sections)) => sections.len(),
        Some(_) => 1,
    };
    let begins = |prefix: &str| {
        let from = env.range(prefix.to_owned()..).next();
        from.is_some_and(|(name, _)| name.starts_with(prefix))
    };
    // A variable without an index is of the first.
    let unindexed = format!("{PREFIX}MQTT__");
    let is_unindexed = |name: &String| {
        name.strip_prefix(&unindexed)
            .is_some_and(|key| !key.starts_with(|c: char| c.is_ascii_digit()))
    };
    if count == 0 && env.keys().any(is_unindexed) {
        count = 1;
    }
    while begins(&format!("{PREFIX}MQTT__{count}__")) {
        count += 1;
    }
    count
}

fn is_known(root: &str, names: &[&str]) -> bool {
    let path = format!("{root}.{}", names.join("."));
    is_upper(&path) && path != "KAFKA.PROPERTIES" && {
        let path = path.to_lowercase();
        KEYS.iter().any(|key| key.path == path)
    }
}

fn expand_value(value: &mut Value, env: &BTreeMap<String, String>) -> Result<(), String> {
    match value {
        Value::Text(written) => {
            let text = expand(written, env)?;
            if text != *written {
                *value = Value::Filled { written: written.clone(), text };
            }
        }
        Value::List(items) => {
            for item in items {
                expand_value(item, env)?;
            }
        }
        Value::Table(entries) => {
            for (_, item) in entries {
                expand_value(item, env)?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// Replaces `${VAR}` by the variable and `$$` by a dollar sign; any other `$` stays, as in
/// `$share/group/#`.
fn expand(text: &str, env: &BTreeMap<String, String>) -> Result<String, String> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, dollar) = rest.split_at(at);
        expanded.push_str(before);
        if let Some(after) = dollar.strip_prefix("$$") {
            expanded.push('$');
            rest = after;
        } else if let Some(after) = dollar.strip_prefix("${") {
            let (name, after) = after
                .split_once('}')
                .filter(|(name, _)| is_variable_name(name))
                .ok_or("expected the name of a variable and } after ${ (a dollar sign itself is written $$)")?;
            let value = env
                .get(name)
                .ok_or_else(|| format!("the environment variable {name} is not set"))?;
            expanded.push_str(value);
            rest = after;
        } else {
            expanded.push('$');
            rest = &dollar[1..];
        }
    }
    expanded.push_str(rest);
    Ok(expanded)
}

fn is_variable_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn value_of(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => Value::Number(number.to_string()),
        DeValue::Float(number) => Value::Number(number.to_string()),
        DeValue::Boolean(value) => Value::Bool(*value),
        DeValue::Array(items) => {
            Value::List(items.iter().map(|item| value_of(item.get_ref())).collect())
        }
        DeValue::Datetime(_) => Value::Other("a date or time"),
        DeValue::Table(entries) => {
            let entries = entries.iter();
            Value::Table(
                entries.map(|(n, v)| (n.get_ref().to_string(), value_of(v.get_ref()))).collect(),
            )
        }
    }
}

/// What other MQTT clients call our keys, without `_` and `-` and without tls, ssl or mqtt in front.
const OTHER_NAMES: &[(&str, &str)] = &[
    ("address", "mqtt.url"),
    ("broker", "mqtt.url"),
    ("host", "mqtt.url"),
    ("port", "mqtt.url"),
    ("server", "mqtt.url"),
    ("brokers", "mqtt.urls"),
    ("servers", "mqtt.urls"),
    ("user", "mqtt.username"),
    ("cleansession", "mqtt.session_expiry"),
    ("cleanstart", "mqtt.session_expiry"),
    ("topic", "routes.filter"),
    ("topics", "routes.filter"),
    ("willtopic", "mqtt.status.mqtt_topic"),
    ("willpayload", "mqtt.status.offline"),
    ("ca", "mqtt.tls.ca_file"),
    ("cacert", "mqtt.tls.ca_file"),
    ("cafile", "mqtt.tls.ca_file"),
    ("cert", "mqtt.tls.cert_file"),
    ("certfile", "mqtt.tls.cert_file"),
    ("certificate", "mqtt.tls.cert_file"),
    ("key", "mqtt.tls.key_file"),
    ("keyfile", "mqtt.tls.key_file"),
    ("privatekey", "mqtt.tls.key_file"),
    ("keypassword", "mqtt.tls.key_password_file"),
    ("insecure", "mqtt.tls.insecure_skip_verify"),
    ("verify", "mqtt.tls.insecure_skip_verify"),
    ("sni", "mqtt.tls.server_name"),
    ("servername", "mqtt.tls.server_name"),
    ("version", "mqtt.tls.min_version"),
];

/// The key that other MQTT clients call `name`.
fn other_name(section: &str, name: &str) -> Option<&'static str> {
    if !["mqtt", "mqtt.tls"].contains(&section) {
        return None;
    }
    let plain: String = name.chars().filter(|c| !matches!(c, '_' | '-')).collect();
    let plain = plain.to_ascii_lowercase();
    let bare = ["tls", "ssl", "mqtt"].iter().find_map(|prefix| plain.strip_prefix(prefix));
    let bare = bare.unwrap_or(&plain);
    OTHER_NAMES.iter().find(|(other, _)| *other == bare).map(|(_, key)| *key)
}

/// The property of librdkafka that the user meant by `name` in `[kafka]`: `sasl_username` is `sasl.username`.
fn property_of(section: &str, name: &str) -> Option<String> {
    let property = name.replace('_', ".");
    (section == "kafka" && property_table::rule(&property).is_some()).then_some(property)
}

/// The path of the key that the user probably meant by `name` in `section`.
fn nearest_key(section: &str, name: &str) -> String {
    if let Some(key) = other_name(section, name) {
        return key.to_owned();
    }
    let candidates = KEYS.iter().map(|key| key.path.to_owned());
    nearest(name, candidates, |name, path| {
        let (of, key) = path.rsplit_once('.').unwrap_or(("", path));
        distance(name, key) + if of == section { 0 } else { 2 }
    })
}

/// Line numbers of byte offsets.
struct Lines {
    /// Where each line ends.
    ends: Vec<usize>,
}

impl Lines {
    fn new(text: &str) -> Self {
        Self { ends: text.match_indices('\n').map(|(end, _)| end).collect() }
    }

    fn location(&self, span: Range<usize>) -> Location {
        Location::Line(1 + self.ends.partition_point(|end| *end < span.start))
    }
}
