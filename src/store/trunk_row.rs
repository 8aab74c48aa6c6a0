//! A row of the table of trunks as the noun of the store.

use jiff_sqlx::Timestamp;
use sqlx::FromRow;
use uuid::Uuid;

use super::StoreError;
use super::convert::{from_sql, label};
use super::trunk::{Trunk, TrunkSide};
use crate::domain::id::{TenantId, TrunkId};
use crate::domain::network::{Network, Transport, TrunkPlace};
use crate::domain::trunk_media::{KeyWay, SrtpMode, TrunkMedia};
use crate::domain::trust::{NumberFormat, TrunkIdentity};

/// What a [`Row`] is read from. By their names: a node of the release before keeps its prepared
/// statements while a migration adds a column, and `*` would then mean something else to it.
macro_rules! columns {
    () => {
        "id, tenant_id, role, name, source_networks::text[] as networks, targets, transport, \
         tls_ca, tls_name, priority, weight, country_code, enabled, channels_max, cps_max, \
         trusted, number_format_in, number_format_out, media_learning, \
         media_networks::text[] as media_from, dtmf, srtp, version, created_at, updated_at"
    };
}
pub(super) use columns;

/// What a statement gives back of a trunk: `*, source_networks::text[] as networks` and
/// `media_networks::text[] as media_from`.
#[derive(FromRow)]
pub(super) struct Row {
    id: Uuid,
    tenant_id: Option<Uuid>,
    role: String,
    name: String,
    networks: Vec<String>,
    targets: Vec<String>,
    transport: String,
    tls_ca: Option<String>,
    tls_name: Option<String>,
    priority: i16,
    weight: i16,
    country_code: String,
    enabled: bool,
    channels_max: Option<i32>,
    cps_max: Option<i32>,
    trusted: bool,
    number_format_in: String,
    number_format_out: String,
    media_learning: bool,
    media_from: Vec<String>,
    dtmf: String,
    srtp: String,
    version: i64,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl TryFrom<Row> for Trunk {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let tenant = row.tenant_id.map(|id| TenantId::from_u128(id.as_u128()));
        let side = label("trunk.role", &row.role, |role| match (role, tenant) {
            ("insurer", Some(tenant)) => Some(TrunkSide::Insurer { tenant }),
            ("carrier", None) => Some(TrunkSide::Carrier),
            _ => None,
        })?;
        let network =
            |text: &String| label("trunk.source_networks", text, |text| Network::parse(text).ok());
        let media_network =
            |text: &String| label("trunk.media_networks", text, |text| Network::parse(text).ok());
        let target =
            |text: &String| label("trunk.targets", text, |text| TrunkPlace::parse(text).ok());
        Ok(Self {
            id: TrunkId::from_u128(row.id.as_u128()),
            side,
            name: row.name,
            source_networks: row.networks.iter().map(network).collect::<Result<_, _>>()?,
            targets: row.targets.iter().map(target).collect::<Result<_, _>>()?,
            transport: label("trunk.transport", &row.transport, Transport::find_label)?,
            tls_ca: row.tls_ca,
            tls_name: row.tls_name,
            priority: u16::try_from(row.priority).unwrap_or(u16::MAX),
            weight: u16::try_from(row.weight).unwrap_or(0),
            country_code: row.country_code,
            enabled: row.enabled,
            channels_max: row.channels_max.and_then(|max| max.try_into().ok()),
            cps_max: row.cps_max.and_then(|max| max.try_into().ok()),
            identity: TrunkIdentity {
                trusted: row.trusted,
                format_in: label(
                    "trunk.number_format_in",
                    &row.number_format_in,
                    NumberFormat::find_label,
                )?,
                format_out: label(
                    "trunk.number_format_out",
                    &row.number_format_out,
                    NumberFormat::find_label,
                )?,
            },
            media: TrunkMedia {
                learning: row.media_learning,
                networks: row.media_from.iter().map(media_network).collect::<Result<_, _>>()?,
                keys: label("trunk.dtmf", &row.dtmf, KeyWay::find_label)?,
                srtp: label("trunk.srtp", &row.srtp, SrtpMode::find_label)?,
            },
            version: row.version.unsigned_abs(),
            created_at: from_sql(row.created_at),
            updated_at: from_sql(row.updated_at),
        })
    }
}
