//! Runs the examples of all routes: `check --test`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::payload_file::read_regular;
use super::resolved::Config;
use crate::route::Router;
use crate::route::rule::{Route, RouteTest, TestPayload};
use crate::route::trial::{Difference, run};

/// What became of one example.
#[derive(Debug)]
pub struct Trial {
    /// Where it is written: `routes[0].tests[1]`.
    pub path: String,
    /// The name of its route.
    pub route: Arc<str>,
    /// The MQTT topic of its message.
    pub mqtt_topic: String,
    /// What is not as it was expected; empty if nothing is.
    pub differences: Vec<Difference>,
}

impl Config {
    /// How many examples there are.
    pub fn tests(&self) -> usize {
        self.routes.iter().map(|route| route.tests.len()).sum()
    }

    /// Runs all examples, in order. Those of one route follow one another: what the route remembers of
    /// one, it knows at the next. Files with payloads are read below `directory`.
    pub fn trials(&self, directory: &Path) -> Vec<Trial> {
        let sections = self.mqtt_sections();
        let mut routers: BTreeMap<_, _> = sections
            .iter()
            .map(|section| {
                let mqtt = section.first();
                let router = Router::new(&self.routes_of(mqtt), self.match_);
                (Arc::clone(&mqtt.section), router)
            })
            .collect();
        let mut trials = Vec::new();
        for route in self.routes.iter().filter(|route| !route.tests.is_empty()) {
            routers.values_mut().for_each(Router::forget);
            for (nth, test) in route.tests.iter().enumerate() {
                let differences = differences(&mut routers, route, test, directory);
                trials.push(Trial {
                    path: format!("{}.tests[{nth}]", route.id),
                    route: Arc::clone(&route.name),
                    mqtt_topic: test.mqtt_topic.clone(),
                    differences,
                });
            }
        }
        trials
    }
}

fn differences(
    routers: &mut BTreeMap<Arc<str>, Router>,
    route: &Route,
    test: &RouteTest,
    directory: &Path,
) -> Vec<Difference> {
    let name = test.connection.as_deref();
    let is_it = |section: &str| name.map_or_else(|| route.is_from(section), |name| name == section);
    // A configuration that was read has it.
    let Some((section, router)) = routers.iter_mut().find(|(section, _)| is_it(section)) else {
        return Vec::new();
    };
    match payload(test, directory) {
        Ok(payload) => run(router, route, test, &payload, section).err().unwrap_or_default(),
        Err(difference) => vec![difference],
    }
}

fn payload(test: &RouteTest, directory: &Path) -> Result<Bytes, Difference> {
    match &test.payload {
        TestPayload::Text(text) => Ok(Bytes::copy_from_slice(text.as_bytes())),
        TestPayload::Bytes(bytes) => Ok(Bytes::copy_from_slice(bytes)),
        TestPayload::File(path) => {
            let path = directory.join(path);
            read_regular(&path).map_err(|error| Difference {
                what: "payload_file".to_owned(),
                expected: "a regular file that can be read, of at most 256 MiB".to_owned(),
                found: format!("{}: {error}", path.display()),
            })
        }
    }
}
