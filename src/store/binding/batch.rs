//! Many bindings in one transaction, looked up, given their numbers and written set by set; the
//! outcomes and the rows are those of [`TenantTx::bind`], called for one after the other.
//!
//! What a set cannot carry is bound by itself, at its place in the order: a number that is asked
//! for by its digits, a subscriber whose last number rests, and a name that came before.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::time::SystemTime;

use super::batch_numbers::{Pools, Shelves};
use super::batch_people::People;
use super::create::{content_hash, first_state, record};
use super::{BindOutcome, BindingMode, NewBinding, NumberChoice, SubscriberChoice, told};
use crate::domain::binding::BindingState;
use crate::domain::event::EventKind;
use crate::store::binding_row::{BindingRow, select_bindings};
use crate::store::convert::uuid;
use crate::store::error::StoreError;
use crate::store::{TenantFacts, TenantTx};

/// The most rows of one batch.
pub const BATCH_ROWS_MAX: usize = 1_000;

/// What became of one row of a batch. An error is a clash with a constraint, which changed nothing;
/// any other error is the whole batch's.
pub type RowOutcome = Result<BindOutcome, StoreError>;

/// What is known while the rows are gone through.
struct Batch {
    now: SystemTime,
    facts: TenantFacts,
    people: People,
    /// Bindings of before this batch, by their external id.
    existing: BTreeMap<String, BindingRow>,
    /// The external ids of the rows so far.
    seen: BTreeSet<String>,
    pools: Pools,
    shelves: Shelves,
    /// Rows that wait to be written together.
    pending: Vec<Pending>,
    /// By the place of the row.
    outcomes: BTreeMap<usize, RowOutcome>,
}

/// A row that gets a binding if it gets a number.
struct Pending {
    at: usize,
    new: NewBinding,
    state: BindingState,
}

enum Judged {
    /// Nothing is to be written.
    Told(BindOutcome),
    /// It can be written with others.
    Pending(BindingState),
    /// It goes by itself.
    Apart,
}

impl TenantTx {
    /// Binds every one of `rows`, at most [`BATCH_ROWS_MAX`], as if each came after the one before
    /// it. A row that is refused changes nothing, and does not hold up the others.
    ///
    /// # Errors
    /// [`StoreError`] when the database or the vault fails; nothing may be committed then.
    pub async fn bind_all(
        &mut self,
        now: SystemTime,
        rows: Vec<NewBinding>,
    ) -> Result<Vec<RowOutcome>, StoreError> {
        let facts = self.facts().await?;
        // Numbers are sealed before anything is locked.
        let (rows, people) = self.look_people_up(now, &facts, rows).await?;
        self.lock_batch(&rows).await?;
        let mut batch = self.look_up(now, facts, people, &rows).await?;
        for (at, new) in rows.into_iter().enumerate() {
            match batch.judge(at, &new)? {
                Judged::Told(outcome) => batch.tell(at, Ok(outcome)),
                Judged::Pending(state) => batch.pending.push(Pending { at, new, state }),
                Judged::Apart => {
                    self.write(&mut batch).await?;
                    let outcome = self.bind_apart(now, new).await?;
                    if let Ok(BindOutcome::Created(binding)) = &outcome {
                        batch.people.learn(at, binding);
                    }
                    batch.tell(at, outcome);
                }
            }
        }
        self.write(&mut batch).await?;
        Ok(batch.outcomes.into_values().collect())
    }

    /// Whatever could make two batches wait for each other is locked at the beginning, and in one
    /// order: first the tenant's batches, of which one runs at a time, then the external ids as
    /// `bind` locks them, then the numbers that are asked for by their digits, which another tenant
    /// may want too. Free numbers are never waited for.
    async fn lock_batch(&mut self, rows: &[NewBinding]) -> Result<(), StoreError> {
        let tenant = uuid(self.tenant().as_u128()).to_string();
        sqlx::query("select pg_advisory_xact_lock(hashtextextended('batch of ' || $1, 0))")
            .bind(&tenant)
            .execute(self.connection())
            .await?;
        sqlx::query(
            "select pg_advisory_xact_lock(key)
             from (select distinct hashtextextended($1 || name, 0) as key
                   from unnest($2::text[]) as name order by key) as keys",
        )
        .bind(&tenant)
        .bind(external_ids(rows))
        .execute(self.connection())
        .await?;
        let exact: Vec<&str> = rows.iter().filter_map(exact_digits).collect();
        if !exact.is_empty() {
            sqlx::query(
                "select id from virtual_number where digits = any($1) and state = 'available'
                 order by digits for update",
            )
            .bind(exact)
            .execute(self.connection())
            .await?;
        }
        Ok(())
    }

    async fn look_up(
        &mut self,
        now: SystemTime,
        facts: TenantFacts,
        mut people: People,
        rows: &[NewBinding],
    ) -> Result<Batch, StoreError> {
        let existing: Vec<BindingRow> = sqlx::query_as(concat!(
            select_bindings!(),
            "where b.tenant_id = $1 and b.external_id = any($2)"
        ))
        .bind(uuid(self.tenant().as_u128()))
        .bind(external_ids(rows))
        .fetch_all(self.connection())
        .await?;
        self.look_again(rows, &mut people).await?;
        Ok(Batch {
            now,
            facts,
            people,
            existing: existing.into_iter().map(|row| (row.external_id.clone(), row)).collect(),
            seen: BTreeSet::new(),
            pools: self.look_pools_up().await?,
            shelves: Shelves::default(),
            pending: Vec::new(),
            outcomes: BTreeMap::new(),
        })
    }

    /// Writes the rows that have waited: numbers first, since only those that get one go on.
    async fn write(&mut self, batch: &mut Batch) -> Result<(), StoreError> {
        let pending = mem::take(&mut batch.pending);
        if pending.is_empty() {
            return Ok(());
        }
        let choices: Vec<&NumberChoice> = pending.iter().map(|row| &row.new.number).collect();
        let given = self.take_each(batch.now, &batch.pools, &mut batch.shelves, &choices).await?;
        let mut bound = Vec::new();
        for (row, given) in pending.into_iter().zip(given) {
            match given {
                Ok(taken) => bound.push((row, taken)),
                Err(outcome) => batch.tell(row.at, Ok(outcome)),
            }
        }
        let places: Vec<usize> = bound.iter().map(|(row, _)| row.at).collect();
        self.enrol_all(batch.now, &batch.facts, &mut batch.people, &places).await?;
        let mut bindings = Vec::new();
        for (Pending { at, new, state }, taken) in bound {
            let person = batch.people.find(at).cloned();
            let person = person.ok_or(StoreError::from(sqlx::Error::RowNotFound))?;
            let hash = content_hash(&new, person.0)?;
            bindings.push((record(batch.now, new, state, taken, person)?, hash));
        }
        self.insert_bindings(&bindings).await?;
        let created = bindings.iter().map(|(binding, _)| told(EventKind::BindingCreated, binding));
        self.emit_all(batch.now, created).await?;
        for (at, (binding, _)) in places.into_iter().zip(bindings) {
            batch.tell(at, Ok(BindOutcome::Created(Box::new(binding))));
        }
        Ok(())
    }

    /// Binds one row so that a clash undoes that row only.
    async fn bind_apart(
        &mut self,
        now: SystemTime,
        new: NewBinding,
    ) -> Result<RowOutcome, StoreError> {
        sqlx::raw_sql("savepoint one_row").execute(self.connection()).await?;
        match self.bind_to_the_end(now, new).await {
            Ok(outcome) => {
                sqlx::raw_sql("release savepoint one_row").execute(self.connection()).await?;
                Ok(Ok(outcome))
            }
            Err(error) if error.constraint().is_some() => {
                sqlx::raw_sql("rollback to savepoint one_row; release savepoint one_row")
                    .execute(self.connection())
                    .await?;
                Ok(Err(error))
            }
            Err(error) => Err(error),
        }
    }

    async fn bind_to_the_end(
        &mut self,
        now: SystemTime,
        new: NewBinding,
    ) -> Result<BindOutcome, StoreError> {
        let outcome = self.bind(now, new).await?;
        if let BindOutcome::Created(_) = &outcome {
            // What is looked at when the transaction is committed would undo the other rows too.
            sqlx::raw_sql("set constraints all immediate; set constraints all deferred")
                .execute(self.connection())
                .await?;
        }
        Ok(outcome)
    }
}

impl Batch {
    fn tell(&mut self, at: usize, outcome: RowOutcome) {
        self.outcomes.insert(at, outcome);
    }

    /// The questions of `bind`, in its order.
    fn judge(&mut self, at: usize, new: &NewBinding) -> Result<Judged, StoreError> {
        if !self.seen.insert(new.external_id.clone()) {
            return Ok(Judged::Apart);
        }
        let person = self.people.find(at).map(|(id, _)| *id);
        if let Some(row) = self.existing.remove(&new.external_id) {
            let is_same = match person {
                Some(id) => row.content_hash == content_hash(new, id)?,
                None => false,
            };
            return Ok(Judged::Told(if is_same {
                BindOutcome::Existing(Box::new(row.read(&self.facts.keys)?))
            } else {
                BindOutcome::ExternalIdTaken
            }));
        }
        let Some(state) = first_state(new, self.now) else {
            return Ok(Judged::Told(BindOutcome::TermInvalid));
        };
        if !self.facts.active {
            return Ok(Judged::Told(BindOutcome::TenantSuspended));
        }
        match &new.subscriber {
            SubscriberChoice::Number(_) if !self.facts.accept_real_numbers => {
                return Ok(Judged::Told(BindOutcome::RealNumbersRefused));
            }
            SubscriberChoice::Number(_) if self.people.is_virtual(at) => {
                return Ok(Judged::Told(BindOutcome::SubscriberVirtual));
            }
            SubscriberChoice::Existing(_) if person.is_none() => {
                return Ok(Judged::Told(BindOutcome::SubscriberUnknown));
            }
            SubscriberChoice::Number(_) | SubscriberChoice::Existing(_) => {}
        }
        let is_easy = new.mode == BindingMode::Ax
            && exact_digits(new).is_none()
            && !person.is_some_and(|id| self.people.may_return(id));
        Ok(if is_easy { Judged::Pending(state) } else { Judged::Apart })
    }
}

fn external_ids(rows: &[NewBinding]) -> Vec<&str> {
    rows.iter().map(|row| row.external_id.as_str()).collect()
}

fn exact_digits(row: &NewBinding) -> Option<&str> {
    match &row.number {
        NumberChoice::Exact(digits) => Some(digits.as_str()),
        NumberChoice::Free { .. } => None,
    }
}
