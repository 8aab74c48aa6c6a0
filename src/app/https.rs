//! The control API over TLS: our certificate, read again when its file has changed, and what is
//! asked of the certificates of clients.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::listen::limit_stalling;
use crate::api::peer::{Fingerprint, TlsPeer};
use crate::config;
use crate::relay::tls::{TlsError, changed_at, read, read_own, read_roots};

/// Handshakes at one time. With more, new connections wait in the queue of the system.
const HANDSHAKES_MAX: usize = 1_024;
/// The longest that a handshake may take.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);

/// The files of the settings, and what was read from them.
#[derive(Debug)]
pub(super) struct Https {
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    client_ca: Option<PathBuf>,
    is_client_required: bool,
    /// When the files were last changed, as far as is known.
    seen: [Option<SystemTime>; 3],
    config: Arc<ServerConfig>,
}

impl Https {
    /// Reads the files; `None` where the settings want no TLS.
    ///
    /// # Errors
    /// [`TlsError`] names what cannot be used.
    pub(super) fn open(settings: &config::Api) -> Result<Option<Self>, TlsError> {
        let (Some(certificate), Some(key)) = (&settings.tls_certificate, &settings.tls_key) else {
            return Ok(None);
        };
        let (client_ca, is_required) = (&settings.tls_client_ca, settings.tls_client_required);
        let files = [&settings.tls_certificate, &settings.tls_key, client_ca];
        let seen = changed_at(files);
        let config = server_config(certificate, key, client_ca.as_deref(), is_required)?;
        let [certificate, key, client_ca] = files.map(Clone::clone);
        let config = Arc::new(config);
        Ok(Some(Self {
            certificate,
            key,
            client_ca,
            is_client_required: is_required,
            seen,
            config,
        }))
    }

    /// What a new connection begins with. Files that cannot be used change nothing.
    fn current(&mut self) -> Arc<ServerConfig> {
        let changed = changed_at([&self.certificate, &self.key, &self.client_ca]);
        if changed != self.seen {
            self.seen = changed;
            match self.reread() {
                Ok(config) => self.config = config,
                Err(error) => {
                    tracing::error!(%error, "The certificate of the API stays as it was: {error}");
                }
            }
        }
        Arc::clone(&self.config)
    }

    fn reread(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let (Some(certificate), Some(key)) = (&self.certificate, &self.key) else {
            return Ok(Arc::clone(&self.config));
        };
        let client_ca = self.client_ca.as_deref();
        Ok(Arc::new(server_config(certificate, key, client_ca, self.is_client_required)?))
    }
}

fn server_config(
    certificate: &Path,
    key: &Path,
    client_ca: Option<&Path>,
    is_client_required: bool,
) -> Result<ServerConfig, TlsError> {
    let provider: Arc<CryptoProvider> = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let own = read_own(certificate, key, &provider)?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let roots = Arc::new(read_roots(&read(path)?)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
            let verifier = match is_client_required {
                true => verifier,
                false => verifier.allow_unauthenticated(),
            };
            builder.with_client_cert_verifier(verifier.build().map_err(|_| TlsError::Verifier)?)
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(own)));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Who comes again shows its certificate again, which may have ended since.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// Accepts connections; a slow handshake holds up nobody else.
pub(super) struct TlsListener {
    listener: TcpListener,
    https: Https,
    handshakes: JoinSet<Option<(TlsStream<TcpStream>, TlsPeer)>>,
    stalled_max: Duration,
}

impl TlsListener {
    pub(super) fn new(listener: TcpListener, https: Https, stalled_max: Duration) -> Self {
        Self { listener, https, handshakes: JoinSet::new(), stalled_max }
    }

    fn begin(&mut self, stream: TcpStream, address: std::net::SocketAddr) {
        limit_stalling(&stream, self.stalled_max);
        let acceptor = TlsAcceptor::from(self.https.current());
        self.handshakes.spawn(async move {
            let shaken = tokio::time::timeout(HANDSHAKE_TIME_MAX, acceptor.accept(stream)).await;
            let Ok(Ok(stream)) = shaken else {
                metrics::counter!("maskline_api_handshakes_failed_total").increment(1);
                tracing::debug!("A TLS handshake of the API failed");
                return None;
            };
            let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
            let certificate = certificate.and_then(|it| -> Option<Fingerprint> {
                digest(&SHA256, it).as_ref().try_into().ok()
            });
            Some((stream, TlsPeer { address, certificate }))
        });
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = TlsPeer;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            tokio::select! {
                Some(done) = self.handshakes.join_next() => {
                    if let Ok(Some(accepted)) = done {
                        return accepted;
                    }
                }
                (stream, address) = Listener::accept(&mut self.listener),
                    if self.handshakes.len() < HANDSHAKES_MAX =>
                {
                    self.begin(stream, address);
                }
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<TlsPeer> {
        let address = self.listener.local_addr()?;
        Ok(TlsPeer { address, certificate: None })
    }
}

impl Connected<IncomingStream<'_, TlsListener>> for TlsPeer {
    fn connect_info(stream: IncomingStream<'_, TlsListener>) -> Self {
        *stream.remote_addr()
    }
}
