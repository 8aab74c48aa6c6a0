//! The store as the relay sees it: where routes are found and records are kept.

use std::sync::Arc;

use super::memory::Known;
use super::now::now;
use super::recorder::{RecordFailure, RecordStore};
use super::routes::{Lookup, Round, RouteSource};
use crate::call::io::LoginAnswer;
use crate::domain::cdr::Cdr;
use crate::domain::id::{BindingId, CallId, IntentId, RecordingId};
use crate::domain::menu::{MenuAnswer, MenuQuestion};
use crate::domain::recording::RecordingKey;
use crate::domain::route::{RouteAnswer, RouteQuery};
use crate::domain::whisper::Unwanted;
use crate::sip::digest::Secret;
use crate::store::cdr::insert_batch;
use crate::store::convert::unix_ms;
use crate::store::intent::IntentAsked;
use crate::store::route::{self, RouteKey, RouteLookup, RouteRecord};
use crate::store::unwanted::heed;
use crate::store::{RelayPool, StoreError};
use crate::vault::{Vault, random_u128};

/// Routes of the store, opened by the vault.
pub(crate) struct StoreRoutes {
    pool: RelayPool,
    vault: Arc<Vault>,
    /// Some calls are recorded.
    records: bool,
}

impl StoreRoutes {
    /// Where calls are recorded, each route comes with a key for that.
    pub(crate) const fn new(pool: RelayPool, vault: Arc<Vault>, records: bool) -> Self {
        Self { pool, vault, records }
    }

    /// Uses the intent up that waits for the attempt. True when the route is for this attempt
    /// alone: where intents wait, the next one asks again.
    async fn announce(
        &self,
        record: &mut RouteRecord,
        call: CallId,
        round: Round,
        named: Option<IntentId>,
    ) -> Result<bool, StoreError> {
        let at = now().wall;
        let waits = match round {
            Round::First => record.waits_for(at),
            Round::Again => record.agent(),
        };
        let Some(agent) = waits else { return Ok(false) };
        let (tenant, binding) = (record.tenant(), record.binding());
        let asked = IntentAsked { tenant, binding, agent, call, named };
        if let Some(announced) = self.pool.use_intent(at, asked).await? {
            record.announce(announced);
        }
        Ok(true)
    }

    /// Without a key the call goes on as one that cannot be recorded.
    fn recording_key(&self, sealed: &RouteRecord) -> Option<Box<RecordingKey>> {
        let made = random_u128().and_then(|random| {
            let recording = RecordingId::new(unix_ms(now().wall), random);
            sealed.recording_key(&self.vault, recording)
        });
        made.map(Box::new)
            .inspect_err(|error| {
                let binding = sealed.binding();
                tracing::error!(binding.id = %binding, %error, "A recording has no key: {error}");
            })
            .ok()
    }
}

impl RouteSource for StoreRoutes {
    type Sealed = Box<RouteRecord>;

    async fn find(
        &self,
        call: CallId,
        round: Round,
        query: Arc<RouteQuery>,
    ) -> Lookup<Self::Sealed> {
        let key = match &*query {
            RouteQuery::FromInsurer { tenant, dialled, caller, .. } => {
                RouteKey::FromInsurer { tenant: *tenant, dialled, caller }
            }
            RouteQuery::FromCarrier { dialled, caller, .. } => {
                RouteKey::FromCarrier { dialled, caller: caller.as_ref() }
            }
        };
        match route::find(&self.pool, &self.vault, key).await {
            Ok(RouteLookup::Found(mut record)) => {
                let named = named_intent(&query);
                let is_announced = match self.announce(&mut record, call, round, named).await {
                    Ok(is_announced) => is_announced,
                    Err(error) => return fail(&error),
                };
                let is_for_its_caller = is_announced || record.is_for_its_caller();
                let (tenant, binding) = (record.tenant(), record.binding());
                let known = Known { tenant, binding, sealed: record };
                if is_for_its_caller { Lookup::FoundForCaller(known) } else { Lookup::Found(known) }
            }
            Ok(RouteLookup::Missing { why, tenant }) => {
                Lookup::Missing(RouteAnswer::Missing { cause: why.cause(), tenant })
            }
            Err(error) => fail(&error),
        }
    }

    async fn find_login(&self, user: Box<str>) -> LoginAnswer {
        match self.pool.find_agent_login(&self.vault, &user).await {
            Ok(None) => LoginAnswer::Unknown,
            Ok(Some(login)) => match Secret::from_bytes(&login.secret) {
                Some(secret) => {
                    let (tenant, agent) = (login.tenant, login.agent);
                    LoginAnswer::Found { tenant, agent, secret }
                }
                None => LoginAnswer::Failed,
            },
            Err(error) => {
                tracing::warn!(%error, "A login was not looked up: {error}");
                LoginAnswer::Failed
            }
        }
    }

    async fn answer_menu(&self, question: MenuQuestion) -> MenuAnswer {
        match self.pool.answer_menu(now().wall, &question).await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::warn!(%error, "A menu was not answered: {error}");
                MenuAnswer::Failed
            }
        }
    }

    fn open(&self, sealed: &Self::Sealed, query: &RouteQuery) -> RouteAnswer {
        let caller = match query {
            RouteQuery::FromCarrier { caller, .. } => caller.as_ref(),
            RouteQuery::FromInsurer { .. } => None,
        };
        match sealed.open(&self.vault, caller) {
            Ok(mut route) => {
                route.duration_max = sealed.duration_max(now().wall);
                // What is recorded is announced, and only subscribers are told anything.
                if self.records && matches!(query, RouteQuery::FromInsurer { .. }) {
                    route.recording = self.recording_key(sealed);
                }
                RouteAnswer::Found(Box::new(route))
            }
            Err(error) => {
                let binding = sealed.binding();
                tracing::error!(binding.id = %binding, %error, "A route does not open: {error}");
                RouteAnswer::Failed
            }
        }
    }
}

/// The intent that an attempt says it is.
fn named_intent(query: &RouteQuery) -> Option<IntentId> {
    match query {
        RouteQuery::FromInsurer { stated, .. } => stated.intent,
        RouteQuery::FromCarrier { .. } => None,
    }
}

fn fail<S>(error: &StoreError) -> Lookup<S> {
    metrics::counter!("maskline_route_failures_total").increment(1);
    tracing::warn!(%error, "A route was not looked up: {error}");
    Lookup::Failed
}

/// Records of the store.
pub(crate) struct StoreRecords {
    pool: RelayPool,
}

impl StoreRecords {
    pub(crate) const fn new(pool: RelayPool) -> Self {
        Self { pool }
    }
}

impl RecordStore for StoreRecords {
    async fn insert(&self, records: &[Cdr]) -> Result<(), RecordFailure> {
        judge(insert_batch(&self.pool, records).await.map(|_| ()))
    }

    async fn heed(&self, unwanted: &Unwanted) -> Result<Vec<BindingId>, RecordFailure> {
        judge(heed(&self.pool, unwanted).await)
    }
}

/// Whether it is worth trying again.
fn judge<T>(written: Result<T, StoreError>) -> Result<T, RecordFailure> {
    match written {
        Ok(written) => Ok(written),
        Err(StoreError::Unavailable(_)) => Err(RecordFailure::Unavailable),
        Err(error @ StoreError::Conflict { .. }) => {
            tracing::error!(%error, "Records are refused: {error}");
            Err(RecordFailure::Refused)
        }
        Err(
            error @ (StoreError::Internal(_)
            | StoreError::Unreadable { .. }
            | StoreError::Vault(_)
            | StoreError::NotConnected { .. }
            | StoreError::RootKeyForeign
            | StoreError::RoleTooStrong { .. }
            | StoreError::ServerTooOld { .. }
            | StoreError::Migration(_)),
        ) => {
            tracing::error!(%error, "Records are not taken: {error}");
            Err(RecordFailure::Unclear)
        }
    }
}
