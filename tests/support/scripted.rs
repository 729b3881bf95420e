//! An MQTT broker that does exactly what its story says, packet by packet.

use std::io::Write;
use std::net::{Shutdown, TcpListener};
use std::time::{Duration, Instant};

use super::mqtt_client::{MqttClient, is_timeout};
use super::wire::{Connect, Packet, Version};
use super::{SOON, eventually_some};

/// Listens on a port of its own.
#[derive(Debug)]
pub struct ScriptedBroker {
    listener: TcpListener,
}

impl ScriptedBroker {
    /// Listens.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Self { listener }
    }

    /// `host:port`
    pub fn address(&self) -> String {
        self.listener.local_addr().unwrap().to_string()
    }

    /// Accepts the next connection within `deadline`, and reads its CONNECT.
    pub fn try_accept(&self, deadline: Duration) -> Option<(Session, Connect)> {
        let start = Instant::now();
        let stream = loop {
            match self.listener.accept() {
                Ok((stream, _)) => break stream,
                Err(error) if !is_timeout(&error) => panic!("accept: {error}"),
                Err(_) if start.elapsed() > deadline => return None,
                Err(_) => std::thread::sleep(super::POLL),
            }
        };
        stream.set_nonblocking(false).unwrap();
        let mut client = MqttClient::over(stream, Version::V311);
        match client.read(SOON).unwrap() {
            Some(Packet::Connect(connect)) => {
                let version = if connect.level == 5 { Version::V5 } else { Version::V311 };
                client.set_version(version);
                Some((Session { client, grants: false }, connect))
            }
            other => panic!("expected CONNECT, got {other:?}"),
        }
    }

    /// Accepts the next connection, and reads its CONNECT.
    #[track_caller]
    pub fn accept(&self) -> (Session, Connect) {
        eventually_some("the bridge connects", SOON, || self.try_accept(SOON))
    }

    /// Accepts the next connection and answers it, like a broker with or without the bridge's session
    /// does. Without a session it waits for the subscription; it grants later ones as they come.
    #[track_caller]
    pub fn welcome(&self, session_present: bool) -> Session {
        let (mut session, _) = self.accept();
        session.grants = true;
        session.send_connack(session_present, 0);
        if !session_present {
            session.grant_subscription();
        }
        session
    }
}

/// The broker's side of one connection.
#[derive(Debug)]
pub struct Session {
    client: MqttClient,
    /// Whether it grants each SUBSCRIBE as it comes.
    grants: bool,
}

impl Session {
    /// CONNACK without properties.
    pub fn send_connack(&mut self, session_present: bool, code: u8) {
        self.send(&Packet::ConnAck { session_present, code, properties: Vec::new() });
    }

    /// Waits for SUBSCRIBE, and grants each filter at QoS 1.
    #[track_caller]
    pub fn grant_subscription(&mut self) -> Vec<(String, u8)> {
        let grants = std::mem::replace(&mut self.grants, false);
        let (pkid, filters) = self.expect_subscribe();
        self.grants = grants;
        self.send(&Packet::SubAck { pkid, codes: vec![1; filters.len()] });
        filters
    }

    /// Waits for SUBSCRIBE: packet id, and filters with their options.
    #[track_caller]
    pub fn expect_subscribe(&mut self) -> (u16, Vec<(String, u8)>) {
        match self.expect() {
            Packet::Subscribe { pkid, filters } => (pkid, filters),
            other => panic!("expected SUBSCRIBE, got {other:?}"),
        }
    }

    /// Writes a packet.
    pub fn send(&mut self, packet: &Packet) {
        self.client.send(packet).unwrap();
    }

    /// Writes bytes, whether or not they are a packet.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.client.stream.write_all(bytes).unwrap();
    }

    /// The next packet within `deadline`, PINGREQ excepted, which is answered; `None` if none came
    /// or the connection ended.
    pub fn next(&mut self, deadline: Duration) -> Option<Packet> {
        let start = Instant::now();
        loop {
            match self.client.read(deadline.saturating_sub(start.elapsed())) {
                Ok(Some(Packet::PingReq)) => self.send(&Packet::PingResp),
                Ok(Some(Packet::Subscribe { pkid, filters })) if self.grants => {
                    self.send(&Packet::SubAck { pkid, codes: vec![1; filters.len()] });
                }
                Ok(packet) => return packet,
                Err(_) => return None,
            }
        }
    }

    /// The next packet, PINGREQ excepted.
    #[track_caller]
    pub fn expect(&mut self) -> Packet {
        self.next(SOON).expect("a packet from the bridge")
    }

    /// Waits for exactly these PUBACKs, in this order, and nothing between.
    #[track_caller]
    pub fn expect_pubacks(&mut self, pkids: impl IntoIterator<Item = u16>) {
        for pkid in pkids {
            assert_eq!(self.expect(), Packet::PubAck { pkid }, "PUBACKs in order");
        }
    }

    /// Asserts that the bridge sends nothing for `span`, PINGREQ excepted.
    #[track_caller]
    pub fn expect_silence(&mut self, span: Duration) {
        assert_eq!(self.next(span), None, "the bridge keeps silent");
    }

    /// Waits until the bridge closes the connection; returns the packets before that.
    #[track_caller]
    pub fn expect_close(&mut self, deadline: Duration) -> Vec<Packet> {
        let mut said = Vec::new();
        let start = Instant::now();
        loop {
            match self.client.read(deadline.saturating_sub(start.elapsed())) {
                Ok(Some(packet)) => said.push(packet),
                Ok(None) => {
                    panic!("after {deadline:?} the bridge has not closed; it said {said:?}")
                }
                Err(_) => return said,
            }
        }
    }

    /// Cuts the connection.
    pub fn cut(self) {
        // It may be closed already.
        let _ = self.client.stream.shutdown(Shutdown::Both);
    }

    /// Closes the sending side, and still reads.
    pub fn half_close(&mut self) {
        self.client.stream.shutdown(Shutdown::Write).unwrap();
    }
}
