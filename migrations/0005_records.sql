-- What happened: call records, the facts that monitoring counts, and the events told to tenants. All three grow for ever
-- and are partitioned by month over the time inside their UUIDv7, so that an identifier alone finds its partition.

-- The smallest UUIDv7 of a moment.
create function uuid_floor(at timestamptz) returns uuid
    language sql immutable strict parallel safe
    return (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid;

-- No foreign keys: a record is written whatever became of the things it names. `tenant_id` is nobody() for attempts on
-- numbers that belong to no tenant.
create table cdr (
    tenant_id uuid not null,
    id uuid not null,
    binding_id uuid,
    subscriber_id uuid,
    agent_id uuid,
    -- Only ever digits of our own: what was dialled could be anybody's number.
    virtual_number text,
    direction text not null,
    trunk_a uuid not null,
    trunk_b uuid,
    started_at timestamptz not null,
    ringing_at timestamptz,
    answered_at timestamptz,
    ended_at timestamptz not null,
    duration_ms bigint not null,
    setup_us bigint,
    cause text not null,
    reasons text[] not null,
    ended_by text not null,
    sip_status integer not null,
    q850 smallint not null,
    media jsonb,
    constraint cdr_pkey primary key (tenant_id, id)
) partition by range (id);
create table cdr_default partition of cdr default;
create index cdr_by_binding on cdr (tenant_id, binding_id, id);
create index cdr_by_agent on cdr (tenant_id, agent_id, id);
alter table cdr enable row level security;
alter table cdr force row level security;
alter table cdr_default enable row level security;
alter table cdr_default force row level security;
create policy cdr_tenant on cdr for select to maskline_app using (tenant_id = current_tenant());
create policy cdr_platform on cdr for select to maskline_app using (is_platform());
create policy cdr_relay_read on cdr for select to maskline_relay using (true);
create policy cdr_relay on cdr for insert to maskline_relay with check (true);
grant select on cdr to maskline_app;
grant select, insert on cdr to maskline_relay;

create table call_fact (
    tenant_id uuid not null,
    id uuid not null,
    binding_id uuid,
    subscriber_id uuid,
    agent_id uuid,
    virtual_number text,
    direction text not null,
    started_at timestamptz not null,
    answered boolean not null,
    duration_ms bigint not null,
    cause text not null,
    constraint call_fact_pkey primary key (tenant_id, id)
) partition by range (id);
create table call_fact_default partition of call_fact default;
alter table call_fact enable row level security;
alter table call_fact force row level security;
alter table call_fact_default enable row level security;
alter table call_fact_default force row level security;
create policy call_fact_tenant on call_fact for select to maskline_app using (tenant_id = current_tenant());
create policy call_fact_platform on call_fact for select to maskline_app using (is_platform());
create policy call_fact_relay_read on call_fact for select to maskline_relay using (true);
create policy call_fact_relay on call_fact for insert to maskline_relay with check (true);
grant select on call_fact to maskline_app;
grant select, insert on call_fact to maskline_relay;

-- The outbox. `position` orders the changes of one thing, whose row lock is held when it is drawn. The gapless
-- `sequence` of a tenant is given afterwards by one sequencer, so that writers of one tenant never wait for each other.
create sequence event_position;
create table event (
    tenant_id uuid not null,
    id uuid not null,
    position bigint not null default nextval('event_position'),
    sequence bigint,
    type text not null,
    subject_id uuid not null,
    occurred_at timestamptz not null,
    data jsonb not null,
    constraint event_pkey primary key (tenant_id, id),
    constraint event_type_form check (type ~ '^[a-z_]+\.[a-z_]+(\.[a-z_]+)?$')
) partition by range (id);
create table event_default partition of event default;
create index event_unsequenced on event (position) where sequence is null;
create index event_by_sequence on event (tenant_id, sequence) where sequence is not null;
create index event_by_subject on event (tenant_id, subject_id, position);
alter table event enable row level security;
alter table event force row level security;
alter table event_default enable row level security;
alter table event_default force row level security;
create policy event_tenant on event for select to maskline_app using (tenant_id = current_tenant());
create policy event_tenant_write on event for insert to maskline_app with check (tenant_id = current_tenant());
create policy event_platform on event for insert to maskline_app with check (is_platform());
create policy event_platform_read on event for select to maskline_app using (is_platform());
create policy event_relay_read on event for select to maskline_relay using (true);
create policy event_relay on event for insert to maskline_relay with check (true);
create policy event_relay_sequence on event for update to maskline_relay using (true) with check (true);
grant select, insert on event to maskline_app;
grant select, insert, update (sequence) on event to maskline_relay;
grant usage on sequence event_position to maskline_app, maskline_relay;

create table event_counter (
    tenant_id uuid not null,
    sequence bigint not null,
    constraint event_counter_pkey primary key (tenant_id)
);
alter table event_counter enable row level security;
alter table event_counter force row level security;
create policy event_counter_relay on event_counter to maskline_relay using (true) with check (true);
grant select, insert, update on event_counter to maskline_relay;

-- Makes the partitions of `months` months from that of `first` on, where they are missing. It runs as the owner, since the
-- program's own roles may not create tables.
create function create_month_partitions(first timestamptz, months integer) returns void
    language plpgsql security definer set search_path = public, pg_temp
as $$
declare
    parent text;
    month_start timestamp;
    part text;
begin
    if months not between 1 and 36 then
        raise exception 'between 1 and 36 months at a time';
    end if;
    for step in 0 .. months - 1 loop
        month_start := date_trunc('month', first at time zone 'UTC') + make_interval(months => step);
        foreach parent in array array['cdr', 'call_fact', 'event'] loop
            part := parent || to_char(month_start, '_yyyy_mm');
            continue when to_regclass(part) is not null;
            execute format('create table %I partition of %I for values from (%L) to (%L)', part, parent,
                uuid_floor(month_start at time zone 'UTC'),
                uuid_floor((month_start + interval '1 month') at time zone 'UTC'));
            execute format('alter table %I enable row level security', part);
            execute format('alter table %I force row level security', part);
        end loop;
    end loop;
end $$;
revoke execute on function create_month_partitions(timestamptz, integer) from public;
grant execute on function create_month_partitions(timestamptz, integer) to maskline_app;
