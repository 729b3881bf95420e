//! A plain MQTT client: one socket, one packet at a time.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use super::SOON;
use super::wire::{Connect, Packet, Publish, Version};

/// A connected client, or the broker's side of a connection: it only reads and writes packets.
#[derive(Debug)]
pub struct MqttClient {
    /// The socket, for stories that cut or half-close connections.
    pub stream: TcpStream,
    version: Version,
    buffer: Vec<u8>,
    next_pkid: u16,
}

impl MqttClient {
    /// Connects with a session that ends with the connection.
    ///
    /// # Errors
    /// Of the socket, or a refusal.
    pub fn connect(address: &str, version: Version, client_id: &str) -> io::Result<Self> {
        let connect = Connect {
            level: version.level(),
            client_id: client_id.to_owned(),
            clean: true,
            keep_alive: 0,
            login: None,
            session_expiry: None,
            receive_maximum: None,
        };
        Self::connect_with(address, &connect).map(|(client, _)| client)
    }

    /// Connects with this CONNECT; also whether the broker had a session.
    ///
    /// # Errors
    /// Of the socket, or a refusal.
    pub fn connect_with(address: &str, connect: &Connect) -> io::Result<(Self, bool)> {
        let address = address.to_socket_addrs()?.next().expect("an address has an address");
        let stream = TcpStream::connect_timeout(&address, SOON)?;
        let version = if connect.level == 5 { Version::V5 } else { Version::V311 };
        let mut client = Self::over(stream, version);
        client.send(&Packet::Connect(connect.clone()))?;
        match client.read(SOON)? {
            Some(Packet::ConnAck { session_present, code: 0, .. }) => Ok((client, session_present)),
            other => Err(io::Error::other(format!("expected CONNACK 0, got {other:?}"))),
        }
    }

    /// A client over an open connection.
    pub fn over(stream: TcpStream, version: Version) -> Self {
        // This option only saves time.
        let _ = stream.set_nodelay(true);
        Self { stream, version, buffer: Vec::new(), next_pkid: 1 }
    }

    /// Uses this version from here on.
    pub fn set_version(&mut self, version: Version) {
        self.version = version;
    }

    /// Writes one packet.
    ///
    /// # Errors
    /// Of the socket.
    pub fn send(&mut self, packet: &Packet) -> io::Result<()> {
        self.stream.write_all(&packet.encode(self.version))
    }

    /// Reads one packet; `None` if none comes within `deadline`.
    ///
    /// # Errors
    /// The end of the connection, or a malformed packet.
    pub fn read(&mut self, deadline: Duration) -> io::Result<Option<Packet>> {
        let start = Instant::now();
        loop {
            if let Some(packet) = Packet::take(&mut self.buffer, self.version)? {
                return Ok(Some(packet));
            }
            let left = deadline.saturating_sub(start.elapsed());
            if left.is_zero() {
                return Ok(None);
            }
            self.stream.set_read_timeout(Some(left))?;
            let mut chunk = [0; 64 * 1024];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.buffer.extend(&chunk[..count]),
                Err(error) if is_timeout(&error) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// Publishes at QoS 1 and waits for PUBACK.
    #[track_caller]
    pub fn publish(&mut self, mqtt_topic: &str, payload: &[u8]) {
        let pkid = self.next_pkid();
        self.publish_as(Packet::publish(pkid, mqtt_topic, payload), pkid);
    }

    /// Publishes at QoS 1 with RETAIN and waits for PUBACK.
    #[track_caller]
    pub fn publish_retained(&mut self, mqtt_topic: &str, payload: &[u8]) {
        let pkid = self.next_pkid();
        let (mqtt_topic, payload) = (mqtt_topic.into(), payload.into());
        let publish = Publish { qos: 1, retain: true, mqtt_topic, pkid, payload, dup: false };
        self.publish_as(Packet::Publish(publish), pkid);
    }

    /// Publishes at QoS 1 with these user properties, by MQTT 5, and waits for PUBACK.
    #[track_caller]
    pub fn publish_with(&mut self, mqtt_topic: &str, payload: &[u8], user: &[(&str, &str)]) {
        let pkid = self.next_pkid();
        let text = |text: &str| {
            let length = u16::try_from(text.len()).expect("a short text").to_be_bytes();
            [&length[..], text.as_bytes()].concat()
        };
        let properties: Vec<u8> = user
            .iter()
            .flat_map(|(name, value)| [vec![0x26], text(name), text(value)].concat())
            .collect();
        let mut body = [text(mqtt_topic), pkid.to_be_bytes().to_vec()].concat();
        let short = |length: usize| u8::try_from(length).ok().filter(|length| *length < 128);
        body.push(short(properties.len()).expect("few properties"));
        body.extend([&properties, payload].concat());
        let header = [0x32, short(body.len()).expect("a small packet")];
        self.stream.write_all(&[&header[..], &body].concat()).unwrap();
        assert_eq!(self.read(SOON).unwrap(), Some(Packet::PubAck { pkid }), "the PUBACK");
    }

    #[track_caller]
    fn publish_as(&mut self, packet: Packet, pkid: u16) {
        self.send(&packet).unwrap();
        assert_eq!(self.read(SOON).unwrap(), Some(Packet::PubAck { pkid }), "the PUBACK");
    }

    fn next_pkid(&mut self) -> u16 {
        let pkid = self.next_pkid;
        self.next_pkid = pkid.checked_add(1).unwrap_or(1);
        pkid
    }

    /// Subscribes to one filter at `qos`, waits for SUBACK, and returns the granted code.
    #[track_caller]
    pub fn subscribe(&mut self, filter: &str, qos: u8) -> u8 {
        let pkid = self.next_pkid();
        self.send(&Packet::Subscribe { pkid, filters: vec![(filter.to_owned(), qos)] }).unwrap();
        match self.read(SOON).unwrap() {
            Some(Packet::SubAck { codes, .. }) => codes[0],
            other => panic!("expected SUBACK, got {other:?}"),
        }
    }
}

/// Whether the read timed out.
pub fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
