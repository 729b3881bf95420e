//! Binds the placeholders of a route to its filter's captures, and collects the JSON pointers that it reads,
//! once all of its keys are read. Pure.

use super::headers::HeaderItem;
use super::json_pointers::{self, JsonPointers};
use super::message_field::MessageField;
use super::placeholder::Placeholder;
use super::rule::{Key, Route};
use super::source::Source;
use super::timestamp::TimestampFrom;
use super::words::WORDS;

impl Route {
    /// Resolves the names of captures in its templates and conditions. Returns what is wrong: the key, and a
    /// sentence. A route whose placeholders name no captures works unbound too, but slower.
    pub fn bind(&mut self) -> Vec<(&'static str, String)> {
        let mut wrong = Vec::new();
        let captures = self.captures.clone();
        for name in captures.names().filter(|name| is_source(name)) {
            wrong.push((
                "filter",
                format!("`{name}` is a source of every message, a capture needs another name"),
            ));
        }
        let mut pointers: Vec<Box<str>> = Vec::new();
        let timestamp = match &self.timestamp.from {
            TimestampFrom::Field(field) => Some(field),
            TimestampFrom::None | TimestampFrom::Received => None,
        };
        for (key, field) in
            [("timestamp", timestamp), ("device_time", self.device_time.from.as_ref())]
        {
            let Some(MessageField::Json(pointer)) = field else { continue };
            match json_pointers::check(pointer) {
                Ok(()) => pointers.push(pointer.as_str().into()),
                Err(error) => wrong.push((key, error)),
            }
        }
        self.each_placeholder(&mut |key, placeholder| match placeholder.source_mut() {
            Source::Capture(name, levels) => match captures.get(name) {
                Some(found) => *levels = Some(found),
                None => {
                    let known: Vec<_> = captures.names().map(|name| format!("`{name}`")).collect();
                    let known = match known.is_empty() {
                        true => "the filter has no captures".to_owned(),
                        false => format!("the filter has {}", known.join(", ")),
                    };
                    let sources: Vec<_> = WORDS
                        .iter()
                        .filter(|word| word.is_source())
                        .map(|word| word.written)
                        .collect();
                    wrong.push((
                        key,
                        format!(
                            "expected something that a message has, found `{name}`: {known}, and every message has {}",
                            sources.join(", ")
                        ),
                    ));
                }
            },
            Source::Json(pointer) => pointers.push(pointer.clone()),
            _ => {}
        });
        self.pointers = JsonPointers::of(pointers.iter().map(|pointer| &**pointer));
        wrong
    }

    /// Shows each placeholder of its templates and conditions, with its key.
    fn each_placeholder(&mut self, visit: &mut dyn FnMut(&'static str, &mut Placeholder)) {
        let key = match &mut self.key {
            Key::Template(template) => Some(template),
            Key::MqttTopic | Key::None => None,
        };
        let templates = [
            ("kafka_topic", Some(&mut self.kafka_topic)),
            ("key", key),
            ("partition", self.partition.as_mut()),
            ("bridge_id_from", self.headers.bridge_id_from.as_mut()),
        ];
        for (key, template) in templates {
            for placeholder in template.into_iter().flat_map(|template| template.placeholders_mut())
            {
                visit(key, placeholder);
            }
        }
        for item in &mut self.headers.items {
            if let HeaderItem::Own(_, template) = item {
                template.placeholders_mut().for_each(|placeholder| visit("headers", placeholder));
            }
        }
        let conditions =
            [("drop_if", self.gate.drop_if.as_mut()), ("keep_if", self.gate.keep_if.as_mut())];
        for (key, condition) in conditions {
            if let Some(condition) = condition {
                condition.each_placeholder(&mut |placeholder| visit(key, placeholder));
            }
        }
    }
}

fn is_source(name: &str) -> bool {
    WORDS.iter().any(|word| word.is_source() && word.name == name)
}
