//! Call records: written by the relay in batches with their facts and events, read by tenants.

mod insert;

use std::time::{Duration, SystemTime};

use jiff_sqlx::Timestamp;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

pub use insert::{CDRS_BATCH_MAX, insert_batch};

use super::convert::{from_sql, label, uuid};
use super::error::StoreError;
use super::number::read_digits;
use super::page::{Page, PageRequest};
use super::{NOBODY, PlatformTx, TenantTx};
use crate::domain::cause::Cause;
use crate::domain::cdr::{Cdr, Direction, EndedBy, MediaCounts, Whispered};
use crate::domain::id::{AgentId, BindingId, CallId, IntentId, SubscriberId, TenantId, TrunkId};
use crate::domain::mark::Mark;
use crate::domain::number::VirtualNumber;
use crate::domain::purpose::Purpose;
use crate::domain::whisper::WhisperResult;

/// Which calls a list shows.
#[derive(Clone, Debug, Default)]
pub struct CdrFilter {
    /// Through this binding only.
    pub binding: Option<BindingId>,
    /// Of this agent only.
    pub agent: Option<AgentId>,
    /// That ended for this cause only.
    pub cause: Option<Cause>,
    /// This way only.
    pub direction: Option<Direction>,
    /// By this number only.
    pub virtual_number: Option<VirtualNumber>,
    /// Begun at this time or later.
    pub from: Option<SystemTime>,
    /// Begun before this time.
    pub until: Option<SystemTime>,
}

impl TenantTx {
    /// This tenant's calls, newest first.
    ///
    /// # Errors
    /// [`StoreError`] when the database refuses or is away.
    pub async fn list_cdrs(
        &mut self,
        filter: &CdrFilter,
        page: PageRequest,
    ) -> Result<Page<Cdr>, StoreError> {
        let tenant = self.tenant();
        self.plan_for_values().await?;
        list(self.connection(), tenant, filter, page).await
    }

    /// Finds one of this tenant's calls.
    ///
    /// # Errors
    /// [`StoreError`] when the database refuses or is away.
    pub async fn find_cdr(&mut self, call: CallId) -> Result<Option<Cdr>, StoreError> {
        let row: Option<CdrRow> =
            sqlx::query_as("select * from cdr where tenant_id = $1 and id = $2")
                .bind(uuid(self.tenant().as_u128()))
                .bind(uuid(call.as_u128()))
                .fetch_optional(self.connection())
                .await?;
        row.map(CdrRow::read).transpose()
    }
}

impl PlatformTx {
    /// The attempts on numbers that belong to nobody, newest first.
    ///
    /// # Errors
    /// [`StoreError`] when the database refuses or is away.
    pub async fn list_stray_cdrs(
        &mut self,
        filter: &CdrFilter,
        page: PageRequest,
    ) -> Result<Page<Cdr>, StoreError> {
        list(self.connection(), NOBODY, filter, page).await
    }
}

async fn list(
    connection: &mut PgConnection,
    tenant: TenantId,
    filter: &CdrFilter,
    page: PageRequest,
) -> Result<Page<Cdr>, StoreError> {
    // The identifiers grow with time, so they also bound the partitions that are read.
    let rows: Vec<CdrRow> = sqlx::query_as(
        "select * from cdr
         where tenant_id = $1 and id < $2
           and ($3::uuid is null or binding_id = $3) and ($4::uuid is null or agent_id = $4)
           and ($5::text is null or cause = $5) and ($6::text is null or direction = $6)
           and ($7::text is null or virtual_number = $7)
           and id >= coalesce(uuid_floor($8), nobody())
           and ($9::timestamptz is null or id < uuid_floor($9))
         order by id desc limit $10",
    )
    .bind(uuid(tenant.as_u128()))
    .bind(page.before())
    .bind(filter.binding.map(|id| uuid(id.as_u128())))
    .bind(filter.agent.map(|id| uuid(id.as_u128())))
    .bind(filter.cause.map(Cause::label))
    .bind(filter.direction.map(Direction::label))
    .bind(filter.virtual_number.as_ref().map(VirtualNumber::as_str))
    .bind(super::convert::to_sql_maybe(filter.from)?)
    .bind(super::convert::to_sql_maybe(filter.until)?)
    .bind(page.fetch())
    .fetch_all(connection)
    .await?;
    let read: Result<Vec<_>, _> = rows.into_iter().map(CdrRow::read).collect();
    Ok(page.page(read?, |cdr| cdr.call.as_u128()))
}

#[derive(sqlx::FromRow)]
struct CdrRow {
    tenant_id: Uuid,
    id: Uuid,
    binding_id: Option<Uuid>,
    subscriber_id: Option<Uuid>,
    agent_id: Option<Uuid>,
    virtual_number: Option<String>,
    direction: String,
    purpose: Option<String>,
    intent_id: Option<Uuid>,
    marks: Vec<String>,
    trunk_a: Uuid,
    trunk_b: Option<Uuid>,
    started_at: Timestamp,
    ringing_at: Option<Timestamp>,
    callee_answered_at: Option<Timestamp>,
    answered_at: Option<Timestamp>,
    ended_at: Timestamp,
    duration_ms: i64,
    setup_us: Option<i64>,
    cause: String,
    reasons: Vec<String>,
    ended_by: String,
    sip_status: i32,
    q850: i16,
    media: Option<Value>,
    whisper: Option<String>,
    whisper_prompt: Option<String>,
    whisper_prompt_hash: Option<Vec<u8>>,
    whisper_heard_at: Option<Timestamp>,
}

impl CdrRow {
    fn read(self) -> Result<Cdr, StoreError> {
        let tenant = TenantId::from_u128(self.tenant_id.as_u128());
        let cause = |text: &str| label("cdr.cause", text, Cause::find_label);
        let reasons: Result<Vec<_>, _> = self.reasons.iter().map(|text| cause(text)).collect();
        let mark = |text: &String| label("cdr.marks", text, Mark::find_label);
        let marks: Result<Vec<_>, _> = self.marks.iter().map(mark).collect();
        let whisper = self.whisper.map(|text| {
            Ok::<_, StoreError>(Box::new(Whispered {
                result: label("cdr.whisper", &text, WhisperResult::find_label)?,
                prompt: self.whisper_prompt.unwrap_or_default().into(),
                prompt_hash: self
                    .whisper_prompt_hash
                    .map(<[u8; 32]>::try_from)
                    .transpose()
                    .map_err(|_| StoreError::Unreadable { column: "cdr.whisper_prompt_hash" })?,
                heard_at: self.whisper_heard_at.map(from_sql),
                code: None,
            }))
        });
        let whisper = whisper.transpose();
        Ok(Cdr {
            call: CallId::from_u128(self.id.as_u128()),
            tenant: (tenant != NOBODY).then_some(tenant),
            binding: self.binding_id.map(|id| BindingId::from_u128(id.as_u128())),
            subscriber: self.subscriber_id.map(|id| SubscriberId::from_u128(id.as_u128())),
            agent: self.agent_id.map(|id| AgentId::from_u128(id.as_u128())),
            virtual_number: self.virtual_number.as_deref().map(read_digits).transpose()?,
            direction: label("cdr.direction", &self.direction, Direction::find_label)?,
            purpose: self
                .purpose
                .map(|text| label("cdr.purpose", &text, Purpose::find_label))
                .transpose()?,
            intent: self.intent_id.map(|id| IntentId::from_u128(id.as_u128())),
            marks: marks?,
            trunk_a: TrunkId::from_u128(self.trunk_a.as_u128()),
            trunk_b: self.trunk_b.map(|id| TrunkId::from_u128(id.as_u128())),
            started_at: from_sql(self.started_at),
            ringing_at: self.ringing_at.map(from_sql),
            callee_answered_at: self.callee_answered_at.map(from_sql),
            answered_at: self.answered_at.map(from_sql),
            ended_at: from_sql(self.ended_at),
            duration: Duration::from_millis(self.duration_ms.unsigned_abs()),
            setup: self.setup_us.map(|us| Duration::from_micros(us.unsigned_abs())),
            cause: cause(&self.cause)?,
            reasons: reasons?,
            ended_by: label("cdr.ended_by", &self.ended_by, EndedBy::find_label)?,
            sip_status: u16::try_from(self.sip_status)
                .map_err(|_| StoreError::Unreadable { column: "cdr.sip_status" })?,
            q850: u8::try_from(self.q850)
                .map_err(|_| StoreError::Unreadable { column: "cdr.q850" })?,
            media: self.media.map(|media| read_media(&media)).transpose()?,
            caps_reached: Vec::new(),
            whisper: whisper?,
        })
    }
}

fn read_media(media: &Value) -> Result<[MediaCounts; 2], StoreError> {
    let side = |side: &Value| {
        let count = |name| side.get(name).and_then(Value::as_u64);
        // Records of an earlier program say less.
        let later = |name| count(name).unwrap_or_default();
        let is_so = |name| side.get(name).and_then(Value::as_bool).unwrap_or_default();
        Some(MediaCounts {
            packets: count("packets")?,
            lost: count("lost")?,
            dropped: count("dropped")?,
            jitter_us: u32::try_from(count("jitter_us")?).ok()?,
            round_trip_us: u32::try_from(later("round_trip_us")).ok()?,
            mos_centi: u16::try_from(later("mos_centi")).ok()?,
            one_way: is_so("one_way"),
            latched: is_so("latched"),
        })
    };
    let sides = media.get(0).and_then(side).zip(media.get(1).and_then(side));
    let (caller, callee) = sides.ok_or(StoreError::Unreadable { column: "cdr.media" })?;
    Ok([caller, callee])
}
