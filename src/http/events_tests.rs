//! `/events`, asked over sockets.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use actix_web::{App, HttpRequest, HttpServer, rt, web};
use serde_json::Value;

use super::events::{Events, WATCHERS_MAX};
use super::limit::{self, CONNECTION_LASTS};
use super::tests::{Served, TOKEN, eventually, file, reading_nothing};
use crate::observe::test_support::PATIENCE;

/// A client that watches.
struct Watching(BufReader<TcpStream>);

impl Watching {
    /// Asks, and reads the head of the answer.
    fn start(mut stream: TcpStream, lines: &str) -> (Self, String) {
        let request = format!("GET /events HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n");
        stream.write_all(request.as_bytes()).expect("sent");
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        while reader.read_line(&mut head).is_ok_and(|read| read > 2) {}
        (Self(reader), head)
    }

    /// The data of the next event; `None` at the end of the answer.
    fn next(&mut self) -> Option<String> {
        let mut line = String::new();
        while self.0.read_line(&mut line).is_ok_and(|read| read > 0) {
            if let Some(data) = line.strip_prefix("data: ") {
                return Some(data.trim().to_owned());
            }
            line.clear();
        }
        None
    }
}

/// A server of snapshots that are as large as this, and each with its number.
struct Numbered {
    address: std::net::SocketAddr,
    made: Arc<AtomicUsize>,
    handle: actix_web::dev::ServerHandle,
}

impl Numbered {
    fn start(size: usize) -> Self {
        let made = Arc::new(AtomicUsize::default());
        let events = Events::of({
            let made = Arc::clone(&made);
            move || format!("{} {}", made.fetch_add(1, Ordering::Relaxed) + 1, "x".repeat(size))
        });
        let (tell, told) = std::sync::mpsc::channel();
        thread::spawn(move || {
            rt::System::new().block_on(async move {
                let app = move || {
                    let events = Arc::clone(&events);
                    let answer =
                        move |request: HttpRequest| std::future::ready(events.answer(&request));
                    App::new().route("/events", web::get().to(answer))
                };
                let server =
                    HttpServer::new(app).workers(1).disable_signals().on_connect(limit::limit);
                let server = server.bind("127.0.0.1:0").expect("a port");
                let address = server.addrs()[0];
                let server = server.run();
                tell.send((address, server.handle())).expect("the test waits");
                server.await.expect("it serves");
            });
        });
        let (address, handle) = told.recv().expect("it starts");
        Self { address, made, handle }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        stream
    }

    fn made(&self) -> usize {
        self.made.load(Ordering::Relaxed)
    }
}

impl Drop for Numbered {
    fn drop(&mut self) {
        drop(self.handle.stop(false));
    }
}

fn number(event: &str) -> usize {
    event.split(' ').next().and_then(|number| number.parse().ok()).expect("a number")
}

#[test]
fn snapshots_are_made_once_for_all_and_only_while_somebody_watches() {
    let served = Numbered::start(10);
    thread::sleep(Duration::from_millis(1_200));
    assert_eq!(served.made(), 0, "nobody watches");
    let mut watching: Vec<_> = (0..5).map(|_| Watching::start(served.connect(), "").0).collect();
    for watching in &mut watching {
        let mut last = 0;
        for _ in 0..3 {
            let now = number(&watching.next().expect("an event"));
            assert!(now > last, "each is a new one: {now} behind {last}");
            last = now;
        }
        assert!(last <= served.made());
    }
    let began = Instant::now();
    let before = served.made();
    for _ in 0..3 {
        watching[0].next().expect("an event");
    }
    let most = before + 2 + usize::try_from(began.elapsed().as_secs()).expect("few");
    assert!(served.made() <= most, "{} were made, and {most} seconds passed", served.made());
    drop(watching);
    let at_rest = || {
        let before = served.made();
        thread::sleep(Duration::from_millis(1_500));
        before == served.made()
    };
    eventually("no more are made", at_rest);
    let before = served.made();
    let (mut again, _) = Watching::start(served.connect(), "");
    assert_eq!(number(&again.next().expect("an event")), before + 1, "the first one is new");
}

#[test]
fn one_too_many_is_told_so_and_comes_in_when_another_leaves() {
    let served = Served::start(|_| {});
    let mut watching: Vec<_> =
        (0..WATCHERS_MAX).map(|_| Watching::start(served.connect(), "").0).collect();
    for watching in &mut watching {
        let event = watching.next().expect("an event");
        let snapshot: Value = serde_json::from_str(&event).expect("JSON");
        assert_eq!(snapshot["ready"], false);
    }
    let refused = served.get("/events", "");
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("5")));
    assert!(refused.body.contains("16 clients watch /events already"), "{refused:?}");
    assert_eq!(served.get("/livez", "").status, 200, "there is room for others");
    watching.pop();
    eventually("there is a place", || {
        Watching::start(served.connect(), "").1.starts_with("HTTP/1.1 200")
    });
}

#[test]
fn a_watcher_outlasts_other_connections_and_ends_with_the_server() {
    let served = Served::start(|_| {});
    let (mut watching, head) = Watching::start(served.connect(), "");
    assert!(head.to_lowercase().contains("content-type: text/event-stream"), "{head}");
    let began = Instant::now();
    while began.elapsed() < CONNECTION_LASTS + Duration::from_secs(3) {
        watching.next().expect("an event");
    }
    let stopping = Instant::now();
    let ended = thread::spawn(move || {
        while watching.next().is_some() {}
        Instant::now()
    });
    served.server.stop();
    let took = ended.join().expect("no panic") - stopping;
    assert!(took < CONNECTION_LASTS / 2, "{took:?}");
}

#[test]
fn who_reads_nothing_is_cut_off_and_its_place_is_free() {
    let served = Numbered::start(4 << 20);
    let began = Instant::now();
    let mut idle: Vec<_> = (0..WATCHERS_MAX).map(|_| reading_nothing(served.address)).collect();
    for idle in &mut idle {
        idle.write_all(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("sent");
    }
    let status = || Watching::start(served.connect(), "").1;
    eventually("all places are taken", || status().starts_with("HTTP/1.1 503"));
    eventually("they are free again", || status().starts_with("HTTP/1.1 200"));
    let took = began.elapsed();
    assert!(took > CONNECTION_LASTS / 2, "{took:?}");
}

#[test]
fn a_page_of_another_origin_may_not_watch() {
    let served = Served::start(|_| {});
    for (site, status) in [("cross-site", 403), ("same-site", 403)] {
        assert_eq!(served.get("/events", &format!("Sec-Fetch-Site: {site}\r\n")).status, status);
    }
    let own = Watching::start(served.connect(), "Sec-Fetch-Site: same-origin\r\n").1;
    assert!(own.starts_with("HTTP/1.1 200"), "{own}");
}

#[test]
fn who_watches_needs_the_token_as_for_each_page() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = file(directory.path(), "token", TOKEN);
    let served = Served::start(|http| http.token_file = Some(path));
    for page in ["/events", "/page/main.js", "/docs/operations.md"] {
        assert_eq!(served.get(page, "").status, 401, "{page}");
    }
    let (mut watching, head) =
        Watching::start(served.connect(), &format!("Authorization: Bearer {TOKEN}\r\n"));
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(watching.next().is_some());
}
