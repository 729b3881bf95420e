//! What becomes of a running bridge when its configuration is read again. Pure.
//!
//! Routes, `match`, `reload` and `log.level` are applied at once; everything else needs a restart, and is named
//! (docs/decisions/0028-reload.md).

use crate::config::{Config, LogConfig};
use crate::message::RouteNames;
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
}

impl Plan {
    /// From the running configuration to a new one.
    pub fn new(running: &Config, mut new: Config, names: &RouteNames) -> Self {
        number_routes(&mut new, names);
        let config = Config {
            routes: new.routes.clone(),
            match_: new.match_,
            reload: new.reload,
            log: LogConfig { level: new.log.level, ..running.log.clone() },
            ..running.clone()
        };
        let restart = config.differing_keys(&new);
        Self { is_changed: config != *running, restart, config }
    }
}

/// Gives each route the number of its name.
pub fn number_routes(config: &mut Config, names: &RouteNames) {
    let numbers = names.learn(config.routes.iter().map(Route::known_as));
    config.routes.iter_mut().zip(numbers).for_each(|(route, number)| route.id = number);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::RouteId;

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
        number_routes(&mut running, &names);
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
        new.dead_letter.kafka_topic = Some("other".to_owned());
        let plan = Plan::new(&running, new.clone(), &names);
        assert_eq!(
            plan.restart,
            ["data_dir", "delivery.window_messages", "dead_letter.kafka_topic"]
        );
        let applied = Config { reload: new.reload, log: new.log, ..running };
        assert_eq!(Config { routes: applied.routes.clone(), ..plan.config.clone() }, applied);
        assert_eq!(plan.config.routes.len(), 2);
        assert!(plan.is_changed);
    }
}
