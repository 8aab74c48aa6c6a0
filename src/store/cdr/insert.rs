//! Writes call records: each with its fact and its event, all of a batch or none, and twice the
//! same as once.

use std::time::SystemTime;

use serde_json::{Value, json};

use crate::domain::cdr::{Cdr, MediaCounts};
use crate::domain::event::EventKind;
use crate::domain::id::EventId;
use crate::domain::number::VirtualNumber;
use crate::domain::purpose::Purpose;
use crate::store::convert::{to_jiff, to_stored_precision, unix_ms, uuid};
use crate::store::error::StoreError;
use crate::store::menu::CODE_DAYS;
use crate::store::{NOBODY, ROUTES_CHANNEL, RelayPool};
use crate::vault::{CallCodeHasher, random_u128};

/// The most records of one batch.
pub const CDRS_BATCH_MAX: usize = 500;

/// One statement is one transaction. A record that is there already brings neither a fact nor an
/// event again. Digits are kept only if they are a virtual number of ours: what was dialled could
/// be anybody's. An attempt on a resting number starts its quiet time anew. What the subscriber has
/// answered to who calls takes effect here too, unless it was written at the key already, and every
/// node hears of it.
const INSERT: &str = "
with incoming as (
    select distinct on (r.tenant_id, r.id) r.*, v.digits as own_digits
    from jsonb_to_recordset($1) as r (
        tenant_id uuid, id uuid, binding_id uuid, subscriber_id uuid, agent_id uuid,
        virtual_number text, direction text, trunk_a uuid, trunk_b uuid, started_at timestamptz,
        ringing_at timestamptz, answered_at timestamptz, ended_at timestamptz, duration_ms bigint,
        setup_us bigint, cause text, reasons text[], ended_by text, sip_status integer,
        q850 smallint, media jsonb, purpose text, intent_id uuid, marks text[], event_id uuid,
        event_type text, event_data jsonb, callee_answered_at timestamptz, whisper text,
        whisper_prompt text, whisper_prompt_hash bytea, whisper_heard_at timestamptz,
        whisper_event_id uuid, whisper_event_type text, whisper_code bytea, caps jsonb)
    left join virtual_number v on v.digits = r.virtual_number
), recorded as (
    insert into cdr (tenant_id, id, binding_id, subscriber_id, agent_id, virtual_number, direction,
        trunk_a, trunk_b, started_at, ringing_at, answered_at, ended_at, duration_ms, setup_us,
        cause, reasons, ended_by, sip_status, q850, media, purpose, intent_id, marks,
        callee_answered_at, whisper, whisper_prompt, whisper_prompt_hash, whisper_heard_at)
    select tenant_id, id, binding_id, subscriber_id, agent_id, own_digits, direction, trunk_a,
        trunk_b, started_at, ringing_at, answered_at, ended_at, duration_ms, setup_us, cause,
        reasons, ended_by, sip_status, q850, media, purpose, intent_id, marks,
        callee_answered_at, whisper, whisper_prompt, whisper_prompt_hash, whisper_heard_at
    from incoming
    on conflict (tenant_id, id) do nothing
    returning tenant_id, id
), facts as (
    insert into call_fact (tenant_id, id, binding_id, subscriber_id, agent_id, virtual_number,
        direction, started_at, answered, duration_ms, cause, purpose, intent_id, marks, whisper)
    select tenant_id, id, binding_id, subscriber_id, agent_id, own_digits, direction, started_at,
        answered_at is not null, duration_ms, cause, purpose, intent_id, marks, whisper
    from incoming join recorded using (tenant_id, id)
), events as (
    insert into event (tenant_id, id, type, subject_id, occurred_at, data)
    select tenant_id, told.event_id, told.event_type, id, ended_at,
           event_data || jsonb_build_object('virtual_number', own_digits)
    from incoming join recorded using (tenant_id, id)
    cross join lateral (values (1, whisper_event_id, whisper_event_type), (2, event_id, event_type))
        as told (nth, event_id, event_type)
    where told.event_id is not null
    order by ended_at, id, told.nth
), alarms as (
    insert into event (tenant_id, id, type, subject_id, occurred_at, data)
    select tenant_id, (cap ->> 'event_id')::uuid, 'cap.reached', id, ended_at,
           cap -> 'data' || jsonb_build_object('virtual_number', own_digits)
    from incoming join recorded using (tenant_id, id)
    cross join lateral jsonb_array_elements(caps) as cap
), dialled as (
    update virtual_number v set attempted_at = latest.started_at
    from (select own_digits, max(started_at) as started_at
          from incoming join recorded using (tenant_id, id)
          where cause = 'cooling' group by own_digits) as latest
    where v.digits = latest.own_digits and v.state = 'cooling'
      and (v.attempted_at is null or v.attempted_at < latest.started_at)
), unwanted as (
    select distinct on (tenant_id, subscriber_id, purpose)
           tenant_id, subscriber_id, purpose, id, ended_at
    from incoming join recorded using (tenant_id, id)
    where whisper = 'refused' and subscriber_id is not null and purpose is not null
      and not exists (select from do_not_call d
                      where d.tenant_id = incoming.tenant_id and d.purpose = incoming.purpose
                        and d.subscriber_id = incoming.subscriber_id and d.call_id = incoming.id)
    order by tenant_id, subscriber_id, purpose, ended_at desc
), refusals as (
    insert into do_not_call as d (tenant_id, subscriber_id, purpose, since, until, source, call_id)
    select tenant_id, subscriber_id, purpose, ended_at, ended_at + interval '6 months',
        'whisper', id
    from unwanted
    on conflict (tenant_id, subscriber_id, purpose) do update
    set since = excluded.since, until = excluded.until, source = excluded.source,
        call_id = excluded.call_id
    where d.until < excluded.until and d.call_id is distinct from excluded.call_id
), withdrawals as (
    update consent c set withdrawn_at = u.ended_at, withdrawn_call_id = u.id
    from unwanted u
    where c.tenant_id = u.tenant_id and c.subscriber_id = u.subscriber_id
      and c.purpose = u.purpose and c.withdrawn_at is null
), complaints as (
    insert into complaint (tenant_id, id, subscriber_id, binding_id, agent_id, call_id, purpose,
        source, state, opened_at)
    select tenant_id, whisper_event_id, subscriber_id, binding_id, agent_id, id,
        coalesce(purpose, 'unspecified'), 'whisper', 'open', ended_at
    from incoming join recorded using (tenant_id, id)
    where whisper = 'reported' and whisper_event_id is not null
    on conflict on constraint complaint_call do nothing
    returning tenant_id, call_id, purpose, source, opened_at
), complaints_told as (
    insert into event (tenant_id, id, type, subject_id, occurred_at, data)
    select c.tenant_id, uuid_v7(c.opened_at), 'complaint.opened', c.call_id, c.opened_at,
        jsonb_build_object('call', i.event_data -> 'call', 'binding', i.event_data -> 'binding',
            'subscriber', i.event_data -> 'subscriber', 'agent', i.event_data -> 'agent',
            'purpose', c.purpose, 'source', c.source)
    from complaints c join incoming i on i.tenant_id = c.tenant_id and i.id = c.call_id
), codes as (
    insert into call_code (tenant_id, call_id, subscriber_id, code_hash, spoken_at)
    select tenant_id, id, subscriber_id, whisper_code, ended_at
    from incoming join recorded using (tenant_id, id)
    where whisper_code is not null and subscriber_id is not null
    returning tenant_id, subscriber_id, spoken_at
), old_codes as (
    delete from call_code k using codes c
    where k.tenant_id = c.tenant_id and k.subscriber_id = c.subscriber_id
      and k.spoken_at < c.spoken_at - make_interval(days => $3)
)
select (select count(*) from recorded),
       (select count(pg_notify($2, 'binding ' || nextval('route_version') || ' ? ' || b.id
                                   || ' changed'))
        from unwanted u join binding b on b.tenant_id = u.tenant_id
            and b.subscriber_id = u.subscriber_id and b.ended_at is null)";

/// Writes at most [`CDRS_BATCH_MAX`] records and returns how many were new.
///
/// # Errors
/// [`StoreError::Unavailable`] when it is worth trying again; any other error will not go away.
pub async fn insert_batch(relay: &RelayPool, records: &[Cdr]) -> Result<u64, StoreError> {
    let rows = records.iter().take(CDRS_BATCH_MAX);
    let rows: Result<Vec<Value>, _> = rows.map(|cdr| row(cdr, relay.2.as_ref())).collect();
    let (count, _told): (i64, i64) = sqlx::query_as(INSERT)
        .bind(Value::Array(rows?))
        .bind(ROUTES_CHANNEL)
        .bind(i32::try_from(CODE_DAYS).unwrap_or(i32::MAX))
        .fetch_one(&relay.0)
        .await?;
    Ok(count.unsigned_abs())
}

fn row(cdr: &Cdr, codes: Option<&CallCodeHasher>) -> Result<Value, StoreError> {
    let tenant = cdr.tenant.unwrap_or(NOBODY);
    let id = |bits: u128| uuid(bits).to_string();
    let reasons: Vec<&str> = cdr.reasons.iter().map(|cause| cause.label()).collect();
    let new_event = || Ok::<_, StoreError>(EventId::new(unix_ms(cdr.ended_at), random_u128()?));
    let event_id: Option<EventId> = cdr.tenant.map(|_| new_event()).transpose()?;
    let whisper = cdr.whisper.as_deref();
    let whisper_event = whisper.and_then(|it| it.result.event()).filter(|_| cdr.tenant.is_some());
    let whisper_event_id: Option<EventId> = whisper_event.map(|_| new_event()).transpose()?;
    Ok(json!({
        "tenant_id": id(tenant.as_u128()),
        "id": id(cdr.call.as_u128()),
        "binding_id": cdr.binding.map(|b| id(b.as_u128())),
        "subscriber_id": cdr.subscriber.map(|s| id(s.as_u128())),
        "agent_id": cdr.agent.map(|a| id(a.as_u128())),
        "virtual_number": cdr.virtual_number.as_ref().map(VirtualNumber::as_str),
        "direction": cdr.direction.label(),
        "purpose": cdr.purpose.map(Purpose::label),
        "intent_id": cdr.intent.map(|intent| id(intent.as_u128())),
        "marks": marks(cdr),
        "trunk_a": id(cdr.trunk_a.as_u128()),
        "trunk_b": cdr.trunk_b.map(|t| id(t.as_u128())),
        "started_at": moment(cdr.started_at)?,
        "ringing_at": cdr.ringing_at.map(moment).transpose()?,
        "answered_at": cdr.answered_at.map(moment).transpose()?,
        "ended_at": moment(cdr.ended_at)?,
        "duration_ms": i64::try_from(cdr.duration.as_millis()).unwrap_or(i64::MAX),
        "setup_us": cdr.setup.map(|setup| i64::try_from(setup.as_micros()).unwrap_or(i64::MAX)),
        "cause": cdr.cause.label(),
        "reasons": reasons,
        "ended_by": cdr.ended_by.label(),
        "sip_status": cdr.sip_status,
        "q850": cdr.q850,
        "media": cdr.media.map(|sides| sides.map(media)),
        "event_id": event_id.map(|event| id(event.as_u128())),
        "event_type": event_type(cdr).label(),
        "event_data": event_data(cdr)?,
        "callee_answered_at": cdr.callee_answered_at.map(moment).transpose()?,
        "whisper": whisper.map(|it| it.result.label()),
        "whisper_prompt": whisper.map(|it| &*it.prompt),
        "whisper_prompt_hash": whisper.and_then(|it| it.prompt_hash).map(|hash| bytes(&hash)),
        "whisper_heard_at": whisper.and_then(|it| it.heard_at).map(moment).transpose()?,
        "whisper_event_id": whisper_event_id.map(|event| id(event.as_u128())),
        "whisper_event_type": whisper_event.map(EventKind::label),
        "whisper_code": codes.and_then(|codes| code_hash(cdr, codes)).map(|hash| bytes(&hash)),
        "caps": caps(cdr)?,
    }))
}

/// What is told of each cap that it was the first to meet: whose, and which.
fn caps(cdr: &Cdr) -> Result<Vec<Value>, StoreError> {
    let told = cdr.tenant.is_some().then_some(&cdr.caps_reached).into_iter().flatten();
    told.map(|reached| {
        let event = EventId::new(unix_ms(cdr.ended_at), random_u128()?);
        let data = json!({
            "call": cdr.call.to_string(),
            "binding": cdr.binding.map(|id| id.to_string()),
            "subscriber": cdr.subscriber.map(|id| id.to_string()),
            "agent": cdr.agent.map(|id| id.to_string()),
            "direction": cdr.direction.label(),
            "subject": reached.subject.label(),
            "measure": reached.measure.label(),
        });
        Ok(json!({ "event_id": uuid(event.as_u128()).to_string(), "data": data }))
    })
    .collect()
}

/// What is stored of the code that was spoken.
fn code_hash(cdr: &Cdr, codes: &CallCodeHasher) -> Option<Vec<u8>> {
    let code = cdr.whisper.as_deref()?.code.as_ref()?;
    Some(codes.hash(cdr.tenant?, cdr.subscriber?, code))
}

/// As PostgreSQL reads them.
fn bytes(hash: &[u8]) -> String {
    hash.iter().fold("\\x".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

fn marks(cdr: &Cdr) -> Vec<&'static str> {
    cdr.marks.iter().map(|mark| mark.label()).collect()
}

fn moment(at: SystemTime) -> Result<String, StoreError> {
    Ok(to_jiff(to_stored_precision(at))?.to_string())
}

fn media(counts: MediaCounts) -> Value {
    json!({
        "packets": counts.packets,
        "lost": counts.lost,
        "dropped": counts.dropped,
        "jitter_us": counts.jitter_us,
        "round_trip_us": counts.round_trip_us,
        "mos_centi": counts.mos_centi,
        "one_way": counts.one_way,
        "latched": counts.latched,
    })
}

/// A call that never reached the callee was refused; any other has come to its end.
fn event_type(cdr: &Cdr) -> EventKind {
    let is_refused = cdr.setup.is_none() && cdr.answered_at.is_none();
    if is_refused { EventKind::CallRefused } else { EventKind::CallCompleted }
}

fn event_data(cdr: &Cdr) -> Result<Value, StoreError> {
    let reasons: Vec<&str> = cdr.reasons.iter().map(|cause| cause.label()).collect();
    Ok(json!({
        "call": cdr.call.to_string(),
        "binding": cdr.binding.map(|id| id.to_string()),
        "subscriber": cdr.subscriber.map(|id| id.to_string()),
        "agent": cdr.agent.map(|id| id.to_string()),
        "direction": cdr.direction.label(),
        "purpose": cdr.purpose.map(Purpose::label),
        "intent": cdr.intent.map(|id| id.to_string()),
        "marks": marks(cdr),
        "cause": cdr.cause.label(),
        "reasons": reasons,
        "ended_by": cdr.ended_by.label(),
        "started_at": moment(cdr.started_at)?,
        "answered_at": cdr.answered_at.map(moment).transpose()?,
        "ended_at": moment(cdr.ended_at)?,
        "duration_ms": i64::try_from(cdr.duration.as_millis()).unwrap_or(i64::MAX),
        "whisper": cdr.whisper.as_ref().map(|whisper| whisper.result.label()),
    }))
}
