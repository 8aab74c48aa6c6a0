-- The two roles of the running program. Neither owns anything, is a superuser or may bypass row-level security.
-- Roles belong to the whole cluster: another database may have made them, even at this moment.
do $$
begin
    create role maskline_app login;
exception when duplicate_object or unique_violation then null;
end $$;

do $$
begin
    create role maskline_relay login;
exception when duplicate_object or unique_violation then null;
end $$;

-- Bounds that hold behind a connection pooler too: no statement may hang for ever, no transaction may be forgotten.
do $$
begin
    alter role maskline_app set statement_timeout = '5s';
    alter role maskline_app set lock_timeout = '2s';
    alter role maskline_app set idle_in_transaction_session_timeout = '10s';
    alter role maskline_relay set statement_timeout = '5s';
    alter role maskline_relay set lock_timeout = '2s';
    alter role maskline_relay set idle_in_transaction_session_timeout = '10s';
-- Somebody else sets the same values now, or the roles were made by another administrator.
exception when insufficient_privilege or internal_error then null;
end $$;

grant usage on schema public to maskline_app, maskline_relay;

-- The tenant of this transaction: set by `set_config('maskline.tenant', .., true)`, null when unset.
create function current_tenant() returns uuid
    language sql stable parallel safe
    return nullif(current_setting('maskline.tenant', true), '')::uuid;

-- True in a transaction of the platform itself, which belongs to no tenant.
create function is_platform() returns boolean
    language sql stable parallel safe
    return coalesce(current_setting('maskline.platform', true), '') = 'on';

-- Who owns the attempts that nobody owns.
create function nobody() returns uuid
    language sql immutable parallel safe
    return '00000000-0000-0000-0000-000000000000'::uuid;

-- Sets a role's password to a SCRAM verifier; the password itself never reaches the server.
create function set_role_verifier(role_name text, verifier text) returns void
    language plpgsql security invoker set search_path = pg_catalog, pg_temp
as $$
begin
    if role_name not in ('maskline_app', 'maskline_relay') or verifier not like 'SCRAM-SHA-256$%' then
        raise exception 'not a role or verifier of this program';
    end if;
    execute format('alter role %I password %L', role_name, verifier);
end $$;
revoke execute on function set_role_verifier(text, text) from public;
