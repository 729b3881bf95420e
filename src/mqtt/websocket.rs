//! MQTT over WebSocket (MQTT 5, section 6), above another transport.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};

use crate::config::Secret;
use crate::mqtt::http_head::{Head, told};
use crate::mqtt::lost::{self, Lost};
use crate::mqtt::transport::{Transport, poll_write_all};
use crate::mqtt::websocket_frames::{Signal, Unframer, frame_close, frame_data, frame_pong};
use crate::mqtt::websocket_upgrade::{Upgrade, no_http, refused};

/// What is read below at a time.
const READ_BYTES: usize = 64 * 1024;
/// Data that was read on behalf of a write, and frames that were not written below, are each kept up to
/// this many bytes.
const KEPT_MAX: usize = 64 * 1024;
/// The largest frame that is written.
const FRAME_MAX: usize = 64 * 1024;
/// Codes of close frames (RFC 6455, section 7.4.1).
const NORMAL: u16 = 1000;
const GOING_AWAY: u16 = 1001;

/// See the module.
pub struct WebSocket {
    below: Box<dyn Transport>,
    incoming: Incoming,
    /// Data that was read on behalf of a write.
    kept: BytesMut,
    /// Frames to be written below.
    outgoing: BytesMut,
    /// An answer to a signal is on its way.
    is_answering: bool,
    /// A close frame was written, and nothing may follow it.
    is_closed: bool,
}

/// What comes from the server.
#[derive(Default)]
struct Incoming {
    raw: BytesMut,
    unframer: Unframer,
    /// The last ping that is not answered; it is enough to answer that (RFC 6455, section 5.5.3).
    ping: Option<Bytes>,
    /// The code to close with.
    close: Option<u16>,
    /// Nothing more comes.
    end: Option<Result<(), Lost>>,
}

impl WebSocket {
    /// Upgrades `below`, a connection to `host` (as the header Host has it), to WebSocket at `path`.
    ///
    /// # Errors
    /// `websocket_refused`: what the server answers instead, and what to do.
    pub async fn connect(
        mut below: Box<dyn Transport>,
        host: &str,
        path: &str,
        headers: &[(String, Secret)],
    ) -> Result<Self, Lost> {
        let upgrade = Upgrade::new(host, path, headers)?;
        let mut request = BytesMut::from(upgrade.request.as_bytes());
        let cut_off = |error| Lost::of_io(lost::WEBSOCKET_REFUSED, error);
        let sent = poll_fn(|cx| {
            ready!(poll_write_all(&mut *below, &mut request, cx))?;
            below.poll_flush(cx)
        });
        sent.await.map_err(cut_off)?;
        let mut raw = BytesMut::with_capacity(READ_BYTES);
        loop {
            match Head::parse(&raw).map_err(|what| no_http(&raw, what))? {
                Some((head, length)) => {
                    upgrade.judge(&head)?;
                    let _ = raw.split_to(length);
                    break;
                }
                None => {
                    let count = poll_fn(|cx| below.poll_read(cx, &mut raw)).await;
                    match count {
                        Ok(1..) => {}
                        Ok(0) if raw.is_empty() => return Err(no_http(&[], "")),
                        Ok(0) => return Err(refused("the server's answer ends in its head")),
                        // A reset, most often, by what does not understand the request.
                        Err(error) if error.get_ref().is_none() && raw.is_empty() => {
                            return Err(no_http(&[], ""));
                        }
                        Err(error) => return Err(cut_off(error)),
                    }
                }
            }
        }
        Ok(Self {
            below,
            incoming: Incoming { raw, ..Incoming::default() },
            kept: BytesMut::new(),
            outgoing: BytesMut::new(),
            is_answering: false,
            is_closed: false,
        })
    }

    /// Reads once below.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let raw = &mut self.incoming.raw;
        raw.reserve(READ_BYTES);
        match ready!(self.below.poll_read(cx, raw)) {
            Ok(0) => self.incoming.end = Some(Ok(())),
            Ok(_) => {}
            Err(error) => self.incoming.end = Some(Err(Lost::of_io(lost::READ_FAILED, error))),
        }
        Poll::Ready(())
    }

    /// Reads ahead, as far as there is room: a server that pings and gets no answer closes.
    fn look_for_signals(&mut self, cx: &mut Context<'_>) {
        while self.incoming.end.is_none() && self.kept.len() < KEPT_MAX {
            self.incoming.take(&mut self.kept, KEPT_MAX);
            if self.kept.len() >= KEPT_MAX || self.poll_fill(cx).is_pending() {
                return;
            }
        }
    }

    /// Frames the answers that are due.
    fn answer(&mut self) {
        if self.is_closed || self.outgoing.len() >= KEPT_MAX {
            return;
        }
        if let Some(payload) = self.incoming.ping.take() {
            frame_pong(&payload, mask(), &mut self.outgoing);
            self.is_answering = true;
        }
        if let Some(code) = self.incoming.close.take() {
            self.close(code);
            self.is_answering = true;
        }
    }

    fn close(&mut self, code: u16) {
        if !std::mem::replace(&mut self.is_closed, true) {
            frame_close(code, mask(), &mut self.outgoing);
        }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(poll_write_all(&mut *self.below, &mut self.outgoing, cx))?;
        self.below.poll_flush(cx)
    }
}

impl Incoming {
    /// Moves what has come to `data`, which has room up to `limit` bytes.
    fn take(&mut self, data: &mut BytesMut, limit: usize) {
        loop {
            let room = limit.saturating_sub(data.len());
            match self.unframer.take(&mut self.raw, data, room) {
                Ok(None) => return,
                Ok(Some(Signal::Ping(payload))) => self.ping = Some(payload),
                Ok(Some(Signal::Close(why))) => {
                    self.close = Some(NORMAL);
                    self.end = Some(closed(why));
                    return;
                }
                Err(broken) => {
                    self.close = Some(broken.code);
                    let detail = format!("the server sent over WebSocket {}", broken.why);
                    self.end = Some(Err(Lost::new(lost::PROTOCOL_ERROR, detail)));
                    return;
                }
            }
        }
    }
}

/// What the server's close frame says.
fn closed(why: Option<(u16, String)>) -> Result<(), Lost> {
    match why {
        None | Some((NORMAL | GOING_AWAY, _)) => Ok(()),
        Some((code, text)) => {
            let detail = format!("the server closed the WebSocket: {code} {}", told(&text));
            Err(Lost::new(lost::CLOSED, detail.trim_end()))
        }
    }
}

/// Not to be guessed (RFC 6455, section 10.3).
fn mask() -> [u8; 4] {
    let mut mask = [0; 4];
    if openssl::rand::rand_bytes(&mut mask).is_err() {
        mask = fastrand::u32(..).to_ne_bytes();
    }
    mask
}

impl Transport for WebSocket {
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.outgoing.len() >= KEPT_MAX {
            ready!(poll_write_all(&mut *self.below, &mut self.outgoing, cx))?;
        }
        if self.is_closed {
            let lost = match &self.incoming.end {
                Some(Err(lost)) => lost.clone(),
                _ => Lost::new(lost::CLOSED, "the server closed the WebSocket"),
            };
            return Poll::Ready(Err(lost.into()));
        }
        let count = bytes.len().min(FRAME_MAX);
        frame_data(&bytes[..count], mask(), &mut self.outgoing);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.look_for_signals(cx);
        self.answer();
        ready!(self.poll_send(cx))?;
        self.is_answering = false;
        Poll::Ready(Ok(()))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, space: &mut BytesMut) -> Poll<io::Result<usize>> {
        if space.len() == space.capacity() {
            space.reserve(1);
        }
        let (before, limit) = (space.len(), space.capacity());
        loop {
            if !self.kept.is_empty() {
                let count = self.kept.len().min(limit - before);
                space.extend_from_slice(&self.kept.split_to(count));
            } else if self.incoming.end.is_none() {
                self.incoming.take(space, limit);
            }
            self.answer();
            if self.is_answering
                && let Poll::Ready(sent) = self.poll_send(cx)
            {
                self.is_answering = false;
                if let Err(error) = sent {
                    // The transport below may have thrown away what it had read.
                    let lost = Lost::of_io(lost::WRITE_FAILED, error);
                    self.incoming.end.get_or_insert(Err(lost));
                }
            }
            match &self.incoming.end {
                _ if space.len() > before => return Poll::Ready(Ok(space.len() - before)),
                Some(Ok(())) => return Poll::Ready(Ok(0)),
                Some(Err(lost)) => return Poll::Ready(Err(lost.clone().into())),
                None => ready!(self.poll_fill(cx)),
            }
        }
    }

    fn unsent(&self) -> usize {
        self.outgoing.len() + self.below.unsent()
    }

    fn ended(&mut self) -> Option<io::Result<()>> {
        match &self.incoming.end {
            Some(end) => Some(end.clone().map_err(io::Error::from)),
            None => self.below.ended(),
        }
    }

    fn is_confirmed(&self) -> Option<bool> {
        if self.unsent() > 0 { Some(false) } else { self.below.is_confirmed() }
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.close(NORMAL);
        ready!(self.poll_send(cx))?;
        self.below.poll_shutdown(cx)
    }
}

#[cfg(test)]
#[path = "websocket_tests.rs"]
mod tests;
