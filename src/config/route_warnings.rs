//! Routes that are legal and may surprise.

use std::collections::BTreeMap;

use super::connections::MqttSection;
use super::mqtt_config::Protocol;
use super::resolved::Config;
use super::suggest::quoted;
use crate::route::headers::HeaderItem;
use crate::route::rule::{Key, Order};
use crate::route::{Match, Route};

/// Sources of placeholders that only MQTT 5 has.
const OF_MQTT_5: [&str; 4] = ["{user.", "{content_type", "{correlation_data", "{response_topic"];

impl Config {
    /// All of them, one line each.
    pub(super) fn route_warnings(&self) -> Vec<String> {
        let mut all = Vec::new();
        let sections = self.mqtt_sections();
        if self.match_ == Match::First {
            all.extend(self.never_taken(&sections));
        } else {
            all.extend(self.made_twice(&sections));
        }
        all.extend(self.colliding());
        all.extend(self.written_to_dead_letters());
        for section in sections.iter().filter(|section| section.first().protocol == Protocol::V311)
        {
            all.extend(self.without_properties(*section));
        }
        all
    }

    /// Routes all of whose messages an earlier one takes, on each of their connections.
    fn never_taken(&self, sections: &[MqttSection<'_>]) -> Vec<String> {
        let takes_all = |route: &Route, section: &MqttSection<'_>| {
            let section = &section.first().section;
            let earlier = self.routes.iter().take_while(|earlier| earlier.id != route.id);
            earlier.filter(|it| it.is_from(section)).find(|it| it.filter.covers(&route.filter))
        };
        self.routes
            .iter()
            .filter_map(|route| {
                let own = sections.iter().filter(|section| route.is_from(&section.first().section));
                let earlier: Option<Vec<_>> = own.map(|section| takes_all(route, section)).collect();
                let first = *earlier?.first()?;
                Some(format!(
                    "{}.filter: the route can never take a message: {} of {} matches all that {} does, \
                     and stands before it",
                    route.id,
                    quoted(first.filter.as_str()),
                    first.id,
                    quoted(route.filter.as_str())
                ))
            })
            .collect()
    }

    /// Routes that write records of one message to one Kafka topic.
    fn made_twice(&self, sections: &[MqttSection<'_>]) -> Vec<String> {
        let mut warnings = Vec::new();
        let mut of_kafka_topic: BTreeMap<String, Vec<&Route>> = BTreeMap::new();
        for route in &self.routes {
            of_kafka_topic.entry(route.kafka_topic.to_string()).or_default().push(route);
        }
        let is_together = |one: &Route, other: &Route| {
            let mut sections = sections.iter().map(|section| &section.first().section);
            sections.any(|section| one.is_from(section) && other.is_from(section))
        };
        for (kafka_topic, routes) in of_kafka_topic {
            for (at, route) in routes.iter().enumerate() {
                let other = routes[..at].iter().find(|earlier| {
                    is_together(earlier, route) && earlier.filter.overlaps(&route.filter)
                });
                if let Some(other) = other {
                    warnings.push(format!(
                        "{}.kafka_topic: a message that {} matches too becomes several records of {}",
                        route.id,
                        other.id,
                        quoted(&kafka_topic)
                    ));
                }
            }
        }
        warnings
    }

    /// Fixed Kafka topics that Kafka cannot have both, since it counts `.` and `_` as the same.
    fn colliding(&self) -> Vec<String> {
        let mut first: BTreeMap<String, (&str, &Route)> = BTreeMap::new();
        let mut warnings = Vec::new();
        for route in &self.routes {
            let Some(fixed) = route.kafka_topic.as_fixed() else { continue };
            let (known, earlier) = first.entry(fixed.replace('.', "_")).or_insert((fixed, route));
            if *known != &**fixed {
                warnings.push(format!(
                    "{}.kafka_topic: {} differs from {} of {} only in . and _, and Kafka refuses to create \
                     both",
                    route.id,
                    quoted(fixed),
                    quoted(known),
                    earlier.id
                ));
            }
        }
        warnings
    }

    /// Placeholders that a publisher could fill so that the record goes to the dead letters' Kafka topic.
    fn written_to_dead_letters(&self) -> Vec<String> {
        let Some(dead_letters) = self.dead_letter.kafka_topic.as_deref() else { return Vec::new() };
        let may_be = |route: &&Route| {
            let template = &route.kafka_topic;
            template.as_fixed().is_none() && dead_letters.starts_with(template.beginning())
        };
        let warning = |route: &Route| {
            format!(
                "{}.kafka_topic: a publisher could fill {} to {}, the Kafka topic of the dead letters",
                route.id,
                quoted(&route.kafka_topic.to_string()),
                quoted(dead_letters)
            )
        };
        self.routes.iter().filter(may_be).map(warning).collect()
    }

    /// Placeholders that never have a value over MQTT 3.1.1.
    fn without_properties(&self, section: MqttSection<'_>) -> Vec<String> {
        let mqtt = section.first();
        let own = self.routes.iter().filter(|route| route.is_from(&mqtt.section));
        own.filter_map(|route| {
            let named = route.written_placeholders();
            let source = OF_MQTT_5.iter().find(|source| named.iter().any(|text| text.contains(**source)))?;
            Some(format!(
                "{}: the source {} never has a value on connection {}, because MQTT 3.1.1 has no properties",
                route.id,
                source.trim_matches(['{', '.']),
                quoted(&mqtt.section)
            ))
        })
        .collect()
    }
}

impl Route {
    /// Its templates and conditions, as written.
    fn written_placeholders(&self) -> Vec<String> {
        let key = match &self.key {
            Key::Template(template) => Some(template),
            Key::MqttTopic | Key::None => None,
        };
        let own = self.headers.items.iter().filter_map(|item| match item {
            HeaderItem::Own(_, template) => Some(template),
            _ => None,
        });
        let id = self.headers.bridge_id_from.as_ref();
        let templates = std::iter::once(&self.kafka_topic).chain(key).chain(&self.partition);
        let templates = templates.chain(own).chain(id).map(ToString::to_string);
        let conditions = self.gate.drop_if.iter().chain(&self.gate.keep_if);
        templates.chain(conditions.map(ToString::to_string)).collect()
    }
}

/// How the records of a route are ordered, and what that means: one line for `check`.
pub(super) fn order(route: &Route) -> &'static str {
    match route.order() {
        Order::MqttTopic => "ordered by MQTT topic: all records of one MQTT topic are in order",
        Order::Key => {
            "ordered by key: records of one key are in order; those of one MQTT topic can spread over \
             partitions"
        }
        Order::Partition => {
            "ordered by partition: records of one partition are in order; those of one MQTT topic can \
             spread over partitions"
        }
    }
}
