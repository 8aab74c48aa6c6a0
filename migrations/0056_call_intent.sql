-- Intents: what an agent's next call to a subscriber is for, said before it is dialled. One attempt uses one of them up,
-- whichever node it comes to.
create table call_intent (
    tenant_id uuid not null,
    id uuid not null,
    binding_id uuid not null,
    agent_id uuid not null,
    purpose text not null,
    -- The tenant's own word for what it is about.
    case_ref text,
    created_at timestamptz not null,
    expires_at timestamptz not null,
    cancelled_at timestamptz,
    used_at timestamptz,
    -- The attempt that has used it up. It is not on record before it is over.
    call_id uuid,
    constraint call_intent_pkey primary key (tenant_id, id),
    constraint call_intent_binding foreign key (tenant_id, binding_id) references binding (tenant_id, id),
    constraint call_intent_agent foreign key (tenant_id, agent_id) references agent (tenant_id, id),
    constraint call_intent_lasts check (expires_at > created_at and expires_at <= created_at + interval '1 hour'),
    constraint call_intent_use_facts check ((used_at is not null) = (call_id is not null)),
    constraint call_intent_ends_once check (used_at is null or cancelled_at is null)
);
-- With every lookup of a route: whether one waits.
create index call_intent_waiting on call_intent (tenant_id, agent_id, binding_id, expires_at)
    where used_at is null and cancelled_at is null;
-- With every new one: how many wait for the agent. Most of those that nobody used are over.
create index call_intent_waiting_of_agent on call_intent (tenant_id, agent_id, expires_at)
    where used_at is null and cancelled_at is null;
create index call_intent_call on call_intent (tenant_id, call_id) where call_id is not null;
-- Lists, newest first.
create index call_intent_of_binding on call_intent (tenant_id, binding_id, id);
create index call_intent_of_agent on call_intent (tenant_id, agent_id, id);
create index call_intent_expires on call_intent (expires_at);
alter table call_intent enable row level security;
alter table call_intent force row level security;
create policy call_intent_tenant on call_intent to maskline_app
    using (tenant_id = current_tenant()) with check (tenant_id = current_tenant());
-- The program forgets old ones, whosever they are.
create policy call_intent_platform on call_intent for select to maskline_app using (is_platform());
create policy call_intent_sweep on call_intent for delete to maskline_app using (is_platform());
create policy call_intent_relay on call_intent for select to maskline_relay using (true);
create policy call_intent_relay_use on call_intent for update to maskline_relay using (true) with check (true);
grant select, insert, update, delete on call_intent to maskline_app;
grant select, update (used_at, call_id) on call_intent to maskline_relay;
