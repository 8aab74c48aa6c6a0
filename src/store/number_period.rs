//! The history of a subscriber's numbers: since when each was there, and a commitment to it. It
//! proves later which number an X led to, to whoever is shown the number then, and tells nothing.

use std::time::SystemTime;

use jiff_sqlx::Timestamp;
use uuid::Uuid;

use super::convert::{from_sql, to_sql, to_stored_precision, unix_ms, uuid};
use super::error::StoreError;
use super::page::{Page, PageRequest};
use super::{TenantFacts, TenantTx};
use crate::domain::id::SubscriberId;
use crate::domain::number::RealNumber;
use crate::vault::{NumberCommitment, SealedNumber, TenantKeys, random_u128};

/// A time for which a subscriber had one number.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NumberPeriod {
    /// Since when.
    pub since: SystemTime,
    /// When it was changed; absent of the number that it has now.
    pub until: Option<SystemTime>,
    /// To the number.
    pub commitment: NumberCommitment,
    id: u128,
}

type PeriodRow = (Uuid, Timestamp, Option<Timestamp>, Vec<u8>);

/// What is known of the number that is there.
#[derive(sqlx::FromRow)]
pub(super) struct NumberNow {
    number_sealed: Option<Vec<u8>>,
    key_sealed: Option<Vec<u8>>,
    /// A number is all that ever changes of a subscriber.
    updated_at: Timestamp,
}

impl NumberNow {
    fn open(
        self,
        keys: &TenantKeys,
        id: SubscriberId,
    ) -> Result<Option<(SystemTime, RealNumber)>, StoreError> {
        let Some((number, key)) = self.number_sealed.zip(self.key_sealed) else { return Ok(None) };
        let number = keys.open_number(id, &SealedNumber { number, key })?;
        Ok(Some((from_sql(self.updated_at), number)))
    }
}

impl TenantTx {
    /// The periods of a subscriber of this tenant, newest first; empty of one that is not there.
    ///
    /// # Errors
    /// [`StoreError`] when the database or the vault fails.
    pub async fn list_number_periods(
        &mut self,
        subscriber: SubscriberId,
        page: PageRequest,
    ) -> Result<Page<NumberPeriod>, StoreError> {
        let rows: Vec<PeriodRow> = sqlx::query_as(
            "select id, since, until, commitment
             from (select id, since, lead(since) over (order by id) as until, commitment
                   from number_period where tenant_id = $1 and subscriber_id = $2) as periods
             where id < $3 order by id desc limit $4",
        )
        .bind(uuid(self.tenant().as_u128()))
        .bind(uuid(subscriber.as_u128()))
        .bind(page.before())
        .bind(page.fetch())
        .fetch_all(self.connection())
        .await?;
        let read = |(id, since, until, commitment): PeriodRow| {
            let commitment = NumberCommitment::read(&commitment)
                .ok_or(StoreError::Unreadable { column: "number_period.commitment" })?;
            let (since, until, id) = (from_sql(since), until.map(from_sql), id.as_u128());
            Ok(NumberPeriod { since, until, commitment, id })
        };
        let mut periods = rows.into_iter().map(read).collect::<Result<Vec<_>, StoreError>>()?;
        if periods.is_empty() {
            periods.extend(self.find_first_period(subscriber).await?);
        }
        Ok(page.cut(periods, |period| period.id))
    }

    /// The period of a number that was never changed. It is committed to when somebody asks.
    async fn find_first_period(
        &mut self,
        subscriber: SubscriberId,
    ) -> Result<Option<NumberPeriod>, StoreError> {
        let facts = self.facts().await?;
        let now: Option<NumberNow> = sqlx::query_as(
            "select number_sealed, key_sealed, updated_at from subscriber s
             where tenant_id = $1 and id = $2 and not exists (
                 select from number_period p
                 where p.tenant_id = s.tenant_id and p.subscriber_id = s.id)",
        )
        .bind(uuid(self.tenant().as_u128()))
        .bind(uuid(subscriber.as_u128()))
        .fetch_optional(self.connection())
        .await?;
        let Some(now) = now else { return Ok(None) };
        let opened = now.open(&facts.keys, subscriber)?;
        Ok(opened.map(|(since, number)| NumberPeriod {
            since,
            until: None,
            commitment: commit(&facts.keys, subscriber, since, &number),
            id: 0,
        }))
    }

    /// Writes down that a subscriber has another number from `now` on. Its row is locked.
    pub(super) async fn begin_number_period(
        &mut self,
        now: SystemTime,
        facts: &TenantFacts,
        subscriber: SubscriberId,
        before: NumberNow,
        number: &RealNumber,
    ) -> Result<(), StoreError> {
        let last: Option<Uuid> = sqlx::query_scalar(
            "select id from number_period where tenant_id = $1 and subscriber_id = $2
             order by id desc limit 1",
        )
        .bind(uuid(self.tenant().as_u128()))
        .bind(uuid(subscriber.as_u128()))
        .fetch_optional(self.connection())
        .await?;
        let mut last = last.map_or(0, |id| id.as_u128());
        let keys = &facts.keys;
        if last == 0
            && let Some((since, old)) = before.open(keys, subscriber)?
        {
            last = self.write_period(keys, subscriber, since, &old, last).await?;
        }
        let since = to_stored_precision(now);
        self.write_period(keys, subscriber, since, number, last).await.map(|_| ())
    }

    async fn write_period(
        &mut self,
        keys: &TenantKeys,
        subscriber: SubscriberId,
        since: SystemTime,
        number: &RealNumber,
        last: u128,
    ) -> Result<u128, StoreError> {
        // Identifiers of one moment are drawn by chance, and a clock may step back.
        let drawn = SubscriberId::new(unix_ms(since), random_u128()?).as_u128();
        let id = drawn.max(last.saturating_add(1));
        sqlx::query(
            "insert into number_period (tenant_id, id, subscriber_id, since, commitment)
             values ($1, $2, $3, $4, $5)",
        )
        .bind(uuid(self.tenant().as_u128()))
        .bind(uuid(id))
        .bind(uuid(subscriber.as_u128()))
        .bind(to_sql(since)?)
        .bind(commit(keys, subscriber, since, number).as_bytes().as_slice())
        .execute(self.connection())
        .await?;
        Ok(id)
    }
}

fn commit(
    keys: &TenantKeys,
    subscriber: SubscriberId,
    since: SystemTime,
    number: &RealNumber,
) -> NumberCommitment {
    let since = since.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let since_us = u64::try_from(since.as_micros()).unwrap_or(u64::MAX);
    keys.commit_number(subscriber, since_us, number)
}
