//! TLS of SIP: our certificate, read again when its file changes, and what a trunk's own must hold.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwapOption;
use hashbrown::HashMap;
use rustls::client::{ResolvesClientCert, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{
    ClientHello, NoServerSessionStorage, ParsedCertificate, ResolvesServerCert,
    WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, SignatureScheme,
};

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

/// Makes the TLS side of connections.
#[derive(Debug)]
pub(crate) struct Tls {
    files: TlsFiles,
    provider: Arc<CryptoProvider>,
    own: Arc<Own>,
    roots: Option<Arc<RootCertStore>>,
    /// When the files were last changed, as far as is known.
    seen: [Option<SystemTime>; 3],
    /// Settings that were made already, with the roots they were made of.
    servers: HashMap<TrunkId, (Option<Arc<str>>, Arc<ServerConfig>)>,
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
                let chain = CertificateDer::pem_slice_iter(&read(certificate)?)
                    .collect::<Result<Vec<_>, _>>()
                    .map_err(|_| TlsError::Pem)?;
                let key = zeroize::Zeroizing::new(read(key)?);
                let key = PrivateKeyDer::from_pem_slice(&key).map_err(|_| TlsError::Pem)?;
                if chain.is_empty() {
                    return Err(TlsError::Pem);
                }
                Some(Arc::new(CertifiedKey::from_der(chain, key, &self.provider)?))
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
        let changed = |path: &Option<PathBuf>| {
            let path = path.as_ref()?;
            std::fs::metadata(path).and_then(|file| file.modified()).ok()
        };
        [&self.files.certificate, &self.files.key, &self.files.ca].map(changed)
    }

    /// Our side of a connection that a trunk has opened.
    ///
    /// # Errors
    /// [`TlsError`] when the trunk's roots cannot be used.
    pub(crate) fn accept(
        &mut self,
        trunk: TrunkId,
        terms: &TrunkTls,
    ) -> Result<ServerConnection, TlsError> {
        let config = match self.servers.get(&trunk) {
            Some((ca, config)) if *ca == terms.ca => Arc::clone(config),
            Some(_) | None => {
                let config = Arc::new(self.server_config(terms)?);
                self.servers.insert(trunk, (terms.ca.clone(), Arc::clone(&config)));
                config
            }
        };
        Ok(ServerConnection::new(config)?)
    }

    fn server_config(&self, terms: &TrunkTls) -> Result<ServerConfig, TlsError> {
        let provider = Arc::clone(&self.provider);
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let builder = match &terms.ca {
            None => builder.with_no_client_auth(),
            Some(pem) => {
                let roots = Arc::new(read_roots(pem.as_bytes())?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider)
                    .build()
                    .map_err(|_| TlsError::Verifier)?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_cert_resolver(Arc::clone(&self.own) as _);
        // Who comes again shows its certificate again, which may have ended since.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    /// Our side of a connection that we open to a trunk; `host` is where.
    ///
    /// # Errors
    /// [`TlsError`] when nothing says whom to trust.
    pub(crate) fn connect(
        &mut self,
        trunk: TrunkId,
        terms: &TrunkTls,
        host: std::net::IpAddr,
    ) -> Result<ClientConnection, TlsError> {
        let config = match self.clients.get(&trunk) {
            Some((ca, config)) if *ca == terms.ca => Arc::clone(config),
            Some(_) | None => {
                let config = Arc::new(self.client_config(terms)?);
                self.clients.insert(trunk, (terms.ca.clone(), Arc::clone(&config)));
                config
            }
        };
        let name = match &terms.name {
            Some(name) => ServerName::try_from(name.to_string()).map_err(|_| TlsError::Pem)?,
            None => ServerName::from(host),
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

/// Whether the certificate that a client has shown holds the name of its trunk.
pub(crate) fn holds_name(certificates: Option<&[CertificateDer<'_>]>, name: &str) -> bool {
    let Some(first) = certificates.and_then(<[_]>::first) else { return false };
    let Ok(name) = ServerName::try_from(name) else { return false };
    ParsedCertificate::try_from(first).is_ok_and(|it| verify_server_name(&it, &name).is_ok())
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|error| TlsError::File { path: path.display().to_string(), error })
}
