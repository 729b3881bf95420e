//! WebSocket against a server that pings, and one that sends what it may not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tungstenite::handshake::derive_accept_key;

use super::*;
use crate::mqtt::cut_transport::CutTransport;
use crate::mqtt::tcp::Tcp;
use crate::observe::test_support::PATIENCE;

/// An upgraded connection, and the server's end.
async fn upgraded() -> (WebSocket, TcpStream) {
    let (websocket, stream, _) = upgraded_to_be_cut().await;
    (websocket, stream)
}

/// The same, and what makes our writes fail.
async fn upgraded_to_be_cut() -> (WebSocket, TcpStream, Arc<AtomicBool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let serve = async {
        let (mut stream, _) = listener.accept().await.expect("accepted");
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.expect("a request"));
        }
        let request = String::from_utf8(request).expect("ASCII");
        let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
        let key = derive_accept_key(key.expect("a key").as_bytes());
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {key}\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
        );
        stream.write_all(answer.as_bytes()).await.expect("sent");
        stream
    };
    let connect = async {
        let stream = TcpStream::connect(address).await.expect("it listens");
        let (below, is_cut) = CutTransport::new(Box::new(Tcp::new(stream)));
        (WebSocket::connect(Box::new(below), "host", "/mqtt", &[]).await, is_cut)
    };
    let ((websocket, is_cut), stream) = tokio::join!(connect, serve);
    (websocket.expect("upgraded"), stream, is_cut)
}

/// Header and unmasked payload of the next frame of ours, a short one.
async fn frame(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let first = stream.read_u8().await.expect("a frame");
    let length = stream.read_u8().await.expect("its length");
    assert!((0x80..0x80 + 126).contains(&length), "masked and short: {length}");
    let mut mask = [0; 4];
    stream.read_exact(&mut mask).await.expect("its mask");
    let mut payload = vec![0; usize::from(length - 0x80)];
    stream.read_exact(&mut payload).await.expect("its payload");
    for (at, byte) in payload.iter_mut().enumerate() {
        *byte ^= mask[at % 4];
    }
    (first, payload)
}

#[actix_rt::test]
async fn a_ping_is_answered_while_nobody_reads_what_the_server_sends() {
    let (mut websocket, mut stream) = upgraded().await;
    stream.write_all(b"\x82\x04data\x89\x04ping\x82\x04more").await.expect("sent");
    let story = async {
        loop {
            // As the connection does while its window is full: it writes, and reads nothing.
            poll_fn(|cx| {
                ready!(websocket.poll_write(cx, b"w"))?;
                websocket.poll_flush(cx)
            })
            .await
            .expect("written");
            match frame(&mut stream).await {
                (0x8A, payload) => return payload,
                (first, payload) => assert_eq!((first, &payload[..]), (0x82, &b"w"[..])),
            }
        }
    };
    assert_eq!(timeout(PATIENCE, story).await.expect("a pong in time"), b"ping");
    let mut read = BytesMut::with_capacity(100);
    while read.len() < 8 {
        poll_fn(|cx| websocket.poll_read(cx, &mut read)).await.expect("read");
    }
    assert_eq!(read[..], *b"datamore");
}

#[actix_rt::test]
async fn an_answer_that_cannot_be_written_ends_the_connection() {
    let (mut websocket, mut stream, is_cut) = upgraded_to_be_cut().await;
    is_cut.store(true, Ordering::Relaxed);
    stream.write_all(b"\x82\x04data\x89\x04ping").await.expect("sent");
    let mut read = BytesMut::with_capacity(100);
    let end = async {
        loop {
            match poll_fn(|cx| websocket.poll_read(cx, &mut read)).await {
                Ok(count) => assert!(count > 0, "an end in order"),
                Err(error) => return Lost::of_io(lost::READ_FAILED, error),
            }
        }
    };
    let end = timeout(PATIENCE, end).await.expect("in time");
    assert_eq!((&read[..], end.reason), (&b"data"[..], lost::WRITE_FAILED), "{end}");
    stream.write_all(b"\x82\x04more").await.expect("sent");
    assert!(poll_fn(|cx| websocket.poll_read(cx, &mut read)).await.is_err(), "for good");
    assert_eq!(read[..], *b"data");
}

#[actix_rt::test]
async fn what_a_server_may_not_send_and_its_close_end_the_connection_with_a_close_frame() {
    for (bytes, reason, told, code) in [
        (&b"\x81\x04text"[..], lost::PROTOCOL_ERROR, "a text frame", 1003),
        (&b"\x82\x84maskdata"[..], lost::PROTOCOL_ERROR, "masked", 1002),
        (&b"\x88\x06\x03\xF0full"[..], lost::CLOSED, "1008 full", 1000),
    ] {
        let (mut websocket, mut stream) = upgraded().await;
        stream.write_all(b"\x82\x04data").await.expect("sent");
        stream.write_all(bytes).await.expect("sent");
        let mut read = BytesMut::with_capacity(100);
        let end = async {
            loop {
                match poll_fn(|cx| websocket.poll_read(cx, &mut read)).await {
                    Ok(count) => assert!(count > 0, "{told}: an end in order"),
                    Err(error) => return Lost::of_io(lost::READ_FAILED, error),
                }
            }
        };
        let end = timeout(PATIENCE, end).await.expect("in time");
        assert_eq!((&read[..], end.reason), (&b"data"[..], reason), "{end}");
        assert!(end.detail.contains(told), "{end}");
        let closed = timeout(PATIENCE, frame(&mut stream)).await.expect("in time");
        assert_eq!(closed, (0x88, u16::to_be_bytes(code).to_vec()));
    }
}
