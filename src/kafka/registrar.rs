//! Asks Kafka about the Kafka topics that templates name, and creates those that routes want created.
//!
//! A thread with a client of its own: a question to a frozen broker delays nothing else, and asking never
//! creates anything, however the brokers are configured. There is one request at a time, about all that has
//! been asked meanwhile, and a pause between two. So a stranger who invents names costs the brokers no more than
//! that. The client lives while there are questions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use actix::{Message, Recipient};

use super::classify;
use super::delivery::presence::Absence;
use super::events::{Listener, Report};
use super::librdkafka::{Client, CodeAndSentence, OfTopic};
use super::login::{Doubt, Login};
use crate::config::{KafkaClient, is_legal_kafka_topic};
use crate::message::NewKafkaTopic;
use crate::observe::panics::{self, PanicReport};

/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// The pause between two requests, which bounds their rate and lets questions gather.
const PAUSE: Duration = Duration::from_millis(50);
/// The pause after a request without an answer.
const RETRY: Duration = Duration::from_secs(1);
/// So many Kafka topics are created by one request.
const CREATED_AT_ONCE: usize = 100;
/// How long one that was just created may take until a broker knows it.
const KNOWN_WITHIN: Duration = Duration::from_secs(3);
/// Without a question for so long, the client ends.
const IDLE: Duration = Duration::from_secs(60);

/// Kafka's codes.
const TOPIC_EXCEPTION: i32 = 17;
const TOPIC_EXISTS: i32 = 36;

/// What is to be found out about a Kafka topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) kafka_topic: Arc<str>,
    /// How it is created if it does not exist; `None`: not at all.
    pub(crate) create: Option<Arc<NewKafkaTopic>>,
}

/// What was found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) kafka_topic: Arc<str>,
    /// How many partitions it has, or why it cannot be used.
    pub(crate) found: Result<i32, Absence>,
}

/// What the thread tells the actor.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) enum Answers {
    /// Kafka has answered.
    Found(Vec<Answer>),
    /// It has not, and why; it is asked again.
    Unanswered(String),
    /// The thread is gone without having been asked.
    ThreadEnded(PanicReport),
}

/// The thread. It ends, after the request that is under way, when this is dropped.
pub(crate) struct Registrar(Sender<Question>);

impl Registrar {
    /// Starts the thread, whose answers go to `actor`.
    pub(crate) fn start(login: Arc<Login>, actor: Recipient<Answers>) -> Self {
        let (sender, questions) = mpsc::channel();
        let desk = Desk { client: None, login, actor: actor.clone() };
        let told = actor.clone();
        let started = thread::Builder::new().name("kafka-topics".to_owned()).spawn(move || {
            if let Err(panic) = panics::catch(move || desk.work(&questions)) {
                told.do_send(Answers::ThreadEnded(panic));
            }
        });
        if let Err(error) = started {
            let message = format!("cannot start it: {error}");
            actor.do_send(Answers::ThreadEnded(PanicReport { message, location: String::new() }));
        }
        Self(sender)
    }

    /// Takes a question. Its answer comes once.
    pub(crate) fn ask(&self, question: Question) {
        // A thread that has ended has told so.
        let _ = self.0.send(question);
    }
}

/// What is asked and not answered yet.
type Open = BTreeMap<Arc<str>, Option<Arc<NewKafkaTopic>>>;

/// What the thread works with.
struct Desk {
    /// With the version of the certificates that it was made with.
    client: Option<(u64, Arc<Client>)>,
    login: Arc<Login>,
    actor: Recipient<Answers>,
}

impl Desk {
    fn work(mut self, questions: &Receiver<Question>) {
        let mut open = Open::new();
        let mut wait = IDLE;
        loop {
            match questions.recv_timeout(wait) {
                Ok(question) => add(&mut open, question),
                Err(RecvTimeoutError::Timeout) if open.is_empty() => self.client = None,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            questions.try_iter().for_each(|question| add(&mut open, question));
            if open.is_empty() {
                continue;
            }
            let answered = self.answer(&mut open);
            if let Err(why) = &answered {
                self.actor.do_send(Answers::Unanswered(why.clone()));
            }
            // New questions gather meanwhile.
            thread::sleep(if answered.is_ok() { PAUSE } else { RETRY });
            wait = if open.is_empty() { IDLE } else { Duration::ZERO };
        }
    }

    /// Asks what is open, and tells what is answered. What is not stays open.
    fn answer(&mut self, open: &mut Open) -> Result<(), String> {
        let mut illegal = Vec::new();
        open.retain(|name, _| {
            let is_legal = is_legal_kafka_topic(name);
            if !is_legal {
                illegal.push(absent(Arc::clone(name), TOPIC_EXCEPTION, "", false));
            }
            is_legal
        });
        self.tell(illegal);
        let client = self.client()?;
        // Nothing else empties its queue, and it has no bound.
        let errors = Errors(self.login.doubt().clone());
        while client.poll(Duration::ZERO, &errors) {}
        let mut to_create = Vec::new();
        let names: Vec<Arc<str>> = open.keys().cloned().collect();
        let mut answers = Vec::new();
        for (name, found) in self.describe(&client, &names)? {
            let Some((name, create)) = open.remove_entry(&*name) else { continue };
            match (found, create) {
                (Ok(count), _) => answers.push(Answer { kafka_topic: name, found: Ok(count) }),
                (Err((code, _)), Some(new)) if classify::is_topic_missing(code) => {
                    to_create.push((name, new));
                }
                (Err((code, said)), _) => answers.push(absent(name, code, &said, false)),
            }
        }
        self.tell(answers);
        while !to_create.is_empty() {
            let batch: Vec<_> = to_create.drain(..to_create.len().min(CREATED_AT_ONCE)).collect();
            if let Err(why) = self.create(&client, &batch) {
                let again = batch.into_iter().chain(to_create);
                open.extend(again.map(|(name, new)| (name, Some(new))));
                return Err(why);
            }
        }
        Ok(())
    }

    /// Creates Kafka topics, and tells of each when a broker knows it.
    fn create(
        &self,
        client: &Client,
        batch: &[(Arc<str>, Arc<NewKafkaTopic>)],
    ) -> Result<(), String> {
        let wanted: Vec<_> = batch.iter().map(|(name, new)| (&**name, &**new)).collect();
        let results = client.create_topics(&wanted, ANSWER_WITHIN).map_err(|it| self.why(it))?;
        let (mut created, mut answers) = (Vec::new(), Vec::new());
        for (name, result) in results {
            match result {
                Ok(()) | Err((TOPIC_EXISTS, _)) => created.push(Arc::from(name)),
                Err((code, said)) => answers.push(absent(name.into(), code, &said, true)),
            }
        }
        self.tell(answers);
        let deadline = Instant::now() + KNOWN_WITHIN;
        while !created.is_empty() {
            let is_late = Instant::now() >= deadline;
            let mut answers = Vec::new();
            for (name, found) in self.describe(client, &created)? {
                let kafka_topic = Arc::from(name);
                match found {
                    Ok(count) => answers.push(Answer { kafka_topic, found: Ok(count) }),
                    Err((code, said)) if is_late => {
                        answers.push(absent(kafka_topic, code, &said, true));
                    }
                    Err(_) => {}
                }
            }
            created.retain(|name| answers.iter().all(|answer| answer.kafka_topic != *name));
            self.tell(answers);
            if !created.is_empty() {
                thread::sleep(PAUSE);
            }
        }
        Ok(())
    }

    fn describe(&self, client: &Client, names: &[Arc<str>]) -> Result<Vec<OfTopic<i32>>, String> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let names: Vec<&str> = names.iter().map(|name| &**name).collect();
        client.describe_topics(&names, ANSWER_WITHIN).map_err(|it| self.why(it))
    }

    fn client(&mut self) -> Result<Arc<Client>, String> {
        let version = self.login.version();
        if let Some((of, client)) = &self.client
            && *of == version
        {
            return Ok(Arc::clone(client));
        }
        // The same settings: it sends no records, and creates nothing by asking.
        let client =
            self.login.client(KafkaClient::Probe, None).map_err(|not_made| not_made.why)?;
        self.client = Some((version, Arc::clone(&client)));
        Ok(client)
    }

    fn why(&self, (code, said): CodeAndSentence) -> String {
        self.login.secrets().hide(&format!("{} ({code}): {said}", classify::name(code)))
    }

    fn tell(&self, answers: Vec<Answer>) {
        if !answers.is_empty() {
            self.actor.do_send(Answers::Found(answers));
        }
    }
}

/// A Kafka topic is asked for once, and created if anyone wants it.
fn add(open: &mut Open, Question { kafka_topic, create }: Question) {
    let open = open.entry(kafka_topic).or_default();
    *open = create.or_else(|| open.take());
}

fn absent(kafka_topic: Arc<str>, code: i32, sentence: &str, creating: bool) -> Answer {
    let absence = Absence { code, sentence: sentence.to_owned(), creating };
    Answer { kafka_topic, found: Err(absence) }
}

/// Logs none: the producers' clients log the same.
struct Errors(Doubt);

impl Listener for Errors {
    fn reports(&self, _: &[Report]) {}

    fn log(&self, _: i32, _: &str, _: &str) {}

    fn error(&self, code: i32, _: &str) {
        self.0.heard(code);
    }
}
