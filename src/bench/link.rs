//! One connection of the feed: PUBLISHes wait here to be written, and PUBACKs are checked.

use std::io::{ErrorKind, Read as _, Write as _};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use hdrhistogram::Histogram;
use mqtt_kafka_bridge::mqtt::packet::{self, Connect, Version};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::acks::InFlight;
use super::error::BenchError;
use super::interrupt;
use super::scenario::Scenario;
use super::tls::ByteStream;
use super::wire::{self, Frames};

/// The size of one write, about.
const WRITE_BYTES: usize = 128 * 1024;

/// The feed's end of a connection.
pub(super) struct Link {
    stream: ByteStream,
    protocol: Version,
    qos: u8,
    window: u16,
    pub(super) in_flight: InFlight,
    /// Messages sent, written or not.
    pub(super) sent: u64,
    pub(super) acknowledged: u64,
    out: Vec<u8>,
    written: usize,
    input: Vec<u8>,
    filled: usize,
}

impl Link {
    /// # Errors
    /// The socket refuses its options.
    pub(super) fn new(stream: ByteStream, scenario: &Scenario) -> Result<Self, BenchError> {
        stream.socket().set_nodelay(true)?;
        stream.socket().set_nonblocking(true)?;
        Ok(Self {
            stream,
            protocol: scenario.protocol,
            qos: scenario.qos,
            window: scenario.window,
            in_flight: InFlight::new(),
            sent: 0,
            acknowledged: 0,
            out: Vec::with_capacity(2 * WRITE_BYTES),
            written: 0,
            input: vec![0; 256 * 1024],
            filled: 0,
        })
    }

    /// Waits, as a broker, until the other side has subscribed to `subscriptions` filters.
    ///
    /// # Errors
    /// It does not do so in time.
    pub(super) fn serve(
        &mut self,
        subscriptions: u32,
        deadline: Instant,
    ) -> Result<(), BenchError> {
        let mut subscribed = 0;
        while subscribed < subscriptions {
            let (first, body) = self.next_packet(deadline)?;
            match first >> 4 {
                1 => self.out.extend_from_slice(wire::connack(self.protocol)),
                8 => {
                    let id = [body[0], body[1]];
                    wire::suback(self.protocol, id, self.qos, &mut self.out);
                    subscribed += 1;
                }
                12 => self.out.extend_from_slice(&wire::PINGRESP),
                kind => {
                    return Err(BenchError::Feed(format!("an unexpected packet of type {kind}")));
                }
            }
            self.write_all(deadline)?;
        }
        Ok(())
    }

    /// Logs in, as a client; gives the refusal, if there is one.
    ///
    /// # Errors
    /// There is no answer in time.
    pub(super) fn log_in(
        &mut self,
        login: Option<(&str, &str)>,
        client_id: &str,
        deadline: Instant,
    ) -> Result<Option<Vec<u8>>, BenchError> {
        let connect = Connect {
            client_id,
            keep_alive_s: 0,
            clean_start: true,
            session_expiry_s: 0,
            receive_maximum: u16::MAX,
            user_properties: &[],
            will: None,
            username: login.map(|(username, _)| username),
            password: login.map(|(_, password)| password),
        };
        let mut bytes = BytesMut::new();
        packet::encode_connect(self.protocol, &connect, &mut bytes);
        self.out.extend_from_slice(&bytes);
        self.write_all(deadline)?;
        match self.next_packet(deadline)? {
            (0x20, body) if body.get(1) == Some(&0) => Ok(None),
            (_, body) => Ok(Some(body)),
        }
    }

    /// How many more messages have room, in the window and in one write.
    pub(super) fn room(&self, frame_bytes: usize) -> usize {
        let pending = self.out.len() - self.written;
        // `div_ceil`: at least one message, whatever its size.
        self.window_room().min(WRITE_BYTES.saturating_sub(pending).div_ceil(frame_bytes))
    }

    /// How many more messages the window allows.
    pub(super) fn window_room(&self) -> usize {
        match self.qos {
            1 => self.in_flight.room(self.window),
            _ => usize::MAX,
        }
    }

    /// Encodes message `number`, which was due at `due`.
    pub(super) fn publish(&mut self, frames: &Frames, number: u64, due: Instant, now: Instant) {
        let packet_id = if self.qos == 1 { self.in_flight.sending(due, now) } else { 0 };
        frames.publish(number, packet_id, &mut self.out);
        self.sent += 1;
    }

    /// Whether nothing waits to be written.
    pub(super) fn is_written(&self) -> bool {
        self.written == self.out.len()
    }

    /// What has happened so far; it differs if anything has.
    pub(super) fn progress(&self) -> (u64, u64, usize) {
        (self.sent, self.acknowledged, self.written)
    }

    /// Writes as much as the socket takes.
    ///
    /// # Errors
    /// The connection has ended.
    pub(super) fn write(&mut self) -> Result<(), BenchError> {
        while !self.is_written() {
            match self.stream.write(&self.out[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(BenchError::Feed(format!("cannot write: {error}"))),
            }
        }
        self.out.clear();
        self.written = 0;
        Ok(())
    }

    /// Reads into the input; gives whether anything came.
    fn fill(&mut self) -> Result<bool, BenchError> {
        match self.stream.read(&mut self.input[self.filled..]) {
            Ok(0) => Err(BenchError::Feed("the connection was closed".to_owned())),
            Ok(count) => {
                self.filled += count;
                Ok(true)
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                Ok(false)
            }
            Err(error) => Err(BenchError::Feed(format!("cannot read: {error}"))),
        }
    }

    /// Takes the PUBACKs that have come, and answers PINGREQ.
    ///
    /// # Errors
    /// The connection has ended.
    pub(super) fn read(&mut self, latencies: &mut Histogram<u64>) -> Result<(), BenchError> {
        if !self.fill()? {
            return Ok(());
        }
        let now = Instant::now();
        let mut at = 0;
        while let Some((first, body, length)) = wire::packet(&self.input[at..self.filled]) {
            match (first >> 4, body) {
                (4, [high, low, ..]) => {
                    let packet_id = u16::from_be_bytes([*high, *low]);
                    if let Some(took) = self.in_flight.acknowledged(packet_id, now) {
                        self.acknowledged += 1;
                        latencies.saturating_record(micros(took));
                    }
                }
                (12, _) => self.out.extend_from_slice(&wire::PINGRESP),
                (kind, _) => {
                    return Err(BenchError::Feed(format!("an unexpected packet of type {kind}")));
                }
            }
            at += length;
        }
        self.input.copy_within(at..self.filled, 0);
        self.filled -= at;
        Ok(())
    }

    /// Waits until any of `links` has something to read, or room to write what is pending, or the time is
    /// over.
    ///
    /// # Errors
    /// The system refuses.
    pub(super) fn wait_for(links: &[Self], at_most: Duration) -> Result<(), BenchError> {
        if links.iter().any(|link| link.stream.has_more()) {
            return Ok(());
        }
        let events = |link: &Self| match link.is_written() {
            true => PollFlags::IN,
            false => PollFlags::IN | PollFlags::OUT,
        };
        let mut fds: Vec<_> =
            links.iter().map(|link| PollFd::new(&link.stream, events(link))).collect();
        let timeout = Timespec {
            tv_sec: at_most.as_secs().cast_signed(),
            tv_nsec: at_most.subsec_nanos().into(),
        };
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(std::io::Error::from(error).into()),
        }
    }

    fn wait(&self, at_most: Duration) -> Result<(), BenchError> {
        Self::wait_for(std::slice::from_ref(self), at_most)
    }

    /// Waits for one packet, before the load, when both sides take turns.
    fn next_packet(&mut self, deadline: Instant) -> Result<(u8, Vec<u8>), BenchError> {
        loop {
            if let Some((first, body, length)) = wire::packet(&self.input[..self.filled]) {
                let body = body.to_vec();
                self.input.copy_within(length..self.filled, 0);
                self.filled -= length;
                return Ok((first, body));
            }
            interrupt::check()?;
            self.wait(Duration::from_millis(100))?;
            if !self.fill()? && Instant::now() > deadline {
                return Err(BenchError::Feed("no answer within 30 s".to_owned()));
            }
        }
    }

    fn write_all(&mut self, deadline: Instant) -> Result<(), BenchError> {
        self.write()?;
        while !self.is_written() {
            self.wait(Duration::from_millis(100))?;
            self.write()?;
            if Instant::now() > deadline {
                return Err(BenchError::Feed("the other side reads nothing".to_owned()));
            }
        }
        Ok(())
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
