//! What a message becomes.

use std::sync::Arc;

use bytes::Bytes;

use super::decompress::Decompress;
use super::dedupe::Dedupe;
use super::device_time::Unreadable;
use super::gate::Gate;
use super::headers::{self, NoHeaders};
use super::index::Level;
use super::input::{Input, View};
pub use super::naming::{KAFKA_TOPIC_ILLEGAL, VALUE_MISSING};
use super::naming::{Named, Namer, Naming};
use super::note::{DropReason, Note};
use super::payload::PayloadForm;
use super::rule::{Match, Route};
use super::sparkplug::Sparkplug;
use super::template::Unfilled;
use super::timestamp::{Stamped, TimestampFrom};
use crate::message::{
    Destination, Destinations, Record, RecordExtras, RecordId, Refusal, RouteId, Seq,
};

/// The reason code of a partition that is not a number of 0 or more.
pub const PARTITION_ILLEGAL: &str = "partition_illegal";
/// The reason code of a timestamp that cannot be used.
pub const TIMESTAMP_ILLEGAL: &str = "timestamp_illegal";
/// The reason code of a payload that is not packed as its route says.
pub const NOT_DECOMPRESSED: &str = "payload_not_decompressed";
/// The reason code of a payload that is not Sparkplug B.
pub const NOT_SPARKPLUG: &str = "payload_not_sparkplug";

/// The reason code of a message that more routes take than one message may have destinations.
pub const TOO_MANY_ROUTES: &str = "too_many_routes";

/// How much of a partition that is none a sentence shows, in characters.
const SHOWN_MAX: usize = 100;

/// The routes in the order of the configuration. Each MQTT connection has a router of its own, in its
/// intake.
#[derive(Debug)]
pub struct Router {
    routes: Vec<Arc<Route>>,
    /// For each route, in order.
    ways: Vec<Way>,
    match_: Match,
    /// Of their filters.
    index: Level,
    desk: Desk,
    /// A route puts the moment of routing into a header.
    says_routed_at: bool,
    /// The routes that take the present message, where several may.
    matching: Vec<usize>,
}

/// How the messages of a route become records.
#[derive(Debug)]
struct Way {
    naming: Naming,
    /// The route takes every message, and its records are the payload as it came, without anything beside key
    /// and value. Once the names are known, such a record is made without a look at the message; it is the
    /// same as the one that [`Desk::record`] makes.
    is_plain: bool,
}

impl Way {
    fn of(route: &Route) -> Self {
        let is_plain = route.gate == Gate::default()
            && route.decompress == Decompress::None
            && route.payload == PayloadForm::Raw
            && !route.tombstone
            && route.partition.is_none()
            && route.timestamp.from == TimestampFrom::None
            && route.device_time.from.is_none()
            && route.headers.is_none();
        Self { naming: Naming::of(route), is_plain }
    }
}

/// What all routes share when a message becomes records.
#[derive(Debug, Default)]
struct Desk {
    memory: Memory,
    notes: Vec<(RouteId, Note)>,
    requests: Vec<(String, Bytes)>,
    namer: Namer,
    common_headers: headers::Common,
}

/// What routing remembers of the messages of one connection. Begins empty, and is empty again after a
/// restart of the actor, since a panic may have left it half-changed
/// (docs/decisions/0016-records-by-destination.md).
#[derive(Debug, Default)]
struct Memory {
    sparkplug: Sparkplug,
    /// The present message, by how it was unpacked, so that routes share what is unpacked.
    unpacked: Vec<(Decompress, usize, Result<Bytes, String>)>,
    /// For each route, in order.
    routes: Vec<RouteMemory>,
    /// The number of the newest of them.
    newest: u64,
    /// Where a route asks for it.
    dedupe: Option<Box<Dedupe>>,
}

/// What is remembered for one route, as long as it stays what it is.
#[derive(Debug, Clone, Copy)]
struct RouteMemory {
    /// What [`Dedupe`] calls the route.
    number: u64,
    /// The messages since `sample` let one pass.
    since_sample: u32,
}

impl Memory {
    /// The payload of the present message, unpacked.
    fn unpacked(
        &mut self,
        packed: Decompress,
        max: usize,
        payload: &Bytes,
    ) -> Result<Bytes, (&'static str, String)> {
        let mut known = self.unpacked.iter();
        let unpacked = match known.find(|(how, most, _)| (*how, *most) == (packed, max)) {
            Some((_, _, unpacked)) => unpacked.clone(),
            None => {
                let unpacked = packed.apply(payload, max);
                self.unpacked.push((packed, max, unpacked.clone()));
                unpacked
            }
        };
        unpacked.map_err(|detail| (NOT_DECOMPRESSED, detail))
    }

    /// Of these routes. Keeps what it remembers for those that are the same in `before`.
    fn take_routes(&mut self, routes: &[Arc<Route>], before: &[Arc<Route>]) {
        let known = std::mem::take(&mut self.routes);
        for route in routes {
            let place = before.iter().position(|old| old.id == route.id && old == route);
            self.routes.push(place.and_then(|place| known.get(place).copied()).unwrap_or_else(
                || {
                    self.newest += 1;
                    RouteMemory { number: self.newest, since_sample: 0 }
                },
            ));
        }
        if routes.iter().any(|route| route.gate.dedupe) {
            self.dedupe.get_or_insert_default();
        } else {
            self.dedupe = None;
        }
    }
}

/// What a message became.
#[derive(Debug)]
pub struct Routed {
    /// Where it goes.
    pub destinations: Destinations,
    /// Whether a route matches: if so, and it has no destinations, it was dropped on purpose.
    pub is_matched: bool,
}

impl Router {
    /// A router over these routes that remembers nothing.
    pub fn new(routes: &[Route], match_: Match) -> Self {
        let mut router = Self {
            routes: Vec::new(),
            ways: Vec::new(),
            match_,
            index: Level::of([]),
            desk: Desk::default(),
            says_routed_at: false,
            matching: Vec::new(),
        };
        router.replace(routes, match_);
        router
    }

    /// From now on it has these routes. What it remembers for a route that stays as it is, its number
    /// included, it keeps; what is in flight stays what it became.
    pub fn replace(&mut self, routes: &[Route], match_: Match) {
        let routes: Vec<_> = routes.iter().cloned().map(Arc::new).collect();
        self.desk.memory.take_routes(&routes, &self.routes);
        self.index = Level::of(routes.iter().map(|route| &route.filter));
        self.match_ = match_;
        self.says_routed_at = routes.iter().any(|route| route.headers.says_routed_at());
        self.routes = routes;
        self.forget_names();
    }

    /// Forgets what it remembers, after a restart of the connection's actor.
    pub fn forget(&mut self) {
        self.desk.memory = Memory::default();
        self.desk.memory.take_routes(&self.routes, &[]);
        self.forget_names();
    }

    fn forget_names(&mut self) {
        self.ways = self.routes.iter().map(|route| Way::of(route)).collect();
        self.desk.namer = Namer::default();
    }

    /// The message that was routed last is in flight under this number.
    #[inline]
    pub fn admitted(&mut self, seq: Seq) {
        if let Some(dedupe) = &mut self.desk.memory.dedupe {
            dedupe.admitted(seq);
        }
    }

    /// What a message became has its verdict.
    #[inline]
    pub fn settled(&mut self, id: RecordId, is_delivered: bool) {
        if let Some(dedupe) = &mut self.desk.memory.dedupe {
            dedupe.settled(id, is_delivered);
        }
    }

    /// Where messages are only looked at: what the last one became counts as delivered, and nothing is asked
    /// of anybody.
    pub fn pretend_delivered(&mut self, routed: &Routed) {
        let seq = Seq::next();
        self.admitted(seq);
        for index in (0..=u16::MAX).take(routed.destinations.as_slice().len()) {
            self.settled(RecordId { seq, index }, true);
        }
        self.desk.requests.clear();
    }

    /// Which of the routes that match a message take it.
    pub fn match_(&self) -> Match {
        self.match_
    }

    /// The routes, in order.
    pub fn routes(&self) -> &[Arc<Route>] {
        &self.routes
    }

    /// Whether [`Input::waited`] has to be known of every message, for a header of its record.
    #[inline]
    pub fn says_routed_at(&self) -> bool {
        self.says_routed_at
    }

    /// Whether a route matches.
    pub fn matches(&self, mqtt_topic: &[u8]) -> bool {
        self.index.first_match(mqtt_topic).is_some()
    }

    /// What is to be counted of the last message, by route.
    pub fn notes(&self) -> &[(RouteId, Note)] {
        &self.desk.notes
    }

    /// What is to be published because of messages so far, at QoS 0: MQTT topics and payloads.
    pub fn take_requests(&mut self) -> Vec<(String, Bytes)> {
        std::mem::take(&mut self.desk.requests)
    }

    /// What a message becomes.
    pub fn route(&mut self, input: &Input<'_>) -> Routed {
        self.desk.notes.clear();
        self.desk.memory.sparkplug.next_message();
        if let Some(dedupe) = &mut self.desk.memory.dedupe {
            dedupe.begin();
        }
        let routed = match self.match_ {
            Match::First => match self.index.first_match(input.mqtt_topic) {
                None => Routed { destinations: Destinations::None, is_matched: false },
                Some(place) => {
                    let destination = self.destination(input, place, 0);
                    let destinations = destination.map_or(Destinations::None, Destinations::One);
                    Routed { destinations, is_matched: true }
                }
            },
            Match::All => {
                let mut matching = std::mem::take(&mut self.matching);
                matching.clear();
                self.index.all_matches(input.mqtt_topic, &mut matching);
                let destinations = self.destinations(input, &matching);
                let is_matched = !matching.is_empty();
                self.matching = matching;
                Routed { destinations, is_matched }
            }
        };
        self.desk.memory.unpacked.clear();
        routed
    }

    /// What all of these routes make of a message. Each drops or refuses it for itself alone.
    fn destinations(&mut self, input: &Input<'_>, places: &[usize]) -> Destinations {
        if places.len() > Destinations::MAX {
            let detail = format!(
                "expected at most {} routes that take a message, found {}",
                Destinations::MAX,
                places.len()
            );
            let refusal = Box::new(Refusal::new(TOO_MANY_ROUTES, detail));
            return Destinations::One(Destination::DeadLetter(refusal));
        }
        let mut made = Vec::with_capacity(places.len());
        for place in places {
            let index = u16::try_from(made.len()).unwrap_or(u16::MAX);
            made.extend(self.destination(input, *place, index));
        }
        match made.len() {
            0 | 1 => made.pop().map_or(Destinations::None, Destinations::One),
            _ => Destinations::Several(made.into()),
        }
    }

    /// What the route at `place` makes of a message, as its destination `index`; nothing if it drops it.
    #[inline]
    fn destination(&mut self, input: &Input<'_>, place: usize, index: u16) -> Option<Destination> {
        let (route, way) = (&*self.routes[place], &mut self.ways[place]);
        if way.is_plain
            && let Some(named) = way.naming.known(input.mqtt_topic)
        {
            return Some(Destination::Record(Record {
                route: route.id,
                kafka_topic: Arc::clone(&named.kafka_topic),
                origin: way.naming.origin.clone(),
                key: named.key.clone(),
                value: Some(input.payload.clone()),
                device_us: None,
                extras: None,
            }));
        }
        let destination = self.desk.destination(input, route, &mut way.naming, (place, index));
        if self.desk.namer.is_full() {
            self.ways.iter_mut().for_each(|way| way.naming.forget());
            self.desk.namer.emptied();
        }
        destination
    }
}

impl Desk {
    /// What a route makes of a message; nothing if it drops it. `at` is its place, and the index of the
    /// destination.
    fn destination(
        &mut self,
        input: &Input<'_>,
        route: &Route,
        naming: &mut Naming,
        at: (usize, u16),
    ) -> Option<Destination> {
        let since_sample = &mut self.memory.routes[at.0].since_sample;
        if let Some(reason) = route.gate.before_unpacking(input, since_sample) {
            self.dropped(route, reason);
            if route.payload == PayloadForm::Sparkplug {
                // A birth that is dropped names the metrics of what comes behind it all the same.
                let _ = self.body(input, route);
            }
            return None;
        }
        match self.record(input, route, naming, at) {
            Ok(record) => record.map(Destination::Record),
            Err((reason, detail)) => {
                let refusal = Refusal { route: Some(route.id), ..Refusal::new(reason, detail) };
                Some(Destination::DeadLetter(Box::new(refusal)))
            }
        }
    }

    #[cold]
    fn dropped(&mut self, route: &Route, reason: DropReason) {
        self.notes.push((route.id, Note::Dropped(reason)));
    }

    /// Why a message that has been unpacked is dropped, if it is.
    #[inline]
    fn drop_reason(
        &mut self,
        view: &View<'_>,
        route: &Route,
        (place, index): (usize, u16),
    ) -> Option<DropReason> {
        let reason = route.gate.after_unpacking(view);
        if reason.is_some() || !route.gate.dedupe {
            return reason;
        }
        let number = self.memory.routes[place].number;
        let Input { mqtt_topic, payload, .. } = view.input;
        let dedupe = self.memory.dedupe.as_mut()?;
        dedupe.repeats(number, mqtt_topic, payload, index).then_some(DropReason::Dedupe)
    }

    /// The payload, unpacked, and decoded where it is Sparkplug.
    fn body(&mut self, input: &Input<'_>, route: &Route) -> Result<Bytes, (&'static str, String)> {
        let body = match route.decompress {
            Decompress::None => input.payload.clone(),
            packed => self.memory.unpacked(packed, route.decompress_max_bytes, input.payload)?,
        };
        if route.payload != PayloadForm::Sparkplug {
            return Ok(body);
        }
        let decoded = self.memory.sparkplug.decode(input, route.sparkplug_rebirth, &body);
        let decoded = decoded.map_err(|detail| (NOT_SPARKPLUG, detail))?;
        self.notes.extend(decoded.notes.into_iter().map(|note| (route.id, note)));
        self.requests.extend(decoded.request);
        Ok(decoded.json)
    }

    fn record(
        &mut self,
        input: &Input<'_>,
        route: &Route,
        naming: &mut Naming,
        at: (usize, u16),
    ) -> Result<Option<Record>, (&'static str, String)> {
        let body = self.body(input, route)?;
        let view = View::new(input, &route.captures, body).reading(&route.pointers);
        if let Some(reason) = self.drop_reason(&view, route, at) {
            self.dropped(route, reason);
            return Ok(None);
        }
        let value = match route.tombstone && input.payload.is_empty() {
            true => None,
            false => Some(of_its_own_size(route.payload.apply(&view)?, &view)),
        };
        let Named { kafka_topic, key } = naming.name(route, &view, &mut self.namer)?;
        let missing = |Unfilled(sentence): Unfilled| (VALUE_MISSING, sentence);
        let partition = match &route.partition {
            None => None,
            Some(template) => {
                self.namer.scratch.clear();
                template.fill_into(&view, &mut self.namer.scratch).map_err(missing)?;
                let filled = &self.namer.scratch;
                let partition = filled.parse().ok().filter(|partition: &i32| *partition >= 0);
                let shown = || filled.chars().take(SHOWN_MAX).collect::<String>();
                let detail = || format!("expected a partition, 0 or more, found {:?}", shown());
                Some(partition.ok_or_else(|| (PARTITION_ILLEGAL, detail()))?)
            }
        };
        let stamped = route.timestamp.of(&view);
        let stamped = stamped.map_err(|detail| (TIMESTAMP_ILLEGAL, detail))?;
        let timestamp_ms = match stamped {
            Stamped::At(at) => at,
            Stamped::FellBack(at) => Some(at),
        };
        let headers =
            route.headers.of(&view, &route.name, &mut self.common_headers).map_err(|none| {
                match none {
                    NoHeaders::Unfilled(unfilled) => missing(unfilled),
                    NoHeaders::TooMany(count) => {
                        let most = headers::USER_PROPERTIES_MAX;
                        let detail =
                            format!("expected at most {most} user properties, found {count}");
                        (headers::TOO_MANY, detail)
                    }
                }
            })?;
        // Counted of records alone: a message that is refused has no timestamp.
        if let Stamped::FellBack(_) = stamped {
            self.notes.push((route.id, Note::TimestampFellBack));
        }
        let device_us = route.device_time.of(&view).unwrap_or_else(|Unreadable| {
            self.notes.push((route.id, Note::DeviceTimeUnreadable));
            None
        });
        let is_plain = headers.is_empty() && partition.is_none() && timestamp_ms.is_none();
        let produced_header = route.headers.produced_at(&headers);
        let extras = RecordExtras { headers, partition, timestamp_ms, produced_header };
        let extras = (!is_plain).then(|| Box::new(extras));
        Ok(Some(Record {
            route: route.id,
            kafka_topic,
            origin: naming.origin.clone(),
            key,
            value,
            device_us,
            extras,
        }))
    }
}

/// The value of a record, copied if it is a small part of an unpacked payload: the window counts the bytes of a
/// record, and not those of what it is a part of.
fn of_its_own_size(value: Bytes, view: &View<'_>) -> Bytes {
    let is_small = value.len() < view.body.len() / 2;
    match is_small && view.body.len() > view.input.payload.len() {
        true => Bytes::copy_from_slice(&value),
        false => value,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;
    use crate::message::{RecordKey, RouteId};
    use crate::route::message_field::MessageField;
    use crate::route::naming;
    use crate::route::rule::Key;
    use crate::route::template::Template;
    use crate::route::test_support::Sample;

    fn routed(router: &mut Router, mqtt_topic: &'static str, payload: &'static str) -> Routed {
        router.route(&Sample::new(mqtt_topic, payload).input())
    }

    fn route(filter: &str, kafka_topic: &str, payload: PayloadForm) -> Route {
        let filter = filter.parse().expect("a legal filter");
        Route { payload, ..Route::new(RouteId(0), filter, kafka_topic) }
    }

    #[test]
    fn the_first_route_that_matches_takes_the_message() {
        let routes = [
            route("sensors/+/temperature", "first", PayloadForm::Raw),
            route("sensors/#", "second", PayloadForm::Raw),
        ];
        let mut router = Router::new(&routes, Match::First);
        let mut kafka_topic =
            |mqtt_topic| match routed(&mut router, mqtt_topic, "").destinations.as_slice() {
                [Destination::Record(record)] => Some(record.kafka_topic.to_string()),
                [] => None,
                other => panic!("one record or none, found {other:?}"),
            };
        assert_eq!(kafka_topic("sensors/a/temperature").as_deref(), Some("first"));
        assert_eq!(kafka_topic("sensors/a/humidity").as_deref(), Some("second"));
        assert_eq!(kafka_topic("actors/a"), None);
    }

    /// The Kafka topics of what a message becomes.
    fn kafka_topics(routed: &Routed) -> Vec<String> {
        let destinations = routed.destinations.as_slice().iter();
        let name = |destination: &'_ Destination| match destination {
            Destination::Record(record) => record.kafka_topic.to_string(),
            Destination::DeadLetter(_) => "dead letter".to_owned(),
        };
        destinations.map(name).collect()
    }

    fn numbered(filter: &str, number: usize) -> Route {
        let filter = filter.parse().expect("a legal filter");
        Route::new(RouteId(number), filter, &number.to_string())
    }

    #[test]
    fn with_match_all_each_route_that_matches_makes_its_record_in_order() {
        let routes = ["a/+", "b/#", "#", "a/b", "a/+"];
        let routes: Vec<_> = (0..).zip(routes).map(|(at, filter)| numbered(filter, at)).collect();
        let mut router = Router::new(&routes, Match::All);
        for (mqtt_topic, expected) in
            [("a/b", &["0", "2", "3", "4"][..]), ("b", &["1", "2"]), ("c", &["2"]), ("$SYS/a", &[])]
        {
            let routed = routed(&mut router, mqtt_topic, "");
            assert_eq!(kafka_topics(&routed), expected, "{mqtt_topic}");
            assert_eq!(routed.is_matched, !expected.is_empty());
        }
    }

    #[test]
    fn routes_share_what_is_unpacked_and_nothing_of_it_stays() {
        let mut routes: Vec<_> = (0..3).map(|number| numbered("#", number)).collect();
        for route in &mut routes {
            route.decompress = Decompress::Gzip;
        }
        routes[2].decompress_max_bytes = 1;
        let mut router = Router::new(&routes, Match::All);
        // "hello", as gzip makes it.
        let payload = b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xcbH\xcd\xc9\xc9\x07\0\x86\xa6\x106\x05\0\0\0";
        let routed = router.route(&Sample::new("a", payload).input());
        let [Destination::Record(first), Destination::Record(second), Destination::DeadLetter(_)] =
            routed.destinations.as_slice()
        else {
            panic!("two records and a refusal, found {routed:?}");
        };
        let value = |record: &Record| record.value.clone().expect("a value");
        assert_eq!(value(first), "hello");
        assert_eq!(value(first).as_ptr(), value(second).as_ptr(), "unpacked once");
        assert!(router.desk.memory.unpacked.is_empty());
    }

    #[test]
    fn a_record_keeps_no_more_of_an_unpacked_payload_than_it_has() {
        let mut route = route("#", "t", PayloadForm::Json);
        route.decompress = Decompress::Gzip;
        route.key = Key::Template(Template::parse("{json./id}").expect("legal"));
        route.headers.items = vec![headers::HeaderItem::Own(
            "id".to_owned(),
            Template::parse("{json./id}").expect("legal"),
        )];
        assert_eq!(route.bind(), []);
        let mut router = Router::new(&[route], Match::First);
        for padding in [0, 1 << 20] {
            let body = format!("{}{{\"id\": \"x\"}}", " ".repeat(padding));
            let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
            gzip.write_all(body.as_bytes()).expect("to memory");
            let sample = Sample::new("a", gzip.finish().expect("to memory"));
            let routed = router.route(&sample.input());
            let Destinations::One(Destination::Record(mut record)) = routed.destinations else {
                panic!("one record, found {routed:?}");
            };
            let mut headers = record.extras.take().expect("a header").headers;
            let RecordKey::Bytes(key) = record.key else { panic!("a key") };
            let header = headers.pop().and_then(|header| header.value);
            for (part, expected) in
                [(Some(key), "x"), (header, "x"), (record.value, "{\"id\": \"x\"}")]
            {
                // With the memory that they are a part of, if nothing else is.
                let part = Vec::from(part.expect("it is there"));
                assert_eq!(part, expected.as_bytes());
                assert!(part.capacity() < 100, "{} bytes behind {expected}", part.capacity());
            }
        }
    }

    #[test]
    fn what_one_route_drops_or_refuses_the_others_forward() {
        let mut routes: Vec<_> = (0..4).map(|number| numbered("#", number)).collect();
        routes[0].gate.sample = Some(2);
        routes[1].payload = PayloadForm::Json;
        routes[3].gate.dedupe = true;
        let mut router = Router::new(&routes, Match::All);
        let first = routed(&mut router, "a", "no json");
        assert_eq!(kafka_topics(&first), ["0", "dead letter", "2", "3"]);
        router.admitted(Seq(1));
        for index in 0..4 {
            router.settled(RecordId { seq: Seq(1), index }, index != 1);
        }
        let second = routed(&mut router, "a", "no json");
        assert_eq!(kafka_topics(&second), ["dead letter", "2"]);
        let dropped = |reason| Note::Dropped(reason);
        assert_eq!(
            router.notes(),
            [(RouteId(0), dropped(DropReason::Sample)), (RouteId(3), dropped(DropReason::Dedupe))]
        );
        assert!(routed(&mut router, "a", "1").is_matched);
        assert!(router.notes().is_empty(), "notes are of one message");
    }

    #[test]
    fn the_first_route_takes_a_message_even_if_it_drops_it() {
        let mut routes = [numbered("a", 0), numbered("#", 1)];
        routes[0].gate.sample = Some(100);
        let mut router = Router::new(&routes, Match::First);
        assert_eq!(kafka_topics(&routed(&mut router, "a", "")), ["0"]);
        let dropped = routed(&mut router, "a", "");
        assert!(dropped.is_matched && dropped.destinations.as_slice().is_empty());
    }

    #[test]
    fn new_routes_keep_what_is_remembered_for_those_that_stay_as_they_are() {
        let deduped = |number| {
            let mut route = numbered("#", number);
            route.gate.dedupe = true;
            route
        };
        let mut router = Router::new(&[deduped(0), deduped(1)], Match::All);
        let mut seq = 0;
        let mut send = |router: &mut Router| {
            let routed = routed(router, "a", "on");
            seq += 1;
            router.admitted(Seq(seq));
            for index in 0..=1 {
                router.settled(RecordId { seq: Seq(seq), index }, true);
            }
            kafka_topics(&routed).join(" ")
        };
        assert_eq!(send(&mut router), "0 1");
        assert_eq!(send(&mut router), "");
        let changed = Route { payload: PayloadForm::Json, ..deduped(0) };
        router.replace(&[numbered("b", 2), deduped(1), changed], Match::All);
        assert_eq!(send(&mut router), "dead letter", "the one that is another now, in its place");
        router.forget();
        assert_eq!(send(&mut router), "1 dead letter");
    }

    #[test]
    fn what_is_not_json_on_a_json_route_goes_to_the_dead_letter_with_its_reason() {
        let mut router = Router::new(&[route("#", "t", PayloadForm::Json)], Match::First);
        let routed = routed(&mut router, "a", "{\"a\":");
        let [Destination::DeadLetter(refusal)] = routed.destinations.as_slice() else {
            panic!("must be refused");
        };
        assert_eq!(refusal.reason, "payload_not_json");
        assert!(refusal.detail.contains("line 1"), "{}", refusal.detail);
    }

    #[test]
    fn what_is_only_looked_at_counts_as_delivered_and_asks_nobody() {
        let mut repeated = route("#", "t", PayloadForm::Raw);
        repeated.gate.dedupe = true;
        let mut router = Router::new(&[repeated], Match::First);
        let first = routed(&mut router, "a", "on");
        router.desk.requests.push(("command".to_owned(), Bytes::new()));
        router.pretend_delivered(&first);
        assert!(router.take_requests().is_empty());
        let again = routed(&mut router, "a", "on");
        router.pretend_delivered(&again);
        assert!(again.destinations.as_slice().is_empty(), "it repeats what was delivered");
        assert_eq!(router.notes().len(), 1, "notes stay");
    }

    #[test]
    fn the_short_way_of_plain_routes_makes_what_the_long_one_makes() {
        let key = |written| Key::Template(Template::parse(written).expect("legal"));
        let keyless = Route { key: Key::None, ..numbered("#", 3) };
        let fixed = Route { key: key("k"), ..numbered("#", 3) };
        let of_levels = Route {
            kafka_topic: Template::parse("k.{mqtt_topic[0]}").expect("legal"),
            key: key("{mqtt_topic[-1]|upper}"),
            ..numbered("#", 3)
        };
        for route in [numbered("#", 3), keyless, fixed, of_levels] {
            let mut router = Router::new(&[route], Match::First);
            assert!(router.ways[0].is_plain);
            for payload in ["", "on", "{}", "\x1f\u{8b}"] {
                router.ways[0].is_plain = false;
                let long = format!("{:?}", routed(&mut router, "a/b", payload));
                router.ways[0].is_plain = true;
                assert!(router.ways[0].naming.known(b"a/b").is_some());
                assert_eq!(long, format!("{:?}", routed(&mut router, "a/b", payload)));
            }
        }
    }

    #[test]
    fn a_route_that_asks_anything_of_a_message_goes_the_long_way() {
        let changes: [fn(&mut Route); 8] = [
            |route| route.gate.skip_retained = true,
            |route| route.gate.dedupe = true,
            |route| route.decompress = Decompress::Auto,
            |route| route.payload = PayloadForm::Text,
            |route| route.tombstone = true,
            |route| route.partition = Some(Template::parse("1").expect("legal")),
            |route| route.timestamp.from = TimestampFrom::Received,
            |route| route.headers.bridge_id = true,
        ];
        for (at, change) in changes.into_iter().enumerate() {
            let mut route = numbered("#", 0);
            change(&mut route);
            assert!(!Way::of(&route).is_plain, "change {at}");
        }
    }

    #[test]
    fn names_of_mqtt_topics_are_forgotten_with_their_routes_and_after_a_restart() {
        let of_level = |written: &str| Route {
            kafka_topic: Template::parse(written).expect("legal"),
            ..numbered("#", 0)
        };
        let mut router = Router::new(&[of_level("old.{mqtt_topic[0]}")], Match::First);
        let name = |router: &mut Router| kafka_topics(&routed(router, "a/b", "")).join(" ");
        assert_eq!(name(&mut router), "old.a");
        router.replace(&[of_level("new.{mqtt_topic[0]}")], Match::First);
        assert_eq!(name(&mut router), "new.a");
        assert!(router.ways[0].naming.known(b"a/b").is_some());
        router.forget();
        assert!(router.ways[0].naming.known(b"a/b").is_none());
    }

    #[test]
    fn what_is_remembered_of_mqtt_topics_is_bounded() {
        let routes = [("a/#", "a.{mqtt_topic[1]}"), ("b/#", "b.{mqtt_topic[1]}")];
        let routes = (0..).zip(routes).map(|(number, (filter, kafka_topic))| Route {
            kafka_topic: Template::parse(kafka_topic).expect("legal"),
            key: Key::Template(Template::parse("{mqtt_topic[1]}").expect("legal")),
            ..numbered(filter, number)
        });
        let mut router = Router::new(&routes.collect::<Vec<_>>(), Match::First);
        // Of 60 KB each, so that few suffice.
        let level = "x".repeat(200);
        let mqtt_topic = |number| {
            let first = if number % 2 == 0 { "a" } else { "b" };
            format!("{first}/{level}/{number}/{}", "y".repeat(60_000))
        };
        let fits = naming::KNOWN_BYTES_MAX / 60_000;
        let mut send = |number: usize| {
            let _ = router.route(&Sample::new(mqtt_topic(number), "").input());
            router.ways.iter().map(|way| way.naming.remembered()).collect::<Vec<_>>()
        };
        let mut most = 0;
        for number in 0..2 * fits {
            let remembered = send(number);
            most = most.max(remembered.iter().sum());
            assert!(most <= fits, "{remembered:?}");
        }
        assert!(most > fits / 2 && send(2 * fits).iter().sum::<usize>() < most);
    }

    #[test]
    fn what_depends_on_more_than_the_mqtt_topic_is_not_remembered() {
        for (written, is_remembered) in [
            ("{mqtt_topic}", true),
            ("k.{mqtt_topic[0]|upper}", true),
            ("{connection}", false),
            ("{qos}", false),
            ("{retain}.{mqtt_topic}", false),
            ("{received_at|date:%Y}", false),
            ("{json./a|none}", false),
            ("{user.a|none}", false),
        ] {
            let template = Template::parse(written).expect("legal");
            let of_key = Route { key: Key::Template(template.clone()), ..numbered("#", 0) };
            let of_kafka_topic = Route { kafka_topic: template, ..numbered("#", 0) };
            for route in [of_key, of_kafka_topic] {
                let mut router = Router::new(&[route], Match::First);
                let _ = routed(&mut router, "a", "");
                assert_eq!(
                    router.ways[0].naming.remembered(),
                    usize::from(is_remembered),
                    "{written}"
                );
            }
        }
    }

    #[test]
    fn what_is_remembered_keeps_nothing_of_the_message_that_brought_it() {
        let key = Key::Template(Template::parse("{mqtt_topic[1]}").expect("legal"));
        let mut router = Router::new(&[Route { key, ..numbered("#", 0) }], Match::First);
        let sample = Sample::new("a/b", "");
        let read = &sample.mqtt_topic;
        for _ in 0..2 {
            let routed = router.route(&sample.input());
            let Destinations::One(Destination::Record(record)) = routed.destinations else {
                panic!("one record");
            };
            let RecordKey::Bytes(key) = record.key else { panic!("a key") };
            assert_eq!(key, "b");
            assert!(!read.as_ptr_range().contains(&key.as_ptr()));
        }
    }

    #[test]
    fn a_value_that_is_missing_is_looked_for_each_time() {
        let key = Key::Template(Template::parse("{mqtt_topic[3]}").expect("legal"));
        let mut router = Router::new(&[Route { key, ..numbered("#", 0) }], Match::First);
        for _ in 0..2 {
            assert_eq!(kafka_topics(&routed(&mut router, "a/b", "")), ["dead letter"]);
        }
        assert_eq!(router.ways[0].naming.remembered(), 0);
    }

    #[test]
    fn a_timestamp_that_fell_back_is_counted_of_records_alone() {
        let mut route = numbered("#", 0);
        route.timestamp.from = TimestampFrom::Field(MessageField::User("ts".to_owned()));
        let mut refusing = route.clone();
        let missing = Template::parse("{user.none}").expect("legal");
        refusing.headers.items = vec![headers::HeaderItem::Own("none".to_owned(), missing)];
        for (route, expected) in
            [(route, &[(RouteId(0), Note::TimestampFellBack)][..]), (refusing, &[])]
        {
            let mut router = Router::new(&[route], Match::First);
            let made = kafka_topics(&routed(&mut router, "a", ""));
            assert_eq!(router.notes(), expected, "{made:?}");
        }
    }

    #[test]
    fn a_birth_that_is_dropped_names_what_comes_behind_it() {
        let mut sparkplug = route("spBv1.0/#", "t", PayloadForm::Sparkplug);
        sparkplug.gate.skip_retained = true;
        let mut router = Router::new(&[sparkplug], Match::First);
        let mut document = |mqtt_topic: &'static str, payload: &'static [u8], retain| {
            let sample = Sample { retain, ..Sample::new(mqtt_topic, payload) };
            let routed = router.route(&sample.input());
            match routed.destinations {
                Destinations::One(Destination::Record(record)) => record.value,
                _ => None,
            }
        };
        // A metric "t" with alias 5.
        let birth = b"\x12\x05\x0a\x01t\x10\x05";
        assert_eq!(document("spBv1.0/g/NBIRTH/e", birth, true), None);
        let data = document("spBv1.0/g/NDATA/e", b"\x12\x02\x10\x05", false).expect("a record");
        let data = String::from_utf8_lossy(&data);
        assert!(data.contains("{\"name\":\"t\",\"alias\":5}"), "{data}");
    }
}
