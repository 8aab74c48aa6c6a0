//! TLS of SIP: our certificate, read again when its file changes, and what a trunk's own must hold.

mod verifier;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwapOption;
use hashbrown::HashMap;
use rustls::client::{ResolvesClientCert, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, NoServerSessionStorage, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, SignatureScheme,
};

use self::verifier::PeerVerifier;
use super::now::now;
use crate::domain::id::TrunkId;

/// The files of our own certificate.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct TlsFiles {
    /// PEM: ours first, then those between it and its root.
    pub(crate) certificate: Option<PathBuf>,
    /// PEM: its private key.
    pub(crate) key: Option<PathBuf>,
    /// PEM: what the certificates of trunks without their own `tls_ca` must chain to.
    pub(crate) ca: Option<PathBuf>,
}

/// What a trunk's certificate must hold.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct TrunkTls {
    /// PEM: what it must chain to. With it, a connection from the trunk needs a certificate.
    pub(crate) ca: Option<Arc<str>>,
    /// The name in it.
    pub(crate) name: Option<Arc<str>>,
}

impl TrunkTls {
    /// Any, or none.
    pub(crate) const NOTHING: Self = Self { ca: None, name: None };
}

/// Why TLS cannot be used. It holds nothing of the files.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    /// A file cannot be read.
    #[error("{path}: {error}")]
    File {
        /// Which.
        path: String,
        /// Why.
        error: std::io::Error,
    },
    /// A text is no PEM, or holds nothing of use.
    #[error("no certificate or key in PEM can be read there")]
    Pem,
    /// A key that does not fit, a root that cannot be used.
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
    /// A trunk's roots cannot be used.
    #[error("no certificate can be verified by that list")]
    Verifier,
    /// Nothing says what a certificate must chain to.
    #[error("neither the trunk's tls_ca nor sip.tls_ca says what its certificate must chain to")]
    NoRoots,
}

/// Reads certificates that others must chain to.
pub(crate) fn read_roots(pem: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        roots.add(certificate.map_err(|_| TlsError::Pem)?)?;
    }
    if roots.is_empty() { Err(TlsError::Pem) } else { Ok(roots) }
}

/// Reads a certificate with those between it and its root, and its private key.
pub(crate) fn read_own(
    certificate: &Path,
    key: &Path,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsError> {
    let chain = CertificateDer::pem_slice_iter(&read(certificate)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| TlsError::Pem)?;
    let key = zeroize::Zeroizing::new(read(key)?);
    let key = PrivateKeyDer::from_pem_slice(&key).map_err(|_| TlsError::Pem)?;
    if chain.is_empty() {
        return Err(TlsError::Pem);
    }
    Ok(CertifiedKey::from_der(chain, key, provider)?)
}

/// When files were last changed, as far as is known.
pub(crate) fn changed_at(files: [&Option<PathBuf>; 3]) -> [Option<SystemTime>; 3] {
    files.map(|path| {
        let path = path.as_ref()?;
        std::fs::metadata(path).and_then(|file| file.modified()).ok()
    })
}

/// Our certificate as it is now. Connections that are up keep the one they began with.
#[derive(Debug, Default)]
struct Own(ArcSwapOption<CertifiedKey>);

impl ResolvesServerCert for Own {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load_full()
    }
}

impl ResolvesClientCert for Own {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.load_full()
    }

    fn has_certs(&self) -> bool {
        self.0.load().is_some()
    }
}

/// What is asked of the certificate of a client.
#[derive(Debug, Eq, Hash, PartialEq)]
struct Demands {
    /// PEM: what it may chain to.
    roots: Vec<Arc<str>>,
    /// There need not be one.
    is_optional: bool,
}

/// Makes the TLS side of connections.
#[derive(Debug)]
pub(crate) struct Tls {
    files: TlsFiles,
    provider: Arc<CryptoProvider>,
    own: Arc<Own>,
    roots: Option<Arc<RootCertStore>>,
    /// When the files were last changed, as far as is known.
    seen: [Option<SystemTime>; 3],
    /// Settings that were made already, by the roots they were made of.
    servers: HashMap<Demands, Arc<ServerConfig>>,
    verifiers: HashMap<Arc<str>, Arc<dyn ClientCertVerifier>>,
    clients: HashMap<TrunkId, (Option<Arc<str>>, Arc<ClientConfig>)>,
}

impl Tls {
    /// Reads the files. Without files no TLS connection is made.
    ///
    /// # Errors
    /// [`TlsError`] names what cannot be used.
    pub(crate) fn open(files: TlsFiles) -> Result<Self, TlsError> {
        let mut this = Self {
            files,
            provider: Arc::new(rustls::crypto::aws_lc_rs::default_provider()),
            own: Arc::default(),
            roots: None,
            seen: [None; 3],
            servers: HashMap::new(),
            verifiers: HashMap::new(),
            clients: HashMap::new(),
        };
        this.reload()?;
        Ok(this)
    }

    /// Reads the files again. What cannot be used changes nothing.
    ///
    /// # Errors
    /// [`TlsError`] names what cannot be used.
    pub(crate) fn reload(&mut self) -> Result<(), TlsError> {
        self.seen = self.changed_at();
        let own = match (&self.files.certificate, &self.files.key) {
            (Some(certificate), Some(key)) => {
                Some(Arc::new(read_own(certificate, key, &self.provider)?))
            }
            (Some(_) | None, _) => None,
        };
        let roots = match &self.files.ca {
            Some(path) => Some(Arc::new(read_roots(&read(path)?)?)),
            None => None,
        };
        self.own.0.store(own);
        self.roots = roots;
        self.clients.clear();
        Ok(())
    }

    /// Reads the files again when one of them has changed; `None` when none has.
    pub(crate) fn reload_changed(&mut self) -> Option<Result<(), TlsError>> {
        (self.changed_at() != self.seen).then(|| self.reload())
    }

    fn changed_at(&self) -> [Option<SystemTime>; 3] {
        changed_at([&self.files.certificate, &self.files.key, &self.files.ca])
    }

    /// Our side of a connection that one of several trunks has opened: which, [`Self::proves`] and
    /// its certificate tell.
    ///
    /// # Errors
    /// [`TlsError`] when the roots of one of them cannot be used.
    pub(crate) fn accept(&mut self, terms: &[&TrunkTls]) -> Result<ServerConnection, TlsError> {
        let mut roots: Vec<_> = terms.iter().filter_map(|terms| terms.ca.clone()).collect();
        roots.sort_unstable();
        roots.dedup();
        let demands = Demands { roots, is_optional: terms.contains(&&TrunkTls::NOTHING) };
        let config = match self.servers.get(&demands) {
            Some(config) => Arc::clone(config),
            None => {
                let config = Arc::new(self.server_config(&demands)?);
                self.servers.insert(demands, Arc::clone(&config));
                config
            }
        };
        Ok(ServerConnection::new(config)?)
    }

    /// Whether a client that has shown these certificates may be the trunk of these terms.
    pub(crate) fn proves(&mut self, terms: &TrunkTls, shown: &[CertificateDer<'_>]) -> bool {
        let (Some(ca), Some((own, between))) = (&terms.ca, shown.split_first()) else {
            return false;
        };
        if !self.verifiers.contains_key(ca)
            && let Ok(verifier) = self.verifier(&[Arc::clone(ca)], false)
        {
            self.verifiers.insert(Arc::clone(ca), verifier);
        }
        let at = UnixTime::since_unix_epoch(
            now().wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default(),
        );
        let is_of_ca = self
            .verifiers
            .get(ca)
            .is_some_and(|it| it.verify_client_cert(own, between, at).is_ok());
        is_of_ca && terms.name.as_deref().is_none_or(|name| holds_name(own, name))
    }

    /// How many kinds of handshakes were prepared.
    #[cfg(test)]
    pub(crate) fn prepared(&self) -> usize {
        self.servers.len()
    }

    /// The trunks have changed: what was made for their roots is made anew when needed.
    pub(crate) fn forget(&mut self) {
        self.servers.clear();
        self.verifiers.clear();
        self.clients.clear();
    }

    fn verifier(
        &self,
        roots: &[Arc<str>],
        is_optional: bool,
    ) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
        let mut all = RootCertStore::empty();
        for pem in roots {
            all.extend(read_roots(pem.as_bytes())?.roots);
        }
        Ok(Arc::new(PeerVerifier::new(all, &self.provider, is_optional)?))
    }

    fn server_config(&self, demands: &Demands) -> Result<ServerConfig, TlsError> {
        let builder = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()?;
        let builder = if demands.roots.is_empty() {
            builder.with_no_client_auth()
        } else {
            let verifier = self.verifier(&demands.roots, demands.is_optional)?;
            builder.with_client_cert_verifier(verifier)
        };
        let mut config = builder.with_cert_resolver(Arc::clone(&self.own) as _);
        // Who comes again shows its certificate again, which may have ended since.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    /// Our side of a connection that we open to a trunk, at this address. Its certificate has to
    /// hold the trunk's `tls_name`, else the name that it is configured by, else the address.
    ///
    /// # Errors
    /// [`TlsError`] when nothing says whom to trust.
    pub(crate) fn connect(
        &mut self,
        trunk: TrunkId,
        terms: &TrunkTls,
        host: Option<&str>,
        address: std::net::IpAddr,
    ) -> Result<ClientConnection, TlsError> {
        let config = match self.clients.get(&trunk) {
            Some((ca, config)) if *ca == terms.ca => Arc::clone(config),
            Some(_) | None => {
                let config = Arc::new(self.client_config(terms)?);
                self.clients.insert(trunk, (terms.ca.clone(), Arc::clone(&config)));
                config
            }
        };
        let name = match terms.name.as_deref().or(host) {
            Some(name) => ServerName::try_from(name.to_owned()).map_err(|_| TlsError::Pem)?,
            None => ServerName::from(address),
        };
        Ok(ClientConnection::new(config, name)?)
    }

    fn client_config(&self, terms: &TrunkTls) -> Result<ClientConfig, TlsError> {
        let roots = match (&terms.ca, &self.roots) {
            (Some(pem), _) => Arc::new(read_roots(pem.as_bytes())?),
            (None, Some(roots)) => Arc::clone(roots),
            (None, None) => return Err(TlsError::NoRoots),
        };
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        Ok(builder.with_client_cert_resolver(Arc::clone(&self.own) as _))
    }
}

/// Whether a certificate holds the name of its trunk.
fn holds_name(certificate: &CertificateDer<'_>, name: &str) -> bool {
    let Ok(name) = ServerName::try_from(name) else { return false };
    ParsedCertificate::try_from(certificate).is_ok_and(|it| verify_server_name(&it, &name).is_ok())
}

/// Reads a file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|error| TlsError::File { path: path.display().to_string(), error })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::certificates;

    fn tls() -> Tls {
        let file = |name: &str| Some(certificates::folder().join(name));
        let files = TlsFiles {
            certificate: file("relay.pem"),
            key: file("relay.key"),
            ca: file("root.pem"),
        };
        Tls::open(files).expect("the files of the tests")
    }

    /// Whether a handshake with a peer whose certificate holds `relay.test` comes to its end.
    fn is_trusted(terms: &TrunkTls, host: Option<&str>) -> bool {
        let (mut ours, mut theirs) = (tls(), tls());
        let address = std::net::IpAddr::from([192, 0, 2, 1]);
        let client = ours.connect(TrunkId::from_u128(1), terms, host, address);
        let mut client = client.expect("a connection");
        let mut server = theirs.accept(&[&TrunkTls::NOTHING]).expect("a connection");
        while client.is_handshaking() || server.is_handshaking() {
            let mut bytes = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut bytes).expect("memory");
            }
            server.read_tls(&mut bytes.as_slice()).expect("memory");
            if server.process_new_packets().is_err() {
                return false;
            }
            bytes.clear();
            while server.wants_write() {
                server.write_tls(&mut bytes).expect("memory");
            }
            client.read_tls(&mut bytes.as_slice()).expect("memory");
            if client.process_new_packets().is_err() {
                return false;
            }
        }
        true
    }

    #[test]
    fn a_trunk_that_is_configured_by_a_name_has_to_show_a_certificate_of_that_name() {
        assert!(is_trusted(&TrunkTls::NOTHING, Some("relay.test")));
        assert!(!is_trusted(&TrunkTls::NOTHING, Some("other.test")));
        assert!(!is_trusted(&TrunkTls::NOTHING, None), "the certificate holds no address");
        let named = TrunkTls { ca: None, name: Some("relay.test".into()) };
        assert!(is_trusted(&named, Some("other.test")), "what is set goes before");
    }
}
