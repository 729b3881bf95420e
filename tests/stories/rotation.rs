//! Certificates and passwords are replaced under load: nothing is lost, reordered or duplicated, and a wrong
//! one does no harm once it is mended.

use std::fs;
use std::time::Duration;

use serde_json::Value;

use crate::support::certificates::{ClientKey, put};
use crate::support::line::Plan;
use crate::support::mosquitto::Setup;
use crate::support::*;

/// The load under which everything is replaced.
const LOAD: Load = Load { mqtt_topics: 20, qos: 1, rate: 1_000, window: 500, filler: 100 };

/// The bridge has no connection.
fn is_lost(record: &Value) -> bool {
    ["mqtt connection lost, reconnecting", "cannot connect to mqtt, retrying"]
        .iter()
        .any(|line| record["msg"] == **line)
}

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
        // Half a file, as an operator may leave it: the connection is kept.
        let [certificate, _] = line.broker.certificates().client(ClientKey::Encrypted);
        let good = fs::read(&certificate).unwrap();
        put(&certificate, &good[..good.len() / 2]);
        line.wait_reason("tls_files");
        line.wait_delivered(line.reader.distinct() + 500);
        line.rotate("the whole file", |_| put(&certificate, &good));
        assert_eq!(line.bridge.log().count(is_lost), 0, "no connection was lost");
    }
    lines.iter_mut().for_each(Line::settle_exactly);
}

#[test]
fn a_password_is_replaced_on_both_sides_under_load() {
    let story = Story::new("password replaced");
    let file = |version: Version| story.dir().join(format!("password{}", version.level()));
    let lines = Version::BOTH.map(|version| {
        put(&file(version), b"first\n");
        let path = file(version).to_str().expect("UTF-8").to_owned();
        let plan = Plan {
            load: LOAD,
            transport: Transport::Tls,
            // Without an `acl_file`: with one, Mosquitto 2.0.11 drops what comes for a session between the reload
            // that changed its user's password and its next login.
            mosquitto: Setup::default().user("bridge", "first"),
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
        let (connects, rotations) = (line.connects(), line.rotations());
        put(&file, b"wrong\n");
        eventually("it uses the wrong one", PATIENT, || line.rotations() > rotations);
        throughout("refused", Duration::from_secs(1), || line.connects() == connects);
        put(&file, b"second\n");
        eventually("it connects again", PATIENT, || line.connects() > connects);
        line.wait_delivered(line.reader.distinct() + 500);
        line.settle_exactly();
    }
}
