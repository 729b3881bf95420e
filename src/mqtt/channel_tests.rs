//! The contract of a transport, on each of them and on one that is as unhelpful as the contract allows.

use std::future::poll_fn;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{sleep, timeout};

use super::*;
use crate::config::Config;
use crate::mqtt::dial::dial;
use crate::mqtt::slow_transport::SlowTransport;
use crate::mqtt::test_host::{ALL, Host, Over, Peer};
use crate::observe::test_support::PATIENCE;

/// What the transports add to a flush of these tests.
const HEADERS_MAX: usize = 1000;

/// A channel over this transport, and the peer.
async fn connected(over: Over) -> (Channel, Box<dyn Peer>) {
    let host = Host::bind(over).await;
    let mut mqtt = Config::for_test().connections[0].clone();
    host.configure(&mut mqtt);
    let (transport, accepted) =
        tokio::join!(dial(&mqtt, mqtt.first_address(), PATIENCE), host.accept());
    let mut transport = transport.expect("it listens");
    if over.is_slow() {
        transport = Box::new(SlowTransport::new(transport));
    }
    (Channel::new(transport), accepted.expect("accepted").0)
}

/// Bytes of which each part is recognised.
fn pattern(count: usize) -> Vec<u8> {
    (0..count).map(|at| (at % 251) as u8).collect()
}

#[actix_rt::test]
async fn flushed_means_that_the_peer_gets_all_without_another_call() {
    for over in ALL {
        let (mut channel, mut peer) = connected(over).await;
        let bytes = pattern(10_000);
        for round in 0..3 {
            channel.out().extend_from_slice(&bytes);
            assert_eq!(channel.unsent(), bytes.len(), "{over:?}");
            assert!(!channel.is_flushed() && channel.is_confirmed() == Some(false), "{over:?}");
            let mut unsent = channel.unsent();
            let flushed = poll_fn(|cx| {
                let flushed = channel.poll_flush(cx);
                // Headers of records and frames come on top.
                assert!(channel.unsent() <= unsent + HEADERS_MAX, "{over:?}");
                unsent = channel.unsent();
                assert_eq!(channel.is_flushed(), flushed.is_ready(), "{over:?}");
                assert!(flushed.is_ready() || unsent > 0, "{over:?}: what is kept back is unsent");
                flushed
            });
            let count = timeout(PATIENCE, flushed).await.expect("in time").expect("written");
            assert_eq!((count, channel.unsent()), (bytes.len(), 0), "{over:?}, round {round}");
            let mut read = vec![0; bytes.len()];
            timeout(PATIENCE, peer.read_exact(&mut read)).await.expect("in time").expect("sent");
            assert!(read == bytes, "{over:?}: in order");
            while channel.is_confirmed() == Some(false) {
                sleep(Duration::from_millis(1)).await;
            }
        }
    }
}

#[actix_rt::test]
async fn everything_is_read_in_order_up_to_the_end() {
    for over in ALL {
        let (mut channel, mut peer) = connected(over).await;
        let bytes = pattern(10_000);
        peer.write_all(&bytes).await.expect("sent");
        drop(peer);
        let mut read = BytesMut::new();
        let all = async {
            loop {
                read.reserve(100);
                match poll_fn(|cx| channel.poll_read(cx, &mut read)).await.expect("read") {
                    0 => return,
                    count => assert!(count <= 10_000, "{over:?}"),
                }
            }
        };
        timeout(PATIENCE, all).await.expect("in time");
        assert!(read == bytes, "{over:?}");
    }
}

#[actix_rt::test]
async fn a_write_gets_on_although_nobody_reads_what_the_peer_sends() {
    for over in ALL {
        let (mut channel, mut peer) = connected(over).await;
        peer.write_all(&pattern(100_000)).await.expect("sent");
        channel.out().extend_from_slice(&pattern(5_000));
        let flushed = timeout(PATIENCE, poll_fn(|cx| channel.poll_flush(cx))).await;
        assert_eq!(flushed.expect("in time").expect("written"), 5_000, "{over:?}");
        let mut read = vec![0; 5_000];
        timeout(PATIENCE, peer.read_exact(&mut read)).await.expect("in time").expect("sent");
        // And what it sent is still there, all of it and in order.
        let mut read = BytesMut::with_capacity(200_000);
        while read.len() < 100_000 {
            poll_fn(|cx| channel.poll_read(cx, &mut read)).await.expect("read");
        }
        assert!(read == pattern(100_000), "{over:?}");
    }
}

#[actix_rt::test]
async fn an_end_is_seen_behind_bytes_that_nobody_reads() {
    for over in ALL {
        for by_reset in [false, true] {
            let (mut channel, mut peer) = connected(over).await;
            channel.out().extend_from_slice(b"unread by the peer: closing then resets");
            let flushed = timeout(PATIENCE, poll_fn(|cx| channel.poll_flush(cx))).await;
            flushed.expect("in time").expect("written");
            if !by_reset {
                let mut read = [0; 39];
                let read = timeout(PATIENCE, peer.read_exact(&mut read)).await;
                read.expect("in time").expect("sent");
            }
            peer.write_all(&pattern(1000)).await.expect("sent");
            sleep(Duration::from_millis(1)).await;
            assert!(channel.ended().is_none(), "{over:?}: it is there");
            drop(peer);
            let end = async {
                loop {
                    match channel.ended() {
                        Some(end) => return end,
                        None => sleep(Duration::from_millis(1)).await,
                    }
                }
            };
            let end = timeout(PATIENCE, end).await.expect("in time");
            assert_eq!(end.is_err(), by_reset, "{over:?}");
        }
    }
}

#[actix_rt::test]
async fn a_close_writes_what_is_left_waits_for_the_peer_and_then_says_that_nothing_will_come() {
    for over in ALL {
        let (mut channel, mut peer) = connected(over).await;
        let bytes = pattern(3000);
        channel.out().extend_from_slice(&bytes);
        let close = async {
            poll_fn(|cx| channel.poll_close(cx)).await.expect("closed");
            poll_fn(|cx| {
                channel.shut_down(cx);
                Poll::Ready(())
            })
            .await;
        };
        let peer = async {
            let mut read = vec![0; bytes.len()];
            peer.read_exact(&mut read).await.expect("all of it");
            assert!(read == bytes, "{over:?}");
            peer.write_all(&pattern(20_000)).await.expect("thrown away");
            peer.shutdown().await.expect("our side is closed");
            let mut rest = Vec::new();
            peer.read_to_end(&mut rest).await.expect("closed in order");
            assert!(rest.is_empty(), "{over:?}");
        };
        timeout(PATIENCE, async { tokio::join!(close, peer) }).await.expect("in time");
    }
}
