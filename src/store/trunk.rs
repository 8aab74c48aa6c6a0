//! Trunks: the SIP peers, written by the platform and read by the relay.

use std::sync::Arc;
use std::time::SystemTime;

use uuid::Uuid;

use super::convert::{to_sql, uuid};
use super::page::{Page, PageRequest};
use super::trunk_row::{Row, columns};
use super::{RelayPool, RouteTable, Store, StoreError};
use crate::domain::id::{TenantId, TrunkId};
use crate::domain::network::{Network, Transport, TrunkPlace};
use crate::domain::trunk_media::{KeyWay, SrtpMode, TrunkMedia};
use crate::domain::trust::{NumberFormat, TrunkIdentity};

/// The most trunks that the relay loads.
pub const TRUNKS_MAX: i64 = 10_000;

/// Which side of the relay a trunk is on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TrunkSide {
    /// A tenant's PBX.
    Insurer {
        /// Whose.
        tenant: TenantId,
    },
    /// A carrier, reached on behalf of the platform.
    Carrier,
}

impl TrunkSide {
    const fn label(self) -> &'static str {
        match self {
            Self::Insurer { .. } => "insurer",
            Self::Carrier => "carrier",
        }
    }

    fn tenant(self) -> Option<Uuid> {
        match self {
            Self::Insurer { tenant } => Some(uuid(tenant.as_u128())),
            Self::Carrier => None,
        }
    }
}

/// A trunk.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Trunk {
    /// Its identifier.
    pub id: TrunkId,
    /// Which side, and whose.
    pub side: TrunkSide,
    /// Unique among the living.
    pub name: String,
    /// Only these may send to us as this trunk.
    pub source_networks: Vec<Network>,
    /// Where it listens, tried in this order.
    pub targets: Vec<TrunkPlace>,
    /// How SIP travels to it. A trunk with [`Transport::Tls`] is heard over TLS alone, and no other
    /// is heard over TLS.
    pub transport: Transport,
    /// PEM: the certificates that its own must chain to, whichever side opens the connection.
    pub tls_ca: Option<String>,
    /// The name or address that its certificate must hold; the target itself when absent.
    pub tls_name: Option<String>,
    /// Lower is tried first.
    pub priority: u16,
    /// Share among equals.
    pub weight: u16,
    /// Calling code of the national numbers it sends.
    pub country_code: String,
    /// Takes part at all.
    pub enabled: bool,
    /// The most calls at once.
    pub channels_max: Option<u32>,
    /// The most new calls in a second.
    pub cps_max: Option<u32>,
    /// How far it is believed.
    pub identity: TrunkIdentity,
    /// How its media behaves.
    pub media: TrunkMedia,
    /// Counts the changes.
    pub version: u64,
    /// When it was made.
    pub created_at: SystemTime,
    /// When it was last changed.
    pub updated_at: SystemTime,
}

/// What is wrong with a trunk in the database. The API refuses such ones; an earlier one, or
/// another hand, may have stored them.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum TrunkFault {
    /// A certificate is demanded, and none is ever asked for: it takes no part.
    NotTls,
    /// Its certificate has to hold a name, and nothing says what it has to chain to.
    NoRoots,
    /// What it and we prove to each other cannot be read: it takes no part.
    BadSecret,
}

impl TrunkFault {
    const fn of(transport: Transport, has_ca: bool, has_name: bool) -> Option<Self> {
        match transport {
            Transport::Tls if has_name && !has_ca => Some(Self::NoRoots),
            Transport::Udp | Transport::Tcp if has_ca || has_name => Some(Self::NotTls),
            Transport::Udp | Transport::Tcp | Transport::Tls => None,
        }
    }

    /// What comes of it, for an operator.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::NotTls => "is shut out: it has tls_ca or tls_name, and its transport is not tls",
            Self::NoRoots => {
                "is not heard: it has tls_name and no tls_ca, so that no certificate is its own"
            }
            Self::BadSecret => "is shut out: its secret cannot be read",
        }
    }
}

impl Trunk {
    /// What is wrong with it, as far as its own settings say.
    #[must_use]
    pub const fn fault(&self) -> Option<TrunkFault> {
        TrunkFault::of(self.transport, self.tls_ca.is_some(), self.tls_name.is_some())
    }
}

/// A trunk to be made.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "those of Trunk")]
pub struct NewTrunk {
    pub id: TrunkId,
    pub side: TrunkSide,
    pub name: String,
    pub source_networks: Vec<Network>,
    pub targets: Vec<TrunkPlace>,
    pub transport: Transport,
    pub tls_ca: Option<String>,
    pub tls_name: Option<String>,
    pub priority: u16,
    pub weight: u16,
    pub country_code: String,
    pub enabled: bool,
    pub channels_max: Option<u32>,
    pub cps_max: Option<u32>,
    pub identity: TrunkIdentity,
    pub media: TrunkMedia,
}

/// What changes of a trunk; absent fields stay.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "those of Trunk")]
pub struct TrunkChange {
    pub name: Option<String>,
    pub source_networks: Option<Vec<Network>>,
    pub targets: Option<Vec<TrunkPlace>>,
    pub transport: Option<Transport>,
    pub tls_ca: Option<Option<String>>,
    pub tls_name: Option<Option<String>>,
    pub priority: Option<u16>,
    pub weight: Option<u16>,
    pub country_code: Option<String>,
    pub enabled: Option<bool>,
    pub channels_max: Option<Option<u32>>,
    pub cps_max: Option<Option<u32>>,
    pub trusted: Option<bool>,
    pub format_in: Option<NumberFormat>,
    pub format_out: Option<NumberFormat>,
    pub media_learning: Option<bool>,
    pub media_networks: Option<Arc<[Network]>>,
    pub keys: Option<KeyWay>,
    pub srtp: Option<SrtpMode>,
}

impl RelayPool {
    /// Loads every trunk that takes part, for the table of source addresses and of targets.
    ///
    /// # Errors
    /// [`StoreError`] when the database is away.
    pub async fn load_trunks(&self) -> Result<Vec<Trunk>, StoreError> {
        let rows: Vec<Row> = sqlx::query_as(concat!(
            "select ",
            columns!(),
            " from trunk where deleted_at is null and enabled order by priority, id limit $1",
        ))
        .bind(TRUNKS_MAX)
        .fetch_all(&self.0)
        .await?;
        rows.into_iter().map(Trunk::try_from).collect()
    }
}

impl Store {
    /// Makes a trunk.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the name is taken.
    pub async fn insert_trunk(&self, new: NewTrunk, now: SystemTime) -> Result<Trunk, StoreError> {
        let mut tx = self.platform().await?;
        let row: Row = sqlx::query_as(concat!(
            "insert into trunk (id, tenant_id, role, name, source_networks, targets, priority,
                     weight, country_code, enabled, channels_max, cps_max, transport,
                     tls_ca, tls_name, trusted, created_at, updated_at,
                     number_format_in, number_format_out, media_learning, dtmf, srtp,
                     media_networks)
                 values ($1, $2, $3, $4, $5::text[]::cidr[], $6, $7, $8, $9, $10, $11, $12, $14,
                     $15, $16, $17, $13, $13, $18, $19, $20, $21, $22, $23::text[]::cidr[])
                 returning ",
            columns!(),
        ))
        .bind(uuid(new.id.as_u128()))
        .bind(new.side.tenant())
        .bind(new.side.label())
        .bind(new.name)
        .bind(texts(&new.source_networks))
        .bind(texts(&new.targets))
        .bind(new.priority.cast_signed())
        .bind(new.weight.cast_signed())
        .bind(new.country_code)
        .bind(new.enabled)
        .bind(new.channels_max.map(u32::cast_signed))
        .bind(new.cps_max.map(u32::cast_signed))
        .bind(to_sql(now)?)
        .bind(new.transport.label())
        .bind(new.tls_ca)
        .bind(new.tls_name)
        .bind(new.identity.trusted)
        .bind(new.identity.format_in.label())
        .bind(new.identity.format_out.label())
        .bind(new.media.learning)
        .bind(new.media.keys.label())
        .bind(new.media.srtp.label())
        .bind(texts(&new.media.networks))
        .fetch_one(tx.connection())
        .await?;
        tx.touch_routes(RouteTable::Trunk);
        tx.commit().await?;
        row.try_into()
    }

    /// Finds a living trunk.
    ///
    /// # Errors
    /// [`StoreError`] when the database is away.
    pub async fn find_trunk(&self, id: TrunkId) -> Result<Option<Trunk>, StoreError> {
        let mut tx = self.platform().await?;
        let row: Option<Row> = sqlx::query_as(concat!(
            "select ",
            columns!(),
            " from trunk where id = $1 and deleted_at is null"
        ))
        .bind(uuid(id.as_u128()))
        .fetch_optional(tx.connection())
        .await?;
        row.map(Trunk::try_from).transpose()
    }

    /// Lists living trunks, newest first.
    ///
    /// # Errors
    /// [`StoreError`] when the database is away.
    pub async fn list_trunks(&self, page: PageRequest) -> Result<Page<Trunk>, StoreError> {
        let mut tx = self.platform().await?;
        let rows: Vec<Row> = sqlx::query_as(concat!(
            "select ",
            columns!(),
            " from trunk where id < $1 and deleted_at is null order by id desc limit $2",
        ))
        .bind(page.before())
        .bind(page.fetch())
        .fetch_all(tx.connection())
        .await?;
        let trunks = rows.into_iter().map(Trunk::try_from).collect::<Result<_, _>>()?;
        Ok(page.page(trunks, |trunk: &Trunk| trunk.id.as_u128()))
    }

    /// Changes a trunk if it has the wanted `version`; `None` when it has not, or is not there.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the name is taken.
    pub async fn update_trunk(
        &self,
        id: TrunkId,
        change: TrunkChange,
        version: Option<u64>,
        now: SystemTime,
    ) -> Result<Option<Trunk>, StoreError> {
        let mut tx = self.platform().await?;
        let row: Option<Row> = sqlx::query_as(concat!(
            "update trunk set
                     name = coalesce($3, name),
                     source_networks = coalesce($4::text[]::cidr[], source_networks),
                     targets = coalesce($5, targets),
                     priority = coalesce($6, priority),
                     weight = coalesce($7, weight),
                     country_code = coalesce($8, country_code),
                     enabled = coalesce($9, enabled),
                     channels_max = case when $10 then $11 else channels_max end,
                     cps_max = case when $12 then $13 else cps_max end,
                     transport = coalesce($15, transport),
                     tls_ca = case when $16 then $17 else tls_ca end,
                     tls_name = case when $18 then $19 else tls_name end,
                     trusted = coalesce($20, trusted),
                     number_format_in = coalesce($21, number_format_in),
                     number_format_out = coalesce($22, number_format_out),
                     media_learning = coalesce($23, media_learning),
                     dtmf = coalesce($24, dtmf),
                     srtp = coalesce($25, srtp),
                     media_networks = coalesce($26::text[]::cidr[], media_networks),
                     version = version + 1, updated_at = $14
                 where id = $1 and deleted_at is null and ($2::bigint is null or version = $2)
                 returning ",
            columns!(),
        ))
        .bind(uuid(id.as_u128()))
        .bind(version.map(u64::cast_signed))
        .bind(change.name)
        .bind(change.source_networks.as_deref().map(texts))
        .bind(change.targets.as_deref().map(texts))
        .bind(change.priority.map(u16::cast_signed))
        .bind(change.weight.map(u16::cast_signed))
        .bind(change.country_code)
        .bind(change.enabled)
        .bind(change.channels_max.is_some())
        .bind(change.channels_max.flatten().map(u32::cast_signed))
        .bind(change.cps_max.is_some())
        .bind(change.cps_max.flatten().map(u32::cast_signed))
        .bind(to_sql(now)?)
        .bind(change.transport.map(Transport::label))
        .bind(change.tls_ca.is_some())
        .bind(change.tls_ca.flatten())
        .bind(change.tls_name.is_some())
        .bind(change.tls_name.flatten())
        .bind(change.trusted)
        .bind(change.format_in.map(NumberFormat::label))
        .bind(change.format_out.map(NumberFormat::label))
        .bind(change.media_learning)
        .bind(change.keys.map(KeyWay::label))
        .bind(change.srtp.map(SrtpMode::label))
        .bind(change.media_networks.as_deref().map(texts))
        .fetch_optional(tx.connection())
        .await?;
        tx.touch_routes(RouteTable::Trunk);
        tx.commit().await?;
        row.map(Trunk::try_from).transpose()
    }

    /// Removes a trunk from sight and from its pools; nothing when it is not there in that version.
    ///
    /// # Errors
    /// [`StoreError`] when the database is away.
    pub async fn delete_trunk(
        &self,
        id: TrunkId,
        version: Option<u64>,
        now: SystemTime,
    ) -> Result<Option<()>, StoreError> {
        let mut tx = self.platform().await?;
        let deleted = sqlx::query(
            "update trunk set deleted_at = $2, enabled = false, version = version + 1,
                 updated_at = $2
             where id = $1 and deleted_at is null and ($3::bigint is null or version = $3)",
        )
        .bind(uuid(id.as_u128()))
        .bind(to_sql(now)?)
        .bind(version.map(u64::cast_signed))
        .execute(tx.connection())
        .await?
        .rows_affected();
        if deleted == 0 {
            return Ok(None);
        }
        sqlx::query("delete from trunk_access where trunk_id = $1")
            .bind(uuid(id.as_u128()))
            .execute(tx.connection())
            .await?;
        sqlx::query("delete from pool_trunk where trunk_id = $1")
            .bind(uuid(id.as_u128()))
            .execute(tx.connection())
            .await?;
        tx.touch_routes(RouteTable::Trunk);
        tx.commit().await?;
        Ok(Some(()))
    }

    /// Those of `ids` that are living carrier trunks.
    ///
    /// # Errors
    /// [`StoreError`] when the database is away.
    pub async fn filter_carrier_trunks(&self, ids: &[TrunkId]) -> Result<Vec<TrunkId>, StoreError> {
        let mut tx = self.platform().await?;
        let ids: Vec<Uuid> = ids.iter().map(|id| uuid(id.as_u128())).collect();
        let found: Vec<(Uuid,)> = sqlx::query_as(
            "select id from trunk
             where id = any ($1) and role = 'carrier' and deleted_at is null",
        )
        .bind(ids)
        .fetch_all(tx.connection())
        .await?;
        Ok(found.into_iter().map(|(id,)| TrunkId::from_u128(id.as_u128())).collect())
    }
}

fn texts<T: ToString>(items: &[T]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_that_is_never_asked_for_or_cannot_be_verified_proves_nothing() {
        let of = |transport| {
            [(false, false), (true, false), (true, true), (false, true)]
                .map(|(has_ca, has_name)| TrunkFault::of(transport, has_ca, has_name))
        };
        let not_tls = Some(TrunkFault::NotTls);
        assert_eq!(of(Transport::Udp), [None, not_tls, not_tls, not_tls]);
        assert_eq!(of(Transport::Tcp), of(Transport::Udp));
        assert_eq!(of(Transport::Tls), [None, None, None, Some(TrunkFault::NoRoots)]);
    }
}
