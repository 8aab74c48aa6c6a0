-- Recordings of calls: what is on the disk, who may fetch it once, and who did.

-- The file itself, with its key wrapped by the tenant's, lies in the folder of the settings. A row without `erased_at`
-- says that it is there; a file without a row is adopted at the next start.
create table recording (
    tenant_id uuid not null,
    id uuid not null,
    call_id uuid not null,
    retention text not null,
    started_at timestamptz not null,
    duration_ms bigint not null,
    bytes bigint not null,
    frames_caller bigint not null,
    frames_callee bigint not null,
    -- Packets that could not be kept.
    frames_lost bigint not null,
    -- False when a crash or a full disk cut it off.
    complete boolean not null,
    sha256 bytea not null,
    retain_until timestamptz not null,
    -- A dispute: it stays, whatever its time.
    held boolean not null default false,
    erased_at timestamptz,
    created_at timestamptz not null,
    constraint recording_pkey primary key (tenant_id, id),
    constraint recording_retention_known check (retention in ('six_months', 'five_years', 'ten_years')),
    constraint recording_sha256_length check (length(sha256) = 32)
);
create index recording_by_call on recording (tenant_id, call_id);
create index recording_due on recording (retain_until) where erased_at is null and not held;
alter table recording enable row level security;
alter table recording force row level security;
create policy recording_tenant on recording for select to maskline_app using (tenant_id = current_tenant());
create policy recording_platform on recording for select to maskline_app using (is_platform());
create policy recording_relay on recording to maskline_relay using (true) with check (true);
grant select on recording to maskline_app;
grant select, insert on recording to maskline_relay;
grant update (erased_at) on recording to maskline_relay;

-- A link that fetches one recording once. Only the hash of its token is kept.
create table recording_link (
    tenant_id uuid not null,
    token_hash bytea not null,
    recording_id uuid not null,
    actor text not null,
    created_at timestamptz not null,
    expires_at timestamptz not null,
    used_at timestamptz,
    constraint recording_link_pkey primary key (token_hash),
    constraint recording_link_recording foreign key (tenant_id, recording_id) references recording (tenant_id, id),
    constraint recording_link_token_length check (length(token_hash) = 32)
);
create index recording_link_by_recording on recording_link (tenant_id, recording_id);
alter table recording_link enable row level security;
alter table recording_link force row level security;
create policy recording_link_tenant on recording_link for insert to maskline_app with check (tenant_id = current_tenant());
create policy recording_link_platform on recording_link to maskline_app using (is_platform()) with check (is_platform());
grant select, insert on recording_link to maskline_app;
grant update (used_at) on recording_link to maskline_app;

-- Who did what, in the transaction of the deed. Nobody can change or remove a line.
create table audit_entry (
    tenant_id uuid not null,
    id uuid not null,
    at timestamptz not null,
    actor text not null,
    action text not null,
    subject_id uuid not null,
    details jsonb not null,
    constraint audit_entry_pkey primary key (tenant_id, id),
    constraint audit_entry_action_form check (action ~ '^[a-z_]+\.[a-z_]+$')
);
create index audit_entry_by_subject on audit_entry (tenant_id, subject_id, id);
alter table audit_entry enable row level security;
alter table audit_entry force row level security;
create policy audit_entry_tenant on audit_entry for select to maskline_app using (tenant_id = current_tenant());
create policy audit_entry_tenant_write on audit_entry for insert to maskline_app with check (tenant_id = current_tenant());
create policy audit_entry_platform on audit_entry for select to maskline_app using (is_platform());
create policy audit_entry_platform_write on audit_entry for insert to maskline_app with check (is_platform());
create policy audit_entry_relay on audit_entry for insert to maskline_relay with check (true);
grant select, insert on audit_entry to maskline_app;
grant insert on audit_entry to maskline_relay;
