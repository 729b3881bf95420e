//! What an MQTT topic of Sparkplug says: `spBv1.0/GROUP/TYPE/NODE[/DEVICE]`. Pure.

use std::str::Split;

/// The namespace of Sparkplug B.
pub(super) const NAMESPACE: &str = "spBv1.0";

/// Of whom a message is, and what kind of message it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name<'a> {
    /// Of an edge node or one of its devices.
    Edge(Edge<'a>),
    /// A host application is there, or is not: `spBv1.0/STATE/HOST`, and `STATE/HOST` before Sparkplug 3.0.
    State {
        /// The host.
        host_id: &'a str,
    },
}

/// Of an edge node or a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Edge<'a> {
    /// The group of the edge node.
    pub(super) group: &'a str,
    /// The kind of message.
    pub(super) kind: Kind,
    /// The edge node.
    pub(super) node: &'a str,
    /// The device, if the message is of one.
    pub(super) device: Option<&'a str>,
}

/// What a message says, of a node or of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Birth,
    Data,
    Death,
    Command,
}

impl Edge<'_> {
    /// The message type, as the MQTT topic has it.
    pub(super) fn message_type(&self) -> &'static str {
        match (self.kind, self.device.is_some()) {
            (Kind::Birth, false) => "NBIRTH",
            (Kind::Birth, true) => "DBIRTH",
            (Kind::Data, false) => "NDATA",
            (Kind::Data, true) => "DDATA",
            (Kind::Death, false) => "NDEATH",
            (Kind::Death, true) => "DDEATH",
            (Kind::Command, false) => "NCMD",
            (Kind::Command, true) => "DCMD",
        }
    }

    /// The MQTT topic of commands for the node.
    pub(super) fn commands(&self) -> String {
        format!("{NAMESPACE}/{}/NCMD/{}", self.group, self.node)
    }
}

impl<'a> Name<'a> {
    /// Reads an MQTT topic.
    ///
    /// # Errors
    /// What was found and expected, if it is none of Sparkplug B.
    pub(super) fn parse(mqtt_topic: &'a str) -> Result<Self, String> {
        if mqtt_topic.len() > NAME_MAX_BYTES {
            let found = mqtt_topic.len();
            return Err(format!(
                "expected an MQTT topic of at most {NAME_MAX_BYTES} bytes, found {found}"
            ));
        }
        let parsed =
            match mqtt_topic.strip_prefix(NAMESPACE).and_then(|rest| rest.strip_prefix('/')) {
                None => match mqtt_topic.strip_prefix("STATE/") {
                    Some(host_id) => state(host_id),
                    None => None,
                },
                Some(rest) => match rest.strip_prefix("STATE/").and_then(state) {
                    Some(state) => Some(state),
                    None => edge(rest.split('/')),
                },
            };
        parsed.ok_or_else(|| {
            let shown: String = mqtt_topic.chars().take(SHOWN_CHARS).collect();
            format!(
                "expected an MQTT topic of Sparkplug B, {NAMESPACE}/GROUP/TYPE/NODE or \
                 {NAMESPACE}/GROUP/TYPE/NODE/DEVICE, found {shown:?}"
            )
        })
    }
}

/// Longer ones are refused, since names of nodes and devices are remembered.
pub(super) const NAME_MAX_BYTES: usize = 1024;
/// This much of a foreign MQTT topic is shown.
const SHOWN_CHARS: usize = 200;

fn state(host_id: &str) -> Option<Name<'_>> {
    (!host_id.is_empty() && !host_id.contains('/')).then_some(Name::State { host_id })
}

fn edge<'a>(mut levels: Split<'a, char>) -> Option<Name<'a>> {
    let mut next = || levels.next().filter(|level| !level.is_empty());
    let (group, of, node) = (next()?, next()?, next()?);
    let device = levels.next();
    if device.is_some_and(str::is_empty) || levels.next().is_some() {
        return None;
    }
    let (is_of_device, kind) = match of.split_at_checked(1)? {
        ("N", kind) => (false, kind),
        ("D", kind) => (true, kind),
        _ => return None,
    };
    let kind = match kind {
        "BIRTH" => Kind::Birth,
        "DATA" => Kind::Data,
        "DEATH" => Kind::Death,
        "CMD" => Kind::Command,
        _ => return None,
    };
    let edge = Edge { group, kind, node, device };
    (is_of_device == device.is_some()).then_some(Name::Edge(edge))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_message_is_known_by_its_mqtt_topic() {
        for (mqtt_topic, kind, device) in [
            ("spBv1.0/g/NBIRTH/e", Kind::Birth, None),
            ("spBv1.0/g/DBIRTH/e/d", Kind::Birth, Some("d")),
            ("spBv1.0/g/NDATA/e", Kind::Data, None),
            ("spBv1.0/g/DDATA/e/d", Kind::Data, Some("d")),
            ("spBv1.0/g/NDEATH/e", Kind::Death, None),
            ("spBv1.0/g/DDEATH/e/d", Kind::Death, Some("d")),
            ("spBv1.0/g/NCMD/e", Kind::Command, None),
            ("spBv1.0/g/DCMD/e/d", Kind::Command, Some("d")),
            ("spBv1.0/STATE/NDATA/e", Kind::Data, None),
        ] {
            let Ok(Name::Edge(edge)) = Name::parse(mqtt_topic) else { panic!("{mqtt_topic}") };
            assert_eq!((edge.kind, edge.node, edge.device), (kind, "e", device), "{mqtt_topic}");
            assert!(mqtt_topic.contains(edge.message_type()), "{mqtt_topic}");
        }
        for mqtt_topic in ["spBv1.0/STATE/host", "STATE/host"] {
            assert_eq!(Name::parse(mqtt_topic), Ok(Name::State { host_id: "host" }));
        }
    }

    #[test]
    fn what_is_no_mqtt_topic_of_sparkplug_b_is_refused() {
        for mqtt_topic in [
            "",
            "spBv1.0",
            "spBv1.0/",
            "spBv1.0/g",
            "spBv1.0/g/NDATA",
            "spBv1.0/g/NDATA/",
            "spBv1.0//NDATA/e",
            "spBv1.0/g/NDATA/e/d",
            "spBv1.0/g/DDATA/e",
            "spBv1.0/g/DDATA/e/",
            "spBv1.0/g/DDATA/e/d/x",
            "spBv1.0/g/NFOO/e",
            "spBv1.0/g/XDATA/e",
            "spBv1.0/g/ÄDATA/e",
            "spAv1.0/g/NDATA/e",
            "spBv1.0x/g/NDATA/e",
            "STATE/",
            "STATE/a/b",
            "spBv1.0/STATE/",
        ] {
            let error = Name::parse(mqtt_topic).expect_err(mqtt_topic);
            assert!(error.contains("spBv1.0/GROUP/TYPE/NODE"), "{error}");
        }
        let long = format!("spBv1.0/g/NDATA/{}", "e".repeat(NAME_MAX_BYTES));
        assert!(Name::parse(&long).is_err_and(|error| error.contains("1024")));
    }
}
