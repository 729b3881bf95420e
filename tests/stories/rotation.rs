//! Certificates and passwords are replaced under load: nothing is lost, reordered or duplicated, and a wrong
//! one does no harm once it is mended.

use std::fs;

use serde_json::Value;

use crate::support::certificates::{ClientKey, put};
use crate::support::line::Plan;
use crate::support::mosquitto::Setup;
use crate::support::*;

/// The load under which everything is replaced.
const LOAD: Load = Load { mqtt_topics: 20, qos: 1, rate: 1_000, window: 500, filler: 100 };

impl Line {
    fn connects(&self) -> usize {
        self.bridge.log().count(|record| record["msg"] == "connected to mqtt")
    }

    fn rotations(&self) -> usize {
        self.bridge.log().count(|record| record["reason"] == "rotated")
    }

    /// Waits for a new connection because of `replace`, made in good order, and for messages through it.
    fn rotate(&mut self, what: &str, replace: impl FnOnce(&mut Self)) {
        let (connects, rotations) = (self.connects(), self.rotations());
        replace(self);
        eventually(&format!("{what}: a new connection"), PATIENT, || {
            self.connects() > connects && self.rotations() > rotations
        });
        self.wait_delivered(self.reader.distinct() + 500);
    }

    /// Waits until the bridge cannot connect for this reason.
    fn wait_reason(&self, reason: &str) {
        let wanted = |record: &Value| record["reason"] == reason;
        self.bridge.log().wait_for(reason, PATIENT, wanted);
    }

    /// Everything arrived once in order.
    fn settle_exactly(&mut self) {
        self.publisher.pause();
        self.settle().assert_exact();
    }
}

#[test]
#[ignore = "until TLS is there"]
fn certificates_keys_and_authorities_are_replaced_on_both_sides_under_load() {
    let story = Story::new("certificates replaced");
    let transport = Transport::MutualTls(ClientKey::Encrypted);
    let plan = Plan { load: LOAD, transport, ..Plan::default() };
    let mut lines = Line::both(&story, Kafka::shared(), &plan);
    lines.iter().for_each(|line| line.publisher.keep_publishing());
    for line in &mut lines {
        line.wait_delivered(500);
        line.rotate("a new client certificate", |line| {
            line.broker.certificates().issue_client(ClientKey::Encrypted);
        });
        line.rotate("two authorities", |line| line.broker.certificates().trust(true));
        // The broker's side: a new certificate by the next authority. Who is connected notices nothing.
        let certificates = line.broker.certificates();
        certificates.succeed();
        certificates.issue_broker(&pki::Wish::LOCALHOST);
        line.broker.reload();
        line.wait_delivered(line.reader.distinct() + 500);
        line.rotate("a client certificate of the next authority", |line| {
            line.broker.certificates().issue_client(ClientKey::Encrypted);
        });
        line.rotate("only the next authority", |line| line.broker.certificates().trust(false));
        assert_eq!(line.bridge.log().count(|record| record["level"] == "WARN"), 0);

        // Half a file, as an operator may leave it.
        let [certificate, _] = line.broker.certificates().client(ClientKey::Encrypted);
        let good = fs::read(&certificate).unwrap();
        put(&certificate, &good[..good.len() / 2]);
        line.wait_reason("tls_files");
        let connects = line.connects();
        put(&certificate, &good);
        eventually("it connects again", PATIENT, || line.connects() > connects);
    }
    lines.iter_mut().for_each(Line::settle_exactly);
}

#[test]
#[ignore = "until TLS and password_file are there"]
fn a_password_is_replaced_on_both_sides_under_load() {
    let story = Story::new("password replaced");
    let file = |version: Version| story.dir().join(format!("password{}", version.level()));
    let lines = Version::BOTH.map(|version| {
        put(&file(version), b"first\n");
        let path = file(version).to_str().expect("UTF-8").to_owned();
        let acl = "topic write devices/#\nuser bridge\ntopic read devices/#\n";
        let plan = Plan {
            load: LOAD,
            transport: Transport::Tls,
            mosquitto: Setup::default().user("bridge", "first").acl(acl),
            config: vec![
                ("mqtt", "username", "bridge".into()),
                ("mqtt", "password_file", path.into()),
            ],
            ..Plan::default()
        };
        Line::start(&story, Kafka::shared(), version, &plan)
    });
    for mut line in lines {
        let file = file(line.version);
        line.publisher.keep_publishing();
        line.wait_delivered(500);
        line.rotate("a new password", |line| {
            // Mosquitto closes the connections of a user whose password has changed, without a word. The
            // new one is already in the bridge's hands when the broker learns it.
            line.broker.set_password("bridge", "second");
            put(&file, b"second\n");
            line.wait_reason("login_refused");
            line.broker.reload();
        });

        // A password that only the bridge has, and then the right one again.
        put(&file, b"wrong\n");
        let refused = |record: &Value| record["reason"] == "login_refused";
        let before = line.bridge.log().count(refused);
        eventually("refused again", PATIENT, || line.bridge.log().count(refused) > before);
        let connects = line.connects();
        put(&file, b"second\n");
        eventually("it connects again", PATIENT, || line.connects() > connects);
        line.wait_delivered(line.reader.distinct() + 500);
        line.settle_exactly();
    }
}
