//! Where the value of a key is kept: how it gets there, and how it is printed.

use super::form::Form;
use super::mqtt_config::{BrokerAddress, MqttConfig, Password};
use super::mqtt_url;
use super::resolved::{
    Config, DeadLetterConfig, DeliveryConfig, HttpConfig, KafkaConfig, LogConfig, LogFormat,
    SupervisorConfig, TimingPolicy,
};
use super::secret::Secret;
use super::secret_file;
use super::secrets::REDACTED;
use super::setting::Setting;
use super::suggest::quoted;
use super::toml_text::string;
use super::value::{Refused, Value};
use crate::message::{Qos, RouteId};
use crate::route::{PayloadForm, Route};

/// Where the value of a key is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    /// Reads a value into the section with this index among those of its name.
    pub(super) read: fn(&mut Draft, usize, &Value, &Form) -> Result<(), Refused>,
    /// The value as TOML; nothing if it is not set.
    pub(super) show: fn(&Config, usize, &Form) -> Option<String>,
}

/// The [`Field`] of a key that fills one field of [`Config`].
macro_rules! field {
    (mqtt.$name:ident) => { field!(@ |config, at| config.connections[at].$name) };
    (routes.$name:ident) => { field!(@ |config, at| config.routes[at].$name) };
    ($($name:ident).+) => { field!(@ |config, _at| config.$($name).+) };
    (@ |$config:ident, $at:ident| $place:expr) => {
        Field {
            read: |draft, $at, value, form| {
                let $config = &mut draft.config;
                $place = super::setting::Setting::read(value, form)?;
                Ok(())
            },
            show: |$config, $at, form| super::setting::Setting::show(&$place, form),
        }
    };
}
pub(super) use field;

/// A configuration whose keys are being read.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) config: Config,
    /// The logins that come from other keys, for each connection.
    pub(super) logins: Vec<Login>,
}

/// A user name and passwords from `mqtt.url` and `mqtt.password_file`.
#[derive(Debug, Default)]
pub(super) struct Login {
    pub(super) url_username: Option<String>,
    pub(super) url_password: Option<Secret>,
    pub(super) file_password: Option<Secret>,
}

impl Draft {
    /// A blank one with so many routes.
    pub(super) fn new(routes: usize) -> Self {
        let connection =
            MqttConfig { name: "mqtt".into(), section: "mqtt".into(), ..MqttConfig::default() };
        let log = LogConfig {
            format: LogFormat::default(),
            level: slog::Level::Info,
            timing: TimingPolicy::default(),
        };
        Self {
            logins: vec![Login::default()],
            config: Config {
                data_dir: None,
                connections: vec![connection],
                routes: (0..routes).map(RouteId).map(blank_route).collect(),
                kafka: KafkaConfig::default(),
                delivery: DeliveryConfig::default(),
                dead_letter: DeadLetterConfig::default(),
                supervisor: SupervisorConfig::default(),
                http: HttpConfig::default(),
                log,
            },
        }
    }

    /// The configuration, once every key is read.
    pub(super) fn finish(mut self) -> Config {
        for (mqtt, login) in self.config.connections.iter_mut().zip(self.logins) {
            mqtt.username = mqtt.username.take().or(login.url_username);
            let elsewhere = login.file_password.or(login.url_password).map(Password::Fixed);
            mqtt.password = mqtt.password.take().or(elsewhere);
        }
        self.config
    }
}

fn blank_route(id: RouteId) -> Route {
    Route {
        id,
        filter: "#".parse().expect("a legal filter"),
        qos: Qos::AtLeastOnce,
        kafka_topic: "".into(),
        from: Vec::new(),
        payload: PayloadForm::default(),
    }
}

impl Config {
    /// How many sections of this name there are.
    pub(super) fn count(&self, section: &str) -> usize {
        match section {
            "mqtt" => self.connections.len(),
            "routes" => self.routes.len(),
            _ => 1,
        }
    }
}

/// `mqtt.url`: host, port, and a login, which is printed as such.
pub(super) const URL: Field = Field {
    read: |draft, at, value, _| {
        let text = value.text().ok_or(Refused::Form)?;
        let url = mqtt_url::parse(text).map_err(|error| match value {
            // Any part of a variable's value may be a password.
            Value::Filled { .. } => Refused::Because(format!(
                "expected mqtt://host or mqtt://host:port once its variables are filled in, with user \
                 and password percent-encoded, found {}",
                quoted(&mqtt_url::redacted(&value.found()))
            )),
            _ => Refused::Because(error),
        })?;
        let (mqtt, login) = (&mut draft.config.connections[at], &mut draft.logins[at]);
        mqtt.addresses = vec![BrokerAddress::tcp(url.host, url.port)];
        (login.url_username, login.url_password) = (url.username, url.password.map(Secret::new));
        Ok(())
    },
    show: |config, at, _| Some(string(&config.connections[at].first_address().to_string())),
};

/// `mqtt.username`: without a password it may be a token.
pub(super) const USER_NAME: Field = Field {
    show: |config, at, form| {
        let mqtt = &config.connections[at];
        match mqtt.password {
            Some(_) => mqtt.username.show(form),
            None => mqtt.username.as_ref().map(|_| string(REDACTED)),
        }
    },
    ..field!(mqtt.username)
};

/// `mqtt.password_file`: a password, which is printed as such.
pub(super) const PASSWORD_FILE: Field = Field {
    read: |draft, at, value, form| {
        let secret = secret_file::read(form.text(value)?).map_err(Refused::Because)?;
        draft.logins[at].file_password = Some(Secret::new(secret));
        Ok(())
    },
    show: |_, _, _| None,
};

/// `kafka.properties`: a table of its own.
pub(super) const PROPERTIES: Field = Field { read: |_, _, _, _| Ok(()), show: |_, _, _| None };
