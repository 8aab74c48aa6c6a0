//! Whether the certificate of a client chains to the roots of its trunk. It may be one for clients
//! or one for servers: a SIP peer is both, and public authorities give nobody the former any more.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
};

use super::TlsError;

/// Verifies certificates for clients, and those for servers too.
#[derive(Debug)]
pub(super) struct PeerVerifier {
    of_clients: Arc<dyn ClientCertVerifier>,
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

impl PeerVerifier {
    /// What chains to `roots` is right; without any certificate only where it `is_optional`.
    ///
    /// # Errors
    /// [`TlsError::Verifier`] when the roots cannot be used.
    pub(super) fn new(
        roots: RootCertStore,
        provider: &Arc<CryptoProvider>,
        is_optional: bool,
    ) -> Result<Self, TlsError> {
        let (roots, provider) = (Arc::new(roots), Arc::clone(provider));
        let builder =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider));
        let builder = if is_optional { builder.allow_unauthenticated() } else { builder };
        let of_clients = builder.build().map_err(|_| TlsError::Verifier)?;
        Ok(Self { of_clients, roots, provider })
    }
}

/// It is right but for what it was made for.
const fn is_of_other_purpose(error: &Error) -> bool {
    matches!(
        error,
        Error::InvalidCertificate(
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. }
        )
    )
}

impl ClientCertVerifier for PeerVerifier {
    fn verify_client_cert(
        &self,
        own: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match self.of_clients.verify_client_cert(own, between, now) {
            Err(error) if is_of_other_purpose(&error) => {
                let (own, roots) = (ParsedCertificate::try_from(own)?, &self.roots);
                let known = self.provider.signature_verification_algorithms.all;
                verify_server_cert_signed_by_trust_anchor(&own, roots, between, now, known)
                    .map(|()| ClientCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn offer_client_auth(&self) -> bool {
        self.of_clients.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.of_clients.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.of_clients.root_hint_subjects()
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.of_clients.verify_tls12_signature(message, own, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.of_clients.verify_tls13_signature(message, own, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.of_clients.supported_verify_schemes()
    }
}
