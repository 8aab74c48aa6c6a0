//! What keeps the signalling of a trunk secret, and so the keys of its media.

use super::{TLS_CA_BYTES_MAX, TrunkPatch};
use crate::api::error::ApiError;
use crate::api::field_error::Rule;
use crate::api::values::Checks;
use crate::domain::network::Transport;
use crate::domain::trunk_media::SrtpMode;
use crate::relay::handle::{is_certificate_list, is_tls_name};
use crate::store::trunk::Trunk;

/// A certificate list that can be read, and a name that a certificate can hold.
pub(super) fn check_tls(checks: &mut Checks, ca: Option<&str>, name: Option<&str>) {
    if let Some(pem) = ca {
        let fits = pem.len() <= TLS_CA_BYTES_MAX && is_certificate_list(pem);
        checks.require(fits, "/tls_ca", Rule::Invalid);
    }
    if let Some(name) = name {
        checks.require(is_tls_name(name), "/tls_name", Rule::Invalid);
    }
}

/// What a certificate must hold is asked only over TLS, and only of one that can be verified.
pub(super) fn check_proof(checks: &mut Checks, transport: Transport, has_ca: bool, has_name: bool) {
    if transport == Transport::Tls {
        checks.require(has_ca || !has_name, "/tls_ca", Rule::Missing);
    } else {
        checks.require(!has_ca, "/tls_ca", Rule::Invalid);
        checks.require(!has_name, "/tls_name", Rule::Invalid);
    }
}

/// Keys travel in the signalling: nobody else may read it.
pub(super) fn check_srtp(checks: &mut Checks, transport: Transport, srtp: SrtpMode) {
    let is_hidden = transport == Transport::Tls || srtp == SrtpMode::Off;
    checks.require(is_hidden, "/srtp", Rule::Invalid);
}

/// What a change makes of a trunk's certificates and keys, together with what stays.
pub(super) fn check_secrecy(trunk: &Trunk, body: &TrunkPatch) -> Result<(), ApiError> {
    let TrunkPatch { transport, tls_ca, tls_name, srtp, .. } = body;
    if transport.is_none() && tls_ca.is_none() && tls_name.is_none() && srtp.is_none() {
        return Ok(());
    }
    let transport = transport.map_or(trunk.transport, Transport::from);
    let has_ca = tls_ca.as_ref().map_or(trunk.tls_ca.is_some(), Option::is_some);
    let has_name = tls_name.as_ref().map_or(trunk.tls_name.is_some(), Option::is_some);
    let mut checks = Checks::default();
    check_proof(&mut checks, transport, has_ca, has_name);
    check_srtp(&mut checks, transport, srtp.map_or(trunk.media.srtp, SrtpMode::from));
    checks.finish()
}
