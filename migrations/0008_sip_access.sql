-- What SIP peers and softphones prove to us, and we to them. Every secret is sealed for its own row.

-- One row for each trunk that has an account at its peer, or must answer our challenges.
create table trunk_access (
    trunk_id uuid not null,
    -- With this we answer the peer's challenges.
    account_user text,
    account_password_sealed bytea,
    account_refuses_md5 boolean not null default false,
    -- The peer wants us to register; as whom it knows us, and for how long.
    registers boolean not null default false,
    register_s integer not null default 3600,
    -- With this the peer answers our challenges; what is sealed is HA1 for every algorithm.
    login_user text,
    login_secret_sealed bytea,
    login_refuses_md5 boolean not null default false,
    updated_at timestamptz not null,
    constraint trunk_access_pkey primary key (trunk_id),
    constraint trunk_access_trunk foreign key (trunk_id) references trunk (id),
    constraint trunk_access_login_user unique (login_user),
    constraint trunk_access_account_whole check ((account_user is null) = (account_password_sealed is null)),
    constraint trunk_access_login_whole check ((login_user is null) = (login_secret_sealed is null)),
    constraint trunk_access_registers_as check (not registers or account_user is not null),
    constraint trunk_access_account_user_length check (length(account_user) between 1 and 128),
    constraint trunk_access_login_user_length check (length(login_user) between 1 and 64),
    constraint trunk_access_register_range check (register_s between 60 and 86400)
);
alter table trunk_access enable row level security;
alter table trunk_access force row level security;
create policy trunk_access_platform on trunk_access to maskline_app using (is_platform()) with check (is_platform());
create policy trunk_access_relay on trunk_access for select to maskline_relay using (true);
grant select, insert, update, delete on trunk_access to maskline_app;
grant select on trunk_access to maskline_relay;

-- The softphone of an agent. User names are ours, so they are unique over all tenants.
create table agent_login (
    tenant_id uuid not null,
    agent_id uuid not null,
    username text not null,
    -- HA1 for every algorithm.
    secret_sealed bytea not null,
    created_at timestamptz not null,
    constraint agent_login_pkey primary key (tenant_id, agent_id),
    constraint agent_login_agent foreign key (tenant_id, agent_id) references agent (tenant_id, id)
        on delete cascade,
    constraint agent_login_username unique (username),
    constraint agent_login_username_length check (length(username) between 1 and 64)
);
alter table agent_login enable row level security;
alter table agent_login force row level security;
create policy agent_login_tenant on agent_login to maskline_app
    using (tenant_id = current_tenant()) with check (tenant_id = current_tenant());
create policy agent_login_relay on agent_login for select to maskline_relay using (true);
grant select, insert, update, delete on agent_login to maskline_app;
grant select on agent_login to maskline_relay;
