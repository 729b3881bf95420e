//! A TCP forwarder that can cut, stall and strand its connections.

use std::io::ErrorKind::AddrInUse;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread;

use super::{POLL, SOON, eventually_some};

/// A forwarder on a loopback port of its own, until the test process ends.
#[derive(Debug)]
pub struct Proxy {
    address: String,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    target: Mutex<String>,
    /// Nothing passes in either direction; all connections stay open.
    stalled: AtomicBool,
    accepted: AtomicU64,
    ended: AtomicBool,
    /// More connections at once are refused; 0: no limit.
    at_most: AtomicUsize,
    connections: Mutex<Vec<Weak<Connection>>>,
}

/// The two pumps of a connection own it: when both have ended, both sides are closed.
#[derive(Debug)]
struct Connection {
    client: TcpStream,
    target: TcpStream,
    /// The end of one side is not passed on to the other.
    stranded: AtomicBool,
}

impl Proxy {
    /// Forwards to `target` (`host:port`).
    pub fn start(target: &str) -> Self {
        Self::at("127.0.0.1:0", target)
    }

    /// The same on this address, which must be free. Some other connection may have been given its port as
    /// its own meanwhile, but not for long.
    pub fn at(address: &str, target: &str) -> Self {
        let listener = eventually_some(&format!("{address} is free"), SOON, || {
            match TcpListener::bind(address) {
                Err(error) if error.kind() == AddrInUse => None,
                listener => Some(listener.unwrap()),
            }
        });
        let address = listener.local_addr().unwrap().to_string();
        let shared =
            Arc::new(Shared { target: Mutex::new(target.to_owned()), ..Shared::default() });
        thread::spawn({
            let shared = Arc::clone(&shared);
            move || shared.accept_all(&listener)
        });
        Self { address, shared }
    }

    /// `host:port`
    pub fn address(&self) -> String {
        self.address.clone()
    }

    /// Forwards new connections to another `host:port`.
    pub fn redirect(&self, target: &str) {
        target.clone_into(&mut self.shared.target.lock().unwrap());
    }

    /// From here on it closes at once what goes beyond this many connections; 0: nothing.
    pub fn admit(&self, at_most: usize) {
        self.shared.at_most.store(at_most, Ordering::Relaxed);
    }

    /// How many connections were forwarded so far.
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    /// Cuts all connections on both sides, losing bytes on the way; returns how many.
    pub fn cut(&self) -> usize {
        let connections = self.take_connections();
        for connection in &connections {
            // They may have ended by themselves.
            let _ = connection.client.shutdown(Shutdown::Both);
            let _ = connection.target.shutdown(Shutdown::Both);
        }
        connections.len()
    }

    /// Ends the sending side of all connections towards their clients, behind the bytes that are on the way.
    pub fn finish(&self) {
        for connection in self.take_connections() {
            let _ = connection.client.shutdown(Shutdown::Write);
        }
    }

    fn take_connections(&self) -> Vec<Arc<Connection>> {
        let connections = std::mem::take(&mut *self.shared.connections.lock().unwrap());
        connections.iter().filter_map(Weak::upgrade).collect()
    }

    /// Stops passing bytes; all connections stay open.
    pub fn stall(&self) {
        self.shared.stalled.store(true, Ordering::Relaxed);
    }

    /// Ends [`Self::stall`].
    pub fn resume(&self) {
        self.shared.stalled.store(false, Ordering::Relaxed);
    }

    /// Makes all present connections half-open for their clients: the peer is gone, and nothing
    /// tells them. New connections pass.
    pub fn strand(&self) {
        for connection in self.take_connections() {
            connection.stranded.store(true, Ordering::Relaxed);
            let _ = connection.target.shutdown(Shutdown::Both);
            // Closed only when the test process ends.
            std::mem::forget(connection);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        self.cut();
        // Wakes the accepting thread, so that it sees the end.
        let _ = TcpStream::connect(&self.address);
    }
}

impl Shared {
    fn accept_all(self: Arc<Self>, listener: &TcpListener) {
        for client in listener.incoming().map_while(Result::ok) {
            if self.ended.load(Ordering::Relaxed) {
                return;
            }
            let at_most = self.at_most.load(Ordering::Relaxed);
            if at_most > 0 && self.living() >= at_most {
                continue;
            }
            let target = self.target.lock().unwrap().clone();
            let Ok(target) = TcpStream::connect(target) else { continue };
            self.accepted.fetch_add(1, Ordering::Relaxed);
            // An option that only saves time.
            let _ = (client.set_nodelay(true), target.set_nodelay(true));
            let stranded = AtomicBool::new(false);
            let connection = Arc::new(Connection { client, target, stranded });
            self.connections.lock().unwrap().push(Arc::downgrade(&connection));
            thread::spawn({
                let (shared, connection) = (Arc::clone(&self), Arc::clone(&connection));
                move || {
                    shared.pump(&connection.client, &connection.target);
                    // The target reads the bytes before the end, and then closes its side.
                    let _ = connection.target.shutdown(Shutdown::Write);
                }
            });
            let shared = Arc::clone(&self);
            thread::spawn(move || {
                shared.pump(&connection.target, &connection.client);
                if !connection.stranded.load(Ordering::Relaxed) {
                    let _ = connection.client.shutdown(Shutdown::Both);
                }
            });
        }
    }

    fn living(&self) -> usize {
        let connections = self.connections.lock().unwrap();
        connections.iter().filter(|connection| connection.strong_count() > 0).count()
    }

    /// Copies until either side ends.
    fn pump(&self, mut from: &TcpStream, mut to: &TcpStream) {
        let mut chunk = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from.read(&mut chunk) {
            while self.stalled.load(Ordering::Relaxed) && !self.ended.load(Ordering::Relaxed) {
                thread::sleep(POLL);
            }
            if to.write_all(&chunk[..count]).is_err() {
                return;
            }
        }
    }
}
