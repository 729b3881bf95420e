//! Unix sockets: connecting, and the socket as a [`Transport`].

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncWrite;
use tokio::net::UnixStream;
use tokio::time::timeout;
use tokio_util::io::poll_read_buf;

use crate::mqtt::socket::has_ended;
use crate::mqtt::transport::Transport;

/// A connected Unix socket. It keeps nothing back: what a write accepts is with the kernel.
#[derive(Debug)]
pub struct Unix(UnixStream);

impl Unix {
    /// Connects to the socket at `path`.
    ///
    /// # Errors
    /// What went wrong and what to do, in one line.
    pub async fn connect(path: &Path, within: Duration) -> Result<Self, String> {
        let what = match timeout(within, UnixStream::connect(path)).await {
            Ok(Ok(stream)) => return Ok(Self(stream)),
            Ok(Err(error)) => match error.kind() {
                io::ErrorKind::NotFound => {
                    "no such socket: the broker's `listener 0 PATH` or the like, and the path as the bridge \
                     sees it"
                        .to_owned()
                }
                io::ErrorKind::PermissionDenied => {
                    "permission denied: the bridge's user must be able to write to the socket".to_owned()
                }
                io::ErrorKind::ConnectionRefused => "the broker does not listen".to_owned(),
                _ => error.to_string(),
            },
            Err(_) => format!("no answer within {within:?}"),
        };
        Err(format!("{}: {what}", path.display()))
    }
}

impl Transport for Unix {
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, space: &mut BytesMut) -> Poll<io::Result<usize>> {
        poll_read_buf(Pin::new(&mut self.0), cx, space)
    }

    fn unsent(&self) -> usize {
        0
    }

    fn ended(&mut self) -> Option<io::Result<()>> {
        has_ended(&self.0).then(|| self.0.take_error().and_then(|error| error.map_or(Ok(()), Err)))
    }

    /// Both ends are with one kernel.
    fn is_confirmed(&self) -> Option<bool> {
        Some(true)
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
