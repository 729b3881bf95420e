//! For tests: a transport whose writes fail from some moment on, while reads go on.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::BytesMut;

use super::transport::Transport;

/// See the module.
pub(super) struct CutTransport {
    below: Box<dyn Transport>,
    is_cut: Arc<AtomicBool>,
}

impl CutTransport {
    /// Through this one, until the flag is set.
    pub(super) fn new(below: Box<dyn Transport>) -> (Self, Arc<AtomicBool>) {
        let is_cut = Arc::new(AtomicBool::new(false));
        (Self { below, is_cut: Arc::clone(&is_cut) }, is_cut)
    }

    fn fail(&self) -> io::Result<()> {
        match self.is_cut.load(Ordering::Relaxed) {
            true => Err(io::ErrorKind::BrokenPipe.into()),
            false => Ok(()),
        }
    }
}

impl Transport for CutTransport {
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.fail()?;
        self.below.poll_write(cx, bytes)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.fail()?;
        self.below.poll_flush(cx)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, space: &mut BytesMut) -> Poll<io::Result<usize>> {
        self.below.poll_read(cx, space)
    }

    fn unsent(&self) -> usize {
        self.below.unsent()
    }

    fn ended(&mut self) -> Option<io::Result<()>> {
        self.below.ended()
    }

    fn is_confirmed(&self) -> Option<bool> {
        self.below.is_confirmed()
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.fail()?;
        self.below.poll_shutdown(cx)
    }
}
