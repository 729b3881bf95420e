//! Routes that are legal and may surprise.

use std::collections::BTreeMap;

use super::connections::MqttSection;
use super::header_words::{OF_MQTT, header_word};
use super::mqtt_config::Protocol;
use super::resolved::Config;
use super::suggest::quoted;
use super::warnings::WARNINGS_MAX;
use crate::message::IfMissing;
use crate::route::headers::HeaderItem;
use crate::route::message_field::MessageField;
use crate::route::pairs::Pairs;
use crate::route::rule::{Key, Order};
use crate::route::source::Source;
use crate::route::timestamp::TimestampFrom;
use crate::route::{Condition, Match, PayloadForm, Placeholder, Route, Template};

impl Config {
    /// All of them, one line each.
    pub(super) fn route_warnings(
        &self,
        sections: &[MqttSection<'_>],
        pairs: &mut Pairs,
    ) -> Vec<String> {
        let mut all = Vec::new();
        if self.match_ == Match::First {
            all.extend(self.never_taken(sections, pairs));
            all.extend(self.partly_taken(sections, pairs));
        } else {
            all.extend(self.made_twice(sections, pairs));
        }
        all.extend(self.colliding());
        all.extend(self.filled_to_collide());
        all.extend(self.written_to_dead_letters());
        all.extend(self.routes.iter().filter_map(without_effect));
        all.extend(self.routes.iter().filter_map(never_deleted));
        all.extend(self.routes.iter().flat_map(doubtful_defaults));
        for section in sections.iter().filter(|section| section.first().protocol == Protocol::V311)
        {
            all.extend(self.without_properties(*section));
        }
        all
    }

    /// Routes all of whose messages an earlier one takes, on each of their connections.
    fn never_taken(&self, sections: &[MqttSection<'_>], pairs: &Pairs) -> Vec<String> {
        let warning = |(at, route): (usize, &Route)| {
            let takers = self.takers(at, pairs);
            let taker = |section: &MqttSection<'_>| {
                takers.iter().find(|it| it.is_from(&section.first().section))
            };
            let own = sections.iter().filter(|section| route.is_from(&section.first().section));
            let earlier: Option<Vec<_>> = own.map(taker).collect();
            let first = *earlier?.first()?;
            Some(format!(
                "{}.filter: the route can never take a message: {} of {} matches all that {} does, \
                 and stands before it",
                route.id,
                quoted(first.filter.as_str()),
                first.id,
                quoted(route.filter.as_str())
            ))
        };
        self.routes.iter().enumerate().filter_map(warning).collect()
    }

    /// Earlier routes that match all that this one does.
    fn takers(&self, at: usize, pairs: &Pairs) -> Vec<&Route> {
        let earlier = pairs.earlier(at).iter().map(|before| &self.routes[*before]);
        earlier.filter(|it| it.filter.takes_all(&self.routes[at].filter)).collect()
    }

    /// Routes some of whose messages an earlier one takes on a connection, while neither filter contains the other, so
    /// that their order hardly says what was meant.
    fn partly_taken(&self, sections: &[MqttSection<'_>], pairs: &mut Pairs) -> Vec<String> {
        let mut warnings = Vec::new();
        for (at, route) in self.routes.iter().enumerate() {
            let takers = self.takers(at, pairs);
            for before in pairs.earlier(at).to_vec() {
                let earlier = &self.routes[before];
                if route.filter.takes_all(&earlier.filter) {
                    continue;
                }
                let Some(common) = earlier.filter.common(&route.filter) else { continue };
                let mut first = pairs.meeting(&common);
                first.retain(|it| *it < before && self.routes[*it].filter.takes_all(&common));
                let is_taken_from = |section: &MqttSection<'_>| {
                    let is_from = |it: &Route| it.is_from(&section.first().section);
                    is_from(route)
                        && is_from(earlier)
                        && !takers.iter().any(|it| is_from(it))
                        && !first.iter().any(|it| is_from(&self.routes[*it]))
                };
                if !sections.iter().any(is_taken_from) {
                    continue;
                }
                warnings.push(format!(
                    "{}.filter: {} of {} takes some of the messages that {} matches, such as {}, because it \
                     stands before it; neither filter contains the other",
                    route.id,
                    quoted(earlier.filter.as_str()),
                    called(earlier),
                    quoted(route.filter.as_str()),
                    quoted(&common.example()),
                ));
                if warnings.len() > WARNINGS_MAX {
                    return warnings;
                }
            }
        }
        warnings
    }

    /// Routes that write records of one message to one Kafka topic.
    fn made_twice(&self, sections: &[MqttSection<'_>], pairs: &Pairs) -> Vec<String> {
        let kafka_topics: Vec<_> =
            self.routes.iter().map(|it| it.kafka_topic.to_string()).collect();
        let is_together = |one: &Route, other: &Route| {
            let mut sections = sections.iter().map(|section| &section.first().section);
            sections.any(|section| one.is_from(section) && other.is_from(section))
        };
        let warning = |(at, route): (usize, &Route)| {
            let other = pairs.earlier(at).iter().find(|before| {
                let earlier = &self.routes[**before];
                kafka_topics[**before] == kafka_topics[at]
                    && earlier.filter.overlaps(&route.filter)
                    && is_together(earlier, route)
            })?;
            Some(format!(
                "{}.kafka_topic: a message that {} matches too becomes several records of {}",
                route.id,
                self.routes[*other].id,
                quoted(&kafka_topics[at])
            ))
        };
        self.routes.iter().enumerate().filter_map(warning).collect()
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
            template.as_fixed().is_none() && template.may_be(dead_letters)
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

/// Words that stand for themselves where a value is missing, and may be meant as functions.
fn doubtful_defaults(route: &Route) -> Vec<String> {
    let templates = route.templates().into_iter().flat_map(|(key, template)| {
        template.placeholders().map(move |placeholder| (key, placeholder.clone()))
    });
    let conditions = route.conditions().flat_map(|(key, condition)| {
        condition.placeholders().into_iter().map(move |placeholder| (key, placeholder))
    });
    let warning = |(key, placeholder): (&str, Placeholder)| {
        let text = placeholder.doubtful_default()?;
        Some(format!(
            "{}.{key}: in {placeholder}, {text} is no function but the text for a value that is missing; \
             default:{text} says so",
            route.id
        ))
    };
    templates.chain(conditions).filter_map(warning).collect()
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

/// What keeps the tombstone of an empty payload from deleting its key: such a payload has no fields.
fn never_deleted(route: &Route) -> Option<String> {
    // What Sparkplug sends without a byte has fields all the same.
    if !route.tombstone || route.payload == PayloadForm::Sparkplug {
        return None;
    }
    let says = |key: &str, why: String| {
        format!("{}.{key}: with tombstone = \"empty\", {why}: no key is deleted", route.id)
    };
    if route.key == Key::None {
        return Some(says("key", "a record without a key has none to delete".to_owned()));
    }
    let is_json = |it: &&Placeholder| matches!(it.source(), Source::Json(_));
    // With a default it would be written, elsewhere than the record that it is to delete; a header with a default
    // does no harm.
    let needs = |key: &str, it: &&Placeholder| {
        is_json(it) && !(it.has_default() && matches!(key, "headers" | "bridge_id_from"))
    };
    let templates = route.templates();
    let mut needed = templates.iter().filter_map(|(key, template)| {
        Some((*key, template.placeholders().find(|it| needs(key, it))?))
    });
    if let Some((key, placeholder)) = needed.next() {
        return Some(says(key, format!("a message without payload has no {placeholder}")));
    }
    if let TimestampFrom::Field(MessageField::Json(_)) = &route.timestamp.from
        && route.timestamp.refuse_invalid
    {
        let why =
            format!("a message without payload has no {} and is refused", route.timestamp.from);
        return Some(says("timestamp", why));
    }
    route.conditions().find_map(|(key, condition)| {
        let recipe = match (key, condition.of_empty_payload()?) {
            ("drop_if", true) => format!("{{json.}} exists and ({condition})"),
            ("keep_if", false) => format!("not {{json.}} exists or ({condition})"),
            _ => return None,
        };
        let why = "a message without payload has no JSON fields and is dropped".to_owned();
        Some(format!("{}; what lets it pass is {recipe}", says(key, why)))
    })
}

impl Route {
    /// The first thing that it reads and only MQTT 5 has.
    fn of_mqtt_5(&self) -> Option<String> {
        let templates = self.templates().into_iter().flat_map(|(_, it)| it.placeholders().cloned());
        let conditions = self.conditions().flat_map(|(_, condition)| condition.placeholders());
        let of_5 = |placeholder: Placeholder| match placeholder.source() {
            Source::User(_) => Some("user"),
            Source::ContentType => Some("content_type"),
            Source::CorrelationData => Some("correlation_data"),
            Source::ResponseTopic => Some("response_topic"),
            _ => None,
        };
        if let Some(source) = templates.chain(conditions).find_map(of_5) {
            return Some(format!("the source {source}"));
        }
        let is_user = |field: &MessageField| matches!(field, MessageField::User(_));
        let timestamp = match &self.timestamp.from {
            TimestampFrom::Field(field) => Some(field),
            TimestampFrom::None | TimestampFrom::Received => None,
        };
        if timestamp.is_some_and(is_user) || self.device_time.from.as_ref().is_some_and(is_user) {
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

    /// Its templates, each with its key.
    fn templates(&self) -> Vec<(&'static str, &Template)> {
        let key = match &self.key {
            Key::Template(template) => Some(template),
            Key::MqttTopic | Key::None => None,
        };
        let one = [
            ("kafka_topic", Some(&self.kafka_topic)),
            ("key", key),
            ("partition", self.partition.as_ref()),
            ("bridge_id_from", self.headers.bridge_id_from.as_ref()),
        ];
        let one = one.into_iter().filter_map(|(name, template)| Some((name, template?)));
        let own = self.headers.items.iter().filter_map(|item| match item {
            HeaderItem::Own(_, template) => Some(("headers", template)),
            _ => None,
        });
        one.chain(own).collect()
    }

    /// Its conditions, each with its key.
    fn conditions(&self) -> impl Iterator<Item = (&'static str, &Condition)> {
        let drop_if = self.gate.drop_if.iter().map(|condition| ("drop_if", condition));
        drop_if.chain(self.gate.keep_if.iter().map(|condition| ("keep_if", condition)))
    }
}

/// A route by its number, and by its name if it has one of its own.
fn called(route: &Route) -> String {
    match &*route.name == route.filter.as_str() {
        true => route.id.to_string(),
        false => format!("{} ({})", route.id, quoted(&route.name)),
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
