-- The clock of a test tenant is advanced by drawing nearer what lies ahead of it: what its subscribers have
-- refused for a while too. Nobody else's refusals can be touched by a tenant.
create policy do_not_call_test on do_not_call for update to maskline_app
    using (tenant_id = current_tenant() and exists (select from tenant t where t.id = tenant_id and t.is_test))
    with check (tenant_id = current_tenant());
create policy subscriber_pause_test on subscriber_pause for update to maskline_app
    using (tenant_id = current_tenant() and exists (select from tenant t where t.id = tenant_id and t.is_test))
    with check (tenant_id = current_tenant());
grant update (since, until) on do_not_call to maskline_app;
grant update (since, until) on subscriber_pause to maskline_app;
