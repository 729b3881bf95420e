//! Routes that are legal and may surprise.

use std::collections::BTreeMap;

use super::connections::MqttSection;
use super::header_words::{OF_MQTT, header_word};
use super::mqtt_config::Protocol;
use super::resolved::Config;
use super::suggest::quoted;
use crate::message::IfMissing;
use crate::route::headers::HeaderItem;
use crate::route::rule::{Key, Order};
use crate::route::source::Source;
use crate::route::timestamp::TimestampFrom;
use crate::route::{Match, Placeholder, Route};

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
        all.extend(self.filled_to_collide());
        all.extend(self.written_to_dead_letters());
        all.extend(self.routes.iter().filter_map(without_effect));
        all.extend(self.routes.iter().filter_map(never_deleted));
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

    /// Templates that could be filled to such a name: as far as their beginning tells.
    fn filled_to_collide(&self) -> Vec<String> {
        let collapsed = |name: &str| name.replace('.', "_");
        let fixed: Vec<_> =
            self.routes.iter().filter_map(|it| Some((it.kafka_topic.as_fixed()?, it.id))).collect();
        let templates = self.routes.iter().filter(|route| route.kafka_topic.as_fixed().is_none());
        let warning = |route: &Route| {
            let begins = route.kafka_topic.beginning();
            let (other, id) = fixed.iter().find(|(name, _)| {
                collapsed(name).starts_with(&collapsed(begins)) && !name.starts_with(begins)
            })?;
            Some(format!(
                "{}.kafka_topic: {} could be filled to a name that differs from {} of {id} only in . and _, \
                 and Kafka refuses to create both",
                route.id,
                quoted(&route.kafka_topic.to_string()),
                quoted(other)
            ))
        };
        templates.filter_map(warning).collect()
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

    /// What a route reads and MQTT 3.1.1 never has.
    fn without_properties(&self, section: MqttSection<'_>) -> Vec<String> {
        let mqtt = section.first();
        let own = self.routes.iter().filter(|route| route.is_from(&mqtt.section));
        own.filter_map(|route| {
            Some(format!(
                "{}: {} never has a value on connection {}, because MQTT 3.1.1 has no properties",
                route.id,
                route.of_mqtt_5()?,
                quoted(&mqtt.section)
            ))
        })
        .collect()
    }
}

/// `missing_topic` of a Kafka topic that no placeholder names.
fn without_effect(route: &Route) -> Option<String> {
    let fixed = route.kafka_topic.as_fixed()?;
    (route.if_missing != IfMissing::default()).then(|| {
        format!(
            "{}.missing_topic: it has no effect, because {} has no placeholders: messages wait until that \
             Kafka topic is there",
            route.id,
            quoted(fixed)
        )
    })
}

/// A payload without content has no fields: what needs one keeps the tombstone from deleting its key.
fn never_deleted(route: &Route) -> Option<String> {
    if !route.tombstone {
        return None;
    }
    let is_json = |it: &&Placeholder| matches!(it.source(), Source::Json(_));
    let key = match &route.key {
        Key::Template(template) => Some(template),
        Key::MqttTopic | Key::None => None,
    };
    // With a default it would be written, elsewhere than the record that it is to delete.
    let places = [("kafka_topic", Some(&route.kafka_topic)), ("key", key)];
    let places = places.into_iter().chain([("partition", route.partition.as_ref())]);
    let mut places = places.filter_map(|(name, template)| {
        Some((name, template?.placeholders().find(is_json)?.to_string()))
    });
    let needs = |it: &&Placeholder| is_json(it) && !it.has_default();
    let keep_if = || {
        let all = route.gate.keep_if.as_ref()?.placeholders();
        Some(("keep_if", all.iter().find(needs)?.to_string()))
    };
    let headers = || {
        let mut own = route.headers.items.iter().filter_map(|item| match item {
            HeaderItem::Own(_, template) => Some(template),
            _ => None,
        });
        own.find_map(|template| Some(("headers", template.placeholders().find(needs)?.to_string())))
    };
    let (name, placeholder) = places.next().or_else(keep_if).or_else(headers)?;
    Some(format!(
        "{}.{name}: with tombstone = \"empty\", a message without payload has no {placeholder}: its key is \
         not deleted",
        route.id
    ))
}

impl Route {
    /// The first thing that it reads and only MQTT 5 has.
    fn of_mqtt_5(&self) -> Option<String> {
        let written = self.written_placeholders();
        let is_read = |source: &&&str| written.iter().any(|text| text.contains(**source));
        if let Some(source) = OF_MQTT_5.iter().find(is_read) {
            return Some(format!("the source {}", source.trim_matches(['{', '.'])));
        }
        if matches!(self.timestamp.from, TimestampFrom::User(_)) {
            return Some("the source user".to_owned());
        }
        let items = &self.headers.items;
        // Who asks for all of MQTT means what there is of it.
        if OF_MQTT.iter().all(|item| items.contains(item)) {
            return None;
        }
        let is_of_5 = |item: &&HeaderItem| {
            matches!(
                item,
                HeaderItem::UserProperties
                    | HeaderItem::ContentType
                    | HeaderItem::CorrelationData
                    | HeaderItem::ResponseTopic
                    | HeaderItem::Expiry
            )
        };
        let item = items.iter().find(is_of_5)?;
        Some(format!("the header {}", header_word(item)))
    }

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
