//! What becomes of a running bridge when its configuration is read again. Pure.
//!
//! Routes, `match`, `reload` and `log.level` are applied at once; everything else needs a restart, and is named
//! (docs/decisions/0028-reload.md). Routes wait with it where they may have been made for what waits.

use crate::config::{Config, LogConfig};
use crate::message::{RouteId, RouteNames};
use crate::route::Route;

/// See the module.
#[derive(Debug)]
pub struct Plan {
    /// What is in force from now on: of the new configuration what can be, and the rest of the running one.
    pub config: Config,
    /// Whether anything of it differs from what was in force before.
    pub is_changed: bool,
    /// The keys of the new configuration that wait for a restart.
    pub restart: Vec<String>,
    /// Those of them for which its routes wait as well: the routes in force are still the old ones.
    pub routes_wait_for: Vec<String>,
}

/// What routes are made for: the connections and their brokers, what those publish, the Kafka cluster, and the
/// other Kafka topic that is written. Every relation between routes and other keys is with one of these, so that
/// new routes are legal, and mean what they say, where none of them waits for a restart.
const ROUTES_ARE_MADE_FOR: [&str; 10] = [
    "mqtt.name",
    "mqtt.url",
    "mqtt.urls",
    "mqtt.connections",
    "mqtt.group",
    "mqtt.protocol",
    "mqtt.status.mqtt_topic",
    "kafka.brokers",
    "kafka.properties",
    "dead_letter.kafka_topic",
];

impl Plan {
    /// From the running configuration to a new one.
    pub fn new(running: &Config, mut new: Config, names: &RouteNames) -> Self {
        number_routes(&mut new, names, running.routes.iter().map(|route| route.id));
        let kept = Config {
            reload: new.reload,
            log: LogConfig { level: new.log.level, ..running.log.clone() },
            ..running.clone()
        };
        let routed = Config { routes: new.routes.clone(), match_: new.match_, ..kept.clone() };
        let restart = routed.differing_keys(&new);
        let mut routes_wait_for = Vec::new();
        if routed != kept {
            routes_wait_for.extend(restart.iter().filter(|key| are_routes_made_for(key)).cloned());
            if routes_wait_for.is_empty() && !has_same_connections(running, &new) {
                routes_wait_for.push("mqtt".to_owned());
            }
        }
        let config = if routes_wait_for.is_empty() {
            names.apply(routed.routes.iter().map(|route| (route.id, route.known_as())));
            routed
        } else {
            kept
        };
        Self { is_changed: config != *running, restart, routes_wait_for, config }
    }
}

/// `mqtt[1].name` as well as `mqtt.name`, and each of the properties.
fn are_routes_made_for(key: &str) -> bool {
    let (root, name) = key.split_once('.').unwrap_or((key, ""));
    let root = root.split('[').next().unwrap_or(root);
    ROUTES_ARE_MADE_FOR.iter().any(|made_for| {
        let name = made_for.strip_prefix(root).and_then(|rest| rest.strip_prefix('.')).map(|its| {
            name.strip_prefix(its).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        });
        name == Some(true)
    })
}

/// Where a section comes or goes, no key of the others need differ.
fn has_same_connections(running: &Config, new: &Config) -> bool {
    running.connection_names().eq(new.connection_names())
}

/// Gives each route the number of its name, while those that are `running` are in force.
pub fn number_routes(
    config: &mut Config,
    names: &RouteNames,
    running: impl IntoIterator<Item = RouteId>,
) {
    let numbers = names.learn(config.routes.iter().map(Route::known_as), running);
    config.routes.iter_mut().zip(numbers).for_each(|(route, number)| route.id = number);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(more: &str, routes: &[&str]) -> Config {
        let routes = routes
            .iter()
            .map(|filter| format!("[[routes]]\nfilter = \"{filter}\"\nkafka_topic = \"k\"\n"));
        let text = format!(
            "{more}\n[mqtt]\nurl = \"mqtt://b\"\nclient_id = \"c\"\n[kafka]\nbrokers = [\"k:9092\"]\n{}",
            routes.collect::<String>()
        );
        Config::from_toml(&text, "test", []).unwrap_or_else(|e| panic!("{e}"))
    }

    fn running(routes: &[&str]) -> (Config, RouteNames) {
        let (mut running, names) = (config("", routes), RouteNames::default());
        number_routes(&mut running, &names, []);
        (running, names)
    }

    #[test]
    fn routes_are_applied_and_keep_the_number_of_their_name() {
        let (running, names) = running(&["a", "b"]);
        let plan = Plan::new(&running, config("", &["c", "b"]), &names);
        assert!(plan.is_changed && plan.restart.is_empty(), "{plan:?}");
        let numbers: Vec<_> = plan.config.routes.iter().map(|route| route.id).collect();
        assert_eq!(numbers, [RouteId(2), RouteId(1)]);
    }

    #[test]
    fn the_same_configuration_changes_nothing() {
        let (running, names) = running(&["a", "b"]);
        let plan = Plan::new(&running, config("", &["a", "b"]), &names);
        assert!(!plan.is_changed && plan.restart.is_empty(), "{plan:?}");
    }

    #[test]
    fn what_needs_a_restart_is_named_kept_as_it_was_and_does_not_keep_the_rest_from_being_applied()
    {
        let (running, names) = running(&["a"]);
        let mut new = config("reload = \"watch\"\ndata_dir = \"/elsewhere\"", &["a", "b"]);
        new.log.level = slog::Level::Debug;
        new.delivery.window_messages = 7;
        new.dead_letter.file_max_bytes = 7;
        let plan = Plan::new(&running, new.clone(), &names);
        assert_eq!(plan.restart, ["data_dir", "delivery.window_messages", "dead_letter.file_max"]);
        assert!(plan.routes_wait_for.is_empty(), "{plan:?}");
        let applied = Config { reload: new.reload, log: new.log, ..running };
        assert_eq!(Config { routes: applied.routes.clone(), ..plan.config.clone() }, applied);
        assert_eq!(plan.config.routes.len(), 2);
        assert!(plan.is_changed);
    }

    fn two(names: [&str; 2], more: &str, kafka: &str) -> Config {
        let sections = names.map(|name| {
            format!(
                "[[mqtt]]\nname = \"{name}\"\nurl = \"mqtt://{name}\"\nclient_id = \"{name}\"\n"
            )
        });
        let routes = names.map(|name| {
            format!("[[routes]]\nfilter = \"{name}/#\"\nkafka_topic = \"k\"\nfrom = [\"{name}\"]\n")
        });
        let text = format!(
            "{}[kafka]\nbrokers = [\"{kafka}:9092\"]\n{}{more}",
            sections.concat(),
            routes.concat()
        );
        Config::from_toml(&text, "test", []).unwrap_or_else(|e| panic!("{e}"))
    }

    const ONE_MORE: &str = "[[routes]]\nfilter = \"more\"\nkafka_topic = \"k\"\n";

    #[test]
    fn routes_wait_for_what_they_are_made_for_and_no_running_connection_is_left_without() {
        let mut running = two(["east", "west"], "", "k");
        let names = RouteNames::default();
        number_routes(&mut running, &names, []);
        let wait_for = |new: Config| {
            let plan = Plan::new(&running, new, &names);
            let is_applied = plan.config.routes != running.routes;
            assert_eq!(is_applied, plan.routes_wait_for.is_empty(), "{plan:?}");
            for mqtt in &plan.config.connections {
                assert!(!plan.config.routes_of(mqtt).is_empty(), "{} has none", mqtt.name);
            }
            plan.routes_wait_for
        };
        let renamed = wait_for(two(["east", "north"], "", "k"));
        assert!(renamed.contains(&"mqtt[1].name".to_owned()), "{renamed:?}");
        assert_eq!(wait_for(two(["east", "west"], ONE_MORE, "other")), ["kafka.brokers"]);
        let property = "[kafka.properties]\n\"linger.ms\" = 7\n";
        let property = wait_for(two(["east", "west"], &format!("{ONE_MORE}{property}"), "k"));
        assert_eq!(property, ["kafka.properties.linger.ms"]);
        let mut fewer = two(["east", "west"], ONE_MORE, "k");
        fewer.connections.truncate(1);
        assert_eq!(wait_for(fewer), ["mqtt"]);
        let mut dead_letter = two(["east", "west"], ONE_MORE, "k");
        dead_letter.dead_letter.kafka_topic = Some("letters".to_owned());
        assert_eq!(wait_for(dead_letter), ["dead_letter.kafka_topic"]);
        let mut limit = two(["east", "west"], ONE_MORE, "k");
        limit.connections[1].max_payload_bytes = 7;
        assert!(wait_for(limit).is_empty());
    }

    #[test]
    fn a_route_is_known_by_its_other_filter_once_that_is_applied() {
        let names = RouteNames::default();
        let named = |filter: &str| {
            format!("[[routes]]\nname = \"it\"\nfilter = \"{filter}\"\nkafka_topic = \"k\"\n")
        };
        let mut running = two(["east", "west"], &named("a"), "k");
        number_routes(&mut running, &names, []);
        let filter = |kafka: &str| {
            let plan = Plan::new(&running, two(["east", "west"], &named("b"), kafka), &names);
            let is_it = |route: &&Route| &*route.known_as().name == "it";
            let route = plan.config.routes.iter().find(is_it).map(|route| route.id).unwrap();
            (plan.routes_wait_for.is_empty(), names.all()[&route].mqtt_filter.to_string())
        };
        assert_eq!(filter("other"), (false, "a".to_owned()));
        assert_eq!(filter("k"), (true, "b".to_owned()));
    }

    #[test]
    fn a_key_that_routes_are_made_for_does_not_keep_other_things_from_being_applied() {
        let running = two(["east", "west"], "", "k");
        let mut new = two(["east", "west"], "", "other");
        new.reload = crate::config::Reload::Watch;
        let plan = Plan::new(&running, new, &RouteNames::default());
        assert!(plan.is_changed && plan.routes_wait_for.is_empty(), "{plan:?}");
        assert_eq!(plan.restart, ["kafka.brokers"]);
    }
}
