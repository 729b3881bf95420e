//! Proxies: HTTP CONNECT (RFC 9110, section 9.3.6) and SOCKS 5 (RFC 1928, RFC 1929). The proxy resolves
//! the broker's name.

use std::io;
use std::net::IpAddr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::config::{HostPort, ProxyConfig, ProxyKind, Secret};
use crate::mqtt::http_head::Head;
use crate::mqtt::lost::{self, Lost};

/// How much of an answer is looked at at a time.
const LOOK_BYTES: usize = 1024;

/// Has the proxy at the other end of `stream` connect us to `host`. Behind that, the stream is the
/// broker's: nothing of it has been read.
///
/// # Errors
/// `proxy_refused`: what the proxy says, and what to do.
pub(super) async fn open(
    stream: &mut TcpStream,
    proxy: &ProxyConfig,
    host: &str,
    port: u16,
) -> Result<(), Lost> {
    let opened = match proxy.kind {
        ProxyKind::Http => connect(stream, proxy.login.as_ref(), host, port).await,
        ProxyKind::Socks5 => socks5(stream, proxy.login.as_ref(), host, port).await,
    };
    opened.map_err(|no| {
        let why = match no {
            No::Said(why) => why,
            No::Closed(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                "closed the connection instead of an answer: its scheme and port in mqtt.proxy, or its log"
                    .to_owned()
            }
            No::Closed(error) => format!("ended the connection instead of an answer: {error}"),
        };
        Lost::new(lost::PROXY_REFUSED, format!("the proxy {} {why}", at(proxy)))
    })
}

/// The proxy's address, for people.
pub(super) fn at(ProxyConfig { host, port, .. }: &ProxyConfig) -> String {
    HostPort(host, *port).to_string()
}

enum No {
    /// What the proxy did.
    Said(String),
    Closed(io::Error),
}

impl From<io::Error> for No {
    fn from(error: io::Error) -> Self {
        Self::Closed(error)
    }
}

type Login<'a> = Option<&'a (Secret, Secret)>;

async fn connect(
    stream: &mut TcpStream,
    login: Login<'_>,
    host: &str,
    port: u16,
) -> Result<(), No> {
    let to = HostPort(host, port);
    let mut request = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n");
    if let Some((user, password)) = login {
        let login = BASE64_STANDARD.encode(format!("{}:{}", user.expose(), password.expose()));
        request += &format!("Proxy-Authorization: Basic {login}\r\n");
    }
    request += "\r\n";
    stream.write_all(request.as_bytes()).await?;
    let head = head(stream).await?;
    let status = head.told();
    let why = match head.status {
        200..300 => return Ok(()),
        // tinyproxy says 401 of a wrong password.
        401 | 407 if login.is_some() => {
            format!("refuses the login ({status}): user and password in mqtt.proxy")
        }
        407 => format!("wants a login ({status}): `http://USER:PASSWORD@HOST:PORT` in mqtt.proxy"),
        403 | 405 => format!(
            "does not allow connections to {to} ({status}): allow them there; many proxies allow port 443 \
             only"
        ),
        502..=504 => format!(
            "cannot reach {to} ({status}): whether the broker is there, and its name known, where the proxy is"
        ),
        _ => format!("refuses to connect to {to} ({status}); its log may say why"),
    };
    Err(No::Said(why))
}

/// Reads the head of the proxy's answer, and not a byte more.
async fn head(stream: &mut TcpStream) -> Result<Head, No> {
    let mut answer = Vec::new();
    loop {
        let mut piece = [0; LOOK_BYTES];
        let count = stream.peek(&mut piece).await?;
        if count == 0 {
            return Err(No::Closed(io::ErrorKind::UnexpectedEof.into()));
        }
        let before = answer.len();
        answer.extend_from_slice(&piece[..count]);
        let parsed = Head::parse(&answer).map_err(|what| {
            No::Said(format!("answers with {what}: its scheme and port in mqtt.proxy"))
        })?;
        let read = parsed.as_ref().map_or(count, |(_, length)| length - before);
        stream.read_exact(&mut piece[..read]).await?;
        if let Some((head, _)) = parsed {
            return Ok(head);
        }
    }
}

const SOCKS: u8 = 5;
const NO_LOGIN: u8 = 0;
const USER_AND_PASSWORD: u8 = 2;
const NO_METHOD: u8 = 0xFF;
/// Of the subnegotiation for user and password.
const LOGIN: u8 = 1;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

async fn socks5(stream: &mut TcpStream, login: Login<'_>, host: &str, port: u16) -> Result<(), No> {
    let greeting: &[u8] = match login {
        None => &[SOCKS, 1, NO_LOGIN],
        Some(_) => &[SOCKS, 2, NO_LOGIN, USER_AND_PASSWORD],
    };
    stream.write_all(greeting).await?;
    match (answer(stream).await?, login) {
        (NO_LOGIN, _) => {}
        (USER_AND_PASSWORD, Some((user, password))) => {
            let mut request = vec![LOGIN];
            push_short(&mut request, user.expose(), "user name")?;
            push_short(&mut request, password.expose(), "password")?;
            stream.write_all(&request).await?;
            let mut answer = [0; 2];
            stream.read_exact(&mut answer).await?;
            if answer[1] != 0 {
                let why = "refuses the login: user and password in mqtt.proxy";
                return Err(No::Said(why.to_owned()));
            }
        }
        (NO_METHOD, None) => {
            let why = "wants a login: `socks5://USER:PASSWORD@HOST:PORT` in mqtt.proxy";
            return Err(No::Said(why.to_owned()));
        }
        (method, _) => {
            return Err(No::Said(format!(
                "wants a login that the bridge does not know (method {method}); it knows none, and user \
                 with password"
            )));
        }
    }
    let mut request = vec![SOCKS, CONNECT, 0];
    match host.parse() {
        Ok(IpAddr::V4(address)) => {
            request.push(IPV4);
            request.extend(address.octets());
        }
        Ok(IpAddr::V6(address)) => {
            request.push(IPV6);
            request.extend(address.octets());
        }
        Err(_) => {
            request.push(NAME);
            push_short(&mut request, host, "broker's name")?;
        }
    }
    request.extend(port.to_be_bytes());
    stream.write_all(&request).await?;
    let code = answer(stream).await?;
    if code != 0 {
        return Err(No::Said(refusal(code, HostPort(host, port))));
    }
    // A reserved byte, and the address from which the proxy connects.
    let mut kind = [0; 2];
    stream.read_exact(&mut kind).await?;
    let length = match kind[1] {
        IPV4 => 4,
        IPV6 => 16,
        NAME => usize::from(stream.read_u8().await?),
        other => {
            return Err(No::Said(format!("answers with an unknown kind of address ({other})")));
        }
    };
    let mut address = [0; u8::MAX as usize + 2];
    stream.read_exact(&mut address[..length + 2]).await?;
    Ok(())
}

/// The byte behind the version.
async fn answer(stream: &mut TcpStream) -> Result<u8, No> {
    let mut answer = [0; 2];
    stream.read_exact(&mut answer).await?;
    match answer {
        [SOCKS, code] => Ok(code),
        [first, _] => Err(No::Said(format!(
            "does not speak SOCKS 5 (its answer begins with {first:#04x}): its scheme and port in mqtt.proxy"
        ))),
    }
}

fn push_short(request: &mut Vec<u8>, text: &str, what: &str) -> Result<(), No> {
    let Ok(length) = u8::try_from(text.len()) else {
        return Err(No::Said(format!("cannot be asked: the {what} has more than 255 bytes")));
    };
    request.push(length);
    request.extend(text.as_bytes());
    Ok(())
}

/// The codes of RFC 1928, section 6, as words.
fn refusal(code: u8, to: HostPort<'_>) -> String {
    let why = match code {
        1 => "general failure",
        2 => "its rules do not allow it",
        3 => "network unreachable",
        4 => "host unreachable, or its name unknown where the proxy is",
        5 => "connection refused by the broker's host",
        6 => "the way there is too long (TTL expired)",
        7 => "it does not know the command CONNECT",
        8 => "it does not know this kind of address",
        _ => "unknown code",
    };
    format!("does not connect to {to}: {why} ({code}); its log may say more")
}
