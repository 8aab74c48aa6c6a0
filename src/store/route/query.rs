//! The queries of route lookups and the rows they give.

use uuid::Uuid;

/// All of them start at the number and follow one index for each step, so their cost does not
/// depend on how many bindings there are.
macro_rules! route_query {
    ($desk:literal, $agent_columns:literal, $joins:literal, $targets:literal) => {
        concat!(
            "select v.digits, v.state as number_state, v.pairs, v.tenant_id,
                    t.state = 'active' as tenant_active, t.wrapping_key_sealed,
                    t.lookup_key_sealed, coalesce(t.is_test, false) as is_test, ",
            $desk,
            " as desk_user, ",
            $agent_columns,
            ",
                    b.id as binding_id, b.state, b.starts_at, b.expires_at, b.suspend_reason,
                    b.ended_at, b.on_expiry, b.duration_max_s,
                    s.id as subscriber_id, s.number_sealed, s.key_sealed, s.lookup_hash,
                    s.language, s.age_band = 'senior' as is_senior, d.refused, d.refused_until,
                    o.trunks, o.targets, o.transports
             from virtual_number v
             left join tenant t on t.id = v.tenant_id ",
            $joins,
            " left join lateral (
                 select array_agg(k.id order by k.priority, k.weight desc, k.id, k.nth) as trunks,
                        array_agg(k.target order by k.priority, k.weight desc, k.id, k.nth)
                            as targets,
                        array_agg(k.transport
                            order by k.priority, k.weight desc, k.id, k.nth) as transports
                 from (select k.id, k.priority, k.weight, k.transport, u.target, u.nth from ",
            $targets,
            " cross join lateral unnest(k.targets) with ordinality as u (target, nth)
                       where k.enabled and k.deleted_at is null) as k
             ) as o on b.id is not null
             where v.digits = $1"
        )
    };
}

/// The subscriber is called over the carrier trunks of the number's pool. Where the number serves
/// pairs, it is the one of the agent's own pair.
pub(super) const FROM_INSURER: &str = route_query!(
    "t.desk_user",
    "a.id as agent_id, a.state = 'active' as agent_active, a.employee_id,
     q.until as paused_until, x.agent_id is not null as is_blocked,
     (select i.expires_at from call_intent i
      where i.tenant_id = b.tenant_id and i.agent_id = a.id and i.binding_id = b.id
          and i.used_at is null and i.cancelled_at is null
      order by i.expires_at desc limit 1) as intents_until,
     (select l.purposes from agent_purpose l
      where l.tenant_id = a.tenant_id and l.agent_id = a.id) as allowed_purposes",
    "left join agent_caller_number c on c.tenant_id = $3 and c.caller = $2
     left join agent a on a.tenant_id = $3 and a.id = coalesce($4::uuid, c.agent_id)
         and a.deleted_at is null
     left join lateral (
         select m.id, m.tenant_id, m.subscriber_id, m.state, m.starts_at, m.expires_at,
                m.suspend_reason, m.ended_at, m.on_expiry, m.duration_max_s
         from binding m
         where not v.pairs and m.number_id = v.id and m.tenant_id = v.tenant_id
             and m.ended_at is null and m.mode <> 'axb' and m.extension is null
         union all
         select m.id, m.tenant_id, m.subscriber_id, m.state, m.starts_at, m.expires_at,
                m.suspend_reason, m.ended_at, m.on_expiry, m.duration_max_s
         from binding m
         where v.pairs and m.number_id = v.id and m.tenant_id = v.tenant_id
             and m.ended_at is null and m.mode = 'axb' and m.agent_id = a.id
     ) as b on true
     left join subscriber s on s.tenant_id = b.tenant_id and s.id = b.subscriber_id
     left join lateral (
         select array_agg(n.purpose order by n.purpose) as refused,
                array_agg(n.until order by n.purpose) as refused_until
         from do_not_call n
         where n.tenant_id = b.tenant_id and n.subscriber_id = b.subscriber_id
     ) as d on b.id is not null
     left join subscriber_pause q on q.tenant_id = b.tenant_id
         and q.subscriber_id = b.subscriber_id
     left join agent_block x on x.tenant_id = b.tenant_id
         and x.subscriber_id = b.subscriber_id and x.agent_id = a.id",
    "(select k.* from pool_trunk p join trunk k on k.id = p.trunk_id and k.role = 'carrier'
      where p.pool_id = v.pool_id) k"
);

/// The desk is called over the tenant's own trunks. Without the limit the condition on the number
/// would be looked at after all its pairs had been read.
pub(super) const FROM_CARRIER: &str = route_query!(
    "t.desk_user",
    "null::uuid as agent_id, null::boolean as agent_active, null::text as employee_id,
     null::timestamptz as paused_until, null::boolean as is_blocked,
     null::timestamptz as intents_until, null::text[] as allowed_purposes",
    "left join lateral (
         select m.id, m.tenant_id, m.subscriber_id, m.state, m.starts_at, m.expires_at,
                m.suspend_reason, m.ended_at, m.on_expiry, m.duration_max_s
         from binding m
         where not v.pairs and m.number_id = v.id and m.tenant_id = v.tenant_id
             and m.ended_at is null and m.mode <> 'axb' and m.extension is null
         limit 1
     ) as b on true
     left join subscriber s on s.tenant_id = b.tenant_id and s.id = b.subscriber_id
     left join (select null::text[] as refused, null::timestamptz[] as refused_until) as d
         on true",
    "(select k.* from trunk k where k.tenant_id = v.tenant_id and k.role = 'insurer') k"
);

/// The agent of the caller's own pair is called over the tenant's own trunks, by the first of its
/// extensions; the desk stands in for one who has none, or may not work.
pub(super) const FROM_ONE_OF_A_PAIR: &str = route_query!(
    "coalesce(c.caller, t.desk_user)",
    "null::uuid as agent_id, null::boolean as agent_active, null::text as employee_id,
     null::timestamptz as paused_until, null::boolean as is_blocked,
     null::timestamptz as intents_until, null::text[] as allowed_purposes",
    "left join subscriber s on s.tenant_id = v.tenant_id and s.lookup_hash = $2
     left join lateral (
         select m.id, m.tenant_id, m.agent_id, m.state, m.starts_at, m.expires_at,
                m.suspend_reason, m.ended_at, m.on_expiry, m.duration_max_s
         from binding m
         where m.number_id = v.id and m.tenant_id = v.tenant_id and m.subscriber_id = s.id
             and m.ended_at is null and m.mode = 'axb'
         limit 1
     ) as b on true
     left join agent a on a.tenant_id = b.tenant_id and a.id = b.agent_id
         and a.state = 'active' and a.deleted_at is null
     left join lateral (
         select c.caller from agent_caller_number c
         where c.tenant_id = a.tenant_id and c.agent_id = a.id order by c.caller limit 1
     ) as c on true
     left join (select null::text[] as refused, null::timestamptz[] as refused_until) as d
         on true",
    "(select k.* from trunk k where k.tenant_id = v.tenant_id and k.role = 'insurer') k"
);

#[derive(sqlx::FromRow)]
pub(super) struct RouteRow {
    pub(super) digits: String,
    pub(super) number_state: String,
    /// The number serves pairs: who is reached depends on who calls.
    pub(super) pairs: bool,
    pub(super) tenant_id: Option<Uuid>,
    pub(super) agent_id: Option<Uuid>,
    pub(super) agent_active: Option<bool>,
    pub(super) employee_id: Option<String>,
    pub(super) allowed_purposes: Option<Vec<String>>,
    pub(super) desk_user: Option<String>,
    /// Its holder is there to try things.
    pub(super) is_test: bool,
    #[sqlx(flatten)]
    pub(super) holder: HolderRow,
    #[sqlx(flatten)]
    pub(super) binding: BoundRow,
    pub(super) trunks: Option<Vec<Uuid>>,
    pub(super) targets: Option<Vec<String>>,
    pub(super) transports: Option<Vec<String>>,
}

#[derive(sqlx::FromRow)]
pub(super) struct HolderRow {
    pub(super) tenant_active: Option<bool>,
    pub(super) wrapping_key_sealed: Option<Vec<u8>>,
    pub(super) lookup_key_sealed: Option<Vec<u8>>,
}

#[derive(sqlx::FromRow)]
pub(super) struct BoundRow {
    pub(super) binding_id: Option<Uuid>,
    pub(super) state: Option<String>,
    pub(super) starts_at: Option<jiff_sqlx::Timestamp>,
    pub(super) expires_at: Option<jiff_sqlx::Timestamp>,
    pub(super) suspend_reason: Option<String>,
    pub(super) ended_at: Option<jiff_sqlx::Timestamp>,
    pub(super) on_expiry: Option<String>,
    pub(super) duration_max_s: Option<i32>,
    pub(super) subscriber_id: Option<Uuid>,
    pub(super) number_sealed: Option<Vec<u8>>,
    pub(super) key_sealed: Option<Vec<u8>>,
    pub(super) lookup_hash: Option<Vec<u8>>,
    pub(super) language: Option<String>,
    pub(super) is_senior: Option<bool>,
    pub(super) refused: Option<Vec<String>>,
    pub(super) refused_until: Option<Vec<jiff_sqlx::Timestamp>>,
    pub(super) paused_until: Option<jiff_sqlx::Timestamp>,
    pub(super) is_blocked: Option<bool>,
    pub(super) intents_until: Option<jiff_sqlx::Timestamp>,
}
