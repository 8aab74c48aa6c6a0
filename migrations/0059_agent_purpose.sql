-- Agents who may call for some purposes only; one without a row may call for all. A table of its own, since nodes of the
-- release before read agents by `*`.
create table agent_purpose (
    tenant_id uuid not null,
    agent_id uuid not null,
    purposes text[] not null,
    constraint agent_purpose_pkey primary key (tenant_id, agent_id),
    constraint agent_purpose_agent foreign key (tenant_id, agent_id) references agent (tenant_id, id),
    constraint agent_purpose_count check (cardinality(purposes) between 1 and 32)
);
alter table agent_purpose enable row level security;
alter table agent_purpose force row level security;
create policy agent_purpose_tenant on agent_purpose to maskline_app
    using (tenant_id = current_tenant()) with check (tenant_id = current_tenant());
create policy agent_purpose_relay on agent_purpose for select to maskline_relay using (true);
grant select, insert, update, delete on agent_purpose to maskline_app;
grant select on agent_purpose to maskline_relay;
