-- Tenants, their API keys, and the answers kept for repeated requests.

create table tenant (
    id uuid not null,
    name text not null,
    state text not null,
    is_test boolean not null,
    accept_real_numbers boolean not null,
    desk_user text,
    language text not null,
    time_zone text not null,
    country_code text not null,
    -- Both sealed by the root key: one wraps the subscribers' keys, the other finds numbers.
    wrapping_key_sealed bytea not null,
    lookup_key_sealed bytea not null,
    version bigint not null default 1,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    constraint tenant_pkey primary key (id),
    constraint tenant_id_somebody check (id <> '00000000-0000-0000-0000-000000000000'),
    constraint tenant_name_length check (length(name) between 1 and 200),
    constraint tenant_state_known check (state in ('active', 'suspended')),
    constraint tenant_desk_user_length check (length(desk_user) between 1 and 64),
    constraint tenant_language_known check (language in ('zh-CN', 'en')),
    constraint tenant_country_code_digits check (country_code ~ '^[1-9][0-9]{0,2}$')
);
alter table tenant enable row level security;
alter table tenant force row level security;
create policy tenant_own on tenant for select to maskline_app using (id = current_tenant());
create policy tenant_platform on tenant to maskline_app using (is_platform()) with check (is_platform());
create policy tenant_relay on tenant for select to maskline_relay using (true);
grant select, insert, update on tenant to maskline_app;
grant select on tenant to maskline_relay;

-- Without a tenant: a key of the platform. The secret is known by its keyed hash only.
create table api_key (
    id uuid not null,
    tenant_id uuid,
    name text not null,
    role text not null,
    scopes text[] not null,
    is_test boolean not null,
    secret_hash bytea not null,
    -- The last characters, by which people recognise it in a list.
    hint text not null,
    source_networks cidr[] not null default '{}',
    created_at timestamptz not null,
    expires_at timestamptz,
    revoked_at timestamptz,
    last_used_at timestamptz,
    constraint api_key_pkey primary key (id),
    constraint api_key_tenant foreign key (tenant_id) references tenant (id),
    constraint api_key_secret_hash unique (secret_hash),
    constraint api_key_name_length check (length(name) between 1 and 200),
    constraint api_key_hint_length check (length(hint) between 1 and 8),
    constraint api_key_role_known check (role in ('operator', 'insurer_admin', 'insurer_crm', 'insurer_auditor',
        'compliance', 'approver', 'regulator', 'ops')),
    constraint api_key_role_side check (case
        when role in ('operator', 'regulator', 'ops') then tenant_id is null
        when role in ('insurer_admin', 'insurer_crm', 'insurer_auditor') then tenant_id is not null
        else true end),
    constraint api_key_secret_hash_length check (length(secret_hash) = 32)
);
create index api_key_by_tenant on api_key (tenant_id, id);
alter table api_key enable row level security;
alter table api_key force row level security;
create policy api_key_tenant on api_key to maskline_app
    using (tenant_id = current_tenant()) with check (tenant_id = current_tenant());
create policy api_key_platform on api_key to maskline_app using (is_platform()) with check (is_platform());
grant select, insert, update on api_key to maskline_app;

-- One row per Idempotency-Key; `tenant_id` is nobody() for keys of the platform. The answer is sealed: it may hold a
-- secret that is shown once.
create table idempotency (
    tenant_id uuid not null,
    key_hash bytea not null,
    request_hash bytea not null,
    started_at timestamptz not null,
    -- A request that died is forgotten after this, and may be tried again.
    locked_until timestamptz not null,
    expires_at timestamptz not null,
    completed_at timestamptz,
    response_status smallint,
    response_location text,
    response_body_sealed bytea,
    constraint idempotency_pkey primary key (tenant_id, key_hash),
    constraint idempotency_key_hash_length check (length(key_hash) = 32),
    constraint idempotency_request_hash_length check (length(request_hash) = 32),
    constraint idempotency_answer_whole check ((completed_at is null) = (response_status is null)
        and (completed_at is null) = (response_body_sealed is null))
);
create index idempotency_expiry on idempotency (expires_at);
alter table idempotency enable row level security;
alter table idempotency force row level security;
create policy idempotency_tenant on idempotency to maskline_app
    using (tenant_id = current_tenant()) with check (tenant_id = current_tenant());
create policy idempotency_platform on idempotency to maskline_app
    using (is_platform() and tenant_id = nobody()) with check (is_platform() and tenant_id = nobody());
create policy idempotency_sweep on idempotency for delete to maskline_app using (is_platform());
grant select, insert, update, delete on idempotency to maskline_app;
