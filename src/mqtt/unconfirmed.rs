//! How much of what was written to a TCP connection the peer's kernel has not confirmed.
//!
//! Asks Linux by netlink (sock_diag(7)), which takes no unsafe code: unlike the ioctl SIOCOUTQ, whose
//! answer is the same.

use std::net::{IpAddr, SocketAddr};

use rustix::net::AddressFamily;

/// Sizes of `nlmsghdr`, and of it with `inet_diag_req_v2`.
const HEADER: usize = 16;
const REQUEST: usize = HEADER + 56;
/// Where the message's type is in an answer, and in `inet_diag_msg` the bytes that are not confirmed.
const TYPE_AT: usize = 4;
const UNCONFIRMED_AT: usize = HEADER + 60;
/// `SOCK_DIAG_BY_FAMILY`, `NLM_F_REQUEST`, `IPPROTO_TCP`.
const BY_FAMILY: u16 = 20;
const IS_REQUEST: u16 = 1;
const TCP: u8 = 6;
/// `NLMSG_ERROR`, and `-ENOENT` in it.
const ERROR: u16 = 2;
const NOT_FOUND: i32 = -2;
/// In place of a set of states, or a cookie: any.
const ANY: [u8; 4] = [0xFF; 4];

/// What the kernel says of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unconfirmed {
    /// So many bytes are not confirmed.
    Bytes(u32),
    /// It has no such connection, or none any more: a reset ends one at once.
    NoSuchConnection,
    /// It does not answer this question: no Linux, no sock_diag, or netlink is forbidden.
    Unknown,
}

/// What is not confirmed of the connection between these two.
pub(super) fn unconfirmed(local: SocketAddr, peer: SocketAddr) -> Unconfirmed {
    let Some(answer) = ask(&request(local, peer)) else { return Unconfirmed::Unknown };
    let number = |at: usize| {
        let bytes = answer.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        bytes.map(u32::from_ne_bytes)
    };
    let kind = answer.get(TYPE_AT..TYPE_AT + 2).and_then(|bytes| bytes.try_into().ok());
    match kind.map(u16::from_ne_bytes) {
        Some(BY_FAMILY) => number(UNCONFIRMED_AT).map_or(Unconfirmed::Unknown, Unconfirmed::Bytes),
        Some(ERROR) if number(HEADER).map(u32::cast_signed) == Some(NOT_FOUND) => {
            Unconfirmed::NoSuchConnection
        }
        _ => Unconfirmed::Unknown,
    }
}

fn request(local: SocketAddr, peer: SocketAddr) -> Vec<u8> {
    let family = match local {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let mut request = Vec::with_capacity(REQUEST);
    request.extend((REQUEST as u32).to_ne_bytes());
    request.extend(BY_FAMILY.to_ne_bytes());
    request.extend(IS_REQUEST.to_ne_bytes());
    request.extend([0; 8]); // Sequence number and sender: not needed for one answer.
    request.extend([family.as_raw() as u8, TCP, 0, 0]);
    request.extend(ANY);
    request.extend(local.port().to_be_bytes());
    request.extend(peer.port().to_be_bytes());
    for address in [local.ip(), peer.ip()] {
        let mut octets = [0; 16];
        match address {
            IpAddr::V4(address) => octets[..4].copy_from_slice(&address.octets()),
            IpAddr::V6(address) => octets = address.octets(),
        }
        request.extend(octets);
    }
    let interface = match local {
        SocketAddr::V6(local) => local.scope_id(), // A link-local address is known with its interface only.
        SocketAddr::V4(_) => 0,
    };
    request.extend(interface.to_ne_bytes());
    request.extend(ANY);
    request.extend(ANY);
    request
}

/// The kernel answers before `send` returns.
#[cfg(target_os = "linux")]
fn ask(request: &[u8]) -> Option<Vec<u8>> {
    use rustix::net::{
        RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
    };
    let (kind, flags) = (SocketType::DGRAM, SocketFlags::CLOEXEC);
    let family = AddressFamily::NETLINK;
    let socket = socket_with(family, kind, flags, Some(netlink::SOCK_DIAG)).ok()?;
    send(&socket, request, SendFlags::empty()).ok()?;
    let mut answer = vec![0; 4096];
    let (_, count) = recv(&socket, &mut answer[..], RecvFlags::DONTWAIT).ok()?;
    answer.truncate(count);
    Some(answer)
}

#[cfg(not(target_os = "linux"))]
fn ask(_: &[u8]) -> Option<Vec<u8>> {
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::io::{ErrorKind, Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::time::{Duration, Instant};

    use super::*;
    use crate::observe::test_support::PATIENCE;

    #[test]
    fn what_the_peer_has_no_room_for_is_unconfirmed_until_it_reads() {
        for host in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(host) else { continue }; // No IPv6 here.
            let address = listener.local_addr().expect("bound");
            let mut stream = TcpStream::connect(address).expect("it listens");
            let (mut peer, _) = listener.accept().expect("accepted");
            let local = stream.local_addr().expect("connected");
            let nothing = Unconfirmed::Bytes(0);
            assert_eq!(unconfirmed(local, address), nothing, "{host}: nothing was written");
            stream.set_nonblocking(true).expect("an option");
            let mut written = 0;
            while let Ok(count) = stream.write(&[0; 65_536]) {
                written += count;
            }
            let found = unconfirmed(local, address);
            assert!(matches!(found, Unconfirmed::Bytes(1..)), "{host}: {written} bytes, {found:?}");
            peer.set_nonblocking(true).expect("an option");
            let (mut read, deadline) = (0, Instant::now() + PATIENCE);
            while read < written {
                assert!(Instant::now() < deadline, "{host}: {read} of {written} bytes");
                match peer.read(&mut [0; 65_536]) {
                    Ok(count) => read += count,
                    Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                }
            }
            while unconfirmed(local, address) != nothing {
                assert!(Instant::now() < deadline, "{host}: not confirmed");
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    #[test]
    fn a_connection_that_was_reset_is_not_there_any_more() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let mut stream = TcpStream::connect(address).expect("it listens");
        let local = stream.local_addr().expect("connected");
        drop(listener.accept().expect("accepted"));
        let deadline = Instant::now() + PATIENCE;
        while unconfirmed(local, address) != Unconfirmed::NoSuchConnection {
            assert!(Instant::now() < deadline, "not reset");
            // The peer is closed: it answers this with a reset.
            let _ = stream.write(b"x");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
