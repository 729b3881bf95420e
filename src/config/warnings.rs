//! What is legal and may have unwanted consequences.

use std::collections::BTreeSet;

use super::connections::MqttSection;
use super::kafka_login;
use super::mqtt_config::Protocol;
use super::resolved::Config;
use super::suggest::quoted;
use crate::route::pairs::Pairs;
use crate::route::{Filter, Route};

/// Most warnings of one configuration: many routes make very many pairs.
pub(super) const WARNINGS_MAX: usize = 20;

impl Config {
    /// Warnings about settings that are legal and may have unwanted consequences, one line each.
    pub fn warnings(&self) -> Vec<String> {
        let mut all: Vec<String> = self.http_warning().into_iter().collect();
        let sections = self.mqtt_sections();
        all.extend(kafka_login::warnings(&self.kafka));
        all.extend(sections.iter().filter_map(|section| insecure_warning(*section)));
        all.extend(sections.iter().filter_map(|section| group_warning(*section)));
        for section in &sections {
            all.extend(self.shared_warnings(*section));
        }
        let mut pairs = Pairs::of(self.routes.iter().map(|route| &route.filter));
        let mut of_pairs = Vec::new();
        for section in &sections {
            of_pairs.extend(self.overlap_warnings(*section, &pairs));
        }
        of_pairs.extend(self.route_warnings(&sections, &mut pairs));
        if !pairs.are_all() {
            all.push("routes: too many overlap, not all pairs of them were compared".to_owned());
        }
        all.extend(of_pairs);
        // What several connections have in common is said once.
        let mut said = BTreeSet::new();
        all.retain(|warning| said.insert(warning.clone()));
        if all.len() > WARNINGS_MAX {
            all.truncate(WARNINGS_MAX);
            all.push("and more of this kind".to_owned());
        }
        all
    }

    /// Pages that others than this machine could reach, and no token to ask for.
    fn http_warning(&self) -> Option<String> {
        let at = self.http.listen.filter(|at| !at.ip().is_loopback())?;
        let pages = match self.http.metrics_token {
            true => "only /livez and /readyz",
            false => "only /livez, /readyz and /metrics",
        };
        self.http.token_file.is_none().then(|| {
            format!(
                "http.listen: others than this machine can reach {at}, and http.token_file is not set: \
                 {pages} are served"
            )
        })
    }

    /// Overlapping subscriptions: the bridge can recognise the copies only over MQTT 5, and those of a
    /// shared group not at all.
    fn overlap_warnings(&self, section: MqttSection<'_>, pairs: &Pairs) -> Vec<String> {
        let group = section.first().group.as_deref();
        let is_own = |route: &Route| route.is_from(&section.first().section);
        // As it is subscribed.
        let filter = |route: &Route| match group {
            Some(group) => route.filter.shared_in(group),
            None => route.filter.clone(),
        };
        let brings_all = |one: &(&Route, Filter), other: &(&Route, Filter)| {
            one.0.qos >= other.0.qos && one.1.covers(&other.1)
        };
        let own = self.routes.iter().enumerate().filter(|(_, route)| is_own(route));
        let pairs = own.flat_map(|(at, route)| {
            let earlier = pairs.earlier(at).iter().map(|before| &self.routes[*before]);
            earlier.filter(|it| is_own(it)).map(move |earlier| (earlier, route))
        });
        pairs
            .map(|(one, other)| ((one, filter(one)), (other, filter(other))))
            .filter(|(one, other)| {
                (may_speak_311(section) || one.1.is_shared())
                    && one.1.overlaps(&other.1)
                    && !brings_all(one, other)
                    && !brings_all(other, one)
            })
            // One more than is shown.
            .take(WARNINGS_MAX + 1)
            .map(|((one, filter), (other, its))| {
                let what = match filter.is_shared() {
                    true => {
                        "the broker sends the group a copy for each of them, perhaps to different \
                         members, and each copy becomes a record"
                    }
                    false => {
                        "over MQTT 3.1.1 the broker may send a copy for each of them, and each copy \
                         becomes a record (over MQTT 5 the bridge recognises the copies)"
                    }
                };
                format!(
                    "{}.filter and {}.filter: {:?} and {:?} have MQTT topics in \
                     common: {what}",
                    one.id,
                    other.id,
                    filter.as_str(),
                    its.as_str()
                )
            })
            .collect()
    }

    /// Shared subscriptions, which some MQTT 3.1.1 brokers grant and never deliver to. Those of a group
    /// have a warning of their own.
    fn shared_warnings(&self, section: MqttSection<'_>) -> Vec<String> {
        let of_section = self.routes.iter().filter(|route| route.is_from(&section.first().section));
        let shared = of_section.filter(|route| may_speak_311(section) && route.filter.is_shared());
        shared
            .map(|route| {
                format!(
                    "{}.filter: {:?} is a shared subscription: over MQTT 3.1.1 a broker \
                     without shared subscriptions may grant it and send nothing (see \
                     mqtt.silence_warning; over MQTT 5 such a broker refuses it)",
                    route.id,
                    route.filter.as_str()
                )
            })
            .collect()
    }
}

/// Whether a connection may use MQTT 3.1.1.
fn may_speak_311(section: MqttSection<'_>) -> bool {
    section.first().protocol != Protocol::V5
}

fn insecure_warning(section: MqttSection<'_>) -> Option<String> {
    let mqtt = section.first();
    mqtt.tls.insecure_skip_verify.then(|| {
        format!(
            "connection {}: mqtt.tls.insecure_skip_verify is true: neither the broker's certificate nor \
             its name is checked, so that anybody on the way can read and change everything, the \
             password included",
            quoted(&mqtt.section)
        )
    })
}

/// What a group gives up, and what it needs.
fn group_warning(section: MqttSection<'_>) -> Option<String> {
    let mqtt = section.first();
    let group = mqtt.group.as_ref()?;
    let who = match section.members().len() {
        1 => format!("connection {} shares", quoted(&mqtt.section)),
        n => format!("{n} connections of {} share", quoted(&mqtt.section)),
    };
    let needs = match may_speak_311(section) {
        true => {
            "; over MQTT 3.1.1 a broker without shared subscriptions may grant them and send nothing \
             (see mqtt.silence_warning; over MQTT 5 such a broker refuses them)"
        }
        false => "",
    };
    Some(format!(
        "{who} the subscriptions of group {}: messages of one MQTT topic are in order only as far as the \
         broker keeps them on one connection{needs}",
        quoted(group)
    ))
}
