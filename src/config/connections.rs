//! From the keys of a section `[mqtt]` to its connections: one, or `connections` of them that share their
//! subscriptions (docs/decisions/0022-connections-in-a-group.md).

use std::path::PathBuf;
use std::sync::Arc;

use super::mqtt_config::{MqttConfig, Password, StatusConfig};
use super::resolved::Config;
use super::secret::Secret;

/// The group of connections where `mqtt.group` names none.
pub(super) const GROUP: &str = "bridge";
/// What stands for the client id in `mqtt.status.mqtt_topic`.
pub(super) const CLIENT_ID: &str = "{client_id}";

/// A section `[mqtt]` whose keys are being read.
#[derive(Debug, Clone, Default)]
pub(super) struct MqttDraft {
    /// What a single key says.
    pub(super) mqtt: MqttConfig,
    /// From `url` or `urls`.
    pub(super) url_username: Option<Secret>,
    pub(super) url_password: Option<Secret>,
    pub(super) password_file: Option<PathBuf>,
    pub(super) password_command: Option<Vec<String>>,
    pub(super) connections: usize,
    /// Without an MQTT topic there is no status.
    pub(super) status: StatusConfig,
}

impl MqttDraft {
    /// The connections of the section, once every key is read.
    pub(super) fn connections(&self) -> Vec<MqttConfig> {
        let mut mqtt = self.mqtt.clone();
        mqtt.section = Arc::clone(&mqtt.name);
        mqtt.username = mqtt.username.or_else(|| self.url_username.clone());
        let file = || self.password_file.clone().map(Password::File);
        let command = || self.password_command.clone().map(Password::Command);
        let url = || self.url_password.clone().map(Password::Fixed);
        mqtt.password = mqtt.password.or_else(file).or_else(command).or_else(url);
        mqtt.status = (!self.status.mqtt_topic.is_empty()).then(|| self.status.clone());
        if self.connections <= 1 {
            return vec![with_status_topic(mqtt)];
        }
        mqtt.group = mqtt.group.or_else(|| Some(GROUP.into()));
        let member = |n| {
            let (name, mut client_id) = (format!("{}-{n}", mqtt.name), mqtt.client_id.clone());
            // The broker chooses for those without.
            if !client_id.is_empty() {
                client_id.push_str(&format!("-{n}"));
            }
            with_status_topic(MqttConfig { name: name.into(), client_id, ..mqtt.clone() })
        };
        (0..self.connections).map(member).collect()
    }
}

fn with_status_topic(mut mqtt: MqttConfig) -> MqttConfig {
    if let Some(status) = &mut mqtt.status {
        status.mqtt_topic = status.mqtt_topic.replace(CLIENT_ID, &mqtt.client_id);
    }
    mqtt
}

/// A section `[mqtt]` of a configuration, as it is printed.
#[derive(Debug, Clone, Copy)]
pub(super) struct MqttSection<'a> {
    /// Its connections, at least one.
    members: &'a [MqttConfig],
}

impl<'a> MqttSection<'a> {
    /// The first of its connections, which has what all of them have.
    pub(super) fn first(self) -> &'a MqttConfig {
        &self.members[0]
    }

    /// All of its connections.
    pub(super) fn members(self) -> &'a [MqttConfig] {
        self.members
    }

    /// The client id before a number was added.
    pub(super) fn client_id(self) -> &'a str {
        let client_id = &self.first().client_id;
        match self.members.len() {
            1 => client_id,
            _ => client_id.strip_suffix("-0").unwrap_or(client_id),
        }
    }

    /// The MQTT topic of the status before the client id was filled in.
    pub(super) fn status_topic(self) -> Option<String> {
        let status = self.first().status.as_ref()?;
        Some(match self.members.len() {
            1 => status.mqtt_topic.clone(),
            _ => status.mqtt_topic.replace(&self.first().client_id, CLIENT_ID),
        })
    }
}

impl Config {
    /// The sections of the connections, in order.
    pub(super) fn mqtt_sections(&self) -> Vec<MqttSection<'_>> {
        let same = |one: &MqttConfig, other: &MqttConfig| one.section == other.section;
        self.connections.chunk_by(same).map(|members| MqttSection { members }).collect()
    }
}
