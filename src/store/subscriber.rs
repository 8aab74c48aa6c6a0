//! Subscribers: a real number goes in sealed, and comes out masked.

use std::time::SystemTime;

use jiff_sqlx::Timestamp;
use uuid::Uuid;

use super::convert::{from_sql, to_sql, to_stored_precision, unix_ms, uuid};
use super::error::StoreError;
use super::number::read_digits;
use super::number_period::NumberNow;
use super::page::{Page, PageRequest};
use super::{RouteTable, TenantFacts, TenantTx};
use crate::domain::id::SubscriberId;
use crate::domain::number::RealNumber;
use crate::vault::{SealedNumber, TenantKeys, random_u128};

/// A subscriber as the tenant may see it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SubscriberRecord {
    /// Which.
    pub id: SubscriberId,
    /// Such as `138****0000`; absent after an erasure.
    pub masked: Option<String>,
    /// `zh-CN` or `en`.
    pub language: String,
    /// `minor`, `adult` or `senior`.
    pub age_band: Option<String>,
    /// An IANA zone: quiet hours are counted there.
    pub time_zone: String,
    /// Counts its changes.
    pub version: u64,
    /// When it was made.
    pub created_at: SystemTime,
    /// When it last changed.
    pub updated_at: SystemTime,
}

/// What is known of a new subscriber beside the number; what is absent comes from the tenant.
#[derive(Clone, Debug, Default)]
pub struct NewSubscriber {
    /// `zh-CN` or `en`.
    pub language: Option<String>,
    /// `minor`, `adult` or `senior`.
    pub age_band: Option<String>,
    /// An IANA zone.
    pub time_zone: Option<String>,
}

/// What became of a new subscriber.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SubscriberOutcome {
    /// Made.
    Created(SubscriberRecord),
    /// This tenant knows the number already; nothing was changed.
    Existing(SubscriberRecord),
    /// This tenant binds to subscribers that others enrol.
    RealNumbersRefused,
    /// It is a virtual number of ours, of whatever tenant and in whatever state.
    NumberVirtual,
}

/// What became of a change of number.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum NumberChange {
    /// Done; bindings and their X stay.
    Changed(SubscriberRecord),
    /// There is no such subscriber, or it was erased.
    NotFound,
    /// Another subscriber of this tenant has the number.
    NumberTaken,
    /// Somebody has changed it meanwhile.
    VersionMismatch,
    /// This tenant binds to subscribers that others enrol.
    RealNumbersRefused,
    /// It is a virtual number of ours, of whatever tenant and in whatever state.
    NumberVirtual,
}

#[derive(sqlx::FromRow)]
struct SubscriberRow {
    id: Uuid,
    number_sealed: Option<Vec<u8>>,
    key_sealed: Option<Vec<u8>>,
    language: String,
    age_band: Option<String>,
    time_zone: String,
    version: i64,
    created_at: Timestamp,
    updated_at: Timestamp,
}

#[derive(sqlx::FromRow)]
struct LockedRow {
    version: i64,
    lookup_hash: Vec<u8>,
    #[sqlx(flatten)]
    number: NumberNow,
}

impl SubscriberRow {
    fn read(self, keys: &TenantKeys) -> Result<SubscriberRecord, StoreError> {
        let id = SubscriberId::from_u128(self.id.as_u128());
        Ok(SubscriberRecord {
            id,
            masked: masked(keys, id, self.number_sealed, self.key_sealed)?,
            language: self.language,
            age_band: self.age_band,
            time_zone: self.time_zone,
            version: self.version.unsigned_abs(),
            created_at: from_sql(self.created_at),
            updated_at: from_sql(self.updated_at),
        })
    }
}

/// The masked form is computed whenever it is shown, and kept nowhere.
pub(super) fn masked(
    keys: &TenantKeys,
    id: SubscriberId,
    number: Option<Vec<u8>>,
    key: Option<Vec<u8>>,
) -> Result<Option<String>, StoreError> {
    let Some((number, key)) = number.zip(key) else { return Ok(None) };
    Ok(Some(keys.open_number(id, &SealedNumber { number, key })?.masked()))
}

impl TenantTx {
    /// Adds a subscriber, or finds the one with this number.
    ///
    /// # Errors
    /// [`StoreError`] when the database or the vault fails.
    pub async fn create_subscriber(
        &mut self,
        now: SystemTime,
        number: &RealNumber,
        new: NewSubscriber,
    ) -> Result<SubscriberOutcome, StoreError> {
        let facts = self.facts().await?;
        if !facts.accept_real_numbers {
            return Ok(SubscriberOutcome::RealNumbersRefused);
        }
        if self.is_virtual(number).await? {
            return Ok(SubscriberOutcome::NumberVirtual);
        }
        if let Some(created) = self.insert_subscriber(now, &facts, number, &new).await? {
            return Ok(SubscriberOutcome::Created(created));
        }
        let existing = self.find_by_number(&facts.keys, number).await?;
        let existing = existing.ok_or(StoreError::from(sqlx::Error::RowNotFound))?;
        Ok(SubscriberOutcome::Existing(existing))
    }

    /// Finds a subscriber of this tenant.
    ///
    /// # Errors
    /// [`StoreError`] when the database or the vault fails.
    pub async fn find_subscriber(
        &mut self,
        id: SubscriberId,
    ) -> Result<Option<SubscriberRecord>, StoreError> {
        let facts = self.facts().await?;
        let row: Option<SubscriberRow> = sqlx::query_as(
            "select id, number_sealed, key_sealed, language, age_band, time_zone, version,
                    created_at, updated_at
             from subscriber where tenant_id = $1 and id = $2",
        )
        .bind(uuid(self.tenant().as_u128()))
        .bind(uuid(id.as_u128()))
        .fetch_optional(self.connection())
        .await?;
        row.map(|row| row.read(&facts.keys)).transpose()
    }

    /// This tenant's subscribers, newest first.
    ///
    /// # Errors
    /// [`StoreError`] when the database or the vault fails.
    pub async fn list_subscribers(
        &mut self,
        page: PageRequest,
    ) -> Result<Page<SubscriberRecord>, StoreError> {
        let facts = self.facts().await?;
        let rows: Vec<SubscriberRow> = sqlx::query_as(
            "select id, number_sealed, key_sealed, language, age_band, time_zone, version,
                    created_at, updated_at
             from subscriber where tenant_id = $1 and id < $2 order by id desc limit $3",
        )
        .bind(uuid(self.tenant().as_u128()))
        .bind(page.before())
        .bind(page.fetch())
        .fetch_all(self.connection())
        .await?;
        let read: Result<Vec<_>, _> = rows.into_iter().map(|row| row.read(&facts.keys)).collect();
        Ok(page.page(read?, |subscriber| subscriber.id.as_u128()))
    }

    /// Gives a subscriber another number, under a new key; the old one is gone.
    ///
    /// # Errors
    /// [`StoreError`] when the database or the vault fails.
    pub async fn replace_number(
        &mut self,
        now: SystemTime,
        id: SubscriberId,
        number: &RealNumber,
        version: Option<u64>,
    ) -> Result<NumberChange, StoreError> {
        let facts = self.facts().await?;
        if !facts.accept_real_numbers {
            return Ok(NumberChange::RealNumbersRefused);
        }
        let tenant = uuid(self.tenant().as_u128());
        let Some(stored) = self.lock_number(id).await? else { return Ok(NumberChange::NotFound) };
        if version.is_some_and(|version| version != stored.version.unsigned_abs()) {
            return Ok(NumberChange::VersionMismatch);
        }
        if self.is_virtual(number).await? {
            return Ok(NumberChange::NumberVirtual);
        }
        let hash = facts.keys.lookup_hash(number);
        // Asked first, since a violated constraint would undo the whole transaction.
        let taken: bool = sqlx::query_scalar(
            "select exists (select from subscriber
                            where tenant_id = $1 and lookup_hash = $2 and id <> $3)",
        )
        .bind(tenant)
        .bind(hash.as_bytes().as_slice())
        .bind(uuid(id.as_u128()))
        .fetch_one(self.connection())
        .await?;
        if taken {
            return Ok(NumberChange::NumberTaken);
        }
        if stored.lookup_hash != hash.as_bytes() {
            self.begin_number_period(now, &facts, id, stored.number, number).await?;
        }
        let sealed = facts.keys.seal_number(id, number)?;
        let row: SubscriberRow = sqlx::query_as(
            "update subscriber set number_sealed = $3, key_sealed = $4, lookup_hash = $5,
                 version = version + 1, updated_at = $6
             where tenant_id = $1 and id = $2
             returning id, number_sealed, key_sealed, language, age_band, time_zone, version,
                       created_at, updated_at",
        )
        .bind(tenant)
        .bind(uuid(id.as_u128()))
        .bind(sealed.number)
        .bind(sealed.key)
        .bind(hash.as_bytes().as_slice())
        .bind(to_sql(now)?)
        .fetch_one(self.connection())
        .await?;
        self.touch_routes(RouteTable::Subscriber);
        Ok(NumberChange::Changed(row.read(&facts.keys)?))
    }

    async fn lock_number(&mut self, id: SubscriberId) -> Result<Option<LockedRow>, StoreError> {
        Ok(sqlx::query_as(
            "select version, lookup_hash, number_sealed, key_sealed, updated_at from subscriber
             where tenant_id = $1 and id = $2 and erased_at is null for update",
        )
        .bind(uuid(self.tenant().as_u128()))
        .bind(uuid(id.as_u128()))
        .fetch_optional(self.connection())
        .await?)
    }

    /// Whether a number is one of our virtual numbers. A call to it would come back to us, and
    /// would show somebody's X to the subscriber's carrier. It makes no difference who holds that
    /// X: the answer tells no more than dialling the number does, and nothing of the holder.
    pub(super) async fn is_virtual(&mut self, number: &RealNumber) -> Result<bool, StoreError> {
        // Only the ending is asked for: no number in clear may reach the database.
        let alike: Vec<(String, Option<String>)> =
            sqlx::query_as("select digits, country_code from virtual_numbers_ending($1)")
                .bind(number.ending())
                .fetch_all(self.connection())
                .await?;
        for (digits, country) in alike {
            let digits = read_digits(&digits)?;
            // Without carriers only the full length can be compared.
            if number.is_virtual(&digits, country.as_deref().unwrap_or_default()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// `None` when this tenant has a subscriber with this number already.
    pub(super) async fn insert_subscriber(
        &mut self,
        now: SystemTime,
        facts: &TenantFacts,
        number: &RealNumber,
        new: &NewSubscriber,
    ) -> Result<Option<SubscriberRecord>, StoreError> {
        let id = SubscriberId::new(unix_ms(now), random_u128()?);
        let sealed = facts.keys.seal_number(id, number)?;
        let language = new.language.as_ref().unwrap_or(&facts.language);
        let time_zone = new.time_zone.as_ref().unwrap_or(&facts.time_zone);
        let inserted = sqlx::query(
            "insert into subscriber (tenant_id, id, number_sealed, key_sealed, lookup_hash,
                 language, age_band, time_zone, created_at, updated_at)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9)
             on conflict (tenant_id, lookup_hash) do nothing",
        )
        .bind(uuid(self.tenant().as_u128()))
        .bind(uuid(id.as_u128()))
        .bind(sealed.number)
        .bind(sealed.key)
        .bind(facts.keys.lookup_hash(number).as_bytes().as_slice())
        .bind(language)
        .bind(&new.age_band)
        .bind(time_zone)
        .bind(to_sql(now)?)
        .execute(self.connection())
        .await?
        .rows_affected();
        let now = to_stored_precision(now);
        Ok((inserted == 1).then(|| SubscriberRecord {
            id,
            masked: Some(number.masked()),
            language: language.clone(),
            age_band: new.age_band.clone(),
            time_zone: time_zone.clone(),
            version: 1,
            created_at: now,
            updated_at: now,
        }))
    }

    pub(super) async fn find_by_number(
        &mut self,
        keys: &TenantKeys,
        number: &RealNumber,
    ) -> Result<Option<SubscriberRecord>, StoreError> {
        let row: Option<SubscriberRow> = sqlx::query_as(
            "select id, number_sealed, key_sealed, language, age_band, time_zone, version,
                    created_at, updated_at
             from subscriber where tenant_id = $1 and lookup_hash = $2",
        )
        .bind(uuid(self.tenant().as_u128()))
        .bind(keys.lookup_hash(number).as_bytes().as_slice())
        .fetch_optional(self.connection())
        .await?;
        row.map(|row| row.read(keys)).transpose()
    }
}
