//! What the fields of a trunk may hold.

use std::sync::Arc;

use super::secrecy::check_srtp;
use super::{CHANNELS_MAX, CPS_MAX, MEDIA_NETWORKS_MAX, TARGETS_MAX, TrunkCreate, TrunkRoleWord};
use crate::api::api_keys::parse_networks;
use crate::api::error::ApiError;
use crate::api::field_error::Rule;
use crate::api::tenants::COUNTRY_CODE;
use crate::api::values::{Checks, refuse_unsupported};
use crate::domain::id::TenantId;
use crate::domain::network::{Network, Transport, TrunkPlace};
use crate::domain::trunk_media::{KeyWay, SrtpMode, TrunkMedia};
use crate::store::trunk::TrunkSide;

pub(super) fn parse_media(
    checks: &mut Checks,
    body: &TrunkCreate,
    transport: Transport,
) -> TrunkMedia {
    let srtp = body.srtp.map(SrtpMode::from).unwrap_or_default();
    check_srtp(checks, transport, srtp);
    TrunkMedia {
        learning: body.media_learning.unwrap_or(false),
        networks: parse_media_networks(checks, body.media_networks.as_deref().unwrap_or_default()),
        keys: body.dtmf.map(KeyWay::from).unwrap_or_default(),
        srtp,
    }
}

pub(super) fn parse_media_networks(checks: &mut Checks, texts: &[String]) -> Arc<[Network]> {
    parse_networks(checks, "/media_networks", texts, 0, MEDIA_NETWORKS_MAX).into()
}

/// An insurer's trunk has a tenant, a carrier's none.
pub(super) fn parse_side(
    checks: &mut Checks,
    role: TrunkRoleWord,
    tenant: Option<TenantId>,
) -> TrunkSide {
    match (role, tenant) {
        (TrunkRoleWord::Insurer, Some(tenant)) => return TrunkSide::Insurer { tenant },
        (TrunkRoleWord::Carrier, None) => {}
        (TrunkRoleWord::Insurer, None) => checks.require(false, "/tenant_id", Rule::Missing),
        (TrunkRoleWord::Carrier, Some(_)) => checks.require(false, "/tenant_id", Rule::Invalid),
    }
    TrunkSide::Carrier
}

/// Addresses that a packet can be sent to, and names that may lead to some.
pub(super) fn parse_targets(checks: &mut Checks, texts: &[String]) -> Vec<TrunkPlace> {
    let length = Rule::Length(1, TARGETS_MAX);
    checks.require((1..=TARGETS_MAX).contains(&texts.len()), "/targets", length);
    let mut targets = Vec::new();
    for (index, text) in texts.iter().enumerate().take(TARGETS_MAX) {
        match TrunkPlace::parse(text) {
            Ok(place) => targets.push(place),
            Err(_) => checks.require(false, &format!("/targets/{index}"), Rule::InvalidAddress),
        }
    }
    targets
}

/// Nothing enforces these yet.
pub(super) fn check_supported(country_code: Option<&str>) -> Result<(), ApiError> {
    refuse_unsupported(&[(country_code.is_some_and(|code| code != COUNTRY_CODE), "/country_code")])
}

/// What a limit may be.
pub(super) fn check_limits(checks: &mut Checks, channels_max: Option<u32>, cps_max: Option<u32>) {
    checks.range("/channels_max", channels_max.unwrap_or(1).into(), 1, CHANNELS_MAX);
    checks.range("/cps_max", cps_max.unwrap_or(1).into(), 1, CPS_MAX);
}
