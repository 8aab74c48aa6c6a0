-- Agents, trunks, pools and virtual numbers.

create table agent (
    tenant_id uuid not null,
    id uuid not null,
    employee_id text not null,
    name text not null,
    licence text,
    filing text not null,
    state text not null,
    agent_group text,
    version bigint not null default 1,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    deleted_at timestamptz,
    constraint agent_pkey primary key (tenant_id, id),
    constraint agent_tenant foreign key (tenant_id) references tenant (id),
    constraint agent_employee_id_length check (length(employee_id) between 1 and 64),
    constraint agent_name_length check (length(name) between 1 and 200),
    constraint agent_licence_length check (length(licence) between 1 and 64),
    constraint agent_group_length check (length(agent_group) between 1 and 64),
    constraint agent_filing_known check (filing in ('filed', 'missing', 'expired')),
    constraint agent_state_known check (state in ('active', 'disabled'))
);
create unique index agent_employee_id on agent (tenant_id, employee_id) where deleted_at is null;
alter table agent enable row level security;
alter table agent force row level security;
create policy agent_tenant on agent to maskline_app
    using (tenant_id = current_tenant()) with check (tenant_id = current_tenant());
create policy agent_relay on agent for select to maskline_relay using (true);
grant select, insert, update on agent to maskline_app;
grant select on agent to maskline_relay;

-- The calling extensions by which a PBX names an agent.
create table agent_caller_number (
    tenant_id uuid not null,
    caller text not null,
    agent_id uuid not null,
    constraint agent_caller_number_pkey primary key (tenant_id, caller),
    constraint agent_caller_number_agent foreign key (tenant_id, agent_id) references agent (tenant_id, id)
        on delete cascade,
    constraint agent_caller_number_length check (length(caller) between 1 and 32)
);
create index agent_caller_number_by_agent on agent_caller_number (tenant_id, agent_id);
alter table agent_caller_number enable row level security;
alter table agent_caller_number force row level security;
create policy agent_caller_number_tenant on agent_caller_number to maskline_app
    using (tenant_id = current_tenant()) with check (tenant_id = current_tenant());
create policy agent_caller_number_relay on agent_caller_number for select to maskline_relay using (true);
grant select, insert, update, delete on agent_caller_number to maskline_app;
grant select on agent_caller_number to maskline_relay;

-- A SIP peer. Insurer trunks belong to a tenant; carrier trunks to the platform.
create table trunk (
    id uuid not null,
    tenant_id uuid,
    role text not null,
    name text not null,
    source_networks cidr[] not null,
    -- Addresses with ports, such as `192.0.2.1:5060` and `[2001:db8::1]:5060`, tried in this order.
    targets text[] not null,
    priority smallint not null,
    weight smallint not null,
    country_code text not null,
    enabled boolean not null,
    channels_max integer,
    cps_max integer,
    version bigint not null default 1,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    deleted_at timestamptz,
    constraint trunk_pkey primary key (id),
    constraint trunk_tenant foreign key (tenant_id) references tenant (id),
    constraint trunk_name_length check (length(name) between 1 and 200),
    constraint trunk_role_known check (role in ('insurer', 'carrier')),
    constraint trunk_role_side check ((role = 'insurer') = (tenant_id is not null)),
    constraint trunk_source_networks_some check (cardinality(source_networks) between 1 and 64),
    constraint trunk_targets_some check (cardinality(targets) between 1 and 8),
    constraint trunk_channels_max_range check (channels_max between 1 and 1000000),
    constraint trunk_cps_max_range check (cps_max between 1 and 100000),
    constraint trunk_priority_range check (priority between 0 and 1000),
    constraint trunk_weight_range check (weight between 0 and 1000),
    constraint trunk_country_code_digits check (country_code ~ '^[1-9][0-9]{0,2}$')
);
create unique index trunk_name on trunk (name) where deleted_at is null;
create index trunk_by_tenant on trunk (tenant_id, priority, id);
alter table trunk enable row level security;
alter table trunk force row level security;
create policy trunk_tenant on trunk for select to maskline_app using (tenant_id = current_tenant());
create policy trunk_platform on trunk to maskline_app using (is_platform()) with check (is_platform());
create policy trunk_relay on trunk for select to maskline_relay using (true);
grant select, insert, update on trunk to maskline_app;
grant select on trunk to maskline_relay;

-- A set of virtual numbers of one class, reached by the same carrier trunks.
create table pool (
    id uuid not null,
    name text not null,
    class text not null,
    city text,
    cooling_days smallint not null default 180,
    version bigint not null default 1,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    constraint pool_pkey primary key (id),
    constraint pool_name unique (name),
    constraint pool_name_length check (length(name) between 1 and 200),
    constraint pool_class_known check (class in ('mobile', 'fixed', '95', '700')),
    constraint pool_city_length check (length(city) between 1 and 64),
    constraint pool_cooling_days_min check (cooling_days between 90 and 3650)
);
alter table pool enable row level security;
alter table pool force row level security;
create policy pool_read on pool for select to maskline_app using (is_platform() or current_tenant() is not null);
create policy pool_platform on pool to maskline_app using (is_platform()) with check (is_platform());
create policy pool_relay on pool for select to maskline_relay using (true);
grant select, insert, update on pool to maskline_app;
grant select on pool to maskline_relay;

create table pool_trunk (
    pool_id uuid not null,
    trunk_id uuid not null,
    constraint pool_trunk_pkey primary key (pool_id, trunk_id),
    constraint pool_trunk_pool foreign key (pool_id) references pool (id),
    constraint pool_trunk_trunk foreign key (trunk_id) references trunk (id)
);
create index pool_trunk_by_trunk on pool_trunk (trunk_id);
alter table pool_trunk enable row level security;
alter table pool_trunk force row level security;
create policy pool_trunk_platform on pool_trunk to maskline_app using (is_platform()) with check (is_platform());
create policy pool_trunk_relay on pool_trunk for select to maskline_relay using (true);
grant select, insert, delete on pool_trunk to maskline_app;
grant select on pool_trunk to maskline_relay;

-- `tenant_id` is the tenant that holds the number, or held it last while it drains or cools.
create table virtual_number (
    id uuid not null,
    digits text not null,
    pool_id uuid not null,
    tenant_id uuid,
    state text not null,
    released_at timestamptz,
    cooling_until timestamptz,
    -- The last attempt on it while it cooled: the quiet test starts again.
    attempted_at timestamptz,
    version bigint not null default 1,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    constraint virtual_number_pkey primary key (id),
    constraint virtual_number_digits unique (digits),
    constraint virtual_number_pool foreign key (pool_id) references pool (id),
    constraint virtual_number_tenant foreign key (tenant_id) references tenant (id),
    constraint virtual_number_digits_form check (digits ~ '^[0-9]{3,15}$'),
    constraint virtual_number_state_known check (state in ('available', 'bound', 'draining', 'cooling', 'reserved',
        'sick', 'retired')),
    constraint virtual_number_state_facts check (case
        when state = 'bound' then tenant_id is not null and released_at is null and cooling_until is null
        when state in ('draining', 'cooling')
            then tenant_id is not null and released_at is not null and cooling_until >= released_at + interval '90 days'
        when state in ('available', 'reserved') then tenant_id is null and cooling_until is null
        else true end)
);
create index virtual_number_available on virtual_number (pool_id, released_at nulls first, id)
    where state = 'available';
create index virtual_number_by_tenant on virtual_number (tenant_id, id);
create index virtual_number_by_pool on virtual_number (pool_id, state);
create index virtual_number_resting on virtual_number (cooling_until) where state in ('draining', 'cooling');

-- A number that rests cannot be bound, whatever the program believes.
create function check_number_transition() returns trigger
    language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
    if new.state = 'bound' and old.state not in ('available', 'reserved', 'bound', 'sick')
        or new.state in ('available', 'reserved') and old.state in ('bound', 'draining')
        or new.state = 'bound' and old.state = 'bound' and new.tenant_id is distinct from old.tenant_id then
        raise exception 'a number cannot go from % to %', old.state, new.state
            using errcode = 'check_violation', constraint = 'virtual_number_transition', table = 'virtual_number';
    end if;
    return new;
end $$;
create trigger virtual_number_transition before update of state, tenant_id on virtual_number
    for each row execute function check_number_transition();

alter table virtual_number enable row level security;
alter table virtual_number force row level security;
-- A tenant sees its own numbers, and free ones, which are nobody's, so that it can take one.
create policy virtual_number_tenant_read on virtual_number for select to maskline_app
    using (tenant_id = current_tenant()
        or (tenant_id is null and state = 'available' and current_tenant() is not null));
create policy virtual_number_tenant_take on virtual_number for update to maskline_app
    using (tenant_id = current_tenant()
        or (tenant_id is null and state = 'available' and current_tenant() is not null))
    with check (tenant_id = current_tenant());
create policy virtual_number_platform on virtual_number to maskline_app
    using (is_platform()) with check (is_platform());
create policy virtual_number_relay on virtual_number for select to maskline_relay using (true);
create policy virtual_number_relay_attempt on virtual_number for update to maskline_relay using (true) with check (true);
grant select, insert, update on virtual_number to maskline_app;
grant select, update (attempted_at) on virtual_number to maskline_relay;

-- Who held a number before: it does not return to the same tenant within a year.
create table number_tenancy (
    tenant_id uuid not null,
    number_id uuid not null,
    released_at timestamptz not null,
    constraint number_tenancy_pkey primary key (tenant_id, number_id, released_at),
    constraint number_tenancy_tenant foreign key (tenant_id) references tenant (id),
    constraint number_tenancy_number foreign key (number_id) references virtual_number (id)
);
alter table number_tenancy enable row level security;
alter table number_tenancy force row level security;
create policy number_tenancy_tenant on number_tenancy to maskline_app
    using (tenant_id = current_tenant()) with check (tenant_id = current_tenant());
grant select, insert on number_tenancy to maskline_app;
