//! The feed: one thread and one socket. It sends as many PUBLISHes as the window allows, in large writes,
//! and receives PUBACKs. The bridge connects to it as to a broker; with a real broker it is a client that
//! publishes there.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use hdrhistogram::Histogram;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::acks::{InFlight, Violations};
use super::error::BenchError;

use super::interrupt;
use super::progress::Progress;
use super::scenario::{Load, Scenario};
use super::wire::{self, Frames};
use mqtt_kafka_bridge::mqtt::packet::{self, Connect};

/// The size of one write, about.
const WRITE_BYTES: usize = 128 * 1024;
/// After this time without progress the run has failed.
const STALLED_AFTER: Duration = Duration::from_secs(60);
/// How long the bridge may take to connect and subscribe.
const OPEN_WITHIN: Duration = Duration::from_secs(30);
/// Messages that are due within this time of each other are sent together.
const TICK: Duration = Duration::from_micros(100);
/// How often the feed asks its brake again.
const BRAKED: Duration = Duration::from_millis(1);

/// Gives how many more messages may be sent, from how many were sent and how many are acknowledged.
pub(super) type Brake<'a> = &'a dyn Fn(u64, u64) -> u64;

/// The feed's end of a connection.
pub(super) struct Feed {
    stream: TcpStream,
    frames: Frames,
    qos: u8,
    window: u16,
    in_flight: InFlight,
    sent: u64,
    acknowledged: u64,
    out: Vec<u8>,
    written: usize,
    input: Vec<u8>,
    filled: usize,
}

/// The outcome of one load.
#[derive(Debug)]
pub(super) struct Fed {
    pub messages: u64,
    /// From the first PUBLISH to the last PUBACK, or to the last write with QoS 0.
    pub elapsed: Duration,
    /// From the time when a message was due to its PUBACK, microseconds.
    pub latencies: Histogram<u64>,
}

impl Feed {
    /// Waits until a subscriber has connected and subscribed to `subscriptions` filters.
    ///
    /// # Errors
    /// The subscriber does not do so in time, or ends; `gone` gives the reason if it has ended.
    pub(super) fn accept(
        listener: &TcpListener,
        subscriptions: u32,
        scenario: &Scenario,
        frames: Frames,
        mut gone: impl FnMut() -> Option<String>,
    ) -> Result<Self, BenchError> {
        let deadline = Instant::now() + OPEN_WITHIN;
        listener.set_nonblocking(true)?;
        let stream = loop {
            match listener.accept() {
                Ok((stream, _)) => break stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    interrupt::check()?;
                    if let Some(why) = gone() {
                        return Err(BenchError::Process(why));
                    }
                    if Instant::now() > deadline {
                        return Err(BenchError::Feed("nothing connected within 30 s".to_owned()));
                    }
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(error) => return Err(error.into()),
            }
        };
        let mut feed = Self::new(stream, scenario, frames)?;
        let mut subscribed = 0;
        while subscribed < subscriptions {
            let (first, body) = feed.next_packet(deadline)?;
            match first >> 4 {
                1 => feed.out.extend_from_slice(wire::connack(scenario.protocol)),
                8 => {
                    let id = [body[0], body[1]];
                    wire::suback(scenario.protocol, id, scenario.qos, &mut feed.out);
                    subscribed += 1;
                }
                12 => feed.out.extend_from_slice(&wire::PINGRESP),
                kind => {
                    return Err(BenchError::Feed(format!("an unexpected packet of type {kind}")));
                }
            }
            feed.write_all(deadline)?;
        }
        Ok(feed)
    }

    /// Connects to a real broker, to publish there.
    ///
    /// # Errors
    /// The broker cannot be reached, or refuses.
    pub(super) fn dial(
        address: &str,
        login: Option<(&str, &str)>,
        client_id: &str,
        scenario: &Scenario,
        frames: Frames,
    ) -> Result<Self, BenchError> {
        let broker =
            |what: &dyn std::fmt::Display| BenchError::Broker(format!("{address}: {what}"));
        let resolved = address.to_socket_addrs().map_err(|error| broker(&error))?.next();
        let resolved = resolved.ok_or_else(|| broker(&"no address"))?;
        let stream = TcpStream::connect_timeout(&resolved, OPEN_WITHIN);
        let mut feed = Self::new(stream.map_err(|error| broker(&error))?, scenario, frames)?;
        let connect = Connect {
            client_id,
            keep_alive_s: 0,
            clean_start: true,
            session_expiry_s: 0,
            receive_maximum: u16::MAX,
            username: login.map(|(username, _)| username),
            password: login.map(|(_, password)| password),
        };
        let mut bytes = BytesMut::new();
        packet::encode_connect(scenario.protocol, &connect, &mut bytes);
        feed.out.extend_from_slice(&bytes);
        let deadline = Instant::now() + OPEN_WITHIN;
        feed.write_all(deadline)?;
        match feed.next_packet(deadline)? {
            (0x20, body) if body.get(1) == Some(&0) => Ok(feed),
            (_, body) => Err(broker(&format_args!("it refuses the connection: {body:02x?}"))),
        }
    }

    fn new(stream: TcpStream, scenario: &Scenario, frames: Frames) -> Result<Self, BenchError> {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            frames,
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

    /// Messages sent on this connection.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// The wrong PUBACKs so far.
    pub(super) fn violations(&self) -> Violations {
        self.in_flight.violations()
    }

    /// From now on a PUBACK that comes sooner than this is a violation.
    pub(super) fn kafka_takes(&mut self, at_least: Duration) {
        self.in_flight.kafka_takes(at_least);
    }

    /// Sends the load. Returns when all messages are acknowledged, or with QoS 0 written.
    ///
    /// # Errors
    /// The connection ends, or there is no progress any more.
    pub(super) fn run(
        &mut self,
        load: Load,
        brake: Brake<'_>,
        progress: &mut Progress,
    ) -> Result<Fed, BenchError> {
        let start = Instant::now();
        let (sent_before, acknowledged_before) = (self.sent, self.acknowledged);
        let mut latencies = histogram();
        let mut moved_at = start;
        let mut over = false;
        loop {
            interrupt::check()?;
            let now = Instant::now();
            let sent = self.sent - sent_before;
            over |= load.count.is_some_and(|count| sent >= count)
                || load.duration.is_some_and(|duration| now - start >= duration);
            let mut next_due = None;
            if !over {
                let pace = Pace { load, start };
                next_due = self.offer(now, sent, pace, brake);
            }
            let before = (self.sent, self.acknowledged, self.written);
            self.write()?;
            self.read(&mut latencies)?;
            progress.tell(now, self.sent - sent_before, load);
            if before != (self.sent, self.acknowledged, self.written)
                || self.sent > sent + sent_before
            {
                moved_at = now;
            }
            let written = self.is_written();
            if over && written && self.in_flight.unacknowledged() == 0 {
                let messages = self.sent - sent_before;
                debug_assert!(self.qos == 0 || self.acknowledged - acknowledged_before == messages);
                return Ok(Fed { messages, elapsed: start.elapsed(), latencies });
            }
            if now - moved_at > STALLED_AFTER {
                return Err(BenchError::Feed(format!(
                    "no progress for {} s: {} of {} messages without a PUBACK",
                    STALLED_AFTER.as_secs(),
                    self.in_flight.unacknowledged(),
                    self.sent
                )));
            }
            if load.rate.is_none() && written && self.sent > sent + sent_before {
                continue; // There may be room for more already.
            }
            let has_room = self.qos == 0 || self.in_flight.room(self.window) > 0;
            let wait = match next_due {
                _ if over || !has_room => Duration::from_secs(1),
                None if written => BRAKED,
                None => Duration::from_secs(1),
                Some(due) => due.saturating_duration_since(Instant::now()).max(TICK),
            };
            self.wait(wait)?;
        }
    }

    /// Encodes the messages that are due and have room. Gives when the next one is due, if there is a rate.
    fn offer(&mut self, now: Instant, sent: u64, pace: Pace, brake: Brake<'_>) -> Option<Instant> {
        let room = match self.qos {
            1 => self.in_flight.room(self.window),
            _ => usize::MAX,
        };
        // `div_ceil`: at least one message, whatever its size.
        let pending = self.out.len() - self.written;
        let fits = WRITE_BYTES.saturating_sub(pending).div_ceil(self.frames.frame_bytes());
        let left = pace.load.count.map_or(u64::MAX, |count| count - sent);
        let allowed = left.min(room.min(fits) as u64).min(brake(self.sent, self.acknowledged));
        let count = allowed.min(pace.due(sent, now));
        for index in 0..count {
            let due = pace.due_at(sent + index).unwrap_or(now);
            let packet_id = if self.qos == 1 { self.in_flight.sending(due, now) } else { 0 };
            self.frames.publish(self.sent, packet_id, &mut self.out);
            self.sent += 1;
        }
        // A message that is due and has no room waits for room, not for the clock.
        pace.due_at(sent + count).filter(|due| *due > now)
    }

    fn is_written(&self) -> bool {
        self.written == self.out.len()
    }

    fn write(&mut self) -> Result<(), BenchError> {
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

    fn read(&mut self, latencies: &mut Histogram<u64>) -> Result<(), BenchError> {
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

    /// Waits until there is something to read, or room to write what is pending, or the time is over.
    fn wait(&self, at_most: Duration) -> Result<(), BenchError> {
        let events = if self.is_written() { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT };
        let timeout = Timespec {
            tv_sec: at_most.as_secs().cast_signed(),
            tv_nsec: at_most.subsec_nanos().into(),
        };
        match poll(&mut [PollFd::new(&self.stream, events)], Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(std::io::Error::from(error).into()),
        }
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

    /// Sends nothing for this long, but answers PINGREQ.
    ///
    /// # Errors
    /// The connection ends.
    pub(super) fn idle(&mut self, how_long: Duration) -> Result<(), BenchError> {
        let end = Instant::now() + how_long;
        let mut none = histogram();
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            interrupt::check()?;
            self.wait(left)?;
            self.read(&mut none)?;
            self.write()?;
        }
        Ok(())
    }

    /// Waits until the other side has left, at most for `within`. PUBACKs that still come count.
    pub(super) fn part(mut self, within: Duration) -> Violations {
        // To `read` its DISCONNECT is an error, which ends the wait.
        let _ = self.idle(within);
        self.violations()
    }
}

/// When each message is due.
#[derive(Clone, Copy)]
struct Pace {
    load: Load,
    start: Instant,
}

impl Pace {
    /// When this message is due, if there is a rate.
    fn due_at(self, number: u64) -> Option<Instant> {
        let rate = self.load.rate?;
        Some(self.start + Duration::from_secs_f64(number as f64 / rate as f64))
    }

    /// How many more messages are due now.
    fn due(self, sent: u64, now: Instant) -> u64 {
        let Some(rate) = self.load.rate else { return u64::MAX };
        let due = ((now - self.start).as_secs_f64() * rate as f64) as u64 + 1;
        due.saturating_sub(sent)
    }
}

/// Latencies in microseconds, up to an hour, at three digits.
pub(super) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 3_600_000_000, 3).expect("constant bounds are valid")
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
