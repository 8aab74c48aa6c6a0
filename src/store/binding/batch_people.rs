//! Whom the rows of a batch protect: found all at once, sealed where they are new, and enrolled.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;

use uuid::Uuid;

use super::{BindingRecord, NewBinding, SubscriberChoice};
use crate::domain::id::SubscriberId;
use crate::domain::number::{ENDING_DIGITS, VirtualNumber};
use crate::store::convert::{to_sql, unix_ms, uuid};
use crate::store::error::{Fault, StoreError};
use crate::store::number::read_digits;
use crate::store::subscriber::masked;
use crate::store::{TenantFacts, TenantTx};
use crate::vault::{LookupHash, SealedNumber, TenantKeys, VaultError, random_u128};

/// Endings that one question holds, so that its answer is bounded too.
const ENDINGS_AT_ONCE: usize = 250;

/// How a row names its subscriber.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Who {
    Id(SubscriberId),
    Number(LookupHash),
}

/// Somebody who is not stored yet.
#[derive(Debug)]
struct Stranger {
    id: SubscriberId,
    sealed: SealedNumber,
    masked: String,
}

/// The subscribers of a batch.
#[derive(Debug, Default)]
pub(super) struct People {
    /// By the place of the row.
    named: Vec<Who>,
    known: BTreeMap<Who, (SubscriberId, String)>,
    strangers: BTreeMap<LookupHash, Stranger>,
    /// Numbers that are virtual ones of ours.
    are_virtual: BTreeSet<LookupHash>,
    /// Those whose last number rests: it may be theirs again.
    returning: BTreeSet<SubscriberId>,
}

impl People {
    /// The subscriber of the row at this place, if it is stored.
    pub(super) fn find(&self, at: usize) -> Option<&(SubscriberId, String)> {
        self.known.get(self.named.get(at)?)
    }

    /// Whether the row at this place names a virtual number of ours.
    pub(super) fn is_virtual(&self, at: usize) -> bool {
        match self.named.get(at) {
            Some(Who::Number(hash)) => self.are_virtual.contains(hash),
            Some(Who::Id(_)) | None => false,
        }
    }

    /// Whether a number that this subscriber had may still rest.
    pub(super) fn may_return(&self, id: SubscriberId) -> bool {
        self.returning.contains(&id)
    }

    /// The row at this place was bound by itself, and its subscriber is stored now.
    pub(super) fn learn(&mut self, at: usize, binding: &BindingRecord) {
        if let (Some(who), Some(masked)) = (self.named.get(at), &binding.masked) {
            self.known.insert(*who, (binding.subscriber, masked.clone()));
        }
    }
}

impl TenantTx {
    /// Finds the subscribers of all rows, and seals the numbers of those who are new.
    pub(super) async fn look_people_up(
        &mut self,
        now: SystemTime,
        facts: &TenantFacts,
        rows: Vec<NewBinding>,
    ) -> Result<(Vec<NewBinding>, People), StoreError> {
        let named = rows.iter().map(|row| Who::of(&facts.keys, row)).collect();
        let mut people = People { named, ..People::default() };
        self.look_ids_up(&facts.keys, &mut people).await?;
        self.look_numbers_up(&rows, &mut people).await?;
        self.look_virtual_up(&rows, &mut people).await?;
        if !facts.accept_real_numbers {
            return Ok((rows, people));
        }
        let keys = Arc::clone(&facts.keys);
        let sealing = tokio::task::spawn_blocking(move || {
            let sealed = seal_strangers(now, &keys, &rows, &mut people);
            sealed.map(|()| (rows, people))
        });
        let sealed = sealing.await.map_err(|_| StoreError::Internal(Fault::new("sealing died")))?;
        Ok(sealed?)
    }

    async fn look_ids_up(
        &mut self,
        keys: &TenantKeys,
        people: &mut People,
    ) -> Result<(), StoreError> {
        let wanted = people.named.iter().filter_map(Who::id);
        let wanted: Vec<Uuid> = wanted.map(|id| uuid(id.as_u128())).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        type Row = (Uuid, Option<Vec<u8>>, Option<Vec<u8>>);
        let rows: Vec<Row> = sqlx::query_as(
            "select id, number_sealed, key_sealed from subscriber
             where tenant_id = $1 and id = any($2)",
        )
        .bind(uuid(self.tenant().as_u128()))
        .bind(wanted)
        .fetch_all(self.connection())
        .await?;
        for (id, number, key) in rows {
            let id = SubscriberId::from_u128(id.as_u128());
            // Without a number it was erased, and nobody is bound to it.
            if let Some(masked) = masked(keys, id, number, key)? {
                people.known.insert(Who::Id(id), (id, masked));
            }
        }
        Ok(())
    }

    /// Finds what may have come to be before everything was locked: those whom a batch or a binding
    /// that came first has enrolled, and those whose last number may rest.
    pub(super) async fn look_again(
        &mut self,
        rows: &[NewBinding],
        people: &mut People,
    ) -> Result<(), StoreError> {
        self.look_numbers_up(rows, people).await?;
        self.look_returning_up(people).await
    }

    /// Finds those by their numbers who are not known yet.
    async fn look_numbers_up(
        &mut self,
        rows: &[NewBinding],
        people: &mut People,
    ) -> Result<(), StoreError> {
        let unknown = people.named.iter().filter(|who| !people.known.contains_key(who));
        let hashes: BTreeSet<LookupHash> = unknown.filter_map(Who::hash).collect();
        let found = self.find_hashes(hashes.iter()).await?;
        for (who, row) in people.named.iter().zip(rows) {
            if let (Who::Number(hash), SubscriberChoice::Number(number)) = (who, &row.subscriber)
                && let Some(id) = found.get(hash.as_bytes().as_slice())
            {
                people.known.insert(*who, (*id, number.masked()));
            }
        }
        Ok(())
    }

    /// The subscribers that are found by these hashes, by the hash.
    async fn find_hashes(
        &mut self,
        hashes: impl Iterator<Item = &LookupHash>,
    ) -> Result<BTreeMap<Vec<u8>, SubscriberId>, StoreError> {
        let hashes: Vec<&[u8]> = hashes.map(|hash| hash.as_bytes().as_slice()).collect();
        if hashes.is_empty() {
            return Ok(BTreeMap::new());
        }
        let rows: Vec<(Vec<u8>, Uuid)> = sqlx::query_as(
            "select lookup_hash, id from subscriber where tenant_id = $1 and lookup_hash = any($2)",
        )
        .bind(uuid(self.tenant().as_u128()))
        .bind(hashes)
        .fetch_all(self.connection())
        .await?;
        let id = |id: Uuid| SubscriberId::from_u128(id.as_u128());
        Ok(rows.into_iter().map(|(hash, it)| (hash, id(it))).collect())
    }

    /// As `is_virtual`, for all numbers of the batch at once.
    async fn look_virtual_up(
        &mut self,
        rows: &[NewBinding],
        people: &mut People,
    ) -> Result<(), StoreError> {
        let mut by_ending: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (at, row) in rows.iter().enumerate() {
            if let SubscriberChoice::Number(number) = &row.subscriber {
                by_ending.entry(number.ending()).or_default().push(at);
            }
        }
        let endings: Vec<&str> = by_ending.keys().copied().collect();
        // Only endings are asked for: no number in clear may reach the database.
        for endings in endings.chunks(ENDINGS_AT_ONCE) {
            let alike: Vec<(String, Option<String>)> =
                sqlx::query_as("select digits, country_code from virtual_numbers_ending_any($1)")
                    .bind(endings)
                    .fetch_all(self.connection())
                    .await?;
            for (digits, country) in alike {
                let digits = read_digits(&digits)?;
                let country = country.as_deref().unwrap_or_default();
                for at in ending_alike(&by_ending, &digits) {
                    if let (Some(SubscriberChoice::Number(number)), Some(Who::Number(hash))) =
                        (rows.get(at).map(|row| &row.subscriber), people.named.get(at))
                        && number.is_virtual(&digits, country)
                    {
                        people.are_virtual.insert(*hash);
                    }
                }
            }
        }
        Ok(())
    }

    /// Finds those whose last number may rest, as the taking back of one would.
    async fn look_returning_up(&mut self, people: &mut People) -> Result<(), StoreError> {
        let known: Vec<Uuid> = people.known.values().map(|(id, _)| uuid(id.as_u128())).collect();
        if known.is_empty() {
            return Ok(());
        }
        let returning: Vec<(Uuid,)> = sqlx::query_as(
            "select distinct b.subscriber_id
             from binding b join virtual_number v on v.id = b.number_id
             where b.tenant_id = $1 and b.subscriber_id = any($2) and b.ended_at is not null
               and v.tenant_id = $1 and v.state in ('draining', 'cooling')",
        )
        .bind(uuid(self.tenant().as_u128()))
        .bind(known)
        .fetch_all(self.connection())
        .await?;
        let id = |(id,): (Uuid,)| SubscriberId::from_u128(id.as_u128());
        people.returning = returning.into_iter().map(id).collect();
        Ok(())
    }

    /// Stores the subscribers of the rows at these places, where they are new.
    pub(super) async fn enrol_all(
        &mut self,
        now: SystemTime,
        facts: &TenantFacts,
        people: &mut People,
        places: &[usize],
    ) -> Result<(), StoreError> {
        let missing: BTreeSet<LookupHash> = places
            .iter()
            .filter_map(|at| people.named.get(*at))
            .filter(|who| !people.known.contains_key(who))
            .filter_map(Who::hash)
            .collect();
        let strangers: Vec<(LookupHash, Stranger)> = missing
            .iter()
            .filter_map(|hash| Some((*hash, people.strangers.remove(hash)?)))
            .collect();
        if strangers.is_empty() {
            return Ok(());
        }
        self.insert_strangers(now, facts, &strangers).await?;
        // Of a number that somebody else has enrolled at this moment the first one stays.
        let found = self.find_hashes(missing.iter()).await?;
        for (hash, stranger) in strangers {
            if let Some(id) = found.get(hash.as_bytes().as_slice()) {
                people.known.insert(Who::Number(hash), (*id, stranger.masked));
            }
        }
        Ok(())
    }

    async fn insert_strangers(
        &mut self,
        now: SystemTime,
        facts: &TenantFacts,
        strangers: &[(LookupHash, Stranger)],
    ) -> Result<(), StoreError> {
        let ids: Vec<Uuid> = strangers.iter().map(|(_, it)| uuid(it.id.as_u128())).collect();
        let numbers: Vec<&[u8]> =
            strangers.iter().map(|(_, it)| it.sealed.number.as_slice()).collect();
        let keys: Vec<&[u8]> = strangers.iter().map(|(_, it)| it.sealed.key.as_slice()).collect();
        let hashes: Vec<&[u8]> =
            strangers.iter().map(|(hash, _)| hash.as_bytes().as_slice()).collect();
        sqlx::query(
            "insert into subscriber (tenant_id, id, number_sealed, key_sealed, lookup_hash,
                 language, age_band, time_zone, created_at, updated_at)
             select $1, new.id, new.number, new.key, new.hash, $6, null, $7, $8, $8
             from unnest($2::uuid[], $3::bytea[], $4::bytea[], $5::bytea[])
                 as new (id, number, key, hash)
             on conflict (tenant_id, lookup_hash) do nothing",
        )
        .bind(uuid(self.tenant().as_u128()))
        .bind(ids)
        .bind(numbers)
        .bind(keys)
        .bind(hashes)
        .bind(&facts.language)
        .bind(&facts.time_zone)
        .bind(to_sql(now)?)
        .execute(self.connection())
        .await?;
        Ok(())
    }
}

impl Who {
    fn of(keys: &TenantKeys, row: &NewBinding) -> Self {
        match &row.subscriber {
            SubscriberChoice::Existing(id) => Self::Id(*id),
            SubscriberChoice::Number(number) => Self::Number(keys.lookup_hash(number)),
        }
    }

    const fn id(&self) -> Option<SubscriberId> {
        match self {
            Self::Id(id) => Some(*id),
            Self::Number(_) => None,
        }
    }

    const fn hash(&self) -> Option<LookupHash> {
        match self {
            Self::Number(hash) => Some(*hash),
            Self::Id(_) => None,
        }
    }
}

fn seal_strangers(
    now: SystemTime,
    keys: &TenantKeys,
    rows: &[NewBinding],
    people: &mut People,
) -> Result<(), VaultError> {
    for (row, who) in rows.iter().zip(&people.named) {
        let (SubscriberChoice::Number(number), Who::Number(hash)) = (&row.subscriber, who) else {
            continue;
        };
        if !people.known.contains_key(who) && !people.strangers.contains_key(hash) {
            let id = SubscriberId::new(unix_ms(now), random_u128()?);
            let sealed = keys.seal_number(id, number)?;
            people.strangers.insert(*hash, Stranger { id, sealed, masked: number.masked() });
        }
    }
    Ok(())
}

/// The places of the numbers that end as these digits do.
fn ending_alike<'a>(
    by_ending: &'a BTreeMap<&str, Vec<usize>>,
    digits: &'a VirtualNumber,
) -> impl Iterator<Item = usize> + 'a {
    let digits = digits.as_str();
    let tail = digits.get(digits.len().saturating_sub(ENDING_DIGITS)..).unwrap_or_default();
    let same = by_ending.get(tail);
    // The shortest virtual numbers are shorter than an ending.
    let is_short = same.is_none() && tail.len() < ENDING_DIGITS;
    let longer = by_ending.iter().filter(move |(ending, _)| is_short && ending.ends_with(tail));
    same.into_iter().chain(longer.map(|(_, places)| places)).flatten().copied()
}
