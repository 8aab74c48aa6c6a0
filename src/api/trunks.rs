//! Trunks: the SIP peers, set up by the operator. An insurer trunk belongs to a tenant, a carrier
//! trunk to the platform.

mod parse;
mod secrecy;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::answer::{created, tagged};
use super::api_keys::parse_networks;
use super::error::{ApiError, Code, Problem};
use super::etag::IfMatch;
use super::extract::{Json, PathId, Query};
use super::field_error::Rule;
use super::forms::{CountryCode, Name, NetworkText, PlaceText};
use super::key_way::KeyWayWord;
use super::number_format::NumberFormatWord;
use super::paging::{Cursor, Limit, ListBody, request};
use super::srtp_mode::SrtpWord;
use super::tenants::{COUNTRY_CODE, check_country_code};
use super::values::{Checks, Id, Time, nullable, problem_at};
use crate::domain::id::{TenantId, TrunkId};
use crate::domain::network::Transport;
use crate::domain::trunk_media::{KeyWay, SrtpMode};
use crate::domain::trust::{NumberFormat, TrunkIdentity};
use crate::store::trunk::{NewTrunk, Trunk, TrunkChange, TrunkSide};
use parse::{
    check_limits, check_supported, parse_media, parse_media_networks, parse_side, parse_targets,
};
use secrecy::{check_proof, check_secrecy, check_tls};

const NAME_CHARS_MAX: usize = 200;
const NETWORKS_MAX: usize = 64;
const MEDIA_NETWORKS_MAX: usize = 16;
const TARGETS_MAX: usize = 8;
const PRIORITY_MAX: i64 = 1000;
const CHANNELS_MAX: i64 = 1_000_000;
const CPS_MAX: i64 = 100_000;
const TLS_CA_BYTES_MAX: usize = 65_536;

/// Which side of the relay a trunk is on.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TrunkRoleWord {
    /// A tenant's PBX.
    Insurer,
    /// A carrier.
    Carrier,
}

/// How SIP travels.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TransportWord {
    /// Datagrams.
    Udp,
    /// A stream.
    Tcp,
    /// An encrypted stream. What such a trunk sends by another transport is not heard, and what
    /// another trunk sends by this one neither.
    Tls,
}

impl From<TransportWord> for Transport {
    fn from(word: TransportWord) -> Self {
        match word {
            TransportWord::Udp => Self::Udp,
            TransportWord::Tcp => Self::Tcp,
            TransportWord::Tls => Self::Tls,
        }
    }
}

impl From<Transport> for TransportWord {
    fn from(transport: Transport) -> Self {
        match transport {
            Transport::Udp => Self::Udp,
            Transport::Tcp => Self::Tcp,
            Transport::Tls => Self::Tls,
        }
    }
}

/// A new trunk.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "name": "carrier-east", "role": "carrier", "source_networks": ["198.51.100.0/24"],
    "targets": ["sip.carrier.example"], "channels_max": 120, "cps_max": 20,
}))]
pub struct TrunkCreate {
    /// Unique name, 1 to 200 characters.
    #[schema(value_type = Name)]
    name: String,
    /// On which side of the relay it is.
    role: TrunkRoleWord,
    /// Whose PBX; for the role `insurer`, and only for it.
    #[schema(value_type = Option<TenantId>)]
    tenant_id: Option<Id<TenantId>>,
    /// Addresses and networks it sends from. All others are strangers.
    #[schema(value_type = Vec<NetworkText>, min_items = 1, max_items = 64)]
    source_networks: Vec<String>,
    /// To which calls are sent, in this order: `address:port`, a name such as `carrier.example`
    /// whose NAPTR and SRV records say where, or `host.carrier.example:5060`. Addresses that a name
    /// leads to count only within `source_networks`.
    #[schema(value_type = Vec<PlaceText>, min_items = 1, max_items = 8)]
    targets: Vec<String>,
    /// How calls are sent to it; `udp` when absent.
    transport: Option<TransportWord>,
    /// PEM: the certificates that its own must chain to; only with the transport `tls`. With it, a
    /// connection from this trunk needs a client certificate (mutual TLS), which may be one for
    /// clients or one for servers. Without it, none is asked for, and `sip.tls_ca` is what its
    /// server certificate must chain to.
    tls_ca: Option<String>,
    /// The DNS name or IP address that its certificate must hold; only with `tls_ca`. When absent,
    /// a server must hold the name or address in `targets`, and a client any name: give one unless
    /// nobody else has a certificate of `tls_ca`.
    tls_name: Option<String>,
    /// Lower is tried first; 10 when absent.
    #[schema(maximum = 1_000)]
    priority: Option<u16>,
    /// Its share of the calls among equals; 100 when absent.
    #[schema(maximum = 1_000)]
    weight: Option<u16>,
    /// Calling code of the national numbers it sends; `86` when absent, others are not supported
    /// yet.
    #[schema(value_type = Option<CountryCode>)]
    country_code: Option<String>,
    /// False: calls are neither taken from it nor sent to it. True when absent.
    enabled: Option<bool>,
    /// The most calls at once, both ways together, 1 to 1000000; no limit when absent.
    #[schema(minimum = 1, maximum = 1_000_000)]
    channels_max: Option<u32>,
    /// The most new calls in one second of the clock, both ways together, 1 to 100000; no limit
    /// when absent.
    #[schema(minimum = 1, maximum = 100_000)]
    cps_max: Option<u32>,
    /// Its headers that name a purpose or a caller are believed; false when absent.
    trusted: Option<bool>,
    /// How it spells the numbers that it sends; `as_is` when absent.
    number_format_in: Option<NumberFormatWord>,
    /// How numbers are written to it; `as_is` when absent.
    number_format_out: Option<NumberFormatWord>,
    /// Its peers may be behind a NAT: media may come from another port than the one they announce,
    /// which is learned once, at the address they announce. False when absent.
    media_learning: Option<bool>,
    /// Networks in which its media is, at most 16: a description that names another address is
    /// refused (488). Anywhere when absent or empty.
    #[schema(value_type = Option<Vec<NetworkText>>, max_items = 16)]
    media_networks: Option<Vec<String>>,
    /// How keys travel on it; `rfc4733` when absent.
    dtmf: Option<KeyWayWord>,
    /// Whether its media is encrypted; `off` when absent, and anything else only with the transport
    /// `tls`: whoever reads the signalling reads the keys.
    srtp: Option<SrtpWord>,
}

/// What may change of a trunk.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"channels_max": 240}))]
pub struct TrunkPatch {
    /// Unique name, 1 to 200 characters.
    #[schema(value_type = Option<Name>)]
    name: Option<String>,
    /// Replaces all of them.
    #[schema(value_type = Option<Vec<NetworkText>>, min_items = 1, max_items = 64)]
    source_networks: Option<Vec<String>>,
    /// Replaces all of them.
    #[schema(value_type = Option<Vec<PlaceText>>, min_items = 1, max_items = 8)]
    targets: Option<Vec<String>>,
    /// How calls are sent to it.
    transport: Option<TransportWord>,
    /// PEM: the certificates that its own must chain to; null takes them away.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    tls_ca: Option<Option<String>>,
    /// The DNS name or IP address that its certificate must hold; null takes it away.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    tls_name: Option<Option<String>>,
    /// Lower is tried first.
    #[schema(maximum = 1_000)]
    priority: Option<u16>,
    /// Its share of the calls among equals.
    #[schema(maximum = 1_000)]
    weight: Option<u16>,
    /// `86`; others are not supported yet.
    #[schema(value_type = Option<CountryCode>)]
    country_code: Option<String>,
    /// False: calls are neither taken from it nor sent to it.
    enabled: Option<bool>,
    /// The most calls at once; null: no limit.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 1_000_000)]
    channels_max: Option<Option<u32>>,
    /// The most new calls in a second; null: no limit.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 100_000)]
    cps_max: Option<Option<u32>>,
    /// Its headers that name a purpose or a caller are believed.
    trusted: Option<bool>,
    /// How it spells the numbers that it sends.
    number_format_in: Option<NumberFormatWord>,
    /// How numbers are written to it.
    number_format_out: Option<NumberFormatWord>,
    /// Media may come from another port than the announced one.
    media_learning: Option<bool>,
    /// Replaces all of them; calls that are up keep to the old ones.
    #[schema(value_type = Option<Vec<NetworkText>>, max_items = 16)]
    media_networks: Option<Vec<String>>,
    /// How keys travel on it.
    dtmf: Option<KeyWayWord>,
    /// Whether its media is encrypted.
    srtp: Option<SrtpWord>,
}

/// A trunk.
#[derive(Debug, Serialize, ToSchema)]
pub struct TrunkBody {
    /// `trk_…`
    #[schema(value_type = TrunkId)]
    id: Id<TrunkId>,
    /// Unique name.
    name: String,
    /// On which side of the relay it is.
    role: TrunkRoleWord,
    /// Whose PBX; null for a carrier.
    #[schema(value_type = Option<TenantId>)]
    tenant_id: Option<Id<TenantId>>,
    /// Addresses and networks it sends from.
    source_networks: Vec<String>,
    /// To which calls are sent, in this order.
    targets: Vec<String>,
    /// How calls are sent to it.
    transport: TransportWord,
    /// PEM: the certificates that its own must chain to.
    tls_ca: Option<String>,
    /// The DNS name or IP address that its certificate must hold.
    tls_name: Option<String>,
    /// Lower is tried first.
    priority: u16,
    /// Its share of the calls among equals.
    weight: u16,
    /// Calling code of the national numbers it sends.
    country_code: String,
    /// False: calls are neither taken from it nor sent to it.
    enabled: bool,
    /// The most calls at once; null: no limit.
    channels_max: Option<u32>,
    /// The most new calls in a second; null: no limit.
    cps_max: Option<u32>,
    /// Its headers that name a purpose or a caller are believed.
    trusted: bool,
    /// How it spells the numbers that it sends.
    number_format_in: NumberFormatWord,
    /// How numbers are written to it.
    number_format_out: NumberFormatWord,
    /// Media may come from another port than the announced one.
    media_learning: bool,
    /// Networks in which its media is; anywhere when empty.
    media_networks: Vec<String>,
    /// How keys travel on it.
    dtmf: KeyWayWord,
    /// Whether its media is encrypted.
    srtp: SrtpWord,
    /// When it was made.
    created_at: Time,
    /// When it was last changed.
    updated_at: Time,
}

impl From<Trunk> for TrunkBody {
    fn from(trunk: Trunk) -> Self {
        let (role, tenant) = match trunk.side {
            TrunkSide::Insurer { tenant } => (TrunkRoleWord::Insurer, Some(tenant)),
            TrunkSide::Carrier => (TrunkRoleWord::Carrier, None),
        };
        Self {
            id: Id(trunk.id),
            name: trunk.name,
            role,
            tenant_id: tenant.map(Id),
            source_networks: trunk.source_networks.iter().map(ToString::to_string).collect(),
            targets: trunk.targets.iter().map(ToString::to_string).collect(),
            transport: trunk.transport.into(),
            tls_ca: trunk.tls_ca,
            tls_name: trunk.tls_name,
            priority: trunk.priority,
            weight: trunk.weight,
            country_code: trunk.country_code,
            enabled: trunk.enabled,
            channels_max: trunk.channels_max,
            cps_max: trunk.cps_max,
            trusted: trunk.identity.trusted,
            number_format_in: trunk.identity.format_in.into(),
            number_format_out: trunk.identity.format_out.into(),
            media_learning: trunk.media.learning,
            media_networks: trunk.media.networks.iter().map(ToString::to_string).collect(),
            dtmf: trunk.media.keys.into(),
            srtp: trunk.media.srtp.into(),
            created_at: Time(trunk.created_at),
            updated_at: Time(trunk.updated_at),
        }
    }
}

/// Filters of the list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TrunkFilter {
    /// Rows of the page, 1 to 200; 50 when absent.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 200)]
    limit: Option<Limit>,
    /// `next_cursor` of the page before.
    cursor: Option<Cursor>,
}

/// Creates a trunk.
#[utoipa::path(post, path = "/trunks", operation_id = "trunks_create", tag = "trunks",
    request_body = TrunkCreate,
    responses((status = 201, body = TrunkBody), (status = "4XX", body = Problem)))]
pub async fn create(
    State(api): State<Api>,
    Json(body): Json<TrunkCreate>,
) -> Result<Response, ApiError> {
    let country_code = body.country_code.clone().unwrap_or_else(|| COUNTRY_CODE.to_owned());
    let (priority, weight) = (body.priority.unwrap_or(10), body.weight.unwrap_or(100));
    let mut checks = Checks::default();
    checks.text("/name", &body.name, NAME_CHARS_MAX);
    let sources = &body.source_networks;
    let source_networks = parse_networks(&mut checks, "/source_networks", sources, 1, NETWORKS_MAX);
    let targets = parse_targets(&mut checks, &body.targets);
    let transport = body.transport.map_or(Transport::Udp, Transport::from);
    let (tls_ca, tls_name) = (body.tls_ca.as_deref(), body.tls_name.as_deref());
    check_tls(&mut checks, tls_ca, tls_name);
    check_proof(&mut checks, transport, tls_ca.is_some(), tls_name.is_some());
    let media = parse_media(&mut checks, &body, transport);
    checks.range("/priority", priority.into(), 0, PRIORITY_MAX);
    checks.range("/weight", weight.into(), 0, PRIORITY_MAX);
    check_country_code(&mut checks, &country_code);
    check_limits(&mut checks, body.channels_max, body.cps_max);
    let tenant = body.tenant_id.map(|id| id.0);
    let side = parse_side(&mut checks, body.role, tenant);
    checks.finish()?;
    check_supported(Some(&country_code))?;
    if let Some(tenant) = tenant
        && api.store().find_tenant(tenant).await?.is_none()
    {
        return Err(problem_at(Code::ValidationFailed, "/tenant_id", Rule::UnknownReference));
    }
    let now = api.now();
    let new = NewTrunk {
        id: TrunkId::new(now.unix_ms(), api.random_bits()),
        side,
        name: body.name,
        source_networks,
        targets,
        transport,
        tls_ca: body.tls_ca,
        tls_name: body.tls_name,
        priority,
        weight,
        country_code,
        enabled: body.enabled.unwrap_or(true),
        channels_max: body.channels_max,
        cps_max: body.cps_max,
        identity: TrunkIdentity {
            trusted: body.trusted.unwrap_or(false),
            format_in: body.number_format_in.map(NumberFormat::from).unwrap_or_default(),
            format_out: body.number_format_out.map(NumberFormat::from).unwrap_or_default(),
        },
        media,
    };
    let trunk = api.store().insert_trunk(new, now.wall).await?;
    api.relay().trunks_changed();
    let (id, version) = (trunk.id, trunk.version);
    Ok(created(&format!("/v1/trunks/{id}"), version, TrunkBody::from(trunk)))
}

/// Lists trunks, newest first.
#[utoipa::path(get, path = "/trunks", operation_id = "trunks_list", tag = "trunks",
    params(TrunkFilter),
    responses((status = 200, body = ListBody<TrunkBody>), (status = "4XX", body = Problem)))]
pub async fn list(
    State(api): State<Api>,
    Query(filter): Query<TrunkFilter>,
) -> Result<axum::Json<ListBody<TrunkBody>>, ApiError> {
    let page = request(filter.limit, filter.cursor);
    let rows = api.store().list_trunks(page).await?;
    Ok(ListBody::new(rows, TrunkBody::from))
}

/// Shows one trunk.
#[utoipa::path(get, path = "/trunks/{id}", operation_id = "trunks_get", tag = "trunks",
    params(("id" = String, Path)),
    responses((status = 200, body = TrunkBody), (status = "4XX", body = Problem)))]
pub async fn get(
    State(api): State<Api>,
    PathId(id): PathId<TrunkId>,
) -> Result<Response, ApiError> {
    let trunk = api.store().find_trunk(id).await?.ok_or(ApiError::new(Code::NotFound))?;
    Ok(tagged(StatusCode::OK, trunk.version, TrunkBody::from(trunk)))
}

/// Changes a trunk; calls that are up go on.
#[utoipa::path(patch, path = "/trunks/{id}", operation_id = "trunks_patch", tag = "trunks",
    params(("id" = String, Path), IfMatch), request_body = TrunkPatch,
    responses((status = 200, body = TrunkBody), (status = "4XX", body = Problem)))]
pub async fn patch(
    State(api): State<Api>,
    PathId(id): PathId<TrunkId>,
    if_match: IfMatch,
    Json(body): Json<TrunkPatch>,
) -> Result<Response, ApiError> {
    let mut checks = Checks::default();
    checks.optional_text("/name", body.name.as_deref(), NAME_CHARS_MAX);
    let source_networks = body
        .source_networks
        .as_ref()
        .map(|sources| parse_networks(&mut checks, "/source_networks", sources, 1, NETWORKS_MAX));
    let targets = body.targets.as_ref().map(|targets| parse_targets(&mut checks, targets));
    let media_networks = body.media_networks.as_deref();
    let media_networks = media_networks.map(|texts| parse_media_networks(&mut checks, texts));
    let (tls_ca, tls_name) = (body.tls_ca.as_ref(), body.tls_name.as_ref());
    check_tls(&mut checks, tls_ca.and_then(Option::as_deref), tls_name.and_then(Option::as_deref));
    checks.range("/priority", body.priority.unwrap_or(0).into(), 0, PRIORITY_MAX);
    checks.range("/weight", body.weight.unwrap_or(0).into(), 0, PRIORITY_MAX);
    if let Some(code) = &body.country_code {
        check_country_code(&mut checks, code);
    }
    check_limits(&mut checks, body.channels_max.flatten(), body.cps_max.flatten());
    checks.finish()?;
    check_supported(body.country_code.as_deref())?;
    let trunk = api.store().find_trunk(id).await?.ok_or(ApiError::new(Code::NotFound))?;
    check_secrecy(&trunk, &body)?;
    let change = TrunkChange {
        name: body.name,
        source_networks,
        targets,
        transport: body.transport.map(Transport::from),
        tls_ca: body.tls_ca,
        tls_name: body.tls_name,
        priority: body.priority,
        weight: body.weight,
        country_code: body.country_code,
        enabled: body.enabled,
        channels_max: body.channels_max,
        cps_max: body.cps_max,
        trusted: body.trusted,
        format_in: body.number_format_in.map(NumberFormat::from),
        format_out: body.number_format_out.map(NumberFormat::from),
        media_learning: body.media_learning,
        media_networks,
        keys: body.dtmf.map(KeyWay::from),
        srtp: body.srtp.map(SrtpMode::from),
    };
    let trunk = api.store().update_trunk(id, change, if_match.version()?, api.now().wall).await?;
    let trunk = if_match.unless_changed(trunk)?;
    api.relay().trunks_changed();
    Ok(tagged(StatusCode::OK, trunk.version, TrunkBody::from(trunk)))
}

/// Removes a trunk, from its pools too.
#[utoipa::path(delete, path = "/trunks/{id}", operation_id = "trunks_delete", tag = "trunks",
    params(("id" = String, Path), IfMatch),
    responses((status = 204), (status = "4XX", body = Problem)))]
pub async fn delete(
    State(api): State<Api>,
    PathId(id): PathId<TrunkId>,
    if_match: IfMatch,
) -> Result<StatusCode, ApiError> {
    let (version, now) = (if_match.version()?, api.now().wall);
    if_match.unless_changed(api.store().delete_trunk(id, version, now).await?)?;
    api.relay().trunks_changed();
    Ok(StatusCode::NO_CONTENT)
}
