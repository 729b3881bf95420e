//! Where the value of a key is kept: how it gets there, and how it is printed.

use super::client_id;
use super::connections::MqttDraft;
use super::form::Form;
use super::mqtt_config::{HostPort, MQTT_STRING_MAX, MqttConfig, Password, ProxyConfig, ProxyKind};
use super::mqtt_url::{self, MqttUrl};
use super::proxy_url;
use super::resolved::{
    Config, DeadLetterConfig, DeliveryConfig, HttpConfig, KafkaConfig, LogConfig, LogFormat,
    Reload, SupervisorConfig, TimingPolicy,
};
use super::route_draft::{RouteDraft, name_the_nameless};
use super::secret::Secret;
use super::secret_file;
use super::secrets::REDACTED;
use super::setting::{Setting, shown_list};
use super::suggest::quoted;
use super::test_draft::TestDraft;
use super::toml_text::string;
use super::value::{Refused, Value};
use crate::message::RouteId;
use crate::route::{Match, Route};

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
    (mqtt.status.$name:ident) => {
        Field {
            read: |draft, at, value, form| {
                draft.mqtt[at].status.$name = super::setting::Setting::read(value, form)?;
                Ok(())
            },
            show: |config, at, form| {
                let status = config.mqtt_sections()[at].first().status.as_ref()?;
                super::setting::Setting::show(&status.$name, form)
            },
        }
    };
    // Without effect, and not printed, where no address has TLS.
    (mqtt.tls.$name:ident) => {
        Field {
            read: |draft, at, value, form| {
                draft.mqtt[at].mqtt.tls.$name = super::setting::Setting::read(value, form)?;
                Ok(())
            },
            show: |config, at, form| {
                let mqtt = config.mqtt_sections()[at].first();
                let has_tls = mqtt.addresses.iter().any(|address| address.is_tls);
                has_tls.then(|| super::setting::Setting::show(&mqtt.tls.$name, form)).flatten()
            },
        }
    };
    (mqtt.$name:ident) => {
        Field {
            read: |draft, at, value, form| {
                draft.mqtt[at].mqtt.$name = super::setting::Setting::read(value, form)?;
                Ok(())
            },
            show: |config, at, form| {
                super::setting::Setting::show(&config.mqtt_sections()[at].first().$name, form)
            },
        }
    };
    (routes.$($name:ident).+) => { field!(@ |config, at| config.routes[at].$($name).+) };
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
#[derive(Debug, Clone)]
pub(super) struct Draft {
    /// Without connections.
    pub(super) config: Config,
    /// The sections `[mqtt]`.
    pub(super) mqtt: Vec<MqttDraft>,
    /// What several keys of a route say together.
    pub(super) routes: Vec<RouteDraft>,
    /// The examples of all routes.
    pub(super) tests: Vec<TestDraft>,
    /// The route of each of them.
    tested: Vec<usize>,
}

impl Draft {
    /// A blank one with so many sections `[mqtt]` and so many routes, and an example for each of these
    /// routes.
    pub(super) fn new(mqtt: usize, routes: usize, tested: Vec<usize>) -> Self {
        let log = LogConfig {
            format: LogFormat::default(),
            level: slog::Level::Info,
            timing: TimingPolicy::default(),
            summary: std::time::Duration::ZERO,
        };
        Self {
            mqtt: vec![MqttDraft::default(); mqtt],
            routes: vec![RouteDraft::default(); routes],
            tests: vec![TestDraft::default(); tested.len()],
            tested,
            config: Config {
                data_dir: None,
                match_: Match::default(),
                reload: Reload::default(),
                connections: Vec::new(),
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
        let connections = self.mqtt.iter().flat_map(MqttDraft::connections).collect();
        for (draft, route) in self.routes.into_iter().zip(&mut self.config.routes) {
            draft.finish(route);
        }
        for (draft, at) in self.tests.into_iter().zip(self.tested) {
            if let Some(route) = self.config.routes.get_mut(at) {
                route.tests.push(draft.finish());
            }
        }
        name_the_nameless(&mut self.config.routes);
        Config { connections, ..self.config }
    }
}

fn blank_route(id: RouteId) -> Route {
    let blank = Route::new(id, "#".parse().expect("a legal filter"), "");
    Route { name: "".into(), ..blank }
}

/// The connection of this section that has what all of its connections have.
fn mqtt(config: &Config, at: usize) -> &MqttConfig {
    config.mqtt_sections()[at].first()
}

/// `mqtt.name`: that of the section.
pub(super) const NAME: Field =
    Field { show: |config, at, _| Some(string(&mqtt(config, at).section)), ..field!(mqtt.name) };

/// `mqtt.url`: an address, and a login, which is printed as such.
pub(super) const URL: Field = Field {
    read: |draft, at, value, _| {
        let url = parse_url(value.text().ok_or(Refused::Form)?, value)?;
        read_urls(draft, at, vec![url])
    },
    show: |config, at, _| match &mqtt(config, at).addresses[..] {
        [address] => Some(string(&address.to_string())),
        _ => None,
    },
};

/// `mqtt.urls`: several of them, with one login.
pub(super) const URLS: Field = Field {
    read: |draft, at, value, _| {
        let urls = match value {
            Value::List(items) => {
                let parse = |item| parse_url(Value::text(item).ok_or(Refused::Form)?, item);
                items.iter().map(parse).collect::<Result<Vec<_>, _>>()?
            }
            _ => {
                let items = value.list().ok_or(Refused::Form)?;
                items.into_iter().map(|item| parse_url(item, value)).collect::<Result<_, _>>()?
            }
        };
        read_urls(draft, at, urls)
    },
    show: |config, at, _| match &mqtt(config, at).addresses[..] {
        [_] => None,
        several => {
            let several: Vec<_> = several.iter().map(ToString::to_string).collect();
            shown_list(several.iter().map(String::as_str))
        }
    },
};

/// Most addresses of one broker.
const URLS_MAX: usize = 16;

/// Reads `text`, which is, or is a part of, `value`.
fn parse_url(text: &str, value: &Value) -> Result<MqttUrl, Refused> {
    mqtt_url::parse(text).map_err(|error| match value {
        // Any part of a variable's value may be a password.
        Value::Filled { .. } => Refused::Because(format!(
            "expected {} once its variables are filled in, with user and password \
             percent-encoded, found {}",
            mqtt_url::LEGAL,
            quoted(&mqtt_url::redacted(&value.found()))
        )),
        _ => Refused::Because(error),
    })
}

fn read_urls(draft: &mut Draft, at: usize, urls: Vec<MqttUrl>) -> Result<(), Refused> {
    if urls.is_empty() || urls.len() > URLS_MAX {
        let found = urls.len();
        let text = format!("expected 1 to {URLS_MAX} addresses of one broker, found {found}");
        return Err(Refused::Because(text));
    }
    let login = |url: &MqttUrl| (url.username.clone(), url.password.clone());
    let mut logins: Vec<_> = urls.iter().map(login).filter(|of| *of != (None, None)).collect();
    logins.dedup();
    let draft = &mut draft.mqtt[at];
    draft.mqtt.addresses = urls.into_iter().map(|url| url.address).collect();
    match logins.pop() {
        None => Ok(()),
        Some((username, password)) if logins.is_empty() => {
            draft.url_username = username.map(Secret::new);
            draft.url_password = password.map(Secret::new);
            Ok(())
        }
        Some(_) => Err(Refused::Because(
            "expected one login for all addresses, because they are of one broker, found several"
                .to_owned(),
        )),
    }
}

/// `mqtt.client_id`: with the host's name filled in; printed without the number of the first connection
/// in a group.
pub(super) const CLIENT_ID: Field = Field {
    read: |draft, at, value, form| {
        let hostname = || rustix::system::uname().nodename().to_string_lossy().into_owned();
        let filled = client_id::fill(form.text(value)?, hostname).map_err(Refused::Because)?;
        if filled.len() > MQTT_STRING_MAX {
            return Err(Refused::Because(format!(
                "expected at most {MQTT_STRING_MAX} bytes once the host's name is filled in, found {}",
                filled.len()
            )));
        }
        draft.mqtt[at].mqtt.client_id = filled;
        Ok(())
    },
    show: |config, at, _| Some(string(config.mqtt_sections()[at].client_id())),
};

/// `mqtt.connections`: how many.
pub(super) const CONNECTIONS: Field = Field {
    read: |draft, at, value, form| {
        draft.mqtt[at].connections = Setting::read(value, form)?;
        Ok(())
    },
    show: |config, at, form| config.mqtt_sections()[at].members().len().show(form),
};

/// `mqtt.username`: without a password it may be a token.
pub(super) const USER_NAME: Field = Field {
    show: |config, at, _| {
        let mqtt = mqtt(config, at);
        match mqtt.password {
            Some(_) => mqtt.username.as_ref().map(|username| string(username.expose())),
            None => mqtt.username.as_ref().map(|_| string(REDACTED)),
        }
    },
    ..field!(mqtt.username)
};

/// `mqtt.password`, also from the URL.
pub(super) const PASSWORD: Field = Field {
    read: |draft, at, value, form| {
        draft.mqtt[at].mqtt.password = Some(Password::Fixed(Secret::read(value, form)?));
        Ok(())
    },
    show: |config, at, _| match mqtt(config, at).password {
        Some(Password::Fixed(_)) => Some(string(REDACTED)),
        _ => None,
    },
};

/// `mqtt.password_file`: read at each connect; now it is only tried.
pub(super) const PASSWORD_FILE: Field = Field {
    read: |draft, at, value, form| {
        draft.mqtt[at].password_file = Setting::read(value, form)?;
        Ok(())
    },
    show: |config, at, form| match &mqtt(config, at).password {
        Some(Password::File(path)) => path.show(form),
        _ => None,
    },
};

/// `mqtt.password_command`: its arguments may be secrets.
pub(super) const PASSWORD_COMMAND: Field = Field {
    read: |draft, at, value, form| {
        draft.mqtt[at].password_command = Some(Setting::read(value, form)?);
        Ok(())
    },
    show: |config, at, _| match &mqtt(config, at).password {
        Some(Password::Command(command)) => {
            let (program, arguments) = command.split_first()?;
            shown_list(std::iter::once(program.as_str()).chain(arguments.iter().map(|_| REDACTED)))
        }
        _ => None,
    },
};

/// `mqtt.proxy`: printed without its login.
pub(super) const PROXY: Field = Field {
    read: |draft, at, value, _| {
        let text = value.text().ok_or(Refused::Form)?;
        let proxy = proxy_url::parse(text).map_err(|error| match value {
            Value::Filled { .. } => Refused::Because(format!(
                "expected {} once its variables are filled in, with user and password \
                 percent-encoded, found {}",
                proxy_url::LEGAL,
                quoted(&mqtt_url::redacted(&value.found()))
            )),
            _ => Refused::Because(error),
        })?;
        draft.mqtt[at].mqtt.proxy = Some(proxy);
        Ok(())
    },
    show: |config, at, _| {
        let ProxyConfig { kind, host, port, login } = mqtt(config, at).proxy.as_ref()?;
        let scheme = match kind {
            ProxyKind::Http => "http",
            ProxyKind::Socks5 => "socks5",
        };
        let login = login.as_ref().map_or_else(String::new, |_| format!("{REDACTED}@"));
        Some(string(&format!("{scheme}://{login}{}", HostPort(host, *port))))
    },
};

/// `mqtt.status.mqtt_topic`: printed without the client ids of a group.
pub(super) const STATUS_TOPIC: Field = Field {
    show: |config, at, _| Some(string(&config.mqtt_sections()[at].status_topic()?)),
    ..field!(mqtt.status.mqtt_topic)
};

/// The shortest token, in characters: one that is not guessed.
const TOKEN_MIN: usize = 16;

/// `http.token_file`: what is in it is tried now.
pub(super) const TOKEN_FILE: Field = Field {
    read: |draft, _, value, form| {
        let token = secret_file::read(form.text(value)?).map_err(Refused::Because)?;
        if token.chars().count() < TOKEN_MIN || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Refused::Because(format!(
                "expected a file with a token of at least {TOKEN_MIN} letters, digits and signs on \
                 one line, without spaces, found another content"
            )));
        }
        draft.config.http.token_file = Some(form.text(value)?.into());
        Ok(())
    },
    ..field!(http.token_file)
};

/// `kafka.properties`: a table of its own.
pub(super) const PROPERTIES: Field = Field { read: |_, _, _, _| Ok(()), show: |_, _, _| None };
