//! `map --live`: what a configuration makes of the messages that come now.
//!
//! [`MqttActor`] brings them, over every transport and with every login. It works on routes that forward everything,
//! and [`Watch`] stands in Kafka's place: it asks the real routes, prints what they say, and gives each message its
//! verdict at once. Nothing is produced, and nobody is asked for a rebirth.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, AsyncContext, Context, Handler, Recipient, System};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use mqtt_kafka_bridge::config::{Config, MqttConfig, Unmatched};
use mqtt_kafka_bridge::exit::Exit;
use mqtt_kafka_bridge::message::{Destination, Epoch, Message, Qos};
use mqtt_kafka_bridge::mqtt::{MqttActor, Neighbours};
use mqtt_kafka_bridge::observe::log::Logging;
use mqtt_kafka_bridge::observe::{Metrics, TimingSink};
use mqtt_kafka_bridge::route::{Input, Route, Router};
use mqtt_kafka_bridge::stage::{
    Attach, ForwardBatch, NextStage, SourceId, StageReady, Verdict, Verdicts,
};
use mqtt_kafka_bridge::supervisor::{Drained, Heartbeat, StopIntake};

use super::args::MapArgs;
use super::outcome::{Made, Outcome, outcomes, refused};
use super::printer::{Form, Printer};
use crate::signals::shutdown_signal;

/// At most so many messages are printed in one second; the others are counted.
const PRINTED_PER_SECOND: u64 = 100;
/// How often what was left out is told.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// How long saying goodbye to the brokers may take.
const LEAVE_WITHIN: Duration = Duration::from_secs(2);
/// What a client id begins with where the configuration has none.
const CLIENT_ID: &str = "mqtt-kafka-bridge";

/// Shows what comes until a signal, or as long as the arguments say.
pub(super) fn run(args: &MapArgs, config: &Config) -> Exit {
    let names: Vec<_> = config.connection_names().map(|name| name.to_string()).collect();
    let wanted = |mqtt: &MqttConfig| {
        let wanted = args.connection.as_deref();
        wanted.is_none_or(|wanted| *mqtt.name == *wanted || *mqtt.section == *wanted)
    };
    let mut connections: Vec<_> =
        config.connections.iter().filter(|one| wanted(one)).cloned().collect();
    // The members of a group are one who watches.
    connections.dedup_by(|one, other| one.section == other.section);
    if connections.is_empty() {
        let found = args.connection.as_deref().unwrap_or_default();
        eprintln!("--connection: expected one of {}, found {found}", names.join(", "));
        return Exit::Usage;
    }
    let routers = connections.iter().map(|mqtt| {
        let routes = config.routes_of(mqtt).into_iter();
        let routes: Vec<_> =
            routes.map(|route| Route { sparkplug_rebirth: false, ..route }).collect();
        (Arc::clone(&mqtt.section), Router::new(&routes, config.match_))
    });
    let routers = routers.collect();
    let config = watching(config, connections);
    let logging = Logging::start(&config.log);
    let form = if args.json { Form::Json } else { Form::Text };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("{error}");
            return Exit::Failed;
        }
    };
    let system = System::with_tokio_rt(|| runtime);
    let watched = system.block_on(watch(&config, &logging, routers, form, args));
    logging.flush();
    watched
}

/// The configuration of a client that only watches.
fn watching(config: &Config, mut connections: Vec<MqttConfig>) -> Config {
    for mqtt in &mut connections {
        if mqtt.client_id.is_empty() {
            mqtt.client_id = CLIENT_ID.to_owned();
        }
        mqtt.client_id.push_str(&format!("-map-{:08x}", fastrand::u32(..)));
        mqtt.session_expiry_s = 0;
        mqtt.group = None;
        mqtt.status = None;
        mqtt.unmatched = Unmatched::Drop;
        mqtt.silence_warning = None;
    }
    let routes = config.routes.iter().map(|route| Route {
        from: route.from.clone(),
        qos: Qos::AtMostOnce,
        ..Route::new(route.id, route.filter.watched(), "")
    });
    Config { routes: routes.collect(), connections, data_dir: None, ..config.clone() }
}

/// Why it ends.
enum End {
    /// As it was asked to.
    Enough,
    /// Nothing can be printed any more.
    Unprinted(std::io::Error),
}

async fn watch(
    config: &Config,
    logging: &Logging,
    routers: Vec<(Arc<str>, Router)>,
    form: Form,
    args: &MapArgs,
) -> Exit {
    let (ended, mut end) = unbounded_channel();
    let (left, mut leaving) = unbounded_channel();
    let printer = Printer::new(anstream::stdout(), form);
    let watch = Watch {
        epoch: Epoch::next(),
        routers,
        verdicts: BTreeMap::new(),
        printer,
        left: args.count,
        second: (Instant::now(), 0),
        unprinted: 0,
        totals: BTreeMap::new(),
        ended,
        drained: left,
    };
    let watch = watch.start();
    let metrics = Arc::new(Metrics::new(config.connection_names()));
    metrics.route_names().learn(config.routes.iter().map(Route::known_as), []);
    let mut actors = Vec::new();
    for (source, mqtt) in (0..).map(SourceId).zip(&config.connections) {
        let neighbours = Neighbours {
            next: NextStage::of(&watch),
            drained: watch.clone().recipient(),
            log: logging.logger(),
            metrics: Arc::clone(&metrics),
            timing: TimingSink::disabled(),
            heartbeat: Arc::new(Heartbeat::new("map")),
        };
        actors.push(MqttActor::new(source, mqtt.clone(), config, neighbours).start());
    }
    let timer = async {
        match args.duration {
            Some(duration) => tokio::time::sleep(duration).await,
            None => std::future::pending().await,
        }
    };
    let end = tokio::select! {
        () = shutdown_signal(logging.clone(), None) => End::Enough,
        () = timer => End::Enough,
        end = end.recv() => end.unwrap_or(End::Enough),
    };
    let connections = actors.len();
    actors.iter().for_each(|actor| actor.do_send(StopIntake));
    let _ = tokio::time::timeout(LEAVE_WITHIN, all_of(connections, &mut leaving)).await;
    if let Ok(totals) = watch.send(Totals).await {
        eprint!("{totals}");
    }
    match end {
        End::Unprinted(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            eprintln!("{error}");
            Exit::Usage
        }
        _ => Exit::Drained,
    }
}

async fn all_of(connections: usize, drained: &mut UnboundedReceiver<SourceId>) {
    let mut open: std::collections::BTreeSet<_> = (0..).map(SourceId).take(connections).collect();
    while !open.is_empty() {
        let Some(source) = drained.recv().await else { return };
        open.remove(&source);
    }
}

/// Stands in Kafka's place.
struct Watch {
    epoch: Epoch,
    /// The real routes of each source.
    routers: Vec<(Arc<str>, Router)>,
    verdicts: BTreeMap<SourceId, Recipient<Verdicts>>,
    printer: Printer<anstream::AutoStream<std::io::Stdout>>,
    /// How many messages are still to be shown, if that is bounded.
    left: Option<u64>,
    /// When the present second began, and how many messages were printed in it.
    second: (Instant, u64),
    /// Messages that were not printed, since that was told.
    unprinted: u64,
    /// By route and outcome.
    totals: BTreeMap<(String, &'static str), u64>,
    ended: UnboundedSender<End>,
    drained: UnboundedSender<SourceId>,
}

/// How many records, drops and refusals there were.
struct Totals;

impl actix::Message for Totals {
    type Result = String;
}

impl Actor for Watch {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(TELL_EVERY, |watch, _| watch.tell_unprinted());
    }
}

impl Watch {
    /// What the routes make of a message, printed or counted.
    fn show(&mut self, source: SourceId, message: &Message) {
        if self.left == Some(0) {
            return;
        }
        let Some((section, router)) = self.routers.get_mut(usize::from(source.0)) else { return };
        let input = Input {
            mqtt_topic: &message.mqtt_topic,
            payload: &message.payload,
            properties: &message.properties,
            qos: message.qos,
            retain: message.retain,
            dup: false,
            received_at: message.received_at,
            waited: message.received_at.instant.elapsed(),
            connection: section,
        };
        let made = match message.destinations.as_slice() {
            // It is none that could be routed: too large, or with a name that is not UTF-8.
            [Destination::DeadLetter(refusal)] => vec![refused(&input, refusal)],
            _ => outcomes(router, &input),
        };
        self.count(&made);
        if self.may_print() {
            if let Err(error) = self.printer.print(&made) {
                let _ = self.ended.send(End::Unprinted(error));
                self.left = Some(0);
                return;
            }
        } else {
            self.unprinted += 1;
        }
        if let Some(left) = &mut self.left {
            *left -= 1;
            if *left == 0 {
                let _ = self.ended.send(End::Enough);
            }
        }
    }

    fn count(&mut self, made: &[Outcome]) {
        for outcome in made {
            let what = match &outcome.made {
                Made::Record(_) => "records",
                Made::Dropped { .. } => "dropped",
                Made::DeadLetter { .. } => "dead letters",
                Made::Unmatched => "unmatched",
            };
            let route = outcome.route.clone().unwrap_or_else(|| "no route".to_owned());
            *self.totals.entry((route, what)).or_default() += 1;
        }
    }

    fn may_print(&mut self) -> bool {
        let (began, printed) = &mut self.second;
        if began.elapsed() >= Duration::from_secs(1) {
            (*began, *printed) = (Instant::now(), 0);
        }
        *printed += 1;
        *printed <= PRINTED_PER_SECOND
    }

    fn tell_unprinted(&mut self) {
        let unprinted = std::mem::take(&mut self.unprinted);
        if unprinted > 0 {
            eprintln!("{unprinted} more messages, not shown");
        }
    }
}

impl Handler<Attach> for Watch {
    type Result = ();

    fn handle(&mut self, attach: Attach, _: &mut Self::Context) {
        self.verdicts.insert(attach.source, attach.verdicts);
        attach.ready.do_send(StageReady { stage_epoch: self.epoch });
    }
}

impl Handler<ForwardBatch> for Watch {
    type Result = ();

    fn handle(&mut self, batch: ForwardBatch, _: &mut Self::Context) {
        for forward in &batch.messages {
            self.show(batch.source, &forward.message);
        }
        let verdicts =
            batch.messages.iter().map(|forward| Verdict::Delivered(forward.id)).collect();
        if let Some(source) = self.verdicts.get(&batch.source) {
            source.do_send(Verdicts { placed: Vec::new(), verdicts, delivered_at: Instant::now() });
        }
    }
}

impl Handler<Drained> for Watch {
    type Result = ();

    fn handle(&mut self, drained: Drained, _: &mut Self::Context) {
        let _ = self.drained.send(drained.source);
    }
}

impl Handler<Totals> for Watch {
    type Result = String;

    fn handle(&mut self, _: Totals, _: &mut Self::Context) -> String {
        self.tell_unprinted();
        let line = |((route, what), count): (&(String, &'static str), &u64)| {
            format!("{}: {count} {what}\n", mqtt_kafka_bridge::visible::Visible(route))
        };
        self.totals.iter().map(line).collect()
    }
}
