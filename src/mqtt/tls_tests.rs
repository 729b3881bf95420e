//! TLS against OpenSSL's server: what is verified, what is shown, and what each failure is told as.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

use openssl::pkey::PKey;
use openssl::rsa::Rsa;
use openssl::ssl::{
    SslAcceptor, SslAcceptorBuilder, SslMethod, SslOptions, SslVerifyMode, SslVersion,
};
use openssl::symm::Cipher;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::*;
use crate::config::{BrokerAddress, Config, MqttConfig, TlsVersion};
use crate::mqtt::cut_transport::CutTransport;
use crate::mqtt::dial::dial;
use crate::mqtt::tcp::Tcp;
use crate::mqtt::tls_files;
use crate::observe::test_support::PATIENCE;
use crate::pki::{Authority, Identity, Wish};

/// An authority, a directory with its files, and what connects with them.
struct Scene {
    authority: Authority,
    directory: tempfile::TempDir,
    mqtt: MqttConfig,
    server: SslAcceptorBuilder,
}

impl Scene {
    /// All is well: a broker at `localhost` whose authority is in `ca_file`.
    fn new() -> Self {
        Self::with(&Wish::LOCALHOST)
    }

    fn with(wish: &Wish<'_>) -> Self {
        let authority = Authority::new("the authority");
        let directory = tempfile::tempdir().expect("a directory");
        let server = server(&authority.issue(wish));
        let mut mqtt = Config::for_test().connections[0].clone();
        mqtt.connect_timeout = PATIENCE;
        let mut scene = Self { authority, directory, mqtt, server };
        scene.mqtt.tls.ca_file = Some(scene.file("ca.crt", &scene.authority.pem()));
        scene
    }

    fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::write(&path, content).expect("written");
        path
    }

    /// The bridge shows this certificate.
    fn show(&mut self, identity: &Identity) {
        let (certificate, key) = identity.write(self.directory.path(), "client");
        self.mqtt.tls.cert_file = Some(certificate);
        self.mqtt.tls.key_file = Some(key);
    }

    /// The broker wants a certificate of the authority.
    fn want_certificate(&mut self) {
        let ca = self.file("clients.crt", &self.authority.pem());
        self.server.set_ca_file(ca).expect("an authority");
        self.server.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
    }

    /// Connects, and exchanges two bytes.
    async fn play(self) -> Result<(), Lost> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let mut address = BrokerAddress::tcp("127.0.0.1", port);
        address.is_tls = true;
        let acceptor = self.server.build();
        let serve = async move {
            let (stream, _) = listener.accept().await.expect("accepted");
            let ssl = Ssl::new(acceptor.context()).expect("of a sound context");
            let mut stream = SslStream::new(ssl, stream).expect("sound");
            // An error is the client's to tell.
            if Pin::new(&mut stream).accept().await.is_err() {
                return;
            }
            if stream.read_u8().await.is_ok() {
                stream.write_u8(2).await.expect("sent");
                let _ = stream.read_u8().await;
            }
        };
        let server = actix_rt::spawn(serve);
        let result = timeout(PATIENCE, exchange(&self.mqtt, &address)).await.expect("in time");
        server.abort();
        result
    }

    /// The reason and the detail of the failure.
    async fn fail(self) -> (&'static str, String) {
        let lost = self.play().await.expect_err("it fails");
        (lost.reason, lost.detail)
    }
}

/// As the connection does: writes first, then reads; a transport's word counts more than the system's.
async fn exchange(mqtt: &MqttConfig, address: &BrokerAddress) -> Result<(), Lost> {
    let mut transport = dial(mqtt, address, PATIENCE).await?;
    let written = poll_fn(|cx| {
        ready!(transport.poll_write(cx, &[1]))?;
        transport.poll_flush(cx)
    });
    written.await.map_err(|error| Lost::of_io(lost::WRITE_FAILED, error))?;
    let mut read = BytesMut::with_capacity(100);
    let count = poll_fn(|cx| transport.poll_read(cx, &mut read)).await;
    match count.map_err(|error| Lost::of_io(lost::READ_FAILED, error))? {
        0 => Err(Lost::new(lost::CLOSED, "end of stream")),
        _ => {
            assert_eq!(read[..], [2]);
            Ok(())
        }
    }
}

fn server(identity: &Identity) -> SslAcceptorBuilder {
    let mut server = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).expect("sound");
    server.set_certificate(&identity.certificate).expect("a certificate");
    server.set_private_key(&identity.key).expect("its key");
    server
}

#[actix_rt::test]
async fn a_broker_is_known_by_its_authority_and_its_name_or_address() {
    Scene::new().play().await.expect("the address is in the certificate");
    let named = |name: &str| {
        let mut scene = Scene::with(&Wish { addresses: &[], ..Wish::LOCALHOST });
        scene.mqtt.tls.server_name = Some(name.to_owned());
        scene
    };
    named("localhost").play().await.expect("the name too");
    named("localhost.").play().await.expect("a full name");
    // No alternative name at all: the common name counts, as OpenSSL has it.
    let mut scene = Scene::with(&Wish { dns_names: &[], addresses: &[], ..Wish::LOCALHOST });
    scene.mqtt.tls.server_name = Some("localhost".to_owned());
    scene.play().await.expect("an old certificate");
    let mut scene = Scene::with(&Wish { is_rsa: true, ..Wish::LOCALHOST });
    scene.server.set_max_proto_version(Some(SslVersion::TLS1_2)).expect("known");
    scene.play().await.expect("RSA over TLS 1.2");
}

#[actix_rt::test]
async fn a_certificate_that_is_no_good_is_told_with_what_is_wrong_and_what_to_do() {
    let other = Authority::new("another authority");
    let mut scene = Scene::new();
    scene.mqtt.tls.ca_file = Some(scene.file("other.crt", &other.pem()));
    let (reason, detail) = scene.fail().await;
    assert_eq!(reason, lost::TLS_UNTRUSTED);
    assert!(detail.contains("from the authority,") && detail.contains("other.crt"), "{detail}");

    let (reason, detail) =
        Scene::with(&Wish { valid_days: (-30, -2), ..Wish::LOCALHOST }).fail().await;
    assert_eq!(reason, lost::TLS_EXPIRED);
    assert!(detail.contains("(localhost) expired at "), "{detail}");

    let (reason, detail) =
        Scene::with(&Wish { valid_days: (2, 30), ..Wish::LOCALHOST }).fail().await;
    assert_eq!(reason, lost::TLS_NOT_YET_VALID);
    assert!(detail.contains("is valid from "), "{detail}");

    let names: &[&str] = &["one.example", "two.example"];
    let (reason, detail) = Scene::with(&Wish { dns_names: names, ..Wish::LOCALHOST })
        .named("three.example")
        .fail()
        .await;
    assert_eq!(reason, lost::TLS_NAME);
    let told = "is for one.example, two.example, 127.0.0.1, not for three.example";
    assert!(detail.contains(told), "{detail}");

    let mut scene = Scene::new();
    let own = Authority::new("localhost");
    let (certificate, key) = own.parts();
    scene.server = server(&Identity { certificate, key });
    let (reason, detail) = scene.fail().await;
    assert_eq!(reason, lost::TLS_UNTRUSTED);
    assert!(detail.contains("is self-signed"), "{detail}");
}

impl Scene {
    fn named(mut self, name: &str) -> Self {
        self.mqtt.tls.server_name = Some(name.to_owned());
        self
    }
}

#[actix_rt::test]
async fn nothing_but_the_word_for_it_turns_verification_off() {
    let mut scene = Scene::with(&Wish { valid_days: (-30, -2), ..Wish::LOCALHOST });
    scene.mqtt.tls.insecure_skip_verify = true;
    scene.mqtt.tls.ca_file = None;
    scene.mqtt.tls.server_name = Some("other.example".to_owned());
    scene.play().await.expect("nothing is looked at");
}

#[actix_rt::test]
async fn a_client_certificate_is_shown_and_its_refusal_is_told_over_both_versions() {
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        let scene = || {
            let mut scene = Scene::new();
            scene.want_certificate();
            scene.server.set_max_proto_version(Some(version)).expect("known");
            scene
        };
        let mut good = scene();
        let identity = good.authority.issue(&Wish::client("bridge"));
        good.show(&identity);
        good.play().await.expect("of the broker's authority");

        let (reason, detail) = scene().fail().await;
        assert_eq!(reason, lost::TLS_CLIENT_CERTIFICATE, "{version:?}: {detail}");
        assert!(detail.contains("mqtt.tls.cert_file and mqtt.tls.key_file"), "{detail}");

        let mut bad = scene();
        let identity = Authority::new("another authority").issue(&Wish::client("bridge"));
        bad.show(&identity);
        let (reason, detail) = bad.fail().await;
        assert_eq!(reason, lost::TLS_CLIENT_CERTIFICATE, "{version:?}: {detail}");
        assert!(detail.contains("client.crt"), "{detail}");
    }
}

#[actix_rt::test]
async fn versions_and_protocols_are_as_configured() {
    let mut scene = Scene::new();
    scene.server.set_max_proto_version(Some(SslVersion::TLS1_2)).expect("known");
    scene.mqtt.tls.min_version = TlsVersion::V1_3;
    let (reason, detail) = scene.fail().await;
    assert_eq!(reason, lost::TLS_VERSION, "{detail}");

    let select = |offered: &'static [u8]| {
        let mut scene = Scene::new();
        scene.server.set_alpn_select_callback(move |_, client| {
            openssl::ssl::select_next_proto(offered, client)
                .ok_or(openssl::ssl::AlpnError::ALERT_FATAL)
        });
        scene.mqtt.tls.alpn = vec!["x-amzn-mqtt-ca".to_owned(), "mqtt".to_owned()];
        scene
    };
    select(b"\x04mqtt").play().await.expect("one of them");
    let (reason, detail) = select(b"\x02h2").fail().await;
    assert_eq!(reason, lost::TLS_FAILED);
    assert!(detail.contains("mqtt.tls.alpn"), "{detail}");
}

#[actix_rt::test]
async fn keys_are_read_in_every_form_that_tools_write() {
    let rsa = PKey::from_rsa(Rsa::generate(2048).expect("a key")).expect("a key");
    let scene = || {
        let mut scene = Scene::new();
        scene.want_certificate();
        scene
    };
    let cipher = Cipher::aes_256_cbc();
    for is_rsa in [false, true] {
        let forms: [(&str, Form, Option<&[u8]>); 4] = [
            ("PKCS#8", Identity::key_pem, None),
            ("PKCS#1 or SEC1", traditional, None),
            ("PKCS#8, encrypted", |identity| identity.encrypted_key_pem("secret"), Some(b"secret")),
            ("the same, behind a line", |identity| identity.encrypted_key_pem("s"), Some(b"s\r\n")),
        ];
        for (form, pem, password) in forms {
            let mut scene = scene();
            let identity = scene.authority.issue(&Wish { is_rsa, ..Wish::client("bridge") });
            scene.show(&identity);
            scene.mqtt.tls.key_file = Some(scene.file("form.key", &pem(&identity)));
            scene.mqtt.tls.key_password_file =
                password.map(|password| scene.file("password", password));
            scene.play().await.unwrap_or_else(|lost| panic!("{form}: {lost}"));
        }
    }

    let with_key = |pem: &[u8], password: Option<&[u8]>| {
        let mut scene = scene();
        let identity = scene.authority.issue(&Wish::client("bridge"));
        scene.show(&identity);
        scene.mqtt.tls.key_file = Some(scene.file("bad.key", pem));
        scene.mqtt.tls.key_password_file = password.map(|text| scene.file("password", text));
        scene
    };
    let encrypted = rsa.private_key_to_pem_pkcs8_passphrase(cipher, b"secret").expect("PEM");
    let plain = rsa.private_key_to_pem_pkcs8().expect("PEM");
    let long = [b'x'; 5000];
    for (scene, told) in [
        (with_key(&plain, None), "does not belong to the first certificate"),
        (with_key(&encrypted, None), "is encrypted: mqtt.tls.key_password_file"),
        (with_key(&encrypted, Some(b"wrong")), "does not open it"),
        (with_key(&encrypted, Some(&long)), "does not open it"),
        (with_key(b"no key", None), "found no key"),
        (with_key(&[b'x'; 2_000_000], None), "expected at most 1048576 bytes"),
    ] {
        let (reason, detail) = scene.fail().await;
        assert_eq!(reason, lost::TLS_FILES, "{detail}");
        assert!(detail.contains(told) && detail.contains("bad.key"), "{told}: {detail}");
        assert!(!detail.contains("wrong"), "{detail}");
    }
}

/// How a key is written.
type Form = fn(&Identity) -> Vec<u8>;

/// PKCS#1 or SEC1.
fn traditional(identity: &Identity) -> Vec<u8> {
    match identity.key.rsa() {
        Ok(key) => key.private_key_to_pem().expect("PEM"),
        Err(_) => identity.key.ec_key().expect("else a curve's").private_key_to_pem().expect("PEM"),
    }
}

#[actix_rt::test]
async fn files_that_cannot_be_used_are_named_and_are_read_again_at_each_dial() {
    let mut scene = Scene::new();
    let missing = scene.directory.path().join("missing.crt");
    scene.mqtt.tls.ca_file = Some(missing.clone());
    let (_listener, address) = listening().await;
    let address = BrokerAddress { is_tls: true, ..address };
    let told = |lost: Lost| {
        assert_eq!(lost.reason, lost::TLS_FILES);
        lost.detail
    };
    let detail = told(exchange(&scene.mqtt, &address).await.expect_err("it is missing"));
    assert!(detail.contains("mqtt.tls.ca_file") && detail.contains("missing.crt"), "{detail}");
    std::fs::write(&missing, "nothing of use").expect("written");
    let detail = told(exchange(&scene.mqtt, &address).await.expect_err("it is empty"));
    assert!(detail.contains("found no certificate"), "{detail}");
    std::fs::write(&missing, scene.authority.pem()).expect("written");
    scene.play().await.expect("mended");
}

/// A listener, of which nothing is accepted, and its address.
async fn listening() -> (TcpListener, BrokerAddress) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    (listener, BrokerAddress::tcp("127.0.0.1", port))
}

#[actix_rt::test]
async fn a_port_that_is_not_for_tls_is_told_as_such() {
    let scene = Scene::new();
    let answers: [(&[u8], &str); 4] = [
        (b"", "instead of answering TLS"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "with HTTP"),
        (&[0x20, 2, 0, 1], "something else"),
        (b"220 mail ESMTP\r\n", "something else"),
    ];
    for (answer, told) in answers {
        let (listener, address) = listening().await;
        let address = BrokerAddress { is_tls: true, ..address };
        let server = async {
            let (mut stream, _) = listener.accept().await.expect("accepted");
            let _ = stream.read(&mut [0; 4096]).await;
            stream.write_all(answer).await.expect("sent");
        };
        let (result, ()) = tokio::join!(exchange(&scene.mqtt, &address), server);
        let lost = result.expect_err("no TLS");
        assert_eq!(lost.reason, lost::TLS_FAILED);
        assert!(lost.detail.contains(told), "{lost}");
    }
    // Not a word.
    let (_listener, address) = listening().await;
    let address = BrokerAddress { is_tls: true, ..address };
    let mqtt = MqttConfig { connect_timeout: Duration::from_millis(50), ..scene.mqtt.clone() };
    let lost = exchange(&mqtt, &address).await.expect_err("no answer");
    assert_eq!(lost.reason, lost::TLS_FAILED);
    assert!(lost.detail.contains("within 50ms"), "{lost}");
}

/// A good handshake; the transport, and the broker's ends: of TLS, and of the socket below it.
async fn shaken(adjust: impl FnOnce(&mut Scene)) -> (Box<dyn Transport>, SslStream<TcpStream>) {
    let mut scene = Scene::new();
    adjust(&mut scene);
    let (listener, address) = listening().await;
    let address = BrokerAddress { is_tls: true, ..address };
    let acceptor = scene.server.build();
    let serve = async {
        let (stream, _) = listener.accept().await.expect("accepted");
        let ssl = Ssl::new(acceptor.context()).expect("of a sound context");
        let mut stream = SslStream::new(ssl, stream).expect("sound");
        Pin::new(&mut stream).accept().await.expect("shaken");
        stream
    };
    let (transport, stream) = tokio::join!(dial(&scene.mqtt, &address, PATIENCE), serve);
    (transport.expect("shaken"), stream)
}

#[actix_rt::test]
async fn garbage_behind_a_good_handshake_is_the_end_and_no_more() {
    let mut random = fastrand::Rng::with_seed(15);
    for round in 0..100 {
        let (mut transport, mut stream) = shaken(|_| {}).await;
        stream.write_all(b"first").await.expect("sent");
        let mut garbage: Vec<u8> = (0..random.usize(5..5000)).map(|_| random.u8(..)).collect();
        if round % 2 == 0 {
            // It looks like a record.
            garbage[..3].copy_from_slice(&[0x17, 3, 3]);
        }
        stream.get_mut().write_all(&garbage).await.expect("sent");
        drop(stream);
        let mut read = BytesMut::with_capacity(100);
        let end = async {
            loop {
                match poll_fn(|cx| transport.poll_read(cx, &mut read)).await {
                    Ok(0) => return Ok(()),
                    Ok(_) => {}
                    Err(error) => return Err(Lost::of_io(lost::READ_FAILED, error)),
                }
            }
        };
        let end = timeout(PATIENCE, end).await.expect("in time");
        assert_eq!(&read[..], b"first");
        assert!(end.is_ok() || end.is_err_and(|lost| lost.reason == lost::READ_FAILED));
    }
}

#[actix_rt::test]
async fn one_flush_makes_one_record_and_many_records_make_one_read() {
    let (mut transport, mut stream) = shaken(|_| {}).await;
    let bytes = [7; 16_000];
    poll_fn(|cx| {
        let written = ready!(transport.poll_write(cx, &bytes));
        assert_eq!(written.expect("written"), bytes.len());
        transport.poll_flush(cx)
    })
    .await
    .expect("flushed");
    let mut header = [0; 5];
    stream.get_mut().read_exact(&mut header).await.expect("a record");
    assert_eq!(header[0], 0x17);
    assert!(usize::from(u16::from_be_bytes([header[3], header[4]])) >= bytes.len());

    for _ in 0..50 {
        stream.write_all(b"a record of its own").await.expect("sent");
    }
    let mut read = BytesMut::with_capacity(64 * 1024);
    let mut reads = 0;
    while read.len() < 50 * 19 {
        poll_fn(|cx| transport.poll_read(cx, &mut read)).await.expect("read");
        reads += 1;
    }
    // Some may not have come yet when the first were read.
    assert!(reads < 25, "{reads}");
}

#[actix_rt::test]
async fn session_tickets_change_nothing() {
    for (version, options) in [
        (SslVersion::TLS1_2, SslOptions::empty()),
        (SslVersion::TLS1_3, SslOptions::empty()),
        (SslVersion::TLS1_3, SslOptions::NO_TICKET),
    ] {
        let (mut transport, mut stream) = shaken(|scene| {
            scene.server.set_max_proto_version(Some(version)).expect("known");
            scene.server.set_options(options);
            scene.server.set_num_tickets(5).expect("known");
        })
        .await;
        // Session tickets come with the first bytes, or before.
        let exchange = async {
            for round in 0..20 {
                stream.write_all(&[round]).await.expect("sent");
                let mut read = BytesMut::with_capacity(100);
                poll_fn(|cx| transport.poll_read(cx, &mut read)).await.expect("read");
                assert_eq!(read[..], [round]);
                poll_fn(|cx| {
                    ready!(transport.poll_write(cx, &[round]))?;
                    transport.poll_flush(cx)
                })
                .await
                .expect("written");
                assert_eq!(stream.read_u8().await.expect("sent"), round);
            }
        };
        timeout(PATIENCE, exchange).await.expect("in time");
    }
}

#[actix_rt::test]
async fn nothing_is_handed_on_behind_what_a_failed_write_has_thrown_away() {
    const MORE_THAN_IS_LOOKED_THROUGH: usize = 3 * LAST_BYTES_MAX;
    for sent_before in [0, 1000, MORE_THAN_IS_LOOKED_THROUGH] {
        let scene = Scene::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let acceptor = scene.server.build();
        let serve = async {
            let (stream, _) = listener.accept().await.expect("accepted");
            let ssl = Ssl::new(acceptor.context()).expect("of a sound context");
            let mut stream = SslStream::new(ssl, stream).expect("sound");
            Pin::new(&mut stream).accept().await.expect("shaken");
            stream.read_u8().await.expect("the first byte");
            stream
        };
        let connect = async {
            let below = TcpStream::connect(address).await.expect("it listens");
            let (below, is_cut) = CutTransport::new(Box::new(Tcp::new(below)));
            let prepared = tls_files::prepare(&scene.mqtt.tls, "localhost").expect("sound files");
            let tls = Tls::connect(Box::new(below), prepared.ssl, prepared.peer);
            let mut tls = tls.await.expect("shaken");
            poll_fn(|cx| {
                ready!(tls.poll_write(cx, &[1]))?;
                tls.poll_flush(cx)
            })
            .await
            .expect("written");
            (tls, is_cut)
        };
        let ((mut tls, is_cut), mut server) = tokio::join!(connect, serve);
        is_cut.store(true, Ordering::Relaxed);
        // As a failed answer of the transport above, after which that reads on.
        let read = async {
            let mut read = BytesMut::new();
            poll_fn(|cx| {
                let _ = tls.poll_write(cx, &[1]);
                let _ = tls.poll_flush(cx);
                Poll::Ready(())
            })
            .await;
            for _ in 0..2 {
                let count = poll_fn(|cx| tls.poll_read(cx, &mut read)).await;
                let error = count.expect_err("nothing is read any more");
                let lost = Lost::of_io(lost::WRITE_FAILED, error);
                assert_eq!(lost.reason, lost::WRITE_FAILED, "{sent_before}");
            }
            assert!(read.is_empty() && tls.ended().is_some(), "{sent_before}");
        };
        let send = async {
            server.write_all(&vec![7; sent_before]).await.expect("sent");
            tokio::task::yield_now().await;
            let _ = server.write_all(&vec![8; MORE_THAN_IS_LOOKED_THROUGH]).await;
        };
        timeout(PATIENCE, async {
            tokio::select! {
                () = read => {}
                () = async { send.await; std::future::pending::<()>().await } => {}
            }
        })
        .await
        .expect("in time");
    }
}

#[test]
fn a_file_of_authorities_that_the_environment_names_and_that_is_no_good_is_told_and_not_replaced() {
    let scene = Scene::new();
    let trust = |file: &std::path::Path| {
        let mut store = openssl::x509::store::X509StoreBuilder::new().expect("memory");
        tls_files::trust_system(&mut store, Some(file.as_os_str()))
    };
    let good = scene.file("good.crt", &scene.authority.pem());
    assert!(trust(&good).expect("of an authority").ends_with("good.crt (SSL_CERT_FILE)"));
    for (file, why) in [
        (scene.directory.path().join("none"), "No such file"),
        (scene.directory.path().to_owned(), "expected a file"),
        (scene.file("bad.crt", b"no certificate"), "found no certificate"),
        (scene.file("large.crt", &vec![b'x'; 2 << 20]), "at most 1048576 bytes"),
    ] {
        let error = trust(&file).expect_err("of no use");
        assert!(error.starts_with("SSL_CERT_FILE ") && error.contains(why), "{error}");
    }
}

#[test]
fn what_the_broker_said_before_it_cut_the_handshake_off_is_the_reason() {
    let scene = Scene::new();
    let peer = tls_files::prepare(&scene.mqtt.tls, "localhost").expect("sound files").peer;
    let said = Lost::new(lost::TLS_CLIENT_CERTIFICATE, "the broker wants a certificate");
    for (error, told) in [
        (io::Error::from(said.clone()), said),
        (
            io::ErrorKind::ConnectionReset.into(),
            Lost::new(lost::TLS_FAILED, "the handshake of TLS was cut off: connection reset"),
        ),
    ] {
        let first_bytes = &[0x16, 3, 3, 0, 0];
        let lost = peer.handshake_failed(&Handshake { error: Err(error), first_bytes, state: "" });
        assert_eq!(lost, told);
    }
}
