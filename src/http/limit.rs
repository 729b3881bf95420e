//! A connection ends in time, whatever its client does. The server has limits for the handshake, for a request's head
//! and for closing; without this it would wait for ever for a client that does not read its answer.

use std::any::Any;
use std::net::Shutdown;
use std::time::Duration;

use actix_tls::accept::openssl::TlsStream;
use actix_web::dev::Extensions;
use actix_web::rt;
use actix_web::rt::net::TcpStream;
use actix_web::rt::task::JoinHandle;
use socket2::SockRef;

/// The longest that a connection lasts, its TLS handshake aside: as long as Prometheus waits by default.
pub(super) const CONNECTION_LASTS: Duration = Duration::from_secs(10);

/// Ends this connection after [`CONNECTION_LASTS`]; `HttpServer::on_connect` calls it for each.
pub(super) fn limit(io: &dyn Any, connection: &mut Extensions) {
    let plain = io.downcast_ref::<TcpStream>();
    let encrypted = || Some(io.downcast_ref::<TlsStream<TcpStream>>()?.get_ref());
    let Some(stream) = plain.or_else(encrypted) else { return };
    // Where no file handle is left for it, an answer without a limit is better than none.
    let Ok(socket) = SockRef::from(stream).try_clone() else { return };
    connection.insert(Limit(rt::spawn(async move {
        rt::time::sleep(CONNECTION_LASTS).await;
        // Whoever waits for it is woken, and gets an error.
        let _ = socket.shutdown(Shutdown::Both);
    })));
}

/// Belongs to the connection, and goes with it: so does the handle of the socket.
struct Limit(JoinHandle<()>);

impl Drop for Limit {
    fn drop(&mut self) {
        self.0.abort();
    }
}
