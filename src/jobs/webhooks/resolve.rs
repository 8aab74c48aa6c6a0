//! From the name of a receiver to the addresses that may be connected to. A name is looked up anew
//! for each attempt, every address of the answer is looked at, and the connection goes to those
//! addresses and no others: a name that leads elsewhere a moment later leads nobody astray.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use hickory_resolver::TokioResolver;
use hickory_resolver::net::NetError;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::domain::webhook::{Reach, is_open};

/// The most addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;

/// What a lookup gives; `None` when the name servers did not answer.
pub type FoundAddresses<'a> = Pin<Box<dyn Future<Output = Option<Vec<IpAddr>>> + Send + 'a>>;

/// Who knows the addresses of names.
pub trait Names: Send + Sync {
    /// All addresses of a host.
    fn addresses<'a>(&'a self, host: &'a str) -> FoundAddresses<'a>;
}

/// The name servers of this machine.
pub struct NameServers(TokioResolver);

impl std::fmt::Debug for NameServers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NameServers")
    }
}

impl NameServers {
    /// As the system is set up.
    ///
    /// # Errors
    /// The set-up cannot be read.
    pub fn of_system() -> Result<Self, NetError> {
        Ok(Self(TokioResolver::builder_tokio()?.build()?))
    }
}

impl Names for NameServers {
    fn addresses<'a>(&'a self, host: &'a str) -> FoundAddresses<'a> {
        Box::pin(async move {
            // The name is whole: no search domain is added.
            let found = self.0.lookup_ip(format!("{host}.")).await.ok()?;
            Some(found.iter().collect())
        })
    }
}

/// Why nothing is connected to.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum NoAddress {
    /// The name leads nowhere, or nobody knows.
    #[error("the name leads nowhere")]
    Unknown,
    /// One of its addresses is not open to everybody.
    #[error("the name leads to where nothing may be sent")]
    Closed,
}

/// The resolver of the client: what it gives is what is connected to, so that nothing can change
/// between the look and the connection.
pub(super) struct Checked {
    pub(super) names: Arc<dyn Names>,
    pub(super) reach: Reach,
}

impl Resolve for Checked {
    fn resolve(&self, name: Name) -> Resolving {
        let (names, reach) = (Arc::clone(&self.names), self.reach);
        Box::pin(async move {
            let found = names.addresses(name.as_str()).await.ok_or(NoAddress::Unknown)?;
            // The port is that of the URL.
            let addresses = check(found, reach)?.into_iter().map(|ip| SocketAddr::new(ip, 0));
            Ok(Box::new(addresses) as Addrs)
        })
    }
}

/// One closed address is enough to refuse all: an honest name has none.
fn check(mut found: Vec<IpAddr>, reach: Reach) -> Result<Vec<IpAddr>, NoAddress> {
    if !reach.allow_private && !found.iter().all(|address| is_open(*address)) {
        return Err(NoAddress::Closed);
    }
    if found.is_empty() {
        return Err(NoAddress::Unknown);
    }
    found.truncate(ADDRESSES_MAX);
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(addresses: &[&str], reach: Reach) -> Result<usize, NoAddress> {
        let found = addresses.iter().map(|text| text.parse().expect("an address")).collect();
        check(found, reach).map(|addresses| addresses.len())
    }

    #[test]
    fn one_closed_address_among_open_ones_refuses_the_name() {
        let reach = Reach::default();
        assert_eq!(checked(&["1.1.1.1", "2606:4700:4700::1111"], reach), Ok(2));
        assert_eq!(checked(&["1.1.1.1", "127.0.0.1"], reach), Err(NoAddress::Closed));
        assert_eq!(checked(&["1.1.1.1", "::ffff:10.0.0.1"], reach), Err(NoAddress::Closed));
        assert_eq!(checked(&[], reach), Err(NoAddress::Unknown));
        let reach = Reach { allow_http: false, allow_private: true };
        assert_eq!(checked(&["127.0.0.1"], reach), Ok(1));
        assert_eq!(checked(&["1.1.1.1"; 20], reach), Ok(ADDRESSES_MAX));
    }
}
