//! Asks Kafka about the Kafka topics that templates name, and creates those that routes want created.
//!
//! Two threads, each with a client of its own: a question to a frozen broker delays nothing else, asking never
//! creates anything, however the brokers are configured, and what is being created keeps no other question
//! waiting. Each has one request at a time, about all that has gathered meanwhile, and a pause between two. So a
//! stranger who invents names costs the brokers no more than that. A client lives while there is work for it.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use actix::{Message, Recipient};

use super::classify;
use super::events::{Listener, Report};
use super::librdkafka::{Client, CodeAndSentence, OfKafkaTopic};
use super::login::{Doubt, Login};
use super::questions::{Answer, Creation, Creations, Question, Questions};
use crate::config::KafkaClient;
use crate::observe::panics::{self, PanicReport};

/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// The pause between two requests, which bounds their rate and lets questions gather.
const PAUSE: Duration = Duration::from_millis(50);
/// The pause after a request without an answer.
const RETRY: Duration = Duration::from_secs(1);
/// Without a question for so long, the client ends.
const IDLE: Duration = Duration::from_secs(60);

/// What the threads tell the actor.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) enum Answers {
    /// Kafka has answered.
    Found(Vec<Answer>),
    /// It has not, and why; it is asked again.
    Unanswered(String),
    /// A thread is gone without having been asked.
    ThreadEnded(PanicReport),
}

/// The threads. They end, after the request that is under way, when this is dropped.
pub(crate) struct Registrar(Sender<Question>);

impl Registrar {
    /// Starts the threads, whose answers go to `actor`.
    pub(crate) fn start(login: Arc<Login>, actor: Recipient<Answers>) -> Self {
        let (sender, asked) = mpsc::channel();
        let (to_create, wanted) = mpsc::channel();
        let creator = Creator(Creations::default());
        spawn("kafka-create", &login, &actor, wanted, creator);
        let asker = Asker { questions: Questions::default(), to_create };
        spawn("kafka-topics", &login, &actor, asked, asker);
        Self(sender)
    }

    /// Takes a question. Its answer comes once.
    pub(crate) fn ask(&self, question: Question) {
        // A thread that has ended has told so.
        let _ = self.0.send(question);
    }
}

fn spawn<W: Work>(
    name: &str,
    login: &Arc<Login>,
    actor: &Recipient<Answers>,
    mail: Receiver<W::Mail>,
    work: W,
) {
    let desk = Desk { client: None, login: Arc::clone(login), actor: actor.clone() };
    let told = actor.clone();
    let started = thread::Builder::new().name(name.to_owned()).spawn(move || {
        if let Err(panic) = panics::catch(move || desk.run(work, &mail)) {
            told.do_send(Answers::ThreadEnded(panic));
        }
    });
    if let Err(error) = started {
        let message = format!("cannot start it: {error}");
        actor.do_send(Answers::ThreadEnded(PanicReport { message, location: String::new() }));
    }
}

/// What one of the threads does.
trait Work: Send + 'static {
    type Mail: Send + 'static;

    fn add(&mut self, mail: Self::Mail);

    /// Whether nothing is to be done.
    fn is_done(&self) -> bool;

    /// Makes the requests that are due. What has no answer stays to be done.
    fn step(&mut self, desk: &mut Desk) -> Result<(), String>;
}

/// Finds out what is there.
struct Asker {
    questions: Questions,
    to_create: Sender<Vec<Creation>>,
}

impl Work for Asker {
    type Mail = Question;

    fn add(&mut self, question: Question) {
        self.questions.add(question);
    }

    fn is_done(&self) -> bool {
        self.questions.is_empty()
    }

    fn step(&mut self, desk: &mut Desk) -> Result<(), String> {
        desk.tell(self.questions.take_illegal());
        let said = desk.describe(&self.questions.names())?;
        let (answers, creations) = self.questions.described(said);
        desk.tell(answers);
        if !creations.is_empty() {
            // A thread that has ended has told so.
            let _ = self.to_create.send(creations);
        }
        Ok(())
    }
}

/// Creates what is missing, and tells of each when a broker knows it.
struct Creator(Creations);

impl Work for Creator {
    type Mail = Vec<Creation>;

    fn add(&mut self, creations: Vec<Creation>) {
        self.0.add(creations);
    }

    fn is_done(&self) -> bool {
        self.0.is_empty()
    }

    fn step(&mut self, desk: &mut Desk) -> Result<(), String> {
        // What was created waits for no other creation, which may take its time and have no answer.
        let described = desk.describe(&self.0.unknown());
        let described = described.map(|said| desk.tell(self.0.described(said, Instant::now())));
        let created = desk.create(&self.0.next());
        let created = created.map(|said| desk.tell(self.0.created(said, Instant::now())));
        described.and(created)
    }
}

/// What a thread works with.
struct Desk {
    /// With the version of the certificates that it was made with.
    client: Option<(u64, Arc<Client>)>,
    login: Arc<Login>,
    actor: Recipient<Answers>,
}

impl Desk {
    fn run<W: Work>(mut self, mut work: W, mail: &Receiver<W::Mail>) {
        let mut wait = IDLE;
        loop {
            match mail.recv_timeout(wait) {
                Ok(one) => work.add(one),
                Err(RecvTimeoutError::Timeout) if work.is_done() => self.client = None,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            mail.try_iter().for_each(|one| work.add(one));
            if work.is_done() {
                continue;
            }
            let answered = work.step(&mut self);
            if let Err(why) = &answered {
                self.actor.do_send(Answers::Unanswered(why.clone()));
            }
            // More gathers meanwhile.
            thread::sleep(if answered.is_ok() { PAUSE } else { RETRY });
            wait = if work.is_done() { IDLE } else { Duration::ZERO };
        }
    }

    fn describe(&mut self, names: &[Arc<str>]) -> Result<Vec<OfKafkaTopic<i32>>, String> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let client = self.client()?;
        let names: Vec<&str> = names.iter().map(|name| &**name).collect();
        client.describe_kafka_topics(&names, ANSWER_WITHIN).map_err(|it| self.why(it))
    }

    fn create(&mut self, creations: &[Creation]) -> Result<Vec<OfKafkaTopic<()>>, String> {
        if creations.is_empty() {
            return Ok(Vec::new());
        }
        let client = self.client()?;
        let wanted: Vec<_> = creations.iter().map(|(name, new)| (&**name, &**new)).collect();
        client.create_kafka_topics(&wanted, ANSWER_WITHIN).map_err(|it| self.why(it))
    }

    fn client(&mut self) -> Result<Arc<Client>, String> {
        let version = self.login.version();
        let client = match &self.client {
            Some((of, client)) if *of == version => Arc::clone(client),
            _ => {
                // The same settings: it sends no records, and creates nothing by asking.
                let client = self.login.client(KafkaClient::Probe, None);
                let client = client.map_err(|not_made| not_made.why)?;
                self.client = Some((version, Arc::clone(&client)));
                client
            }
        };
        // Nothing else empties its queue, and it has no bound.
        let errors = Errors(self.login.doubt().clone());
        while client.poll(Duration::ZERO, &errors) {}
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

/// Logs none: the producers' clients log the same.
struct Errors(Doubt);

impl Listener for Errors {
    fn reports(&self, _: &[Report]) {}

    fn log(&self, _: i32, _: &str, _: &str) {}

    fn error(&self, code: i32, _: &str) {
        self.0.heard(code);
    }
}
