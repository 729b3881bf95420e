//! The status page in a real browser: what happens to the bridge is seen there, nothing on it does harm, and everybody
//! can use it.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::browser::{Browser, Look};
use crate::support::mosquitto::Setup;
use crate::support::*;

/// What a stranger may publish to.
const HOSTILE: &str = "page/<img src=x onerror=document.title='taken'>/\"'&<script>";

/// A bridge from Mosquitto to Kafka, and a browser on its page.
struct Watched {
    mosquitto: Mosquitto,
    device: MqttClient,
    bridge: Bridge,
    http: Http,
    browser: Browser,
}

impl Watched {
    /// `change` can change the configuration, and the bridge before it starts.
    fn start(
        story: &Story,
        kafka: &Kafka,
        name: &str,
        configure: impl FnOnce(&mut ConfigFile),
        prepare: impl FnOnce(&mut Bridge),
    ) -> Self {
        kafka.create(name, 2, &[]);
        let mosquitto = Mosquitto::start(story.dir(), &Setup::default());
        let mut config = ConfigFile::new(&mosquitto.address(), name, &kafka.bootstrap());
        let http = Http::free();
        http.configure(&mut config);
        config.route_with(&[
            ("name", "everything".into()),
            ("filter", "page/#".into()),
            ("qos", 1.into()),
            ("kafka_topic", name.into()),
        ]);
        configure(&mut config);
        let mut bridge = Bridge::new(story.dir(), name, &config);
        prepare(&mut bridge);
        bridge.run();
        mosquitto.wait_subscribed(name, 1);
        let device = MqttClient::connect(&mosquitto.address(), Version::V5, "device").unwrap();
        let browser = Browser::start(story.dir());
        browser.open(&format!("http://{}/", http.address()));
        Self { mosquitto, device, bridge, http, browser }
    }

    #[track_caller]
    fn wait_verdict(&self, wanted: &str) {
        self.browser.wait_text("#sentence", SOON, |sentence| sentence.contains(wanted));
    }

    /// Nothing was asked of anybody else, and nothing went wrong in the page.
    #[track_caller]
    fn assert_clean(&self) {
        assert_eq!(self.browser.console(), [""; 0]);
        let own = format!("http://{}/", self.http.address());
        let requests = self.browser.requests();
        assert!(requests.contains(&format!("{own}events")), "{requests:?}");
        for request in requests {
            assert!(request.starts_with(&own), "{request}");
        }
    }

    /// The bridge ends, and its log is sound.
    #[track_caller]
    fn end(mut self) {
        assert_eq!(self.bridge.terminate(), 0);
        self.bridge.assert_logs_sound();
    }
}

#[test]
fn messages_an_outage_and_its_end_are_seen() {
    let story = Story::new("status page, outage");
    let mut kafka = Kafka::start(story.dir());
    let mut watched = Watched::start(&story, &kafka, "page-outage", |_| {}, |_| {});
    watched.wait_verdict("Ready: messages flow");
    let delivered =
        |count: u64| move |text: &str| text.contains(&format!("delivered{count} message"));
    for _ in 0..7 {
        watched.device.publish("page/1", b"21.5");
    }
    watched.browser.wait_text("#equation", SOON, delivered(7));
    assert!(watched.browser.text("#identity-verdict").contains("The equation holds."));
    watched.browser.wait_text("#routes-table", SOON, |text| text.contains("everything"));
    watched.browser.wait_text("#slowest-table", SOON, |text| text.contains("page/1"));
    watched.browser.screenshot("live");

    kafka.freeze();
    watched.wait_verdict("Not ready: Kafka unreachable");
    let advice = watched.browser.text("#advice");
    assert!(advice.contains("What to do:") && advice.contains("docs/"), "{advice}");
    watched.device.publish("page/1", b"21.5");
    watched.browser.wait_text("#equation", SOON, |text| text.contains("in flight1 message"));
    watched.browser.wait_text("#flow-kafka", SOON, |text| text.contains("not reachable"));
    watched.browser.screenshot("outage");
    let link = "return document.querySelector('#advice a').href";
    let link = watched.browser.run(link, &json!([])).as_str().unwrap().to_owned();
    kafka.thaw();
    watched.wait_verdict("Ready: messages flow");
    watched.browser.wait_text("#equation", SOON, delivered(8));
    watched.mosquitto.stop();
    watched.wait_verdict("Not ready: MQTT disconnected");
    watched.browser.wait_text("#flow-mqtt", SOON, |text| text.contains("not connected"));
    watched.mosquitto.run();
    watched.wait_verdict("Ready: messages flow");
    watched.assert_clean();

    // Where the link leads to.
    watched.browser.open(&link);
    let (_, anchor) = link.split_once('#').expect("a heading");
    let there = "return document.getElementById(arguments[0]) !== null";
    assert_eq!(watched.browser.run(there, &json!([anchor])), true, "{link}");
    assert_eq!(watched.browser.violations(), [""; 0], "{link}");
    watched.end();
}

#[test]
fn a_restart_is_seen_with_its_cause_and_the_end_of_the_bridge_too() {
    let story = Story::new("status page, restart");
    let mut watched = Watched::start(
        &story,
        Kafka::shared(),
        "page-restart",
        |_| {},
        |bridge| {
            bridge.environment("BRIDGE_FAILPOINTS", Some("kafka_batch=2"));
        },
    );
    watched.wait_verdict("Ready: messages flow");
    watched.browser.wait_text("#restarts", SOON, |text| text.contains("None since the start"));
    watched.device.publish("page/1", b"one");
    watched.browser.wait_text("#equation", SOON, |text| text.contains("delivered1 message"));
    watched.device.publish("page/1", b"two");
    watched.browser.wait_text("#restarts", SOON, |text| text.contains("failpoint KafkaBatch"));
    watched.browser.wait_text("#equation", SOON, |text| text.contains("delivered2 message"));
    watched.assert_clean();
    // The page of a bridge that ends says so, and when it is back, it goes on by itself.
    assert_eq!(watched.bridge.terminate(), 0);
    watched.wait_verdict("No answer from the bridge");
    watched.bridge.environment("BRIDGE_FAILPOINTS", None);
    watched.bridge.run();
    watched.wait_verdict("Ready: messages flow");
    watched.end();
}

#[test]
fn a_hundred_routes_stay_usable() {
    let story = Story::new("status page, routes");
    let kafka = Kafka::shared();
    let more = |config: &mut ConfigFile| {
        for nth in 0..100 {
            config.route_with(&[
                ("name", format!("line-{nth}").into()),
                ("filter", format!("plant/{nth}/#").into()),
                ("qos", 1.into()),
                ("kafka_topic", "page-routes".into()),
            ]);
        }
    };
    let mut watched = Watched::start(&story, kafka, "page-routes", more, |_| {});
    watched.wait_verdict("Ready: messages flow");
    let browser = &watched.browser;
    let rows = || {
        let script = "return [...document.querySelectorAll('#routes-table tbody tr')].map(
            (row) => row.cells[0].textContent)";
        let rows = browser.run(script, &json!([]));
        let rows = rows.as_array().unwrap().iter().map(|it| it.as_str().unwrap().to_owned());
        rows.collect::<Vec<_>>()
    };
    eventually("all routes are there", SOON, || rows().len() == 101);
    browser.write("#filter", "line-7");
    eventually("the filter holds", SOON, || rows().len() == 11);
    assert!(browser.text("#routes-count").starts_with("11 of 101 routes"));
    watched.device.publish("plant/77/a", b"x");
    let counted = "return [...document.querySelectorAll('#routes-table tbody tr')].find(
        (row) => row.cells[0].textContent === 'line-77').cells[3].textContent";
    eventually("its message is counted", SOON, || browser.run(counted, &json!([])) == "1");
    // What is typed stays, and where the person is too, while numbers change.
    let focus = "return document.activeElement.id";
    assert_eq!(browser.run(focus, &json!([])), "filter");
    assert_eq!(rows().len(), 11);
    browser.write("#filter", "plant/99/");
    eventually("it finds MQTT filters", SOON, || rows() == ["line-99"]);
    browser.write("#filter", "nothing like it");
    eventually("it says so", SOON, || rows() == ["No route matches the filter."]);
    watched.assert_clean();
    watched.end();
}

#[test]
fn a_hostile_mqtt_topic_is_text() {
    let story = Story::new("status page, hostile");
    let mut watched = Watched::start(&story, Kafka::shared(), "page-hostile", |_| {}, |_| {});
    watched.wait_verdict("Ready: messages flow");
    watched.device.publish(HOSTILE, b"x");
    watched.browser.wait_text("#slowest-table", SOON, |text| text.contains(HOSTILE));
    let script = "return [document.images.length, document.scripts.length, document.title]";
    let seen = watched.browser.run(script, &json!([]));
    assert_eq!((&seen[0], &seen[1]), (&json!(0), &json!(1)), "{seen}");
    assert!(seen[2].as_str().unwrap().contains("mqtt-kafka-bridge"), "{seen}");
    // Were it put in as HTML, the browser would refuse.
    let refused = "try { document.body.innerHTML = arguments[0]; return 'taken'; }
        catch (error) { return error.name; }";
    assert_eq!(watched.browser.run(refused, &json!([HOSTILE])), "TypeError");
    let inline = "const script = document.createElement('script');
        script.textContent = 'document.title = \"taken\"';
        document.body.append(script); return document.title";
    let title = watched
        .browser
        .run(&format!("try {{ {inline} }} catch (error) {{ return error.name }}"), &json!([]));
    assert_ne!(title, "taken");
    watched.end();
}

#[test]
fn everybody_can_use_it() {
    let story = Story::new("status page, for everybody");
    let mut watched = Watched::start(&story, Kafka::shared(), "page-usable", |_| {}, |_| {});
    watched.wait_verdict("Ready: messages flow");
    watched.device.publish("page/1", b"x");
    watched.browser.wait_text("#slowest-table", SOON, |text| text.contains("page/1"));
    let browser = &watched.browser;
    // One state of trouble as well.
    for is_ready in [true, false] {
        if !is_ready {
            watched.mosquitto.stop();
            watched.wait_verdict("Not ready: MQTT disconnected");
        }
        for look in Look::ALL {
            browser.look(look);
            let state = if is_ready { "ready" } else { "not-ready" };
            assert_eq!(browser.violations(), [""; 0], "{look:?}, {state}");
            let script = "return document.documentElement.scrollWidth <= innerWidth";
            assert_eq!(browser.run(script, &json!([])), true, "{look:?}: it is not too wide");
            browser.screenshot(&format!("{state}-{}", look.name()));
        }
    }
    browser.look(Look::Light);
    assert_keyboard_reaches_everything(browser);
    let motion = "return matchMedia('(prefers-reduced-motion: reduce)').matches";
    assert_eq!(browser.run(motion, &json!([])), false);
    watched.assert_clean();
    watched.mosquitto.run();
    watched.end();
}

/// All that can be used has the focus once, in the order of the page, by Tab alone; and it is seen where the focus is.
#[track_caller]
fn assert_keyboard_reaches_everything(browser: &Browser) {
    let all = "const all = [...document.querySelectorAll(
            'a[href], button, select, input, summary, [tabindex=\"0\"]')];
        const shown = all.filter((it) => it.getClientRects().length > 0 && it.closest('details:not([open]) > :not(summary)') === null);
        shown.forEach((it, at) => { it.dataset.place = at; });
        document.activeElement.blur();
        document.querySelector('.skip').dataset.place ??= 'skip';
        return shown.length";
    let count = browser.run(all, &json!([])).as_u64().unwrap();
    assert!(count > 20, "{count}");
    let mut reached = BTreeSet::new();
    for _ in 0..count * 2 {
        browser.tab();
        let place = "const it = document.activeElement;
            const { outlineStyle, outlineWidth } = getComputedStyle(it);
            return [it.dataset.place ?? null, outlineStyle !== 'none' && outlineWidth !== '0px']";
        let seen = browser.run(place, &json!([]));
        if let Some(place) = seen[0].as_str() {
            assert_eq!(seen[1], true, "the focus is seen at {place}");
            reached.insert(place.to_owned());
        }
        if reached.len() as u64 >= count {
            return;
        }
    }
    let missing = "return [...document.querySelectorAll('[data-place]')].filter(
        (it) => !arguments[0].includes(it.dataset.place)).map((it) => it.outerHTML.slice(0, 200))";
    let missing: Value = browser.run(missing, &json!([reached]));
    panic!("Tab does not reach {missing}");
}

#[test]
fn with_a_token_a_browser_logs_in_and_watches() {
    const TOKEN: &str = "a-token-that-nobody-guesses";
    let story = Story::new("status page, token");
    let path = story.dir().join("token");
    fs::write(&path, TOKEN).unwrap();
    let with_token = |config: &mut ConfigFile| {
        config.set("http", "token_file", path.to_str().unwrap());
    };
    let mut watched = Watched::start(&story, Kafka::shared(), "page-token", with_token, |_| {});
    assert_eq!(watched.http.get("/events").unwrap().status, 401);
    let browser = &watched.browser;
    assert!(browser.text("body").contains("asks for the token"));
    assert_eq!(browser.violations(), [""; 0], "the form");
    browser.write("[name=token]", TOKEN);
    browser.click("button");
    eventually("the form leads to the page", SOON, || {
        browser.run("return document.getElementById('sentence') !== null", &json!([])) == true
    });
    watched.wait_verdict("Ready: messages flow");
    watched.browser.wait_text("#feed", SOON, |text| text.contains("Live"));
    watched.device.publish("page/1", b"x");
    watched.browser.wait_text("#equation", SOON, |text| text.contains("delivered1 message"));
    watched.end();
}

#[test]
fn one_browser_too_many_still_sees_what_happens() {
    let story = Story::new("status page, too many");
    let mut watched = Watched::start(&story, Kafka::shared(), "page-many", |_| {}, |_| {});
    watched.wait_verdict("Ready: messages flow");
    watched.browser.open("about:blank");
    let request = format!("GET /events HTTP/1.1\r\nHost: {}\r\n\r\n", watched.http.address());
    let mut watching = Vec::new();
    eventually("all places are taken", SOON, || {
        let mut one = TcpStream::connect(watched.http.address()).unwrap();
        one.write_all(request.as_bytes()).unwrap();
        let mut status = [0; 12];
        one.read_exact(&mut status).unwrap();
        let is_refused = status.ends_with(b"503");
        watching.push(one);
        is_refused
    });
    assert_eq!(watched.http.get("/livez").unwrap().status, 200);
    watched.browser.open(&format!("http://{}/", watched.http.address()));
    watched.wait_verdict("Ready: messages flow");
    watched.browser.wait_text("#feed", SOON, |text| text.contains("Asked every 5 s"));
    watched.device.publish("page/1", b"x");
    watched.browser.wait_text("#equation", SOON, |text| text.contains("delivered1 message"));
    drop(watching);
    watched.browser.wait_text("#feed", SOON, |text| text.contains("Live"));
    watched.end();
}

/// The CPU time of the three threads of this process that serve HTTP. The one that answers has no name of its own: it is the first of
/// actix's, since the server starts before all actors.
fn cpu_of_http(process: u32) -> Duration {
    let tasks = format!("/proc/{process}/task");
    let threads = fs::read_dir(&tasks).unwrap().map(|it| it.unwrap().file_name());
    let threads: BTreeSet<u32> = threads.map(|id| id.to_str().unwrap().parse().unwrap()).collect();
    let read = |id: u32, file: &str| fs::read_to_string(format!("{tasks}/{id}/{file}")).ok();
    let mut any_answers = false;
    let is_http = |id: &u32| match read(*id, "comm").unwrap_or_default().trim_end() {
        "http" => true,
        name if name.starts_with("actix-server") => true,
        name => name.starts_with("actix-rt") && !std::mem::replace(&mut any_answers, true),
    };
    let http: Vec<_> = threads.into_iter().filter(is_http).collect();
    assert_eq!(http.len(), 3, "{http:?}");
    let nanoseconds = |id| read(id, "schedstat")?.split(' ').next()?.parse::<u64>().ok();
    Duration::from_nanos(http.into_iter().filter_map(nanoseconds).sum())
}

/// 0.6 s of CPU in 60 s for five, while messages of 100 routes flow; the short form takes a part of that time.
#[test]
fn five_watchers_cost_little() {
    const WATCHERS: usize = 5;
    let (snapshots, rate) = if long() { (60, 100_000) } else { (20, 2_000) };
    let story = Story::new("status page, cost");
    let kafka = Kafka::shared();
    kafka.create("page-cost", 1, &[]);
    let mosquitto = Mosquitto::start(story.dir(), &Setup::default());
    let mut config = ConfigFile::new(&mosquitto.address(), "cost", &kafka.bootstrap());
    let http = Http::free();
    http.configure(&mut config);
    for nth in 0..100 {
        config.route(&format!("plant/{nth}/#"), "page-cost");
    }
    let mut bridge = Bridge::start(story.dir(), "cost", &config);
    http.wait_ready(SOON);
    let request = format!("GET /events HTTP/1.1\r\nHost: {}\r\n\r\n", http.address());
    let connect = || {
        let mut stream = TcpStream::connect(http.address()).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        BufReader::new(stream)
    };
    let mut watching: Vec<_> = (0..WATCHERS).map(|_| connect()).collect();
    let load = Load { mqtt_topics: 100, qos: 1, rate, window: 5_000, filler: 100 };
    let publisher = Publisher::start(&mosquitto.address(), Version::V5, "plant", load);
    publisher.publish(u64::from(rate) * snapshots);
    let before = cpu_of_http(bridge.process().pid());
    for nth in 0..snapshots {
        for reader in &mut watching {
            let mut line = String::new();
            while !line.starts_with("data: ") {
                line.clear();
                assert!(reader.read_line(&mut line).unwrap() > 0, "it ended behind {nth}");
            }
        }
    }
    let used = cpu_of_http(bridge.process().pid()) - before;
    let a_minute = used * 60 / u32::try_from(snapshots).unwrap();
    let received = http.metrics().sum("received_total");
    tell(&format!(
        "{}: {WATCHERS} watchers, {} messages/s, CPU in a minute: {a_minute:?}",
        story.name,
        received / snapshots
    ));
    assert!(received > snapshots * u64::from(rate) / 4, "{received} messages");
    let most = Duration::from_millis(if cfg!(debug_assertions) { 3_000 } else { 600 });
    assert!(a_minute < most && used > Duration::from_millis(1), "{a_minute:?}");
    assert_eq!(bridge.terminate(), 0);
}
