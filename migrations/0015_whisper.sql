-- What subscribers are told before a call is bridged, and what they answer: consents withdrawn, calls not wanted,
-- complaints.

alter table cdr
    -- From then on the callee's carrier counts; `answered_at` is the caller's.
    add column callee_answered_at timestamptz,
    add column whisper text,
    -- The numbers of the clips that were said.
    add column whisper_prompt text,
    add column whisper_heard_at timestamptz;
alter table call_fact add column whisper text;

-- A consent of a subscriber to calls of one purpose. It is never deleted: a withdrawn one is the proof of both.
create table consent (
    tenant_id uuid not null,
    id uuid not null,
    subscriber_id uuid not null,
    purpose text not null,
    channel text not null,
    text_hash bytea not null,
    evidence_ref text,
    captured_at timestamptz not null,
    until timestamptz,
    withdrawn_at timestamptz,
    -- The call in which it was withdrawn, if in one.
    withdrawn_call_id uuid,
    constraint consent_pkey primary key (tenant_id, id),
    constraint consent_subscriber foreign key (tenant_id, subscriber_id) references subscriber (tenant_id, id),
    constraint consent_channel_length check (length(channel) between 1 and 64),
    constraint consent_text_hash_length check (length(text_hash) = 32),
    constraint consent_evidence_ref_length check (length(evidence_ref) between 1 and 200)
);
create index consent_by_subscriber on consent (tenant_id, subscriber_id, purpose) where withdrawn_at is null;
alter table consent enable row level security;
alter table consent force row level security;
create policy consent_tenant on consent to maskline_app
    using (tenant_id = current_tenant()) with check (tenant_id = current_tenant());
create policy consent_relay_read on consent for select to maskline_relay using (true);
create policy consent_relay on consent for update to maskline_relay using (true) with check (true);
grant select, insert, update on consent to maskline_app;
grant select, update (withdrawn_at, withdrawn_call_id) on consent to maskline_relay;

-- What a subscriber does not want to be called for by a tenant. Only the subscriber can say so, so a tenant only reads it.
create table do_not_call (
    tenant_id uuid not null,
    subscriber_id uuid not null,
    purpose text not null,
    since timestamptz not null,
    until timestamptz not null,
    source text not null,
    call_id uuid,
    constraint do_not_call_pkey primary key (tenant_id, subscriber_id, purpose),
    constraint do_not_call_source_known check (source in ('whisper')),
    constraint do_not_call_lasts check (until > since)
);
alter table do_not_call enable row level security;
alter table do_not_call force row level security;
create policy do_not_call_tenant on do_not_call for select to maskline_app using (tenant_id = current_tenant());
create policy do_not_call_relay on do_not_call to maskline_relay using (true) with check (true);
grant select on do_not_call to maskline_app;
grant select, insert, update on do_not_call to maskline_relay;

-- No foreign keys, as with records: a complaint is written whatever became of the things it names.
create table complaint (
    tenant_id uuid not null,
    id uuid not null,
    subscriber_id uuid,
    binding_id uuid,
    agent_id uuid,
    call_id uuid not null,
    purpose text not null,
    source text not null,
    state text not null,
    opened_at timestamptz not null,
    constraint complaint_pkey primary key (tenant_id, id),
    constraint complaint_call unique (tenant_id, call_id, source),
    constraint complaint_source_known check (source in ('whisper')),
    constraint complaint_state_known check (state in ('open'))
);
alter table complaint enable row level security;
alter table complaint force row level security;
create policy complaint_tenant on complaint for select to maskline_app using (tenant_id = current_tenant());
create policy complaint_platform on complaint for select to maskline_app using (is_platform());
create policy complaint_relay_read on complaint for select to maskline_relay using (true);
create policy complaint_relay on complaint for insert to maskline_relay with check (true);
grant select on complaint to maskline_app;
grant select, insert on complaint to maskline_relay;

-- A call that changes what may be called tells all nodes, like any other change of routes.
grant usage on sequence route_version to maskline_relay;
