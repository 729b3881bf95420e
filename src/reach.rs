//! Who is behind a name: its addresses, and which of them take a TCP connection.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// At most so many addresses of one name are tried.
const ADDRESSES_MAX: usize = 16;

/// What is known of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// Its addresses, or why it has none, in one line.
    pub addresses: Result<Vec<SocketAddr>, String>,
    /// What came of connecting to each of the first 16.
    pub tried: Vec<Tried>,
}

/// One address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// Which.
    pub address: SocketAddr,
    /// Why it took no connection; `None`: it did.
    pub failed: Option<String>,
}

/// Asks for the addresses of `host`, for at most `within`.
///
/// # Errors
/// There is none, or no answer; one line.
pub async fn resolve(
    host: &str,
    port: u16,
    within: Duration,
) -> Result<impl Iterator<Item = SocketAddr> + use<>, String> {
    match timeout(within, lookup_host((host, port))).await {
        Ok(Ok(addresses)) => Ok(addresses.collect::<Vec<_>>().into_iter()),
        Ok(Err(error)) => Err(format!("cannot resolve {host}: {error}")),
        Err(_) => Err(format!("cannot resolve {host} within {within:?}")),
    }
}

/// Connects to every address of `host` at once and closes again. The name, and then each address, has
/// `within` that time.
pub async fn reach(host: &str, port: u16, within: Duration) -> Reach {
    let mut addresses: Vec<_> = match resolve(host, port, within).await {
        Ok(found) => found.collect(),
        Err(why) => return Reach { addresses: Err(why), tried: Vec::new() },
    };
    if addresses.is_empty() {
        let none = format!("{host} has no address");
        return Reach { addresses: Err(none), tried: Vec::new() };
    }
    addresses.dedup();
    let mut tries = JoinSet::new();
    for address in addresses.iter().copied().take(ADDRESSES_MAX) {
        tries.spawn(async move {
            let failed = match timeout(within, TcpStream::connect(address)).await {
                Ok(Ok(_)) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some(format!("no answer within {within:?}")),
            };
            Tried { address, failed }
        });
    }
    let mut tried: Vec<Tried> = Vec::new();
    while let Some(done) = tries.join_next().await {
        tried.extend(done);
    }
    tried.sort_by_key(|one| addresses.iter().position(|address| *address == one.address));
    Reach { addresses: Ok(addresses), tried }
}

impl Reach {
    /// Whether at least one address takes connections.
    pub fn is_reached(&self) -> bool {
        self.tried.iter().any(|one| one.failed.is_none())
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::observe::test_support::PATIENCE;

    #[actix::test]
    async fn each_address_is_tried_and_a_name_without_one_is_told() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let open = listener.local_addr().expect("bound");
        let found = reach("127.0.0.1", open.port(), PATIENCE).await;
        assert_eq!(found.addresses.as_deref(), Ok(&[open][..]));
        assert_eq!(found.tried, [Tried { address: open, failed: None }]);
        assert!(found.is_reached());
        drop(listener);
        let found = reach("127.0.0.1", open.port(), PATIENCE).await;
        let refused = found.tried[0].failed.as_deref().expect("nobody listens");
        assert!(refused.contains("refused") && !found.is_reached(), "{refused}");
        let found = reach("nowhere.invalid", 1, PATIENCE).await;
        let why = found.addresses.as_ref().expect_err("reserved by RFC 2606");
        assert!(why.starts_with("cannot resolve nowhere.invalid"), "{why}");
        assert!(!found.is_reached());
    }
}
