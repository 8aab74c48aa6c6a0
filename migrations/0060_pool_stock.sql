-- What is known of a pool's numbers beside their states: since when few are left, and how fast they go.
create table pool_stock (
    pool_id uuid not null,
    low_since timestamptz,
    -- Numbers that were taken in the last `days` days, as of `counted_at`.
    taken bigint not null default 0,
    days smallint not null default 1,
    counted_at timestamptz,
    constraint pool_stock_pkey primary key (pool_id),
    constraint pool_stock_pool foreign key (pool_id) references pool (id),
    constraint pool_stock_pace_range check (taken >= 0 and days >= 1)
);
alter table pool_stock enable row level security;
alter table pool_stock force row level security;
create policy pool_stock_platform on pool_stock to maskline_app using (is_platform()) with check (is_platform());
grant select, insert, update on pool_stock to maskline_app;

-- Which tenants were told that a pool of theirs is low: each once for each time that it is.
create table pool_low_told (
    tenant_id uuid not null,
    pool_id uuid not null,
    low_since timestamptz not null,
    constraint pool_low_told_pkey primary key (tenant_id, pool_id),
    constraint pool_low_told_tenant foreign key (tenant_id) references tenant (id),
    constraint pool_low_told_pool foreign key (pool_id) references pool (id)
);
alter table pool_low_told enable row level security;
alter table pool_low_told force row level security;
create policy pool_low_told_tenant on pool_low_told to maskline_app
    using (tenant_id = current_tenant()) with check (tenant_id = current_tenant());
-- The program looks for who is to be told, whosever it is.
create policy pool_low_told_platform on pool_low_told for select to maskline_app using (is_platform());
grant select, insert, update on pool_low_told to maskline_app;
