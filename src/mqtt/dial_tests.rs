//! What stands between us and a broker, and does not let us through: proxies, and servers that are no
//! WebSocket. And a great many random answers to everything that is asked while dialing.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::config::{Config, ProxyConfig, ProxyKind};
use crate::observe::test_support::PATIENCE;

struct Server {
    listener: TcpListener,
    mqtt: MqttConfig,
}

impl Server {
    /// A broker there, of which the address is `address`.
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let mut mqtt = Config::for_test().connections[0].clone();
        mqtt.connect_timeout = PATIENCE;
        let port = listener.local_addr().expect("bound").port();
        mqtt.addresses = vec![BrokerAddress::tcp("127.0.0.1", port)];
        Self { listener, mqtt }
    }

    /// A proxy there, and a broker behind it.
    async fn proxy(kind: ProxyKind, login: Option<(&str, &str)>, host: &str) -> Self {
        let mut server = Self::new().await;
        let port = server.listener.local_addr().expect("bound").port();
        let login = login.map(|(user, password)| (user.into(), password.into()));
        server.mqtt.proxy = Some(ProxyConfig { kind, host: "127.0.0.1".to_owned(), port, login });
        server.mqtt.addresses = vec![BrokerAddress::tcp(host, 1883)];
        server
    }

    /// Dials; the server expects each question in turn and gives its answer. Then the first bytes of the
    /// broker.
    async fn play(&self, script: &[(&[u8], &[u8])]) -> Result<BytesMut, Lost> {
        let serve = async {
            let (mut stream, _) = self.listener.accept().await.expect("accepted");
            for (question, answer) in script {
                let mut read = vec![0; question.len()];
                stream.read_exact(&mut read).await.expect("a question");
                let told = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                assert_eq!(told(&read), told(question));
                stream.write_all(answer).await.expect("sent");
            }
            stream.shutdown().await.expect("nothing more comes");
            stream
        };
        let dialed = dial(&self.mqtt, self.mqtt.first_address(), PATIENCE);
        let (transport, stream) =
            timeout(PATIENCE, async { tokio::join!(dialed, serve) }).await.expect("in time");
        let mut transport = transport?;
        drop(stream);
        let mut read = BytesMut::with_capacity(100);
        while poll_fn(|cx| transport.poll_read(cx, &mut read)).await.is_ok_and(|count| count > 0) {}
        Ok(read)
    }
}

const CONNECT: &[u8] = b"CONNECT broker:1883 HTTP/1.1\r\nHost: broker:1883\r\n\r\n";

#[actix_rt::test]
async fn an_http_proxy_connects_and_not_a_byte_of_the_broker_is_lost() {
    let server = Server::proxy(ProxyKind::Http, None, "broker").await;
    let yes = b"HTTP/1.0 200 Connection established\r\nVia: us\r\n\r\nbroker";
    assert_eq!(server.play(&[(CONNECT, yes)]).await.expect("connected")[..], *b"broker");

    let server = Server::proxy(ProxyKind::Http, Some(("u", "p")), "::1").await;
    let asked = b"CONNECT [::1]:1883 HTTP/1.1\r\nHost: [::1]:1883\r\nProxy-Authorization: Basic dTpw\r\n\r\n";
    server.play(&[(asked, b"HTTP/1.1 200 OK\r\n\r\n")]).await.expect("connected");
}

#[actix_rt::test]
async fn a_socks_proxy_connects_by_name_or_address_with_and_without_login() {
    const YES: &[u8] = &[5, 0, 0, 1, 127, 0, 0, 1, 0, 80];
    let server = Server::proxy(ProxyKind::Socks5, None, "broker").await;
    let by_name: &[u8] = b"\x05\x01\x00\x03\x06broker\x07\x5B";
    let answer = [YES, b"broker"].concat();
    let read = server.play(&[(b"\x05\x01\x00", b"\x05\x00"), (by_name, &answer)]).await;
    assert_eq!(read.expect("connected")[..], *b"broker");

    let server = Server::proxy(ProxyKind::Socks5, Some(("u", "pw")), "10.0.0.1").await;
    let by_name_answer: &[u8] = b"\x05\x00\x00\x03\x02ab\x00\x50";
    let script: [(&[u8], &[u8]); 3] = [
        (b"\x05\x02\x00\x02", b"\x05\x02"),
        (b"\x01\x01u\x02pw", b"\x01\x00"),
        (b"\x05\x01\x00\x01\x0A\x00\x00\x01\x07\x5B", by_name_answer),
    ];
    server.play(&script).await.expect("connected");
}

#[actix_rt::test]
async fn a_proxy_that_refuses_is_told_in_words_and_without_the_password() {
    let http: [(&[u8], &str); 7] = [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "refuses the login (407"),
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", "does not allow connections to broker:1883 (403"),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "cannot reach broker:1883"),
        (b"HTTP/1.1 500 No\r\n\r\n", "refuses to connect to broker:1883 (500 No)"),
        (b"", "closed the connection instead of an answer"),
        (b"\x05\xFF", "something other than HTTP"),
        (&[b'a'; 20_000], "something other than HTTP"),
    ];
    for (answer, told) in http {
        let server = Server::proxy(ProxyKind::Http, Some(("user", "secret")), "broker").await;
        let lost = server.play(&[(&CONNECT[..49], answer)]).await.expect_err("refused");
        assert_eq!(lost.reason, lost::PROXY_REFUSED);
        assert!(lost.detail.contains(told) && !lost.detail.contains("secret"), "{told}: {lost}");
        assert!(!lost.detail.contains("dXNlcjpz"), "{lost}");
    }
    let greeting: (&[u8], &[u8]) = (b"\x05\x01\x00", b"\x05\x00");
    for (code, told) in [
        (1, "general failure"),
        (2, "rules do not allow"),
        (4, "host unreachable"),
        (5, "connection refused"),
        (99, "unknown code (99)"),
    ] {
        let server = Server::proxy(ProxyKind::Socks5, None, "broker").await;
        let lost = server.play(&[greeting, (b"\x05\x01\x00\x03", &[5, code])]).await;
        let lost = lost.expect_err("refused");
        assert_eq!(lost.reason, lost::PROXY_REFUSED);
        assert!(lost.detail.contains(told), "{told}: {lost}");
    }
    for (answer, told) in [
        (b"\x05\xFF", "wants a login"),
        (b"HT", "does not speak SOCKS 5 (its answer begins with 0x48)"),
        (b"\x05\x02", "a login that the bridge does not know"),
    ] {
        let server = Server::proxy(ProxyKind::Socks5, None, "broker").await;
        let lost = server.play(&[(b"\x05\x01\x00", answer)]).await.expect_err("refused");
        assert!(lost.detail.contains(told), "{told}: {lost}");
    }
    // Nobody there.
    let mut server = Server::proxy(ProxyKind::Socks5, None, "broker").await;
    let free = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = free.local_addr().expect("bound").port();
    drop(free);
    server.mqtt.proxy.as_mut().expect("one").port = port;
    let dialed = dial(&server.mqtt, server.mqtt.first_address(), PATIENCE).await;
    let lost = dialed.err().expect("nobody there");
    assert_eq!(lost.reason, lost::CONNECT_FAILED);
    assert!(
        lost.detail.contains("the proxy in mqtt.proxy: ")
            && lost.detail.contains(&port.to_string()),
        "{lost}"
    );
}

#[actix_rt::test]
async fn what_is_no_websocket_is_told_as_what_it_is() {
    let answers: [(&[u8], &str); 6] = [
        (b"HTTP/1.1 404 Not Found\r\n\r\n", "no WebSocket at this path"),
        (b"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n<html>", "a web page"),
        (b"", "without an answer"),
        (&[0x15, 3, 3, 0, 2, 2, 40], "`wss://`"),
        (&[0x20, 2, 0, 1], "something other than HTTP"),
        (b"HTTP/1.1 101 Switch\r\nUpg", "ends in its head"),
    ];
    for (answer, told) in answers {
        let mut server = Server::new().await;
        server.mqtt.addresses[0].websocket = Some("/mqtt?token=secret".to_owned());
        let lost = server.play(&[(b"GET /mqtt?token=secret HTTP/1.1\r\n", answer)]).await;
        let lost = lost.expect_err("no WebSocket");
        assert_eq!(lost.reason, lost::WEBSOCKET_REFUSED, "{lost}");
        assert!(lost.detail.contains(told) && !lost.detail.contains("secret"), "{told}: {lost}");
    }
}

#[actix_rt::test]
async fn a_unix_socket_that_is_not_there_is_named() {
    let mut server = Server::new().await;
    server.mqtt.addresses[0].endpoint = Endpoint::Unix("/no/such/socket".into());
    let dialed = dial(&server.mqtt, server.mqtt.first_address(), PATIENCE).await;
    let lost = dialed.err().expect("nobody there");
    assert_eq!(lost.reason, lost::CONNECT_FAILED);
    assert!(lost.detail.starts_with("/no/such/socket: no such socket"), "{lost}");
}

/// Many answers of which none is right, each to its own dial: they begin like a right one, and go wrong
/// anywhere. Each dial ends, in time, with a reason.
async fn survives(server: Server, right: &[u8]) {
    const ROUNDS: u32 = 10_000;
    let wrong = Rc::new(Cell::new(0));
    let counted = Rc::clone(&wrong);
    let (listener, mqtt) = (server.listener, server.mqtt);
    let right = right.to_vec();
    let serve = actix_rt::spawn(async move {
        let mut random = fastrand::Rng::with_seed(15);
        loop {
            let (mut stream, _) = listener.accept().await.expect("accepted");
            let answer = mangled(&right, &mut random);
            let _ = answer_wrongly(&mut stream, &answer, &mut random).await;
            counted.set(counted.get() + 1);
        }
    });
    for round in 0..ROUNDS {
        let dialed = timeout(PATIENCE, dial(&mqtt, mqtt.first_address(), PATIENCE)).await;
        match dialed.unwrap_or_else(|_| panic!("hangs in round {round}")) {
            Err(lost) => assert!(!lost.detail.is_empty()),
            // A wrong answer may be a right one by chance.
            Ok(mut transport) => {
                let mut read = BytesMut::with_capacity(100);
                let end = poll_fn(|cx| transport.poll_read(cx, &mut read));
                let _ = timeout(PATIENCE, end).await.expect("in time");
            }
        }
    }
    serve.abort();
    assert!(wrong.get() >= ROUNDS - 1, "{}", wrong.get());
}

async fn answer_wrongly(
    stream: &mut TcpStream,
    answer: &[u8],
    random: &mut fastrand::Rng,
) -> std::io::Result<()> {
    // Closing then makes an end, not a reset.
    let _ = stream.read(&mut [0; 4096]).await?;
    let cut = random.usize(0..=answer.len());
    stream.write_all(&answer[..cut]).await?;
    stream.write_all(&answer[cut..]).await?;
    stream.shutdown().await
}

fn mangled(right: &[u8], random: &mut fastrand::Rng) -> Vec<u8> {
    let mut answer = right[..random.usize(0..=right.len())].to_vec();
    for _ in 0..random.usize(0..4) {
        if let Some(at) = (!answer.is_empty()).then(|| random.usize(0..answer.len())) {
            answer[at] = random.u8(..);
        }
    }
    let more = random.usize(0..200);
    answer.extend((0..more).map(|_| random.u8(..)));
    answer
}

#[actix_rt::test]
async fn ten_thousand_wrong_answers_to_connect() {
    let server = Server::proxy(ProxyKind::Http, Some(("u", "p")), "broker").await;
    survives(server, b"HTTP/1.1 200 Connection established\r\nVia: 1.1 proxy\r\n\r\n").await;
}

#[actix_rt::test]
async fn ten_thousand_wrong_answers_to_socks() {
    let server = Server::proxy(ProxyKind::Socks5, Some(("u", "p")), "broker").await;
    survives(server, &[5, 2, 1, 0, 5, 0, 0, 3, 6, b'b', b'r', b'o', b'k', b'e', b'r', 0, 80]).await;
}

#[actix_rt::test]
async fn ten_thousand_wrong_answers_to_an_upgrade() {
    let mut server = Server::new().await;
    server.mqtt.addresses[0].websocket = Some("/mqtt".to_owned());
    let right = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                  Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";
    survives(server, right).await;
}

#[actix_rt::test]
async fn ten_thousand_wrong_answers_to_a_client_hello() {
    let mut server = Server::new().await;
    server.mqtt.addresses[0].is_tls = true;
    // Reading a file of authorities for each is not what is tested.
    server.mqtt.tls.insecure_skip_verify = true;
    // A ServerHello of TLS 1.2, and an alert behind it.
    let mut hello = vec![0x16, 3, 3, 0, 0x2A, 2, 0, 0, 0x26, 3, 3];
    hello.extend([7; 32]);
    hello.extend([0, 0xC0, 0x2F, 0, 0x15, 3, 3, 0, 2, 2, 40]);
    survives(server, &hello).await;
}
