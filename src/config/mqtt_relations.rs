//! What the keys of `[mqtt]` require of one another, and of those of other connections.

use super::connections::{CLIENT_ID, MqttDraft};
use super::keys::KEYS;
use super::mqtt_config::{BrokerAddress, Endpoint, MQTT_STRING_MAX, MqttConfig, Protocol};
use super::reading::{Complaint, Reading};
use super::suggest::quoted;

/// All contradictions.
pub(super) fn check(reading: &Reading) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for (at, draft) in reading.draft.mqtt.iter().enumerate() {
        let section = Section { reading, at, draft };
        complaints.extend(section.ordered());
        complaints.extend(section.client_id());
        complaints.extend(section.addresses());
        complaints.extend(section.login());
        complaints.extend(section.files());
        complaints.extend(section.without_effect());
        complaints.extend(section.status());
        complaints.extend(section.lengths());
    }
    complaints.extend(names(reading));
    complaints.extend(clients(reading));
    complaints
}

/// One section `[mqtt]`.
struct Section<'a> {
    reading: &'a Reading,
    at: usize,
    draft: &'a MqttDraft,
}

impl Section<'_> {
    /// The path of this key of the section.
    fn path(&self, key: &str) -> String {
        self.reading.sibling(key, self.at)
    }

    fn complain(&self, key: &str, text: impl Into<String>) -> Complaint {
        (self.path(key), text.into())
    }

    fn is_sound(&self, keys: &[&str]) -> bool {
        keys.iter().all(|key| self.reading.is_sound(&[self.path(key)]))
    }

    fn is_written(&self, key: &str) -> bool {
        self.reading.is_written(&self.path(key))
    }

    fn ordered(&self) -> Option<Complaint> {
        let (min, max) = (self.path("mqtt.reconnect_min"), self.path("mqtt.reconnect_max"));
        let mqtt = &self.draft.mqtt;
        self.reading.ordered((&min, mqtt.reconnect_min), (&max, mqtt.reconnect_max))
    }

    fn client_id(&self) -> Option<Complaint> {
        let mqtt = &self.draft.mqtt;
        let is_missing = mqtt.client_id.is_empty() && mqtt.session_expiry_s > 0;
        (self.is_sound(&["mqtt.client_id", "mqtt.session_expiry"]) && is_missing).then(|| {
            self.complain(
                "mqtt.client_id",
                "expected a stable name, such as \"bridge-1\", because the session is persistent \
                 (mqtt.session_expiry), found none",
            )
        })
    }

    fn addresses(&self) -> Option<Complaint> {
        (self.is_written("mqtt.url") && self.is_written("mqtt.urls")).then(|| {
            self.complain("mqtt.urls", "expected either mqtt.url or mqtt.urls, found both")
        })
    }

    /// User name and password come from a key each, or from the URL.
    fn login(&self) -> Vec<Complaint> {
        let MqttDraft { mqtt, url_username, url_password, .. } = self.draft;
        let mut complaints = Vec::new();
        if mqtt.username.is_some() && url_username.is_some() {
            complaints.push(self.complain(
                "mqtt.username",
                "expected the user name either here or in mqtt.url, found both",
            ));
        }
        // What is written and refused is one of them too.
        let is_there = |key| self.is_written(key);
        let sources = ["mqtt.password", "mqtt.password_file", "mqtt.password_command"];
        let mut sources = sources.into_iter().filter(|key| is_there(key)).collect::<Vec<_>>();
        let last = sources.last().copied();
        if url_password.is_some() {
            sources.insert(0, "mqtt.url");
        }
        if let (Some(last), true) = (last, sources.len() > 1) {
            let found = sources.join(" and ");
            let text = format!("expected the password from one place only, found it in {found}");
            complaints.push(self.complain(last, text));
        }
        let keys = ["mqtt.url", "mqtt.urls", "mqtt.username", "mqtt.protocol", "mqtt.password"];
        let has_username = mqtt.username.is_some() || url_username.is_some();
        if self.is_sound(&keys)
            && !sources.is_empty()
            && !has_username
            && mqtt.protocol != Protocol::V5
        {
            complaints.push(self.complain(
                "mqtt.username",
                "expected a user name with the password, because MQTT 3.1.1 does not allow a \
                 password alone (mqtt.protocol = \"5\" does), found none",
            ));
        }
        complaints
    }

    /// A certificate needs its key, a key its certificate, and a password its key.
    fn files(&self) -> Vec<Complaint> {
        let needs = [
            ("mqtt.tls.cert_file", "mqtt.tls.key_file"),
            ("mqtt.tls.key_file", "mqtt.tls.cert_file"),
            ("mqtt.tls.key_password_file", "mqtt.tls.key_file"),
        ];
        let lone = |(key, other): &(&str, &str)| self.is_written(key) && !self.is_written(other);
        needs
            .into_iter()
            .filter(lone)
            .map(|(key, other)| self.complain(key, format!("expected {other} too, found none")))
            .collect()
    }

    /// Keys that would do nothing.
    fn without_effect(&self) -> Vec<Complaint> {
        let mqtt = &self.draft.mqtt;
        let mut complaints = Vec::new();
        if self.is_sound(&["mqtt.url", "mqtt.urls"]) && !mqtt.addresses.is_empty() {
            let found = mqtt.addresses[0].to_string();
            let none = |is: fn(&BrokerAddress) -> bool| !mqtt.addresses.iter().any(is);
            // One error is enough.
            let mut tls = KEYS.iter().filter(|key| key.section() == "mqtt.tls");
            let set = tls.find(|key| self.reading.is_changed(key, self.at));
            let set = set.filter(|key| self.is_sound(&[key.path]));
            if let Some(key) = set.filter(|_| none(|address| address.is_tls)) {
                complaints.push(self.complain(
                    key.path,
                    format!(
                        "expected an address with TLS (mqtts or wss) in mqtt.url, because the key is \
                         ignored without it, found {found}"
                    ),
                ));
            }
            let key = "mqtt.websocket_headers";
            if self.is_written(key) && none(|address| address.websocket.is_some()) {
                let text = format!(
                    "expected an address with WebSocket (wss or ws) in mqtt.url, because the headers \
                     are not sent without it, found {found}"
                );
                complaints.push(self.complain(key, text));
            }
            let key = "mqtt.proxy";
            if self.is_written(key) && none(|address| matches!(address.endpoint, Endpoint::Tcp(..)))
            {
                let text = format!(
                    "expected a host in mqtt.url, because a proxy does not lead to a Unix socket, \
                     found {found}"
                );
                complaints.push(self.complain(key, text));
            }
        }
        let key = "mqtt.user_properties";
        if self.is_written(key)
            && mqtt.protocol == Protocol::V311
            && self.is_sound(&["mqtt.protocol"])
        {
            let text = "expected mqtt.protocol = \"5\" or \"auto\", because MQTT 3.1.1 has no user \
                        properties, found \"3.1.1\"";
            complaints.push(self.complain(key, text));
        }
        complaints
    }

    /// The status has an MQTT topic of its own, for each connection.
    fn status(&self) -> Option<Complaint> {
        let key = "mqtt.status.mqtt_topic";
        if !self.is_sound(&[key, "mqtt.client_id", "mqtt.connections", "mqtt.name"]) {
            return None;
        }
        let mqtt_topic = &self.draft.status.mqtt_topic;
        if mqtt_topic.is_empty() {
            let mut keys = KEYS.iter().filter(|key| key.section() == "mqtt.status");
            let set = keys.find(|key| self.reading.is_changed(key, self.at))?;
            return Some(self.complain(set.path, format!("expected {key} too, found none")));
        }
        let names_client = mqtt_topic.contains(CLIENT_ID);
        if self.draft.connections > 1 && !names_client {
            let text = format!(
                "expected {CLIENT_ID} in the MQTT topic, because mqtt.connections is {} and each has \
                 a status of its own, found {}",
                self.draft.connections,
                self.reading.found(&self.path(key))
            );
            return Some(self.complain(key, text));
        }
        let client_id = &self.draft.mqtt.client_id;
        if names_client && (client_id.is_empty() || client_id.contains(['+', '#'])) {
            let text = format!(
                "expected a client id without + and # for {CLIENT_ID}, because it becomes a part of \
                 an MQTT topic, found {}",
                quoted(client_id)
            );
            return Some(self.complain(key, text));
        }
        None
    }

    /// What each connection makes of its texts is still a string of MQTT.
    fn lengths(&self) -> Option<Complaint> {
        let keys = ["mqtt.client_id", "mqtt.status.mqtt_topic"];
        if !self.is_sound(&keys) || !self.is_sound(&["mqtt.connections", "mqtt.name"]) {
            return None;
        }
        self.draft.connections().iter().find_map(|mqtt| {
            let mqtt_topic = mqtt.status.as_ref().map_or("", |status| &status.mqtt_topic);
            let mut texts = keys.into_iter().zip([mqtt.client_id.as_str(), mqtt_topic]);
            let (key, text) = texts.find(|(_, text)| text.len() > MQTT_STRING_MAX)?;
            let text = format!(
                "expected at most {MQTT_STRING_MAX} bytes for connection {}, whose number or client id \
                 is filled in, found {}",
                quoted(&mqtt.name),
                text.len()
            );
            Some(self.complain(key, text))
        })
    }
}

/// Each connection has a name of its own.
fn names(reading: &Reading) -> Vec<Complaint> {
    let key = "mqtt.name";
    let mut complaints = Vec::new();
    let mut earlier: Vec<MqttConfig> = Vec::new();
    for (at, draft) in reading.draft.mqtt.iter().enumerate() {
        let path = reading.sibling(key, at);
        if reading.draft.mqtt.len() > 1 && !reading.is_written(&path) {
            let text = "expected a name for each of several connections, such as name = \"plant-1\", \
                        found none";
            complaints.push((path, text.to_owned()));
            continue;
        }
        if !reading.is_sound(&[&path, &reading.sibling("mqtt.connections", at)]) {
            continue;
        }
        let mine = draft.connections();
        let same = |mqtt: &&MqttConfig| {
            let is_taken = |of: &MqttConfig| of.name == mqtt.name || of.section == mqtt.section;
            earlier.iter().any(is_taken)
        };
        if let Some(taken) = mine.iter().find(same) {
            let found = quoted(&taken.name);
            let text = format!("expected another name for each connection, found {found} again");
            complaints.push((path, text));
        }
        earlier.extend(mine);
    }
    complaints
}

/// No two connections have the same client id at one broker: each would take the session from the other.
fn clients(reading: &Reading) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    let mut earlier: Vec<(usize, MqttConfig)> = Vec::new();
    for (at, draft) in reading.draft.mqtt.iter().enumerate() {
        let mine = draft.connections();
        let taken = mine.iter().find_map(|mqtt| {
            earlier.iter().find_map(|(at, other)| {
                let is_taken = !mqtt.client_id.is_empty() && other.client_id == mqtt.client_id;
                let (its, mine) = same_broker(other, mqtt).filter(|_| is_taken)?;
                Some((*at, its.clone(), mine.clone(), mqtt))
            })
        });
        if let Some((other, its, mine, mqtt)) = taken {
            let why = match its.scheme() == mine.scheme() {
                true => format!("both connect to {mine} and"),
                false => format!("{its} and {mine} are most likely one broker, where both"),
            };
            let text = format!(
                "expected another client id than that of {}, because {why} would take the session \
                 from each other, found {}",
                reading.source.label("mqtt", other),
                quoted(&mqtt.client_id)
            );
            complaints.push((reading.sibling("mqtt.client_id", at), text));
        }
        earlier.extend(mine.into_iter().map(|mqtt| (at, mqtt)));
    }
    complaints
}

/// An address of each at which, as far as can be known, one broker listens.
pub(super) fn same_broker<'a>(
    one: &'a MqttConfig,
    other: &'a MqttConfig,
) -> Option<(&'a BrokerAddress, &'a BrokerAddress)> {
    let all = one.addresses.iter();
    let mut pairs = all.flat_map(|mine| other.addresses.iter().map(move |its| (mine, its)));
    pairs.find(|(mine, its)| may_be_one_broker(mine, its))
}

/// A broker has a port for each scheme. Two ports of one host with the same scheme are two brokers.
fn may_be_one_broker(one: &BrokerAddress, other: &BrokerAddress) -> bool {
    // Names of hosts are the same in capitals, and with the dot that ends a full name.
    let name = |host: &str| host.trim_end_matches('.').to_ascii_lowercase();
    match (&one.endpoint, &other.endpoint) {
        (Endpoint::Tcp(host, port), Endpoint::Tcp(its_host, its_port)) => {
            name(host) == name(its_host) && (port == its_port || one.scheme() != other.scheme())
        }
        (one, other) => one == other,
    }
}
