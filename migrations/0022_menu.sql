-- What subscribers do with the keys of their phone: codes of calls, pauses, blocked agents, complaints.

-- The code that was spoken when a call was announced: whoever knows it has answered the subscriber's phone. Only the relay
-- may look at it, no tenant and no operator: the enemy is an insider.
create table call_code (
    tenant_id uuid not null,
    call_id uuid not null,
    subscriber_id uuid not null,
    code text not null,
    spoken_at timestamptz not null,
    constraint call_code_pkey primary key (tenant_id, call_id),
    constraint call_code_form check (code ~ '^[0-9]{6}$')
);
create index call_code_by_subscriber on call_code (tenant_id, subscriber_id, spoken_at);
alter table call_code enable row level security;
alter table call_code force row level security;
create policy call_code_relay on call_code to maskline_relay using (true) with check (true);
grant select, insert, delete on call_code to maskline_relay;

-- Codes that were wrong, of all calls of a subscriber. Its row is locked while a code is looked at, so that codes tried at
-- one time are counted one after the other.
create table code_try (
    tenant_id uuid not null,
    subscriber_id uuid not null,
    wrong smallint not null,
    locked_until timestamptz,
    constraint code_try_pkey primary key (tenant_id, subscriber_id)
);
alter table code_try enable row level security;
alter table code_try force row level security;
create policy code_try_relay on code_try to maskline_relay using (true) with check (true);
grant select, insert, update on code_try to maskline_relay;

-- No calls of a tenant to a subscriber until then. Only the subscriber can say so, so a tenant only reads it.
create table subscriber_pause (
    tenant_id uuid not null,
    subscriber_id uuid not null,
    since timestamptz not null,
    until timestamptz not null,
    source text not null,
    call_id uuid,
    constraint subscriber_pause_pkey primary key (tenant_id, subscriber_id),
    constraint subscriber_pause_source_known check (source in ('menu')),
    constraint subscriber_pause_lasts check (until > since)
);
alter table subscriber_pause enable row level security;
alter table subscriber_pause force row level security;
create policy subscriber_pause_tenant on subscriber_pause for select to maskline_app using (tenant_id = current_tenant());
create policy subscriber_pause_relay on subscriber_pause to maskline_relay using (true) with check (true);
grant select on subscriber_pause to maskline_app;
grant select, insert, update on subscriber_pause to maskline_relay;

-- An agent that may not call a subscriber any more; for the tenant as above.
create table agent_block (
    tenant_id uuid not null,
    subscriber_id uuid not null,
    agent_id uuid not null,
    since timestamptz not null,
    source text not null,
    -- The call for which it was blocked.
    call_id uuid,
    constraint agent_block_pkey primary key (tenant_id, subscriber_id, agent_id),
    constraint agent_block_source_known check (source in ('menu'))
);
alter table agent_block enable row level security;
alter table agent_block force row level security;
create policy agent_block_tenant on agent_block for select to maskline_app using (tenant_id = current_tenant());
create policy agent_block_relay on agent_block to maskline_relay using (true) with check (true);
grant select on agent_block to maskline_app;
grant select, insert on agent_block to maskline_relay;

alter table complaint drop constraint complaint_source_known;
alter table complaint add constraint complaint_source_known check (source in ('whisper', 'menu'));
