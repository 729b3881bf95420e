//! The feed: one thread, and a connection for each that the bridge opens. It sends as many PUBLISHes as the
//! windows allow, in large writes, and receives PUBACKs. The bridge connects to it as to a broker; with a real
//! broker it is a client that publishes there.
//!
//! Message `n` goes to the connection `n % connections`, and each MQTT topic to one of them. A connection that
//! is slow keeps no other waiting, but a load ends with all of them at the same point.

use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::acks::Violations;
use super::error::BenchError;
use super::interrupt;
use super::link::Link;
use super::progress::Progress;
use super::scenario::{Load, Scenario};
use super::tls::{ByteStream, TlsServer};
use super::wire::Frames;

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

/// The feed's end of all connections.
pub(super) struct Feed {
    links: Vec<Link>,
    frames: Frames,
    qos: u8,
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

/// Whom the feed serves as a broker.
pub(super) struct Subscribers<'a> {
    pub listener: &'a TcpListener,
    pub tls: Option<&'a TlsServer>,
    pub connections: u32,
    /// Filters of each connection.
    pub filters: u32,
}

impl Feed {
    /// Waits until all have connected and subscribed.
    ///
    /// # Errors
    /// They do not do so in time, or end; `gone` gives the reason if they have ended.
    pub(super) fn accept(
        subscribers: &Subscribers<'_>,
        scenario: &Scenario,
        frames: Frames,
        mut gone: impl FnMut() -> Option<String>,
    ) -> Result<Self, BenchError> {
        let deadline = Instant::now() + OPEN_WITHIN;
        let Subscribers { listener, tls, connections, filters } = *subscribers;
        let mut links = Vec::new();
        for _ in 0..connections {
            let stream = accept_one(listener, deadline, &mut gone)?;
            let stream = match tls {
                Some(tls) => tls.accept(stream)?,
                None => ByteStream::Plain(stream),
            };
            let mut link = Link::new(stream, scenario)?;
            link.serve(filters, deadline)?;
            links.push(link);
        }
        Ok(Self { links, frames, qos: scenario.qos })
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
        let stream = ByteStream::Plain(stream.map_err(|error| broker(&error))?);
        let mut link = Link::new(stream, scenario)?;
        let deadline = Instant::now() + OPEN_WITHIN;
        match link.log_in(login, client_id, deadline)? {
            None => Ok(Self { links: vec![link], frames, qos: scenario.qos }),
            Some(body) => Err(broker(&format_args!("it refuses the connection: {body:02x?}"))),
        }
    }

    /// Messages sent on all connections.
    pub(super) fn sent(&self) -> u64 {
        self.links.iter().map(|link| link.sent).sum()
    }

    fn acknowledged(&self) -> u64 {
        self.links.iter().map(|link| link.acknowledged).sum()
    }

    fn unacknowledged(&self) -> usize {
        self.links.iter().map(|link| link.in_flight.unacknowledged()).sum()
    }

    /// The wrong PUBACKs so far.
    pub(super) fn violations(&self) -> Violations {
        let all = self.links.iter().map(|link| link.in_flight.violations());
        all.fold(Violations::default(), |sum, one| Violations {
            out_of_order: sum.out_of_order + one.out_of_order,
            unexpected: sum.unexpected + one.unexpected,
            early: sum.early + one.early,
        })
    }

    /// From now on a PUBACK that comes sooner than this is a violation.
    pub(super) fn kafka_takes(&mut self, at_least: Duration) {
        for link in &mut self.links {
            link.in_flight.kafka_takes(at_least);
        }
    }

    /// The number of the next message of the connection at `index`.
    fn next_number(&self, index: usize) -> u64 {
        self.links[index].sent * self.links.len() as u64 + index as u64
    }

    /// The number behind the highest that was sent, at least `first`.
    fn behind_the_highest(&self, first: u64) -> u64 {
        let connections = self.links.len() as u64;
        let numbers = (0..self.links.len()).map(|index| self.next_number(index));
        numbers.map(|next| (next + 1).saturating_sub(connections)).max().unwrap_or(0).max(first)
    }

    /// Sends the load. Returns when all messages are acknowledged, or with QoS 0 written.
    ///
    /// # Errors
    /// A connection ends, or there is no progress any more.
    pub(super) fn run(
        &mut self,
        load: Load,
        brake: Brake<'_>,
        progress: &mut Progress,
    ) -> Result<Fed, BenchError> {
        let start = Instant::now();
        let first = self.sent();
        let acknowledged_before = self.acknowledged();
        let mut pace = Pace { rate: load.rate, start, first, limit: u64::MAX };
        pace.limit = load.count.map_or(u64::MAX, |count| first + count);
        let mut latencies = histogram();
        let mut moved_at = start;
        let mut time_is_over = false;
        loop {
            interrupt::check()?;
            let now = Instant::now();
            if !time_is_over && load.duration.is_some_and(|duration| now - start >= duration) {
                time_is_over = true;
                pace.limit = pace.limit.min(self.behind_the_highest(first));
            }
            let mut moved = false;
            let sent = self.sent();
            let mut next_due = None;
            for index in 0..self.links.len() {
                let before = self.links[index].progress();
                let due = self.offer(index, now, pace, brake);
                next_due = next_due.into_iter().chain(due).min();
                let link = &mut self.links[index];
                link.write()?;
                link.read(&mut latencies)?;
                moved |= before != link.progress();
            }
            if moved {
                moved_at = now;
            }
            progress.tell(now, self.sent() - first, load);
            let written = self.links.iter().all(Link::is_written);
            let waits = |index: &usize| self.next_number(*index) < pace.limit;
            let waiting: Vec<_> = (0..self.links.len()).filter(waits).collect();
            if waiting.is_empty() && written && self.unacknowledged() == 0 {
                let messages = self.sent() - first;
                debug_assert!(
                    self.qos == 0 || self.acknowledged() - acknowledged_before == messages
                );
                return Ok(Fed { messages, elapsed: start.elapsed(), latencies });
            }
            if now - moved_at > STALLED_AFTER {
                return Err(BenchError::Feed(format!(
                    "no progress for {} s: {} of {} messages without a PUBACK",
                    STALLED_AFTER.as_secs(),
                    self.unacknowledged(),
                    self.sent()
                )));
            }
            if load.rate.is_none() && written && self.sent() > sent {
                continue; // There may be room for more already.
            }
            let has_room = waiting.iter().any(|index| self.links[*index].window_room() > 0);
            let wait = match next_due {
                _ if !has_room => Duration::from_secs(1),
                None if written => BRAKED,
                None => Duration::from_secs(1),
                Some(due) => due.saturating_duration_since(Instant::now()).max(TICK),
            };
            Link::wait_for(&self.links, wait)?;
        }
    }

    /// Encodes the messages of one connection that are due and have room. Gives when the next one is due, if
    /// there is a rate.
    fn offer(
        &mut self,
        index: usize,
        now: Instant,
        pace: Pace,
        brake: Brake<'_>,
    ) -> Option<Instant> {
        let connections = self.links.len() as u64;
        let allowed = brake(self.sent(), self.acknowledged()).div_ceil(connections);
        let room = self.links[index].room(self.frames.frame_bytes()) as u64;
        let mut number = self.next_number(index);
        for _ in 0..allowed.min(room) {
            if number >= pace.limit {
                return None;
            }
            let due = pace.due_at(number).unwrap_or(now);
            if due > now {
                break;
            }
            self.links[index].publish(&self.frames, number, due, now);
            number += connections;
        }
        // A message that is due and has no room waits for room, not for the clock.
        pace.due_at(number).filter(|due| *due > now && number < pace.limit)
    }

    /// Sends nothing for this long, but answers PINGREQ.
    ///
    /// # Errors
    /// A connection ends.
    pub(super) fn idle(&mut self, how_long: Duration) -> Result<(), BenchError> {
        idle(&mut self.links, Instant::now() + how_long)
    }

    /// Waits until the other side has left, at most for `within`. PUBACKs that still come count.
    pub(super) fn part(mut self, within: Duration) -> Violations {
        let end = Instant::now() + within;
        for index in 0..self.links.len() {
            // To `read` its DISCONNECT is an error, which ends the wait.
            let _ = idle(&mut self.links[index..=index], end);
        }
        self.violations()
    }
}

fn accept_one(
    listener: &TcpListener,
    deadline: Instant,
    gone: &mut impl FnMut() -> Option<String>,
) -> Result<TcpStream, BenchError> {
    listener.set_nonblocking(true)?;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                return Ok(stream);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                interrupt::check()?;
                if let Some(why) = gone() {
                    return Err(BenchError::Process(why));
                }
                if Instant::now() > deadline {
                    return Err(BenchError::Feed("too few connections within 30 s".to_owned()));
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn idle(links: &mut [Link], end: Instant) -> Result<(), BenchError> {
    let mut none = histogram();
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        interrupt::check()?;
        Link::wait_for(links, left)?;
        for link in &mut *links {
            link.read(&mut none)?;
            link.write()?;
        }
    }
    Ok(())
}

/// When each message is due, and which is the last.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// Messages a second.
    rate: Option<u64>,
    start: Instant,
    /// The number of the first message.
    first: u64,
    /// The number behind the last message.
    limit: u64,
}

impl Pace {
    /// When this message is due, if there is a rate.
    fn due_at(self, number: u64) -> Option<Instant> {
        let rate = self.rate?;
        let before = number.saturating_sub(self.first);
        Some(self.start + Duration::from_secs_f64(before as f64 / rate as f64))
    }
}

/// Latencies in microseconds, up to an hour, at three digits.
pub(super) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 3_600_000_000, 3).expect("constant bounds are valid")
}
