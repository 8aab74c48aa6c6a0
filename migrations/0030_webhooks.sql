-- Webhooks: where tenants are told of events, and what became of each telling.

-- A new UUIDv7 of a moment, for rows that are made by the database from other rows.
create function uuid_v7(at timestamptz) returns uuid
    language sql volatile strict parallel safe
    return (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || '7'
        || substr(replace(gen_random_uuid()::text, '-', ''), 14))::uuid;

create table webhook_endpoint (
    tenant_id uuid not null,
    id uuid not null,
    url text not null,
    description text,
    -- Empty: all kinds.
    event_types text[] not null,
    state text not null,
    -- Why it is disabled.
    disabled_reason text,
    secret_sealed bytea not null,
    -- For a while after a rotation both secrets sign.
    old_secret_sealed bytea,
    old_secret_until timestamptz,
    -- Since when nothing has been taken; null while deliveries succeed.
    failing_since timestamptz,
    version bigint not null default 1,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    constraint webhook_endpoint_pkey primary key (tenant_id, id),
    constraint webhook_endpoint_tenant foreign key (tenant_id) references tenant (id),
    constraint webhook_endpoint_url_length check (length(url) between 1 and 1000),
    constraint webhook_endpoint_description_length check (length(description) between 1 and 200),
    constraint webhook_endpoint_state_known check (state in ('enabled', 'disabled')),
    constraint webhook_endpoint_reason_known check (disabled_reason in ('request', 'gone', 'failing')),
    constraint webhook_endpoint_reason_whole check ((state = 'disabled') = (disabled_reason is not null)),
    constraint webhook_endpoint_old_secret_whole check ((old_secret_sealed is null) = (old_secret_until is null))
);
alter table webhook_endpoint enable row level security;
alter table webhook_endpoint force row level security;
create policy webhook_endpoint_own on webhook_endpoint to maskline_app
    using (tenant_id = current_tenant()) with check (tenant_id = current_tenant());
create policy webhook_endpoint_relay_read on webhook_endpoint for select to maskline_relay using (true);
create policy webhook_endpoint_relay on webhook_endpoint for update to maskline_relay using (true) with check (true);
grant select, insert, update, delete on webhook_endpoint to maskline_app;
grant select on webhook_endpoint to maskline_relay;
grant update (state, disabled_reason, failing_since, version, updated_at) on webhook_endpoint to maskline_relay;

-- One telling of one event to one endpoint; made in the transaction that gives the event its sequence, or by a replay.
-- An endpoint may be deleted meanwhile: what is left of it is swept.
create table webhook_delivery (
    tenant_id uuid not null,
    id uuid not null,
    endpoint_id uuid not null,
    event_id uuid not null,
    event_type text not null,
    sequence bigint not null,
    -- What shares this at one endpoint is told in the order of `sequence`: the binding, or what else the event is about.
    order_id uuid not null,
    state text not null,
    attempts smallint not null default 0,
    next_at timestamptz not null,
    -- Counts the claims; a node whose claim is over writes nothing any more.
    lease bigint not null default 0,
    -- One object for each attempt.
    log jsonb not null default '[]',
    created_at timestamptz not null,
    done_at timestamptz,
    constraint webhook_delivery_pkey primary key (tenant_id, id),
    constraint webhook_delivery_state_known check (state in ('pending', 'delivered', 'dead')),
    constraint webhook_delivery_done_whole check ((state = 'pending') = (done_at is null))
);
create index webhook_delivery_due on webhook_delivery (endpoint_id, next_at) where state = 'pending';
create index webhook_delivery_order on webhook_delivery (endpoint_id, order_id, sequence) where state = 'pending';
create index webhook_delivery_by_endpoint on webhook_delivery (tenant_id, endpoint_id, id);
create index webhook_delivery_by_age on webhook_delivery (created_at);
alter table webhook_delivery enable row level security;
alter table webhook_delivery force row level security;
create policy webhook_delivery_own on webhook_delivery to maskline_app
    using (tenant_id = current_tenant()) with check (tenant_id = current_tenant());
create policy webhook_delivery_relay on webhook_delivery to maskline_relay using (true) with check (true);
grant select, insert on webhook_delivery to maskline_app;
grant select, insert, update, delete on webhook_delivery to maskline_relay;
