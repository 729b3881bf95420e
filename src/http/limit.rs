//! A connection ends in time, whatever its client does. The server has limits for the handshake, for a request's head
//! and for closing; without this it would wait for ever for a client that does not read its answer. A connection whose
//! answer goes on, `/events`, ends in time once its client takes no more of it.

use std::any::Any;
use std::cell::Cell;
use std::net::Shutdown;
use std::rc::Rc;
use std::time::{Duration, Instant};

use actix_tls::accept::openssl::TlsStream;
use actix_web::dev::Extensions;
use actix_web::rt;
use actix_web::rt::net::TcpStream;
use actix_web::rt::task::JoinHandle;
use socket2::{SockRef, Socket};

/// The longest that a connection lasts, its TLS handshake aside: as long as Prometheus waits by default.
pub(super) const CONNECTION_LASTS: Duration = Duration::from_secs(10);
/// What the system keeps, at most twice, of an answer that goes on and that its client does not read.
const UNREAD_MAX: usize = 256 * 1024;

/// Ends this connection after [`CONNECTION_LASTS`]; `HttpServer::on_connect` calls it for each.
pub(super) fn limit(io: &dyn Any, connection: &mut Extensions) {
    let plain = io.downcast_ref::<TcpStream>();
    let encrypted = || Some(io.downcast_ref::<TlsStream<TcpStream>>()?.get_ref());
    let Some(stream) = plain.or_else(encrypted) else { return };
    // Where no file handle is left for it, an answer without a limit is better than none.
    let Ok(socket) = SockRef::from(stream).try_clone() else { return };
    let lease = Lease { socket: Rc::new(socket), ends: Rc::new(Cell::new(in_time())) };
    let Lease { socket, ends } = lease.clone();
    let task = rt::spawn(async move {
        while Instant::now() < ends.get() {
            rt::time::sleep_until(ends.get().into()).await;
        }
        // Whoever waits for it is woken, and gets an error.
        let _ = socket.shutdown(Shutdown::Both);
    });
    connection.insert(Limit { task, lease });
}

fn in_time() -> Instant {
    Instant::now() + CONNECTION_LASTS
}

/// Belongs to the connection, and goes with it: so does the handle of the socket.
pub(super) struct Limit {
    task: JoinHandle<()>,
    lease: Lease,
}

impl Limit {
    /// For an answer that goes on; the system keeps less of it.
    pub(super) fn lease(&self) -> Lease {
        // It is a bound of memory, and no condition.
        let _ = self.lease.socket.set_send_buffer_size(UNREAD_MAX);
        self.lease.clone()
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// When a connection ends.
#[derive(Clone)]
pub(super) struct Lease {
    socket: Rc<Socket>,
    ends: Rc<Cell<Instant>>,
}

impl Lease {
    /// The client has taken something: it has [`CONNECTION_LASTS`] again.
    pub(super) fn renew(&self) {
        self.ends.set(in_time());
    }
}
