-- Ends of bindings that their tenants were told of before they came: each once, by whichever node comes to it first.
create table binding_notice (
    tenant_id uuid not null,
    binding_id uuid not null,
    expires_at timestamptz not null,
    constraint binding_notice_pkey primary key (tenant_id, binding_id, expires_at),
    constraint binding_notice_binding foreign key (tenant_id, binding_id) references binding (tenant_id, id)
);
-- An end that has come needs no notice.
create index binding_notice_past on binding_notice (expires_at);
alter table binding_notice enable row level security;
alter table binding_notice force row level security;
create policy binding_notice_tenant on binding_notice to maskline_app
    using (tenant_id = current_tenant()) with check (tenant_id = current_tenant());
create policy binding_notice_platform on binding_notice for select to maskline_app using (is_platform());
create policy binding_notice_sweep on binding_notice for delete to maskline_app using (is_platform());
create policy binding_notice_relay on binding_notice for select to maskline_relay using (true);
grant select, insert, delete on binding_notice to maskline_app;
grant select on binding_notice to maskline_relay;
