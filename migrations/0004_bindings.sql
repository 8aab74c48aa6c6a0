-- Subscribers and bindings.

-- The real number is here only sealed, under a key of its own that the tenant's key wraps, and as a keyed hash. All three
-- are null after an erasure. The masked form is computed from the opened number and stored nowhere.
create table subscriber (
    tenant_id uuid not null,
    id uuid not null,
    number_sealed bytea,
    key_sealed bytea,
    lookup_hash bytea,
    language text not null,
    age_band text,
    time_zone text not null,
    version bigint not null default 1,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    erased_at timestamptz,
    constraint subscriber_pkey primary key (tenant_id, id),
    constraint subscriber_tenant foreign key (tenant_id) references tenant (id),
    constraint subscriber_lookup_hash unique (tenant_id, lookup_hash),
    constraint subscriber_lookup_hash_length check (length(lookup_hash) = 16),
    constraint subscriber_language_known check (language in ('zh-CN', 'en')),
    constraint subscriber_age_band_known check (age_band in ('minor', 'adult', 'senior')),
    constraint subscriber_erased_whole check ((erased_at is null) = (number_sealed is not null)
        and (erased_at is null) = (key_sealed is not null)
        and (erased_at is null) = (lookup_hash is not null))
);
alter table subscriber enable row level security;
alter table subscriber force row level security;
create policy subscriber_tenant on subscriber to maskline_app
    using (tenant_id = current_tenant()) with check (tenant_id = current_tenant());
create policy subscriber_relay on subscriber for select to maskline_relay using (true);
grant select, insert, update on subscriber to maskline_app;
grant select on subscriber to maskline_relay;

create table binding (
    tenant_id uuid not null,
    id uuid not null,
    external_id text not null,
    -- What the creator asked for, so that a repeat can be told from a contradiction.
    content_hash bytea not null,
    mode text not null,
    term text not null,
    policy_ref text not null,
    policy_product text,
    policy_ends_at timestamptz,
    subscriber_id uuid not null,
    number_id uuid not null,
    -- The digits of the number, which outlive the tenant's sight of the number itself.
    virtual_number text not null,
    extension text,
    agent_id uuid,
    agent_group text,
    state text not null,
    starts_at timestamptz,
    expires_at timestamptz,
    suspend_reason text,
    ended_at timestamptz,
    valid_from timestamptz not null,
    duration_max_s integer,
    metadata jsonb not null,
    version bigint not null default 1,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    constraint binding_pkey primary key (tenant_id, id),
    constraint binding_tenant foreign key (tenant_id) references tenant (id),
    constraint binding_external_id unique (tenant_id, external_id),
    constraint binding_subscriber foreign key (tenant_id, subscriber_id) references subscriber (tenant_id, id),
    constraint binding_number foreign key (number_id) references virtual_number (id),
    constraint binding_agent foreign key (tenant_id, agent_id) references agent (tenant_id, id),
    constraint binding_external_id_length check (length(external_id) between 1 and 128),
    constraint binding_content_hash_length check (length(content_hash) = 32),
    constraint binding_mode_known check (mode in ('ax', 'axb', 'axe', 'axyb')),
    constraint binding_term_known check (term in ('long', 'short')),
    constraint binding_short_term_ends check (term = 'long' or expires_at is not null or ended_at is not null),
    constraint binding_policy_ref_length check (length(policy_ref) between 1 and 128),
    constraint binding_policy_product_length check (length(policy_product) between 1 and 128),
    constraint binding_extension_form check (extension ~ '^[0-9]{3,8}$'),
    constraint binding_extension_mode check ((mode = 'axe') = (extension is not null)),
    constraint binding_agent_group_length check (length(agent_group) between 1 and 64),
    constraint binding_duration_max_range check (duration_max_s between 10 and 86400),
    constraint binding_metadata_object check (jsonb_typeof(metadata) = 'object'),
    constraint binding_state_known check (state in ('pending', 'active', 'suspended', 'expired', 'released')),
    -- Each state has exactly its facts: domain::binding::BindingState.
    constraint binding_state_facts check (case state
        when 'pending' then starts_at is not null and suspend_reason is null and ended_at is null
        when 'active' then starts_at is null and suspend_reason is null and ended_at is null
        when 'suspended' then starts_at is null and suspend_reason is not null and ended_at is null
        else starts_at is null and expires_at is null and suspend_reason is null and ended_at is not null end),
    constraint binding_suspend_reason_known check (suspend_reason in ('tenant', 'operator'))
);
-- At most one live owner of an X and extension, and at most once the same party behind one X.
create unique index binding_live_number on binding (number_id, extension) nulls not distinct
    where ended_at is null and mode <> 'axb';
create unique index binding_live_subscriber on binding (number_id, subscriber_id)
    where ended_at is null;
create unique index binding_live_agent on binding (number_id, agent_id)
    where ended_at is null and mode = 'axb' and agent_id is not null;
create index binding_by_subscriber on binding (tenant_id, subscriber_id, id);
create index binding_by_number on binding (tenant_id, number_id, id);
create index binding_by_policy on binding (tenant_id, policy_ref, id);
create index binding_due on binding (expires_at) where ended_at is null and expires_at is not null;
alter table binding enable row level security;
alter table binding force row level security;
create policy binding_tenant on binding to maskline_app
    using (tenant_id = current_tenant()) with check (tenant_id = current_tenant());
create policy binding_relay on binding for select to maskline_relay using (true);
grant select, insert, update on binding to maskline_app;
grant select on binding to maskline_relay;

-- Moves with every change that a cached route must not outlive; told to other nodes by NOTIFY, and polled.
create sequence route_version;
grant usage, select on sequence route_version to maskline_app;
grant select on sequence route_version to maskline_relay;
