//! What the sockets of TCP and of Unix have in common.

use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Whether the peer has ended the connection. Asks the kernel, which tells an end behind unread bytes
/// too. What it has told the runtime may be older than the last write.
pub(super) fn has_ended(socket: &impl AsFd) -> bool {
    #[cfg(target_os = "linux")]
    let end = PollFlags::RDHUP;
    #[cfg(not(target_os = "linux"))]
    let end = PollFlags::empty();
    let mut asked = [PollFd::new(socket, end)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    let answered = poll(&mut asked, Some(&at_once)) == Ok(1);
    answered && asked[0].revents().intersects(end | PollFlags::HUP | PollFlags::ERR)
}
